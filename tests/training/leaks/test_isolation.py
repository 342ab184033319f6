from dataclasses import replace

import numpy as np
import pytest

from training.dataset import FINAL
from training.leaks import isolation, planted

SEED = 7


def test_the_pipelines_constants_do_not_know_their_judges(dataset, splits, world):
    assert not set(world.history.assets) & set(splits.test)
    assert isolation.check(dataset.part(FINAL).parameters, world.constants(SEED)).size < 1e-6
    apart = world.without(splits.folds[0])
    assert not set(apart.rows.asset) & set(splits.folds[0])
    assert isolation.check(dataset.part(0).parameters, apart.constants(SEED)).size < 1e-6


def test_one_machine_too_many_is_flagged(dataset, splits, world):
    _, *others = splits.folds[0]
    assert isolation.check(dataset.part(0).parameters, world.without(others).constants(SEED)).found


@pytest.mark.parametrize(
    "change",
    [
        lambda p: {"expected": p.expected + 0.01 * p.spread},
        lambda p: {"spread": p.spread * 1.01},
        lambda p: {"weights": p.weights * 1.01},
        lambda p: {"failed": p.failed + 0.01 * (p.healthy - p.failed)},
        lambda p: {"sensors": p.sensors[::-1]},
        lambda p: {"spread": p.spread[:, :1]},
    ],
)
def test_every_constant_counts(dataset, change):
    stored = dataset.part(0).parameters
    assert not isolation.check(stored, stored).found
    assert isolation.check(stored, replace(stored, **change(stored))).found


def test_a_target_encoding_fitted_on_all_machines_is_flagged(trial, dataset):
    for fold in dataset.folds:
        assert planted.check_encoding(trial, dataset.part(fold), fold).found
        assert not planted.check_encoding(trial, dataset.part(fold), fold, honest=True).found


def test_the_encoding_is_the_mean_label_of_a_bin():
    column = np.repeat([1.0, 2.0], planted.ROWS_A_BIN)
    label = np.where(column == 1, 10.0, 30.0)
    label[0] = np.nan
    encoded = planted.target_encoding(column, label, np.arange(len(column)))
    np.testing.assert_allclose(encoded, np.where(column == 1, 10, 30))
