"""The stage as a whole."""

import json
from dataclasses import replace

import numpy as np
import pytest

from training import canaries, export
from training.dataset import FINAL
from training.leaks import canary, causality
from training.leaks.difference import Difference
from training.leaks.errors import LeakError

NAMES = {"rows_left", "centred_average", "target_encoding", "machine_id", "random_scorer", "shuffled_labels"}
FIGURES = ("score", "chance", "caught")


def test_all_are_caught_and_stand_in_the_metrics(dataset, monkeypatch, capsys):
    looked_at, real = [], causality.replay
    monkeypatch.setattr(
        causality, "replay", lambda data, part, cuts: looked_at.append(part.folder.name) or real(data, part, cuts)
    )
    canaries.run(dataset.fleet)
    assert len(looked_at) == 2
    assert FINAL in looked_at
    made = json.loads(canary.path(dataset.fleet).read_text())
    assert set(made) == set(canaries.MEANING) == NAMES
    for of in made.values():
        assert of["caught"] is True
        assert 0 < of["score"] < np.inf
        assert 0 < of["chance"] < np.inf
    assert made["rows_left"]["score"] < 0.8 * made["rows_left"]["chance"]  # what it would have flattered
    assert made["rows_left"]["pipeline"] < 1e-6 < made["rows_left"]["allowed"] < made["rows_left"]["planted"]
    assert "canary machine_id: no better than chance" in capsys.readouterr().out
    figures = canary.with_canaries({"rul": {"rmse": 1.0}, "reasons": {"a": "b"}}, dataset.fleet)
    assert figures["rul"] == {"rmse": 1.0}
    assert figures["reasons"] == {"a": "b"}
    assert figures["canaries"]["machine_id"] == {name: made["machine_id"][name] for name in FIGURES}
    assert export.flat(figures)["canaries.machine_id.caught"] == 1


def test_what_cannot_be_judged_is_null_with_a_reason(few):
    canaries.run(few.fleet)
    figures = canary.with_canaries({"reasons": {}}, few.fleet)
    nulls = {f"canaries.{name}.caught" for name, of in figures["canaries"].items() if of["caught"] is None}
    assert "canaries.machine_id.caught" in nulls
    assert nulls == set(figures["reasons"])
    assert figures["canaries"]["rows_left"]["caught"] is True


def test_a_canary_that_is_not_caught_fails_the_stage(dataset, monkeypatch):
    caught = canary.Canary(8.75, 8.5, True)
    missed = replace(caught, score=1.25, caught=False)
    monkeypatch.setattr(canaries, "check", lambda _: {"shuffled_labels": caught, "machine_id": missed})
    with pytest.raises(LeakError, match=r"but machine_id: a random id.*scores 1.25, chance 8.5.*press.canaries.json$"):
        canaries.run(dataset.fleet)
    assert json.loads(canary.path(dataset.fleet).read_text())["machine_id"]["caught"] is False


def test_a_blind_detector_is_a_canary_not_caught(trial):
    nothing = Difference(0.0, "nothing", 10)
    made = canaries.plant(trial, 0, {"rows_left": nothing, "centred_average": nothing, "pipeline": nothing}, nothing)
    assert {name: of.caught for name, of in made.items()} == {
        "rows_left": False,
        "centred_average": False,
        "target_encoding": True,
    }
    assert "causality.py is blind" in canaries.MEANING["rows_left"]


def test_without_a_future_to_withhold_nothing_is_said(trial):
    made = canaries.plant(trial, 0, {}, Difference(0.0, "nothing", 10))
    assert made["rows_left"].dump() == {
        "score": None,
        "chance": None,
        "caught": None,
        "reason": "no machine has two ticks: there is no future to withhold",
    }
