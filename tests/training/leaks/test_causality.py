import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from data import paths
from training import feature_table
from training.leaks import causality, planted


@pytest.fixture
def part(dataset):
    return dataset.part(0)


@pytest.fixture
def cuts(replayed):
    return replayed[0]


@pytest.fixture
def again(replayed):
    return replayed[1]


class Tampered:
    """A part with another table."""

    def __init__(self, part, table):
        self.table, self.names, self.folder = table, part.names, part.folder


def test_a_cut_is_at_a_tick_and_withholds_something():
    rows = pd.DataFrame({"asset": ["a"] * 9 + ["b"] + ["c"] * 2, "row": [*range(0, 27, 3), 0, 4, 9]})
    for seed in range(20):
        cuts = causality.choose_cuts(rows, np.random.default_rng(seed))
        assert set(cuts) == {"a", "c"}  # b has nothing that comes later
        assert cuts["a"] - 1 in range(6, 24, 3)
        assert cuts["c"] == 5
    assert causality.choose_cuts(rows[rows.asset == "b"], np.random.default_rng(0)) == {}


def test_a_cut_record_is_the_beginning_of_the_whole(dataset, tmp_path):
    whole = paths.observations(dataset.fleet)
    cut = pq.read_table(causality.cut_records(whole, dataset.asset_class, {"P-3": 7, "P-1": 9}, tmp_path))
    assert cut["asset"].to_pylist() == ["P-3"] * 7 + ["P-1"] * 9
    assert cut.slice(0, 7).equals(pq.read_table(whole, filters=[("asset", "=", "P-3")]).slice(0, 7))


def test_the_pipelines_features_do_not_look_ahead(dataset, part, cuts, again):
    found = causality.check(dataset, part, cuts, again)
    assert found.compared == len(again.index) > 50
    assert found.size < 1e-6


def test_what_looks_ahead_is_flagged(dataset, part, again):
    for feature in (planted.rows_left, planted.centred_average):
        assert causality.check_feature(dataset, part, 0, feature, again).found


def test_what_looks_back_is_not(dataset, part, again):
    def trailing(column, life):
        return pd.Series(column).groupby(life).rolling(5, min_periods=1).mean().droplevel(0).sort_index().to_numpy()

    assert not causality.check_feature(dataset, part, 0, trailing, again).found


def test_a_table_of_the_next_rows_is_flagged_by_name(dataset, part, cuts, again):
    table = part.table.copy()
    table[:-1, 2] = table[1:, 2]
    found = causality.check(dataset, Tampered(part, table), cuts, again)
    assert found.found
    assert found.at.startswith(f"'{part.names[2]}' of P-")


def test_a_pipeline_that_smooths_the_record_is_flagged(dataset, part, cuts, monkeypatch):
    """The leak is in the code itself, so that it is in the replay, too: what it saw ahead is missing there."""
    made = feature_table.make_features

    def smoothed(asset_class, parameters, whole, name):
        table = made(asset_class, parameters, whole, name)
        column = planted.centred_average(table.columns["features"][:, 0], table.asset)
        table.columns["features"][:, 0] = column
        return table

    monkeypatch.setattr(causality, "make_features", smoothed)
    table = part.table.copy()
    table[:, 0] = planted.centred_average(table[:, 0], causality.lives(dataset.rows)[: len(table)])
    found = causality.check(dataset, Tampered(part, table), cuts, causality.replay(dataset, part, cuts))
    assert found.found


def test_other_ticks_are_flagged(dataset, part, cuts, again):
    fewer = causality.Replay(again.index[1:], again.features[1:])
    assert causality.check(dataset, part, cuts, fewer).size == np.inf
