"""What machines that did not fail are expected to have had left: nearer the truth than a model's word of each row."""

import numpy as np
import pytest

from tests.training.tables import CAP, machines
from training import xgboost_model
from training.expected_labels import expected_labels
from training.xgboost_model import XgboostParams

SMALL = XgboostParams(trees=60, learning_rate=0.1, min_child_weight=30, colsample=1.0)
RUNNING = 40


def plant(count=60, running=RUNNING, seed=0):
    """Rows of machines of which the first `running` are seen to a random moment, two features, and the truth.

    The nearer the end, the better the features tell it: each machine wears at a pace of its own.
    """
    rng = np.random.default_rng(seed)
    rows = machines(count, seed=seed)
    number = rows.asset.str.removeprefix("M-").astype(int).to_numpy()
    runs = number < running
    seen = (rng.uniform(0.1, 1, count)[number] * rows.groupby("asset").row.transform("size")).astype(int) + 1
    lasted = seen - 1 - rows.row  # to the end of what is seen
    left, exact = rows.rul, ~runs | (lasted >= CAP)
    lower = rows.lower.where(~runs, np.minimum(lasted, CAP))
    rows = rows.assign(rul=left.where(~runs), lower=lower, exact=exact)[~runs | (lasted >= 0)]
    left, number = left[rows.index].to_numpy(), number[rows.index]
    sign = left / CAP * np.exp(0.3 * rng.normal(size=count)[number]) + rng.normal(0, 0.03, len(left))
    X = np.stack([sign, rng.normal(size=len(left))], axis=1).astype(np.float32)
    return rows.reset_index(drop=True), X, np.minimum(left, CAP) / CAP


def fit(X, label):
    return xgboost_model.fit(X, label.astype(np.float32), np.ones(len(X), np.float32), SMALL)


def test_what_is_expected_is_nearer_the_truth_than_what_is_predicted_of_each_row():
    rows, X, truth = plant()
    label, known = expected_labels(rows, X, CAP, SMALL, []), rows.exact.to_numpy()
    assert np.isfinite(label).all()
    np.testing.assert_array_equal(label[known], (rows.lower[known] / CAP).astype(np.float32))
    assert (label[~known] >= rows.lower[~known] / CAP - 1e-6).all()
    failed = rows.rul.notna().to_numpy()
    row_by_row = xgboost_model.predict(fit(X[failed], label[failed]), X[~known])

    def error(said):
        return np.sqrt(np.mean((said - truth[~known]) ** 2))

    assert error(label[~known]) < 0.8 * error(row_by_row)
    assert abs(np.mean(label[~known] - truth[~known])) < 0.02


def test_models_learn_from_it():
    """Against the machines that failed alone, against believing the record's end, and against knowing the truth."""
    errors = []
    for seed in range(4):
        rows, X, truth = plant(60, running=50, seed=seed)
        _, asked, came = plant(60, running=0, seed=seed + 100)
        everything, failed = np.ones(len(rows), bool), rows.rul.notna().to_numpy()
        believed = rows.lower.to_numpy() / CAP
        expected = expected_labels(rows, X, CAP, SMALL, [])
        ways = (truth, everything), (expected, everything), (believed, failed), (believed, everything)
        said = [xgboost_model.predict(fit(X[of], label[of]), asked) for label, of in ways]
        errors.append(np.mean((said - came) ** 2, axis=1))
    known, learned, left_out, taken_for_failed = np.sqrt(np.mean(errors, axis=0))
    assert learned < left_out < taken_for_failed
    assert left_out - learned > 0.5 * (left_out - known)  # most of what leaving them out costs


def test_the_same_whatever_the_order_of_machines_and_the_names():
    rows, X, _ = plant(20, running=10)
    again = rows.assign(asset="renamed-" + rows.asset)
    np.testing.assert_array_equal(expected_labels(rows, X, CAP, SMALL, []), expected_labels(again, X, CAP, SMALL, []))


@pytest.mark.parametrize("failed", [0, 1])
def test_nothing_is_expected_without_two_machines_that_failed(failed):
    rows, X, _ = plant(8, running=8 - failed)
    label = expected_labels(rows, X, CAP, SMALL, [])
    np.testing.assert_array_equal(np.isfinite(label), rows.exact)


def test_without_censoring_labels_are_what_is_known():
    rows, X, truth = plant(6, running=0)
    np.testing.assert_array_equal(expected_labels(rows, X, CAP, SMALL, []), truth.astype(np.float32))
