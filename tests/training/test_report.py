"""The report: what it counts, what it says, and that it says so for fleets about which little is known."""

import doctest
import json
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from data.asset_class import AssetClass
from data.lives import Life
from data.observations import Observations, Timeline, Writer
from edge_runtime.bundle import Bundle
from features.history import History
from tests.edge_runtime.tiny import tiny_bundle
from training import alarm_report, figure_table, model_card, report, verdict, wording
from training import evidence as ev
from training.alarm_history import Watched, watch
from training.evidence import Evidence
from training.figure_table import Figures
from training.looks import PARTS, Look
from training.measures.alarming import curve, tallied
from training.measures.tally import LifeAlarms, tally

CLASS = {
    "name": "tiny",
    "title": "Tiny <machine>",
    "time": {"unit": "s", "interval": 60, "assemble": False, "tick": 600, "max_gap": 86400},
    "life": {"unit": "h", "age": "optional", "begins": "new", "ends": "failure", "healthy": {"min_remaining": 50}},
    "labels": {"cap": 100, "horizon": 10},
    "channels": {
        "flow": {"quantity": "flow", "unit": "L/min", "range": [0, 400]},
        "speed": {"role": "condition", "quantity": "speed", "unit": "rpm", "range": [0, 3000]},
    },
    "alarms": {
        "worn": {"level": 2, "signal": "health", "below": 0.5},
        "odd": {"level": 1, "signal": "anomaly_score", "above": 0.9},
    },
    "source": {"reader": "table", "files": ["tiny.csv"]},
}
HOUR = 3600 * 10**9
METRICS = {
    "rul": {
        "rmse": 6.54321,
        "per_model": {"lstm": {"rmse": 7.0}, "xgboost": {"rmse": 8.0}, "blend": {"rmse": 6.54321}},
        "null": {"mean": 31.5, "age": 21.5, "mean_uncapped": 41.5, "age_uncapped": 27.5},
        "rmse_uncapped": 9.87,
        "mae": 3.5,
        "below_cap": {"rmse": 8.9, "mae": 4.7},
        "all_rows": {
            "rmse": 5.5,
            "se": 0.5,
            "coverage": 0.912,
            "width": 22.0,
            "closed_width": 33.0,
            "open": 0.25,
            "thirds": [0.8, 0.9, 1.0],
        },
        "cv": {
            "rmse": 5.8,
            "se": 0.4,
            "all_rows": {"closed_width": 31.0},
            "interval": {"coverage": 0.92, "width": 21.0, "thirds": [0.88, 0.92, 0.95], "badly_covered": 0.05},
        },
        "without_age": {"rmse": 7.77, "rmse_uncapped": 11.1, "all_rows": {"thirds": [0.85, 0.9, 0.95]}},
        "alpha_lambda": {"at_50": 0.75, "lives_at_50": 8},
    },
    "alarms": {
        "level_2": {
            "cv": {
                "due": 20,
                "announced": 0.95,
                "median_lead": 8.5,
                "false_alarms": 3,
                "false_alarms_per_machine_month": 0.123,
                "in_alarm": 0.01,
            }
        }
    },
    "ci": {
        "rul": {"rmse": [5.01, 8.02]},
        "alarms": {"level_2": {"cv": {"false_alarms_per_machine_month": [0.04, 0.31]}}},
    },
    "canaries": {
        "rows_left": {"score": 0.2, "chance": 5.8, "caught": True},
        "machine_id": {"score": 9.9, "chance": 31.5, "caught": False},
    },
    "failure": {"horizon": 10.0, "prior": 0.17, "pr_auc": 0.9, "null_pr_auc": 0.1, "brier": 0.02, "null_brier": 0.09},
    "n": {
        "machines": 8,
        "lives": 8,
        "lives_scored": 8,
        "lives_below_cap": 6,
        "lives_left_out": 0,
        "rows": 960,
        "failures": 8,
        "look": 1,
        "looks": 1,
    },
    "reasons": {},
    "parity": {
        "rows": 960,
        "max_abs_error": 0.0006,
        "max_score_error": 3e-6,
        "within_1e_3": 1.0,
        "within_tolerance": 1.0,
    },
}
CROSS = {
    "weights": {"lstm": 0.25, "xgboost": 0.75},
    **{name: {"rmse": 5.8, "se": 0.4} for name in ("lstm", "xgboost", "blend")},
    "interval": {"level": 0.9, "coverage": 0.92, "width": 21.0},
}
CHANNEL = {
    "received": 90, "missing": 10, "unparsable": 2, "unparsable_examples": ["n/a"], "out_of_range": 5,
    "first_out_of_range": None, "min": 0.5, "max": "inf", "constant": False, "constant_assets": ["M-1"],
    "longest_missing_run": 4,
}  # fmt: skip
SILENT = CHANNEL | {"received": 0, "missing": 100, "unparsable": 0, "out_of_range": 0, "min": None, "max": None}
QUALITY = {
    "assets": 40, "observations": 100, "counts": {"duplicates": 3, "rejected": 0}, "single_observation_assets": ["M-9"],
    "notes": ["the log names <unknown> machines"],
    "channels": {
        "flow": CHANNEL | {"unit": "L/min", "range": [0, 400]},
        "speed": SILENT | {"unit": "1", "range": [0, 3]},
    },
}  # fmt: skip


def machine(asset, error, hours=120):
    """One life of a machine seen every hour to its failure, predicted too high by `error` hours."""
    left = np.arange(hours, 0.0, -1)
    said = np.clip(left + error, 0, 100)
    rows = {
        "asset": asset, "life": 0, "row": np.arange(hours), "time": np.arange(hours) * HOUR, "true_rul": left,
        "lower": np.minimum(left, 100), "exact": True, "failed_within": (left <= 10).astype(float),
        "warm": np.arange(hours) >= 5, "rul": said, "rul_lower": said - 4,
        "rul_upper": np.where(said + 4 < 100, said + 4, np.inf),
        "failure_probability": np.where(said <= 10, 0.95, 0.02), "scored": np.arange(hours) == 60,
        "unfamiliar": 0.0,
    }  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture
def known(tmp_path):
    """A fleet of eight held-out machines, each predicted worse than the one before, all run to failure."""
    table = pd.concat([machine(f"M-{i}", error=i) for i in range(8)], ignore_index=True)
    level = np.repeat([0, 1, 2], [100, 10, 10]).astype(np.int8)
    watched = [LifeAlarms(f"M-{i}", 0, True, np.arange(120.0, 0, -1), level) for i in range(8)]
    return Evidence(
        asset_class=AssetClass.model_validate(CLASS),
        manifest=Bundle.load(tiny_bundle(tmp_path / "bundle")).manifest,
        figures=Figures(METRICS),
        cross={"aged": CROSS, "free": CROSS},
        quality=QUALITY,
        lives=[Life(f"M-{i}", 0, 0, 119 * HOUR, 120 * HOUR, "failure", False, True) for i in range(8)],
        table=table,
        watched=Watched(watched, np.array([0.3, 0.1])),
        thresholds=curve(AssetClass.model_validate(CLASS), {0.5: watched, 0.8: watched[:4]}),
        looks=[look(1)],
    )


def look(number, **parts):
    """A look at the test machines in which nothing but `parts` is other than in the first one."""
    return Look(number, "2026-01-03T10:00:00+00:00", "c" * 40, dict.fromkeys(PARTS, "a" * 64) | parts, 6.54321)


def unknown(evidence):
    """The same fleet, but no held-out machine failed: every figure is null, with a reason."""
    reason = "nobody saw <a> failure"
    metrics = json.loads(json.dumps(METRICS))
    metrics["failure"] |= dict.fromkeys(("pr_auc", "null_pr_auc", "brier", "null_brier"))
    metrics["rul"] |= {"rmse": None, "per_model": {}, "null": {"mean": None, "age": None}, "all_rows": {}}
    metrics["rul"] |= {"rmse_uncapped": None, "mae": None, "without_age": {}, "alpha_lambda": {}}
    metrics |= {"ci": {}, "reasons": {"rul.rmse": reason}}
    table = evidence.table.assign(
        true_rul=np.nan, exact=False, failed_within=np.nan, scored=False, lower=0.0, rul_upper=np.inf
    )
    lives = [replace(life, kind="censored", end=life.last) for life in evidence.lives]
    watched = [replace(life, failed=False) for life in evidence.watched.lives]
    changes = {"table": table, "lives": lives, "watched": Watched(watched, None), "cross": {"free": CROSS}}
    changes["thresholds"] = curve(evidence.asset_class, {0.5: watched})
    metrics["rul"]["cv"]["interval"] = {}
    return replace(evidence, figures=Figures(metrics), **changes)


class Page(HTMLParser):
    """Collects images, tags and text of a page, and checks that tags are closed in order."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, html):
        super().__init__()
        self.images, self.tags, self.text, self.links, self._open = [], [], "", [], []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] != "style":
            self.text += data


@pytest.mark.parametrize("module", [wording, model_card, alarm_report, figure_table])
def test_examples(module):
    failed, tried = doctest.testmod(module)
    assert tried > 0
    assert failed == 0


def test_the_page_stands_alone_and_says_what_was_measured(known):
    html = report.page(known)
    page = Page(html)
    # scatter, six trajectories, errors under both protocols, thirds, reliability, drivers, alarms, limits
    assert len(page.images) == 14
    assert all(image["alt"] for image in page.images)
    assert all(link.startswith("data:image/svg+xml;base64,") for link in page.links)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert "Tiny <machine>" in page.text
    for said in (
        "6.54 hours", "5.01 hours to 8.02 hours", "7.77 hours", "9.87 hours", "21.5 from age alone",
        "27.5 from age alone", "5.8 hours ± 0.4rul.cv.rmse", "91 %", "80 %, 90 %, 100 %", "88 %, 92 %, 95 %",
        "8 of 8", "19 of 20",
        "4.7 hours", "on average over the 6 of 8 held-out lives that had less than 100 hours left when judged",
        "Over all 3.5, RMSE 6.54", "25 % of the time it is open at the top: “more than 100”. Else it is 33 hours wide",
        "was 4.7 hours off on average where less than 100 hours were left", "31 hours",
        "says the average, 17 %", "0.123 (0.04 to 0.31)", "never received", "the first look: unbiased", "✗ not noticed",
    ):  # fmt: skip
        assert said in page.text, said
    assert len(html) < 3e6
    assert report.page(known) == html


def test_machines_that_the_twin_did_not_know_are_named(known):
    assert "It did not know" not in Page(report.page(known)).text
    strange = known.table.asset.isin(["M-2", "M-5"]) & (known.table.row > 20)
    table = known.table.assign(unfamiliar=np.where(strange, 0.9, 0.0))
    told = Page(report.page(replace(known, table=table))).text
    assert "It did not know 2 of the held-out machines" in told
    assert "(M-2, M-5): most of the time" in told


def test_simulated_machines_are_called_so(known):
    assert "SIMULATED" not in Page(report.page(known)).text
    simulated = replace(known, asset_class=known.asset_class.model_copy(update={"simulated": True}))
    text = Page(report.page(simulated)).text
    assert "SIMULATED" in text
    assert "8 simulated machines it had never seen" in text


def test_a_fleet_without_test_failures_gets_reasons_instead_of_figures(known):
    page = Page(report.page(unknown(known)))
    assert "nobody saw <a> failure" in page.text
    assert "Not proven yet" in page.text
    assert not page.images
    for word in ("None", "nan", "inf "):
        assert word not in page.text


def test_a_class_without_alarms(known):
    without = known.asset_class.model_copy(update={"alarms": {}})
    assert "The class declares no alarms." in Page(report.page(replace(known, asset_class=without))).text


@pytest.mark.parametrize(
    ("rmse", "coverage", "said"),
    [(6.5, 0.91, "It has proven itself"), (0.0, 0.91, "It has proven itself"),
     (17, 0.91, "Use it with care"), (22, 0.91, "Do not plan by it yet"),
     (6.5, 0.87, "Use it with care"), (6.5, 0.7, "Do not rely on its interval")],
)  # fmt: skip
def test_the_verdict_follows_the_figures(rmse, coverage, said):
    figures = Figures(METRICS | {"rul": METRICS["rul"] | {"rmse": rmse, "all_rows": {"coverage": coverage}}})
    announced = tally([LifeAlarms("A", 0, True, np.arange(9.0, 0, -1), np.ones(9))], 1, 5, cap=100)
    alarm = verdict.announced(announced, "hours", "")
    tiles = [verdict.off(figures, "hours", 100), verdict.holds(figures, 0.9, "hours", 100), alarm]
    assert verdict.headline(tiles, "8 machines", "100 hours").startswith(said)


def test_lives_judged_above_the_cap_alone_prove_nothing(known):
    figures = Figures(METRICS | {"n": METRICS["n"] | {"lives_below_cap": 0}})
    text = Page(report.page(replace(known, figures=figures))).text
    assert "Not proven yet. Could not be checked: every held-out life was judged where it had more than 100" in text


def test_of_a_class_with_waveforms_alone_it_is_said_why_channels_are_missing(known):
    shake = {"quantity": "g", "unit": "g", "range": [-9, 9], "waveform": {"axes": ["x"], "samples": 16, "rate": 9}}
    cls = AssetClass.model_validate(CLASS | {"channels": {"shake": shake}, "derived": {}, "alarms": {}})
    alone = replace(
        known,
        asset_class=cls,
        quality=QUALITY | {"channels": {}},
        watched=replace(known.watched, drivers=np.zeros(0)),
    )
    text = Page(report.page(alone)).text
    assert "The class has waveforms alone, and these are not counted." in text
    assert "Not known: the class has waveforms alone" in text


def test_missed_failures_are_part_of_the_verdict():
    missed = tally([LifeAlarms("A", 0, True, np.arange(9.0, 0, -1), np.zeros(9))], 1, 5, cap=100)
    tiles = [verdict.off(Figures(METRICS), "h", 100), verdict.holds(Figures(METRICS), 0.9, "h", 100)]
    said = verdict.headline([*tiles, verdict.announced(missed, "h", "")], "8 machines", "100 h")
    assert said.startswith("Use it with care (alarms announced 0 of 1 failures)")


def test_a_second_look_is_said_at_the_top(known):
    again = [look(1), look(2, models="b" * 64, calibration="b" * 64)]
    text = Page(report.page(replace(known, looks=again))).text
    assert "looked at 2 times" in text
    assert "differs from look 1 in the models, the calibration" in text
    assert "1 ◆" in text  # the page shows the figures of the first
    assert "2 ◆" not in text
    assert "here 2 times, see the log" in text
    assert "no longer a single unbiased look" not in Page(report.page(known)).text


def test_alarms_say_what_was_expected_of_them(known):
    (counted, _) = tallied(known.asset_class, known.watched.lives)
    assert alarm_report.false_alarms(known, counted).endswith("Expected, by cross-validation: 0.123 per machine-month.")
    assert "Expected" not in alarm_report.false_alarms(replace(known, figures=Figures({})), counted)


def test_the_bundle_is_watched_observation_by_observation(tmp_path):
    cls = AssetClass.model_validate(CLASS)
    path = tmp_path / "tiny.parquet"
    event = np.array([1, 0, 0, 0, 1, 0], np.int8)
    age = np.array([0, 1, 2, 3, 0, 1.0])
    age[1] = np.nan  # the tiny twin warms up there
    readings = {"flow": np.arange(6, dtype=np.float32), "speed": np.full(6, -1, np.float32)}
    with Writer(path, cls) as writer:
        for asset in ("A", "B"):
            timeline = Timeline(np.arange(6) * HOUR, np.array([0, 0, 0, 0, 1, 1], np.int32), event, age)
            writer.write(asset, timeline, readings)
    observations = Observations(path, cls)
    history = History(
        assets=["A", "B"],
        rows={"A": 6, "B": 6},
        series={asset: list(observations.series(asset)) for asset in ("A", "B")},
        settings=np.array([[0], [-10]], np.float32),
    )
    lives = [
        Life("A", 0, 0, 3 * HOUR, 3 * HOUR, "failure", False, True),
        Life("A", 1, 4 * HOUR, 5 * HOUR, 5 * HOUR, "censored", False, True),
        Life("B", 0, 0, 3 * HOUR, 3 * HOUR, "failure", False, True),
        Life("C", 0, 0, HOUR, HOUR, "failure", False, True),  # not watched
    ]
    fleet = Bundle.load(tiny_bundle(tmp_path / "bundle")).fleet(history.assets, history.settings)
    watched = watch(fleet, history, observations, lives, units=3600, horizon=2)
    assert [(life.asset, life.life, life.failed) for life in watched.lives] == [
        ("A", 0, True), ("A", 1, False), ("B", 0, True),
    ]  # fmt: skip
    assert watched.lives[0].to_end.tolist() == [3, 2, 1, 0]
    assert watched.lives[0].level.tolist() == [0, 1, 1, 2]  # the tiny twin: half the observations of the life
    assert watched.lives[1].level.tolist() == [0, 1]
    # Contribution = reading − setting; only rows 2 and 3 are late and warm: 2, 3 and 12, 13; |−1| and 9.
    assert watched.drivers.tolist() == [(2.5 + 12.5) / 2, (1 + 9) / 2]


def test_reliability_weighs_machines_not_rows(known):
    columns = ["asset", "failure_probability", "failed_within", "warm"]
    others = [("B", 0.51, 0.0, True), ("C", 1.0, 1.0, True), ("D", 0.5, 0.0, False), ("E", 0.5, np.nan, True)]
    bins = ev.reliability(replace(known, table=pd.DataFrame([("A", 0.55, 1.0, True)] * 99 + others, columns=columns)))
    assert bins.observed.tolist() == pytest.approx([0.5, 1.0])
    assert bins.predicted.tolist() == pytest.approx([0.53, 1.0])
    assert bins.share.tolist() == pytest.approx([2 / 3, 1 / 3])
    assert bins.machines.tolist() == [2, 1]
    assert (bins.low[0], bins.high[0]) == (0.0, 1.0)
    assert np.isnan(bins.low[1])


def test_trajectories_run_from_the_best_to_the_worst(known):
    shown = ev.trajectories(known)
    assert [each.name for each in shown] == ["M-0", "M-1", "M-3", "M-4", "M-6", "M-7"]
    assert [each.error for each in shown] == sorted(each.error for each in shown)
    assert shown[0].error == 0


def test_what_the_interval_holds(known):
    scored = ev.scored(known)
    assert len(scored) == 8
    assert scored.inside.tolist() == [True] * 5 + [False] * 3  # off by more than the four hours of the interval
    assert ev.badly_covered(known) == (3, 8)


def test_tables_for_dvc(known):
    made = report.tables(known)
    assert list(made["remaining_life.csv"][["true_rul", "rul"]].iloc[0]) == [60, 60]
    assert made["trajectory.csv"].rul_upper.max() <= 100
    assert {"predicted", "observed"} <= set(made["reliability.csv"])
    assert all(table.empty for table in report.tables(unknown(known)).values())


@pytest.mark.parametrize(
    ("rows", "lines"), [({"missing": 100, "received": 0}, ["never received"]), ({"constant": True}, ["never changes"])]
)
def test_remarks_on_channels(known, rows, lines):
    quality = QUALITY | {"channels": {"flow": QUALITY["channels"]["flow"] | rows}}
    (channel,) = model_card.channels(replace(known, quality=quality))
    assert all(line in channel["remark"] for line in lines)
