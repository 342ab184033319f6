import numpy as np
import pytest

from training import calibrate, metrics, predictions
from training.leaks import chance
from training.leaks.trial import Trial
from training.params import read_params


def learning_from_all(real):
    """`predict_all` that gives a model its judges to learn from."""

    def predict_all(dataset, fit_predict):
        training = np.flatnonzero(dataset.rows.fold >= 0)
        return real(dataset, lambda part, _, asked: fit_predict(part, training, asked))

    return predict_all


def test_the_null_is_the_mean_label_of_the_other_machines(trial):
    rows = trial.dataset.rows
    for fold in trial.dataset.folds:
        others = rows[(rows.fold != fold) & (rows.fold >= 0) & rows.exact]
        wanted = others.groupby("asset").lower.mean().mean()
        np.testing.assert_allclose(trial.null[rows.fold == fold], wanted, rtol=1e-6)
    assert trial.honest < 0.8 * trial.chance  # the sensors tell something


def test_shuffled_labels_come_in_mirrored_pairs(trial):
    up, down = (
        trial.predict(trial.features, trial.age, lambda rows, sign=sign: chance._shuffled(trial, rows, sign, 3))
        for sign in (1, -1)
    )
    at = trial.judged
    assert np.std(up[at] - trial.null[at]) > 0.5
    np.testing.assert_allclose(up[at] + down[at], 2 * trial.null[at], atol=0.05 * np.std(trial.label[at]))


@pytest.mark.parametrize("seed", range(2))
def test_an_honest_pipeline_is_not_accused(trial, seed):
    for canary in (chance.machine_id, chance.random_scorer, chance.shuffled_labels):
        made = canary(trial, seed)
        assert made.caught is True, (canary, made)
        assert made.chance == trial.chance


def test_identifiers_help_a_model_that_saw_its_judges(trial, monkeypatch):
    monkeypatch.setattr(predictions, "predict_all", learning_from_all(predictions.predict_all))
    made = chance.machine_id(trial, 0)
    assert made.caught is False
    assert made.score < made.chance


def test_the_test_on_identifiers_keeps_its_level(trial):
    """p is at most 0.2 in about a fifth of the draws of identifiers: 30 of them, and five standard errors."""
    p = np.array([chance.machine_id(trial, seed).more["p"] for seed in range(30)])
    assert np.mean(p <= 0.2) <= 0.2 + 5 * np.sqrt(0.2 * 0.8 / 30)
    assert len(np.unique(p)) > 15


def test_labels_from_elsewhere_are_noticed(trial, monkeypatch):
    real = Trial.fit
    monkeypatch.setattr(Trial, "fit", lambda self, X, rows, _, e=(): real(self, X, rows, self.label[rows], e))
    made = chance.shuffled_labels(trial, 0)
    assert made.caught is False
    assert made.score == pytest.approx(trial.honest)


def test_a_measure_that_believes_anything_is_noticed(trial, monkeypatch):
    chance_of = trial.chance
    monkeypatch.setattr(metrics, "grouped_rmse", lambda *_: (0.1, 0.1))
    assert chance_of > 1
    assert chance.random_scorer(trial, 0).caught is False


def test_a_blend_that_believes_anything_is_noticed(trial, monkeypatch):
    monkeypatch.setattr(calibrate, "blend", lambda *_: {"lstm": 0.5, "xgboost": 0.5})
    assert chance.random_scorer(trial, 0).caught is False


def test_a_fleet_that_cannot_tell_says_so(few):
    trial = Trial.of(few, read_params().xgboost)
    made = chance.machine_id(trial, 0)
    assert made.caught is None
    assert "too few machines" in made.reason
    assert 0 < made.more["p"] <= 1
