"""The feature table: what is known of its rows, and that there is enough to learn from."""

import numpy as np
import pytest

from data.errors import DataError
from data.lives import Life
from data.observations import Observations, Timeline, Writer
from data.splits import Splits
from features.history import Table
from tests.training.tables import CAP, asset_class, machines
from training.feature_table import label_rows, read_history, require_labels, subset

SECOND = 10**9


def test_enough_to_learn_from():
    require_labels("machine", machines(8))


def test_without_known_ends_there_is_nothing_to_learn():
    short = machines(4, length=(20, 30), censored=range(4))
    with pytest.raises(DataError, match=r"machine: without the machines of fold 0 .* remaining life is known"):
        require_labels("machine", short)


def test_one_machine_alone_leaves_its_fold_nothing():
    with pytest.raises(DataError, match="fold 0"):
        require_labels("machine", machines(1))


def test_where_nobody_was_seen_near_its_failure_there_is_nothing_to_tell_apart():
    """As where a log has failures long after the last rows of their machines: all that is known is the cap."""
    rows = machines(8)
    far = rows[rows.lower == CAP]
    with pytest.raises(
        DataError, match=r"machine: without the machines of fold 0 .* have the same, 100, .*failure log"
    ):
        require_labels("machine", far)


def test_where_nothing_was_ever_warm_the_channels_are_to_blame():
    with pytest.raises(DataError, match=r"ever warm: .*conditions and a sensor .*artifacts/machine/quality\.json"):
        require_labels("machine", machines(8).assign(warm=False))


def test_without_healthy_rows_nothing_is_odd():
    with pytest.raises(DataError, match=r"no row after warm-up that is healthy: lower life\.healthy"):
        require_labels("machine", machines(8).assign(healthy=False))


def test_test_machines_do_not_count():
    rows = machines(8)
    rows["fold"] = np.where(rows.fold == 0, 0, -1)
    with pytest.raises(DataError, match="fold 0"):
        require_labels("machine", rows)


@pytest.fixture
def observations(tmp_path):
    """Two machines of ten cycles, the first with two lives."""
    cls, file = asset_class(settings={"size": {"unit": "m", "range": [0, 9], "default": 1}}), tmp_path / "m.parquet"
    time = np.arange(10, dtype=np.int64) * SECOND
    with Writer(file, cls) as writer:
        for asset, life in (("a", np.repeat([0, 1], [4, 6])), ("b", np.zeros(10))):
            event = np.zeros(10, np.int8)
            timeline = Timeline(time, life.astype(np.int32), event, np.full(10, np.nan))
            writer.write(asset, timeline, {"oil": np.ones(10, np.float32)})
    (tmp_path / "machines.csv").write_text("asset,size\na,2.5\nb,\n")
    return cls, file, tmp_path / "machines.csv"


def test_history_is_read_in_the_order_asked_for(observations):
    cls, file, machines_file = observations
    whole = read_history(cls, file, machines_file, ["b", "a"])
    assert list(whole.assets) == ["b", "a"]
    np.testing.assert_array_equal(whole.settings, np.array([[np.nan], [2.5]], np.float32))
    for _ in range(2):  # can be read more than once
        assert sum(len(part.time) for part in whole.series["a"]) == whole.rows["a"] == 10
    part = subset(whole, ["a"])
    assert list(part.assets) == ["a"]
    assert part.settings.tolist() == [[2.5]]
    assert part.total == 10


def test_a_machine_may_be_called_what_tables_mean_by_nothing(observations, tmp_path):
    cls, *_ = observations
    file, machines_file = tmp_path / "na.parquet", tmp_path / "na.csv"
    with Writer(file, cls) as writer:
        timeline = Timeline(np.zeros(1, np.int64), np.zeros(1, np.int32), np.zeros(1, np.int8), np.zeros(1))
        writer.write("NA", timeline, {"oil": np.ones(1, np.float32)})
    machines_file.write_text("asset,size\nNA,2.5\n")
    assert read_history(cls, file, machines_file).settings.tolist() == [[2.5]]


def test_rows_know_their_life_and_end(observations):
    cls, file, _ = observations
    lives = [
        Life("a", 0, 0, 3 * SECOND, 3 * SECOND + SECOND // 2, "failure", False, True),  # logged a moment later
        Life("a", 1, 4 * SECOND, 9 * SECOND, 9 * SECOND, "repair", False, True),
        Life("b", 0, 0, 9 * SECOND, 29 * SECOND, "failure", False, True),  # the record stops long before
    ]
    step = np.zeros((20, 1), np.float32)
    table = Table(
        ["a", "b"],
        np.repeat([0, 1], 10),
        np.tile(np.arange(10), 2),
        {"warming_up": step[:, 0], "since_new": step[:, 0]},
    )
    rows = label_rows(cls, Observations(file, cls), lives, Splits(0, {"a": 1, "b": "test"}, {}), table)
    assert rows.fold.tolist() == [1] * 10 + [-1] * 10
    assert rows.life.tolist() == [0] * 4 + [1] * 6 + [0] * 10
    assert np.flatnonzero(rows.at_failure).tolist() == [3]
    assert rows.rul[:4].tolist() == [3.5, 2.5, 1.5, 0.5]
    assert rows.rul[4:10].isna().all()
    assert rows.rul[10:].tolist() == list(range(29, 19, -1))
