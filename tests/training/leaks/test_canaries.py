"""The stage as a whole."""

import json

import numpy as np
import pytest

from training import canaries, export
from training.dataset import FINAL
from training.leaks import canary, causality, chance
from training.leaks.errors import LeakError

NAMES = {"rows_left", "centred_average", "target_encoding", "machine_id", "random_scorer", "shuffled_labels"}


def test_all_are_caught_and_stand_in_the_metrics(dataset, capsys):
    canaries.run(dataset.fleet)
    made = json.loads(canary.path(dataset.fleet).read_text())
    assert set(made) == set(canaries.MEANING) == NAMES
    for of in made.values():
        assert of["caught"] is True
        assert 0 < of["score"] < np.inf
        assert 0 < of["chance"] < np.inf
    assert made["rows_left"]["score"] < 0.8 * made["rows_left"]["chance"]  # what it would have flattered
    assert made["rows_left"]["pipeline"] < 1e-6 < made["rows_left"]["allowed"] < made["rows_left"]["planted"]
    assert "canary machine_id: caught" in capsys.readouterr().out
    figures = canary.with_canaries({"rul": {"rmse": 1.0}, "reasons": {"a": "b"}}, dataset.fleet)
    assert figures["rul"] == {"rmse": 1.0}
    assert figures["reasons"] == {"a": "b"}
    assert figures["canaries"]["machine_id"] == {
        name: made["machine_id"][name] for name in ("score", "chance", "caught")
    }
    assert export.flat(figures)["canaries.machine_id.caught"] == 1


def test_a_second_run_says_the_same(dataset):
    first, second = ({name: of.dump() for name, of in canaries.check(dataset.fleet).items()} for _ in range(2))
    assert first == second


def test_what_cannot_be_judged_is_null_with_a_reason(few):
    canaries.run(few.fleet)
    figures = canary.with_canaries({"reasons": {}}, few.fleet)
    nulls = {f"canaries.{name}.caught" for name, of in figures["canaries"].items() if of["caught"] is None}
    assert "canaries.machine_id.caught" in nulls == set(figures["reasons"])
    assert figures["canaries"]["rows_left"]["caught"] is True


def test_a_canary_that_is_not_caught_fails_the_stage(dataset, monkeypatch):
    missed = canary.Canary(1.25, 8.5, False)
    monkeypatch.setattr(chance, "machine_id", lambda *_: missed)
    with pytest.raises(LeakError, match=r"machine_id: a random identifier .*scores 1.25, chance 8.5.*canaries.json"):
        canaries.run(dataset.fleet)
    assert json.loads(canary.path(dataset.fleet).read_text())["machine_id"]["caught"] is False


def test_a_blind_detector_fails_the_stage(dataset, monkeypatch):
    monkeypatch.setattr(causality, "check_feature", causality_is_blind)
    with pytest.raises(LeakError, match=r"rows_left: .*causality.py is blind"):
        canaries.run(dataset.fleet)


def causality_is_blind(*_):
    return causality.Difference(0.0, "nothing")


def test_the_final_part_is_looked_at_too(dataset, monkeypatch):
    asked = []
    real = causality.replay
    monkeypatch.setattr(
        causality, "replay", lambda d, part, cuts: asked.append(part.folder.name) or real(d, part, cuts)
    )
    canaries.check(dataset.fleet)
    assert len(asked) == 2
    assert FINAL in asked
