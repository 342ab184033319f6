import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.asset_class import AssetClass
from data.errors import SplitError
from data.lives import Life
from data.observations import Observations, Timeline, Writer
from data.splits import SplitParams, Splits, cuts, read_params, read_splits, split, write_splits
from tests.data.conftest import FAN

MINUTE = 60_000_000_000
CLS = AssetClass.model_validate(FAN)  # warm-up 2 ticks of a minute


def machine(name, kind="failure", minutes=100, held_out=False, number=0, end=None, begin=0):
    begin, last = begin * MINUTE, (begin + minutes) * MINUTE
    return Life(name, number, begin, last, last if end is None else end * MINUTE, kind, held_out, True)


fleets = st.lists(st.tuples(st.sampled_from(["failure", "censored"]), st.integers(1, 500)), max_size=40).map(
    lambda drawn: [machine(f"m{n}", kind, minutes) for n, (kind, minutes) in enumerate(drawn)]
)


@given(fleets, st.integers(2, 6), st.floats(0.1, 0.95), st.integers(0, 5))
def test_every_machine_is_in_one_place_and_folds_are_balanced(lives, folds, share, seed):
    failed = {life.asset for life in lives if life.kind == "failure"}
    params = SplitParams(folds, share, seed)
    if len(failed) < 3:
        with pytest.raises(SplitError, match="3 that failed are needed"):
            split(CLS, lives, params)
        return
    machines = split(CLS, lives, params)
    assert list(machines) == [life.asset for life in lives]
    test = {asset for asset, part in machines.items() if part == "test"}
    assert len(test & failed) == min(max(1, round(share * len(failed))), len(failed) - 2)
    assert len(test - failed) == round(share * (len(lives) - len(failed)))
    train = failed - test
    per_fold = Counter(machines[asset] for asset in train)
    assert len(per_fold) == min(folds, len(train)) >= 2
    assert max(per_fold.values()) - min(per_fold.values()) <= 1


@given(fleets.filter(lambda lives: sum(life.kind == "failure" for life in lives) >= 3), st.randoms())
def test_the_order_of_the_source_changes_nothing(lives, rng):
    shuffled = list(lives)
    rng.shuffle(shuffled)
    assert split(CLS, shuffled, SplitParams()) == split(CLS, lives, SplitParams())


def test_test_machines_cover_short_and_long_lives():
    lives = [machine(f"m{n:02d}", minutes=n + 1) for n in range(50)]
    machines = split(CLS, lives, SplitParams(test_share=0.2))
    lengths = sorted(int(asset[1:]) for asset, part in machines.items() if part == "test")
    assert [length // 5 for length in lengths] == list(range(10))


def test_machines_the_source_holds_out_are_the_test_set():
    lives = [machine(f"m{n}") for n in range(6)] + [machine(f"t{n}", held_out=True) for n in range(2)]
    machines = split(CLS, lives, SplitParams())
    assert {asset for asset, part in machines.items() if part == "test"} == {"t0", "t1"}


@pytest.mark.parametrize(("failures", "said"), [(0, "none has failed"), (1, "one has failed"), (2, "2 have failed")])
def test_too_few_failures_are_refused_with_what_is_needed(failures, said):
    lives = [machine(f"m{n}", "failure" if n < failures else "censored") for n in range(10)]
    with pytest.raises(SplitError, match=f"{said}; 3 that failed are needed.*source.failures"):
        split(CLS, lives, SplitParams())


def test_fewer_machines_than_folds_make_fewer_folds():
    machines = split(CLS, [machine(f"m{n}") for n in range(4)], SplitParams(folds=5, test_share=0.2))
    assert {part for part in machines.values() if part != "test"} == {0, 1, 2}


def test_a_machine_with_many_failures_weighs_as_many():
    lives = [machine("big", number=n, begin=200 * n) for n in range(3)] + [machine(f"m{n}") for n in range(6)]
    machines = split(CLS, [*lives, machine("t", held_out=True)], SplitParams(folds=3))
    assert sum(part == machines["big"] for part in machines.values()) == 1


@pytest.fixture
def observed(tmp_path):
    """`observed(lives)`: their observations, one a minute."""

    def write(lives):
        with Writer(tmp_path / "fan.parquet", CLS) as writer:
            for asset in dict.fromkeys(life.asset for life in lives):
                own = [life for life in lives if life.asset == asset]
                time = np.concatenate([np.arange(life.begin, life.last + 1, MINUTE) for life in own])
                number = np.concatenate([np.full((life.last - life.begin) // MINUTE + 1, life.life) for life in own])
                timeline = Timeline(time, number.astype(np.int32), np.zeros(time.size, np.int8), np.zeros(time.size))
                channels = {name: np.zeros(time.size, np.float32) for name in CLS.scalars}
                writer.write(asset, timeline, channels)
        return Observations(tmp_path / "fan.parquet", CLS)

    return write


def test_cuts(observed):
    lives = [
        machine("whole", minutes=50),
        machine("whole", minutes=30, number=1, begin=100),
        machine("early", minutes=50, end=90),
        machine("running", "censored"),
        machine("short", minutes=1),
        machine("trained"),
    ]
    held_out = {"whole", "early", "running", "short"}
    chosen = cuts(CLS, lives, held_out, observed(lives), seed=7)
    assert set(chosen) == {("whole", 0), ("whole", 1), ("early", 0)}
    assert chosen["early", 0] == 50 * MINUTE
    assert 2 <= chosen["whole", 0] // MINUTE < 50
    assert 102 <= chosen["whole", 1] // MINUTE < 130
    random.Random(1).shuffle(lives)
    assert cuts(CLS, lives, held_out, observed(lives), seed=7) == chosen


def test_a_cut_does_not_hang_on_the_other_machines(observed):
    lives = [machine(f"m{n}") for n in range(20)]
    everyone = {life.asset for life in lives}
    all_cuts = cuts(CLS, lives, everyone, observed(lives), seed=7)
    assert cuts(CLS, lives[:3], {"m0", "m1", "m2"}, observed(lives[:3]), seed=7).items() <= all_cuts.items()
    assert len(set(all_cuts.values())) > 10
    assert cuts(CLS, lives, everyone, observed(lives), seed=8) != all_cuts


def test_splits_read_back_equal(tmp_path):
    splits = Splits(7, {"a": "test", "b": 1, "c": 0}, {("a", 0): 5, ("a", 12): 1_767_434_400_000_000_001})
    write_splits(splits, tmp_path / "splits.json")
    assert read_splits(tmp_path / "splits.json") == splits
    assert (splits.test, splits.train, splits.folds) == (["a"], ["b", "c"], [["c"], ["b"]])


def test_params_are_checked(tmp_path):
    (tmp_path / "params.yaml").write_text("split: {folds: 1}\nother: 1\n")
    with pytest.raises(SplitError, match="folds >= 2"):
        read_params(tmp_path / "params.yaml")
