"""Each rule of promotion, both ways; a figure that is not there fails its rule with its reason."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

import edge_runtime.bench
from data.errors import DataError
from edge_runtime.bundle import Bundle
from tests.pipeline.promotion import ERRORS, GOOD, MACHINES, bundle, changed, shifted
from training.machine_errors import MachineErrors, paired, rmse
from training.promotion.candidate import FAILED, OFF, PASSED, Candidate
from training.promotion.judge import judge
from training.promotion.race import race
from training.promotion.rules import Rules, read_rules

FILE = Path(__file__).parents[2] / "mlflow" / "promotion.yaml"
LIMITS = {
    "accuracy": {"worse": 1, "guess": 0.75},
    "coverage": {"below": 0.03, "above": 0.05},
    "false_alarms": {"most": 0.2, "worse": 0.1},
    "parity": {"within_tolerance": 0.999, "max_error": 0.01},
    "canaries": {"missed": 0},
    "latency": {"machines": 10, "rounds": 2, "most": 50, "worse": 1.25},
}
RULES = Rules.model_validate(LIMITS)
TWO_HEADS = MachineErrors({"aged": ERRORS.heads["free"], "free": ERRORS.heads["free"]}, ERRORS.guesses)


@pytest.fixture
def candidate(tmp_path):
    """`candidate(rul__cv__rmse=3.0)`: a good one, but for what is named; `us` as if measured."""
    made = []

    def make(us=10.0, errors=ERRORS, contract=None, data_hash="d1", **figures):
        folder = bundle(
            tmp_path / str(len(made)), changed(GOOD, **figures), errors, data_hash=data_hash, **(contract or {})
        )
        made.append(folder)
        return replace(Candidate.load(str(len(made)), Bundle.load(folder)), us=us)

    return make


def states(challenger, champion=None, rules=RULES):
    """State by rule, and the judgements by rule."""
    made = {each.rule: each for each in judge(rules, challenger, champion)}
    return {rule: each.state for rule, each in made.items()}, made


def test_what_is_as_good_as_the_champion_passes_every_rule(candidate):
    found, made = states(candidate(), candidate())
    assert set(found.values()) == {PASSED}
    assert set(found) == {
        "contract", "accuracy", "accuracy, to champion", "coverage", "false alarms", "false alarms, to champion",
        "parity, rows within tolerance", "parity, largest error", "canaries", "latency", "latency, to champion",
    }  # fmt: skip
    assert "paired over 20 machines" in made["accuracy, to champion"].why
    assert made["accuracy"].line == "passed: 2 (champion 2, limit ≤ 4.5); 6 by mean alone"


def test_without_a_champion_the_absolute_limits_judge(candidate):
    found, made = states(candidate())
    assert set(found.values()) == {PASSED}
    assert not [rule for rule in found if "to champion" in rule]
    assert {each.champion for each in made.values()} == {"none"}
    assert states(candidate(rul__cv__rmse=4.6))[0]["accuracy"] == FAILED


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        ("accuracy", {"rul__cv__rmse": 4.49}, {"rul__cv__rmse": 4.51}),
        ("coverage", {"rul__cv__interval__coverage": 0.871}, {"rul__cv__interval__coverage": 0.869}),
        ("coverage", {"rul__cv__interval__coverage": 0.949}, {"rul__cv__interval__coverage": 0.951}),
        ("coverage", {}, {"rul__cv__interval__level": 0.8}),
        # fewer machines may be held more often: by 1/(n+1), here 0.05
        (
            "coverage",
            {"rul__cv__interval__coverage": 0.999, "n": {"cv": {"machines": 19}}},
            {"rul__cv__interval__coverage": 0.999, "n": {"cv": {"machines": 20}}},
        ),
        (
            "false alarms",
            {"alarms__level_2__cv__false_alarms_per_machine_month": 0.2},
            {"alarms__level_2__cv__false_alarms_per_machine_month": 0.21},
        ),
        (
            "false alarms, to champion",
            {"alarms__level_2__cv__false_alarms_per_machine_month": 0.149},
            {"alarms__level_2__cv__false_alarms_per_machine_month": 0.151},
        ),
        ("parity, rows within tolerance", {"parity__within_tolerance": 0.999}, {"parity__within_tolerance": 0.998}),
        ("parity, largest error", {"parity__max_abs_error": 4.8}, {"parity__max_abs_error": 4.81}),
        ("canaries", {"canaries__third": {"caught": True}}, {"canaries__leak__caught": False}),
        ("canaries", {}, {"canaries__leak__caught": None}),
        ("latency", {"us": 12.4}, {"us": 50.1}),
        ("latency, to champion", {"us": 12.5}, {"us": 12.6}),
    ],
)
def test_each_limit_both_ways(candidate, rule, good, bad):
    champion = candidate()
    assert states(candidate(**good), champion)[0][rule] == PASSED
    assert states(candidate(**bad), champion)[0][rule] == FAILED


@pytest.mark.parametrize(
    ("missing", "rules"),
    [
        ("rul__cv__rmse", ["accuracy"]),
        ("rul__cv__interval", ["coverage"]),
        ("rul__cv__interval__coverage", ["coverage"]),
        ("alarms", ["false alarms"]),
        ("alarms__level_2__cv__false_alarms_per_machine_month", ["false alarms"]),
        ("parity", ["parity, rows within tolerance", "parity, largest error"]),
        ("canaries", ["canaries"]),
    ],
)
def test_a_figure_that_is_not_there_fails_its_rule_and_says_what_to_do(candidate, missing, rules):
    found, made = states(candidate(**{missing: None}))
    assert [rule for rule, state in found.items() if state == FAILED] == rules
    for rule in rules:
        assert "the bundle says nothing of it: export it again" in made[rule].why
        assert made[rule].challenger == "unknown"


def test_a_figure_that_could_not_be_measured_fails_with_its_own_reason(candidate):
    name = "rul.cv.interval.coverage"
    quality = {"rul__cv__interval__coverage": None, "reasons": {name: "one training machine"}}
    found, made = states(candidate(**quality))
    assert found["coverage"] == FAILED
    assert made["coverage"].why == f"{name}: one training machine"


def test_a_rate_that_the_champion_lacks_fails(candidate):
    found, made = states(candidate(), candidate(alarms=None))
    assert (found["false alarms"], found["false alarms, to champion"]) == (PASSED, FAILED)
    assert "the champion's bundle does not say alarms.level_2.cv" in made["false alarms, to champion"].why
    assert "take its alias 'champion' away" in made["false alarms, to champion"].why


def test_the_lowest_level_that_calls_for_action_counts_and_chance_is_shown(candidate):
    high = {"alarms": [{"name": f"worn_{n}", "level": n, "signal": "health", "below": 0.5} for n in (1, 3)]}
    name = "false_alarms_per_1000_cycles"
    figures = {"alarms": {"level_1": {"cv": {name: 9.0}}, "level_3": {"cv": {name: 0.1}}}}
    chance = {"ci": {"alarms": {"level_3": {"cv": {name: [0.02, 0.31]}}}}}
    found, made = states(candidate(contract=high, **figures, **chance))
    assert found["false alarms"] == PASSED
    assert made["false alarms"].why == "per 1000 cycles; 0.02 … 0.31 by chance"


def test_a_class_without_alarms_that_call_for_action_has_no_false_ones(candidate):
    quiet = {"alarms": [{"name": "worn", "level": 1, "signal": "health", "below": 0.5}]}
    found, made = states(candidate(contract=quiet, alarms=None))
    assert found["false alarms"] == PASSED
    assert "declares no alarm of level 2" in made["false alarms"].why


def test_pairs_see_what_independent_figures_do_not(candidate):
    """Every machine is foretold a little worse: far within the spread of machines, far outside that of the pairs."""
    worse = shifted(ERRORS, 0.1)
    figures = {"rul__cv__rmse": rmse(worse.heads["free"])}
    champion = candidate()
    found, made = states(candidate(errors=worse, **figures), champion)
    assert found["accuracy, to champion"] == FAILED
    assert "paired over 20 machines" in made["accuracy, to champion"].why
    found, made = states(candidate(errors=worse, data_hash="d2", **figures), champion)
    assert found["accuracy, to champion"] == PASSED
    assert "unpaired (they learned from different data)" in made["accuracy, to champion"].why


def test_other_machines_are_no_pairs(candidate):
    fewer = MachineErrors({"free": dict([*ERRORS.heads["free"].items()][:10])}, ERRORS.guesses)
    found, made = states(candidate(errors=fewer), candidate())
    assert "unpaired (they were split differently)" in made["accuracy, to champion"].why
    found, made = states(candidate(), candidate(errors=None))
    assert found["accuracy, to champion"] == PASSED
    assert "unpaired (one of them has no errors by machine)" in made["accuracy, to champion"].why
    # Two standard errors of independent figures, hypot(0.1, 0.1): within two, not within one.
    rule = RULES.model_copy(update={"accuracy": RULES.accuracy.model_copy(update={"worse": 2.0})})
    bad = candidate(rul__cv__rmse=2.2)
    assert states(bad, candidate(errors=None))[0]["accuracy, to champion"] == FAILED
    assert states(bad, candidate(errors=None), rule)[0]["accuracy, to champion"] == PASSED


def test_an_interval_that_promises_less_is_no_replacement(candidate):
    """Whoever acts on the lower end was promised 90 %."""
    less = {"rul__cv__interval__level": 0.5, "rul__cv__interval__coverage": 0.5}
    found, made = states(candidate(**less), candidate())
    assert found["coverage"] == FAILED
    assert "the champion promises 90%, this one 50%" in made["coverage"].why
    assert states(candidate(**less))[0]["coverage"] == PASSED
    assert states(candidate(), candidate(rul__cv__interval=None))[0]["coverage"] == PASSED


def test_errors_of_other_moments_do_not_compare(candidate):
    """After a longer warm-up the hard moments are not judged: the same model would seem better by far."""
    easier = replace(shifted(ERRORS, -1.0), rows=dict.fromkeys(MACHINES, 80))
    champion = candidate(errors=replace(ERRORS, rows=dict.fromkeys(MACHINES, 100)))
    found, made = states(candidate(errors=easier, rul__cv__rmse=1.5), champion)
    assert found["accuracy, to champion"] == FAILED
    assert "other moments of the same lives" in made["accuracy, to champion"].why
    same = replace(easier, rows=champion.errors.rows)
    assert states(candidate(errors=same), champion)[0]["accuracy, to champion"] == PASSED
    assert states(candidate(errors=easier), candidate())[0]["accuracy, to champion"] == PASSED  # it never said
    grown = states(candidate(errors=easier, data_hash="d2"), champion)  # machines that still run have more rows
    assert grown[0]["accuracy, to champion"] == PASSED


def test_without_errors_by_machine_there_is_no_guess_to_beat(candidate):
    found, made = states(candidate(errors=None))
    assert found["accuracy"] == FAILED
    assert "export it again" in made["accuracy"].why


def test_one_machine_has_no_standard_error(candidate):
    one = MachineErrors({"free": {"P-0": 4.0}}, {"mean": {"P-0": 36.0}})
    found, made = states(candidate(errors=one), candidate(errors=one))
    assert found["accuracy, to champion"] == FAILED
    assert "one machine" in made["accuracy, to champion"].why
    found, made = states(candidate(errors=None, rul__cv__se=None), candidate())
    assert made["accuracy, to champion"].why.startswith("rul.cv.se: the bundle says nothing of it")


def test_each_head_is_judged_and_one_that_was_lost_is_missed(candidate):
    second = {
        "rul__without_age": {"cv": {**GOOD["rul"]["cv"], "rmse": 2.1}},
        "alarms__without_age": GOOD["alarms"],
    }
    both = candidate(errors=TWO_HEADS, **second)
    found, made = states(both, both)
    assert set(found.values()) == {PASSED}
    assert made["accuracy, age unknown"].challenger == "2.1"
    found, made = states(candidate(), both)
    lost = [rule for rule, state in found.items() if state == FAILED]
    assert lost == [
        "accuracy, age unknown", "accuracy, age unknown, to champion", "coverage, age unknown",
        "false alarms, age unknown",
    ]  # fmt: skip
    bad = candidate(errors=TWO_HEADS, **second | {"rul__without_age__cv__rmse": 5.0})
    assert [rule for rule, state in states(bad)[0].items() if state == FAILED] == ["accuracy, age unknown"]


def test_a_head_that_a_class_does_not_have_is_not_missed(candidate):
    nothing = {"rul__without_age": {"cv": {"rmse": None, "se": None}}, "reasons": {"rul.without_age.cv.rmse": "none"}}
    found, _ = states(candidate(**nothing), candidate(**nothing))
    assert set(found.values()) == {PASSED}
    assert not [rule for rule in found if "unknown" in rule]


def test_a_canary_that_could_not_be_judged_was_not_caught(candidate):
    figures = {"canaries": {"shuffled": {"caught": None}}, "reasons": {"canaries.shuffled.caught": "one machine"}}
    found, made = states(candidate(**figures))
    assert found["canaries"] == FAILED
    assert made["canaries"].why == "missed: shuffled; canaries.shuffled.caught: one machine"


def test_a_head_that_is_told_the_age_must_beat_the_age(candidate):
    guesses = {**ERRORS.guesses, "age": dict.fromkeys(MACHINES, 4.0)}
    found, _ = states(candidate(errors=replace(ERRORS, guesses=guesses)))
    assert found["accuracy"] == PASSED  # its one head is free of age
    found, made = states(candidate(errors=MachineErrors({"aged": ERRORS.heads["free"]}, guesses)))
    assert found["accuracy"] == FAILED
    assert made["accuracy"].why == "6 by mean alone, 2 by age alone"


@pytest.mark.parametrize(
    "contract",
    [
        {"labels": {"cap": 500, "horizon": 168}},
        {"labels": {"cap": 480, "horizon": 24}},
        {"fleet": "tiny-other"},
        {"life": {"unit": "d", "time_units": 86400, "age": "optional"}},
    ],
)
def test_figures_under_another_contract_do_not_compare(candidate, contract):
    found, made = states(candidate(contract=contract), candidate())
    assert found["contract"] == FAILED
    assert next(iter(contract)) in made["contract"].why
    assert states(candidate(contract=contract))[0]["contract"] == PASSED


def test_what_else_differs_in_the_contract_is_said(candidate):
    settings = {"settings": [{"name": "bias", "unit": "1", "range": [-10, 10], "default": 0}]}
    found, made = states(candidate(contract=settings), candidate())
    assert found["contract"] == PASSED
    assert "differs in settings: see that gateways" in made["contract"].why


def test_a_rule_that_is_switched_off_is_shown_as_off(candidate):
    rules = Rules.model_validate({**LIMITS, "false_alarms": None, "latency": None})
    found, made = states(candidate(us=None, alarms=None), None, rules)
    assert (found["false alarms"], found["latency"]) == (OFF, OFF)
    assert "switched off" in made["latency"].line
    with pytest.raises(ValueError, match="measured before"):
        states(candidate(us=None))


def test_a_race_is_run_in_turns_and_the_best_round_counts(monkeypatch):
    said = {"a": iter([9.0, 5.0, 7.0]), "b": iter([8.0, 8.5, 4.0])}
    ran = []

    def bench(bundle, machines):
        ran.append((bundle, machines))
        return {"us_per_machine": next(said[bundle])}

    monkeypatch.setattr("training.promotion.race.bench", bench)
    assert race(["a", "b"], 7, 3) == [5.0, 4.0]
    assert "".join(name for name, _ in ran) == "abbaab"
    assert {machines for _, machines in ran} == {7}


@pytest.mark.parametrize(("load", "told"), [(9.5, True), (0.0, False)])
def test_a_busy_computer_is_said_to_be_busy(candidate, monkeypatch, load, told):
    monkeypatch.setattr("os.getloadavg", lambda: (load, 0.0, 0.0))
    _, made = states(candidate())
    assert ("this computer is busy (load 9.5 on" in made["latency"].why) == told


def test_a_race_of_real_bundles(candidate, monkeypatch):
    monkeypatch.setattr(edge_runtime.bench, "BUDGET", 0.01)
    times = race([candidate().bundle, candidate().bundle], 3, 2)
    assert len(times) == 2
    assert all(0 < each < float("inf") for each in times)


def test_a_paired_difference_is_that_of_the_errors():
    rng = np.random.default_rng(1)
    champion = dict(zip(MACHINES, rng.uniform(1, 9, 20), strict=True))
    challenger = {name: error * 1.1 for name, error in champion.items()}
    difference = paired(champion, challenger)
    assert difference.value == pytest.approx(rmse(challenger) - rmse(champion))
    # The standard error of the same statistic over machines drawn with replacement.
    pairs = np.array([[champion[name], challenger[name]] for name in MACHINES])
    drawn = np.sqrt(pairs[rng.integers(0, 20, (4000, 20))].mean(axis=1))
    assert difference.se == pytest.approx((drawn[:, 1] - drawn[:, 0]).std(), rel=0.15)
    same = paired(dict.fromkeys(MACHINES, 0.0), dict.fromkeys(MACHINES, 0.0))
    assert (same.value, same.se) == (0, 0)


def test_errors_by_machine_are_read_as_they_were_written(tmp_path):
    (tmp_path / "cross_validation.json").write_bytes(ERRORS.dump())
    assert MachineErrors.read(tmp_path) == ERRORS
    assert MachineErrors.read(tmp_path / "elsewhere") is None
    (tmp_path / "cross_validation.json").write_text('{"format": 2}')
    with pytest.raises(DataError, match="reads up to 1"):
        MachineErrors.read(tmp_path)


def test_the_file_of_the_repository_is_sound_and_says_why():
    rules = read_rules("pump", FILE)
    assert all(getattr(rules, name) is not None for name in Rules.model_fields)
    for line in FILE.read_text().splitlines():
        if line.startswith("  "):
            assert "#" in line, f"a limit without its reason: {line}"


def write(tmp_path, **rules):
    path = tmp_path / "promotion.yaml"
    path.write_text(yaml.safe_dump({**LIMITS, **rules}))
    return path


def test_a_fleet_overrides_single_limits(tmp_path):
    path = write(tmp_path, fleets={"fan": {"coverage": {"below": 0.1}, "latency": None}})
    assert read_rules("pump", path) == RULES
    fan = read_rules("fan", path)
    assert (fan.coverage.below, fan.coverage.above, fan.latency) == (0.1, 0.05, None)
    assert fan.accuracy == RULES.accuracy


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ({"speed": {}}, "unknown key speed: take it out"),
        ({"parity": {"within_tolerance": 0.9, "max_error": 1, "most": 1}}, r"unknown key parity\.most"),
        ({"latency": {"machines": 1, "rounds": 1, "most": 9}}, r"latency\.worse is missing: write its limit;"),
        ({"accuracy": {"worse": -1, "guess": 0.5}}, r"accuracy\.worse: .*greater than or equal to 0, got -1"),
        ({"coverage": {"below": "wide", "above": 0}}, r"coverage\.below: .*number.*got 'wide'"),
        ({"fleets": ["pump"]}, "fleets: expected a mapping"),
        ({"fleets": {"fan": 3}}, r"fleets\.fan: expected a mapping of rules, got 3"),
        ({"fleets": {"fan": {"latency": {"most": 0}}}}, r"fleets\.fan: latency\.most: .*greater than 0"),
    ],
)
def test_mistakes_in_the_rules_are_named(tmp_path, rules, told):
    with pytest.raises(DataError, match=told) as caught:
        read_rules("pump", write(tmp_path, **rules))
    assert "promotion.yaml" in str(caught.value)


def test_a_rule_that_is_left_out_is_not_switched_off(tmp_path):
    path = tmp_path / "promotion.yaml"
    path.write_text(yaml.safe_dump({name: limits for name, limits in LIMITS.items() if name != "canaries"}))
    with pytest.raises(DataError, match="canaries is missing: write its limit, or null to switch the rule off"):
        read_rules("pump", path)


@pytest.mark.parametrize("text", ["", "- accuracy\n", "accuracy: [\n"])
def test_what_is_no_mapping_is_refused(tmp_path, text):
    (tmp_path / "promotion.yaml").write_text(text)
    with pytest.raises(DataError, match=r"promotion\.yaml"):
        read_rules("pump", tmp_path / "promotion.yaml")
    with pytest.raises(DataError, match="run this in the root"):
        read_rules("pump", tmp_path / "nowhere.yaml")
