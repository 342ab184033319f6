import numpy as np
import pytest

from training import predictions
from training.leaks import separation
from training.leaks.errors import LeakError


def test_the_pipeline_keeps_machines_apart(dataset, splits):
    separation.require(dataset, splits)


def test_a_row_in_another_fold(dataset, splits):
    asset = splits.folds[0][0]
    dataset.rows.loc[dataset.rows.index[dataset.rows.asset == asset][3], "fold"] = 1
    with pytest.raises(LeakError, match=f"some of {asset} are in fold 1 instead of 0: look at label_rows"):
        separation.require(dataset, splits)


@pytest.mark.parametrize("widen", [lambda fold, _: fold >= 0, lambda fold, k: fold != k])
def test_a_model_that_learns_from_those_it_is_asked_about(dataset, splits, monkeypatch, widen):
    """All training machines in every fold; test machines in every fold."""
    real = predictions.predict_all

    def leaky(dataset, fit_predict):
        fold = dataset.rows.fold.to_numpy()

        def wider(part, _, asked):
            return fit_predict(part, np.flatnonzero(widen(fold, fold[asked[0]])), asked)

        return real(dataset, wider)

    monkeypatch.setattr(predictions, "predict_all", leaky)
    with pytest.raises(LeakError, match=r"must not learn from machines it is asked about.*is given P-"):
        separation.require(dataset, splits)


def test_machines_that_nobody_is_asked_about(dataset, splits, monkeypatch):
    real = predictions.predict_all

    def lazy(dataset, fit_predict):
        return real(dataset, lambda part, fitted, asked: {"asked": fit_predict(part, fitted, asked)["asked"] * np.nan})

    monkeypatch.setattr(predictions, "predict_all", lazy)
    with pytest.raises(LeakError, match="none was asked about P-"):
        separation.require(dataset, splits)
