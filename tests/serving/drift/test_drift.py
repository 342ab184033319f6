"""Drift is found where there is some, names who causes it, and is not found where machines merely differ."""

import itertools
import json

import numpy as np
import pytest
from scipy import stats

from data.reference import OUTPUTS
from serving.drift import __main__ as command
from serving.drift import judge as judging
from serving.drift.judge import judge, ks_of, psi_of
from serving.drift.report import lines, metrics, report
from tests.serving.drift import fleets
from tests.serving.export import fans
from tests.serving.hub import made
from tests.serving.service import StoppedClock

EPOCHS = itertools.count(made.EPOCH)  # each spool is new


@pytest.fixture(scope="module")
def reference():
    return fleets.made_reference()


def fleet(reference, *machines):
    variables = {variable.name: variable for variable in reference.variables}
    return {name: fleets.counts(variables, *made) for name, made in machines}


def drifted(findings):
    return {finding.name: finding for finding in findings if finding.drifted}


def usual(count, first=100, **more):
    return [(f"m{i}", fleets.machine(first + i, **more)) for i in range(count)]


def test_the_distances_are_the_known_ones():
    random = np.random.default_rng(0)
    a, b = random.normal(size=500), random.normal(0.4, 1, 700)
    edges = np.sort(np.concatenate([a, b]))
    counts = [np.bincount(np.searchsorted(edges, x, side="right"), minlength=len(edges) + 1) / len(x) for x in (a, b)]
    assert ks_of(*counts) == pytest.approx(stats.ks_2samp(a, b).statistic)
    halves, quarters = np.array([0.5, 0.5]), np.array([0.25, 0.75])
    assert psi_of(halves, quarters) == pytest.approx(0.25 * np.log(2) + 0.25 * np.log(1.5), abs=0.005)
    assert psi_of(halves, halves) == ks_of(halves, halves) == 0


@pytest.mark.parametrize("size", [3, 8, 25])
def test_machines_that_merely_differ_are_no_drift(reference, size):
    alarms = [bool(drifted(judge(reference, fleet(reference, *usual(size, first=1000 * n))))) for n in range(1, 11)]
    assert sum(alarms) <= 1  # 1 in 100 is meant


def test_a_variable_is_judged_by_as_many_machines_as_have_it(reference):
    """Most of a fleet warms up after a new bundle or a silence: what the others are told is that of few machines."""
    wrong = 0
    for n in range(1, 11):
        some = fleet(reference, *usual(12, first=1000 * n))
        for name in list(some)[3:]:
            some[name] |= {output: 0 * some[name][output] for output in OUTPUTS}
        found = judge(reference, some)
        assert {"health", "flow"} <= {finding.name for finding in found}
        wrong += bool(drifted(found))
    assert wrong <= 1
    for name in list(some)[2:]:
        some[name] |= {output: 0 * some[name][output] for output in OUTPUTS}
    assert {finding.name for finding in judge(reference, some)} == {"flow", "flow received", "speed", "speed received"}


def test_machines_with_few_values_do_not_count(reference):
    some = fleet(reference, *usual(12))
    for counts in some.values():
        for output in OUTPUTS:  # the first prognosis after the warm-up
            first = np.zeros_like(counts[output])
            first[np.flatnonzero(counts[output])[0]] = 1
            counts[output] = first
    assert not {finding.name for finding in judge(reference, some)} & set(OUTPUTS)


def test_a_shift_of_the_whole_fleet_is_everywhere(reference):
    found = drifted(judge(reference, fleet(reference, *usual(12, shift=35))))
    assert set(found) == {"flow"}
    assert found["flow"].everywhere
    assert found["flow"].psi > found["flow"].psi_limit
    assert sum(found["flow"].now) == pytest.approx(1, abs=1e-4)


def test_one_machine_that_drifts_is_named(reference):
    odd = [(f"odd{i}", fleets.machine(500 + i, missing=0.5)) for i in range(2)]
    found = drifted(judge(reference, fleet(reference, *usual(10), *odd)))
    assert set(found) == {"speed received"}
    assert set(found["speed received"].machines) == {"odd0", "odd1"}
    assert not found["speed received"].everywhere


def test_prognoses_drift_too(reference):
    found = drifted(judge(reference, fleet(reference, *usual(15, lost=0.7))))
    assert {"health", "rul", "failure_probability"} <= set(found)
    assert not {"flow", "speed"} & set(found)


def test_more_machines_see_smaller_drift(reference):
    few = judge(reference, fleet(reference, *usual(3)))
    many = judge(reference, fleet(reference, *usual(15)))
    for one, other in zip(few, many, strict=True):
        assert one.psi_limit >= judging.LEAST_PSI
        if one.name in ("flow", "health"):
            assert other.psi_limit < one.psi_limit


def fill(database, machines, model_id, t_rx=made.START + 9):
    sender = made.Sender(epoch=next(EPOCHS))
    blocks = []
    for name, (readings, outputs) in machines:
        seen, said = fleets.rows(name, readings, outputs)
        blocks += [made.block(part, t_rx=t_rx, model_id=model_id) for part in (seen, said)]
    fans.store(database).commit(sender.read(*blocks))


def test_a_report_by_class_from_the_database(database, tmp_path, reference):
    served = fleets.served(tmp_path / "bundle", reference)
    assert served.model_id == fleets.served(tmp_path / "bare").model_id  # the reference is no part of the model
    assert report(database, [served], "tiny")[0].reason == "no such machine is known here"
    fill(database, usual(2), served.model_id)
    [found] = report(database, [served])
    assert (found.asset_class, found.verdict, found.machines) == ("tiny", "too little data", 2)
    assert found.reason == "2 machines have observations (at least 10) over 75% of their last 25200 s: 3 are needed"

    few = [("few", fleets.machine(700, rows=5)), ("new", fleets.machine(701, rows=50))]
    fill(database, [*usual(8, shift=40)[2:], *few], served.model_id)
    [found] = report(database, [served])
    [model] = found.models
    assert (model.machines, model.fleet, model.verdict) == (
        8,
        "tiny",
        "drifted",
    )  # few rows, or a new machine: not counted
    assert [finding.name for finding in model.drifted] == ["flow"]
    text = "\n".join(lines([found]))
    assert "tiny: drifted (drift of flow)" in text
    assert "m5" in text or "m6" in text or "m7" in text
    told = metrics([found])
    assert 'overhaul_drift{class="tiny"} 1\n' in told
    assert f'overhaul_drift_ratio{{class="tiny",model="{served.model_id}",variable="flow"}} ' in told


def test_only_the_last_window_counts(database, tmp_path, reference):
    served = fleets.served(tmp_path / "bundle", reference)
    late = int(fleets.START + 2 * fleets.ROWS * fleets.STEP)
    sender = made.Sender()
    store = fans.store(database)
    for number in range(6):
        readings, outputs = fleets.machine(number + 200, shift=40)
        after, told = fleets.machine(number + 300)
        joined = {name: np.concatenate([outputs[name], told[name]]) for name in outputs}
        seen, said = fleets.rows(f"m{number}", np.concatenate([readings, after]), joined)
        assert seen.keys.t[-1] == late
        blocks = [made.block(seen, model_id=served.model_id), made.block(said, model_id=served.model_id)]
        store.commit(sender.read(*blocks))
    [found] = report(database, [served])
    assert (found.verdict, found.models[0].machines) == ("ok", 6)


def test_a_gateway_whose_clock_was_ahead_does_not_make_the_others_silent(database, tmp_path, reference):
    served = fleets.served(tmp_path / "bundle", reference)
    fill(database, usual(6), served.model_id)
    fill(database, [("odd", fleets.machine(300))], served.model_id, t_rx=2**62)
    [found] = report(database, [served], clock=StoppedClock(made.START + 9))
    assert (found.verdict, found.models[0].machines) == ("ok", 7)


def test_models_without_a_reference_are_told_of(database, tmp_path):
    bare = fleets.served(tmp_path / "bare")
    fill(database, usual(4), bare.model_id)
    [found] = report(database, [bare])
    assert (found.verdict, found.models[0].fleet) == ("no reference", "tiny")
    assert "run dvc repro" in found.reason
    [found] = report(database, [])
    assert "its bundle is not served here" in found.reason
    small = fleets.served(tmp_path / "small", fleets.made_reference(machines=4))
    [found] = report(database, [small])
    assert (found.verdict, found.models[0].reason[:36]) == ("too little data", "the model learned from 4 machines: a")


def test_the_command(database, database_settings, tmp_path, reference, capsys):
    served = fleets.served(tmp_path / "models" / "tiny" / "bundle", reference)
    fill(database, usual(6, shift=40), served.model_id)
    config = tmp_path / "centre.toml"
    config.write_text(f'[database]\nurl = "{database_settings.url}"\n[service.models]\nfolders = ["models/*/bundle"]\n')
    target = tmp_path / "drift.prom"
    assert command.main(["--config", str(config), "--json", "--metrics", str(target)]) == command.DRIFTED
    [told] = json.loads(capsys.readouterr().out)
    assert (told["asset_class"], told["verdict"]) == ("tiny", "drifted")
    assert 'overhaul_drift{class="tiny"} 1' in target.read_text()
    capsys.readouterr()
    assert command.main(["--config", str(config), "--class", "tinny"]) == 1
    assert "class 'tinny': did you mean 'tiny'?" in capsys.readouterr().err
