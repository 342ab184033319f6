import os
from collections import Counter

import numpy as np
import pytest

from data import paths
from data.class_file import load
from data.errors import SourceError
from data.ingest import ingest, run_alone
from data.labels import label
from data.observations import Observations
from data.quality import Report
from data.readers import cmapss

CLS = load("turbofan-FD001")
MIRROR = os.environ.get("OVERHAUL_MIRROR")


def row(engine, cycle, value=520.0):
    middle = [sum(CLS.channels[name].range) / 2 for name in CLS.scalars]
    middle[3] = value
    return " ".join(f"{number:g}" for number in [engine, cycle, *middle]) + "  \n"


@pytest.fixture
def files(workspace):  # noqa: ARG001 it changes into the workspace
    """Two training engines of 3 and 2 cycles, one test engine of 2 cycles with 7 left."""
    folder = paths.raw(CLS.fleet)
    folder.mkdir(parents=True)
    (folder / "train_FD001.txt").write_text(row(1, 1) + row(1, 2) + row(1, 3) + row(2, 1) + row(2, 2))
    (folder / "test_FD001.txt").write_text(row(1, 1) + row(1, 2, 521.5))
    (folder / "RUL_FD001.txt").write_text("7 \n")
    return folder


def test_engines_become_recordings(files):
    engines = list(cmapss.read(CLS, files, Report(CLS)))
    assert [engine.asset for engine in engines] == ["train-1", "train-2", "test-1"]
    assert [engine.held_out for engine in engines] == [False, False, True]
    assert engines[0].age.tolist() == [1, 2, 3]
    assert engines[2].channels["t2"].tolist() == [520, 521.5]


def test_lives_and_labels(files, workspace):
    lives, _ = ingest(CLS, files, workspace / "o.parquet", Report(CLS))
    assert [(life.end // 10**9, life.kind) for life in lives] == [(3, "failure"), (2, "failure"), (9, "failure")]
    found = label(CLS, lives, "test-1", np.zeros(2, np.int32), np.array([1, 2]) * 10**9)
    assert found.rul.tolist() == [8, 7]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("train_FD001.txt", row(1, 1) + "1 2 3\n", r"train_FD001\.txt:2: the row is cut short"),
        ("train_FD001.txt", "1 2 3\n", "3 columns, the class lists 26"),
        ("train_FD001.txt", "", "not a C-MAPSS file"),
        ("test_FD001.txt", row(1, 1).replace("520", "x"), r"test_FD001\.txt: not a C-MAPSS file"),
        ("RUL_FD001.txt", "7\n8\n", "2 engines, but test_FD001.txt has 1"),
        ("RUL_FD001.txt", "seven\n", "not one number a line"),
        ("RUL_FD001.txt", "", "0 engines, but"),
    ],
)
def test_altered_files_are_refused(files, name, content, said):
    (files / name).write_text(content)
    with pytest.raises(SourceError, match=said):
        list(cmapss.read(CLS, files, Report(CLS)))


@pytest.mark.skipif(not MIRROR, reason="OVERHAUL_MIRROR names no folder with the data set")
@pytest.mark.parametrize(
    ("subset", "train", "test", "rows"), [("FD001", 100, 100, 33_727), ("FD002", 260, 259, 87_750)]
)
def test_the_data_set(workspace, monkeypatch, subset, train, test, rows):
    monkeypatch.setenv("OVERHAUL_MIRROR", MIRROR)
    cls = load(f"turbofan-{subset}")
    report = run_alone(cls.fleet, workspace / "o.parquet")
    observations = Observations(workspace / "o.parquet", cls)
    assert Counter(asset.split("-")[0] for asset in observations.assets) == {"train": train, "test": test}
    assert observations.total_rows == rows
    assert not any(tally.out_of_range or tally.missing for tally in report.channels.values())
