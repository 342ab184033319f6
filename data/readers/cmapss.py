"""NASA C-MAPSS text files: blank-separated rows without a header, one row a flight.

In the train file every engine runs to failure. In the test file the record ends earlier; the remaining cycles of each
test engine stand, in order of engine number, in a third file.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from data.asset_class import AssetClass, CmapssSource, SourceFile
from data.errors import SourceError
from data.quality import Report
from data.recording import End, Recording

NANO = 1_000_000_000  # nanos a cycle


def source_files(source: CmapssSource) -> list[SourceFile]:
    return [source.train, source.test, source.remaining]


def read(cls: AssetClass, folder: Path, report: Report) -> Iterator[Recording]:
    source = cls.source
    assert isinstance(source, CmapssSource)
    train, test, remaining = (folder / file.name for file in source_files(source))
    for _, engine in _rows(train, source.columns, report).groupby("asset"):
        yield _recording(cls, "train", engine)
    engines = [engine for _, engine in _rows(test, source.columns, report).groupby("asset")]
    left = _remaining(remaining, len(engines), test)
    for engine, cycles in zip(engines, left, strict=True):
        last = int(engine["time"].iloc[-1])
        yield _recording(cls, "test", engine, ends=(End((last + int(cycles)) * NANO, "failure"),), held_out=True)


def _recording(cls: AssetClass, kind: str, engine: pd.DataFrame, **more: object) -> Recording:
    cycle = engine["time"].to_numpy(np.float64)
    return Recording(
        asset=f"{kind}-{int(engine['asset'].iloc[0])}",
        time=np.rint(cycle * NANO).astype(np.int64),
        channels={name: engine[name].to_numpy(np.float32) for name in cls.scalars},
        age=cycle,
        **more,  # type: ignore[arg-type]
    )


def _rows(path: Path, columns: list[str], report: Report) -> pd.DataFrame:
    try:
        rows = pd.read_csv(path, sep=r"\s+", header=None, dtype=np.float64)
    except (ValueError, pd.errors.ParserError) as error:
        raise SourceError(f"{path.name}: not a C-MAPSS file: {error}; remove {path} and fetch again") from error
    if rows.shape[1] != len(columns):
        raise SourceError(
            f"{path.name}: {rows.shape[1]} columns, the class lists {len(columns)}; remove {path} and fetch again"
        )
    if rows.isna().any(axis=None):
        line = int(rows.isna().any(axis=1).idxmax()) + 1
        raise SourceError(f"{path.name}:{line}: the row is cut short; remove {path} and fetch again")
    report.file(path.name, len(rows))
    return rows.set_axis(columns, axis=1)


def _remaining(path: Path, engines: int, test: Path) -> np.ndarray:
    try:
        left = np.array(path.read_text(encoding="utf-8").split(), dtype=np.float64)
    except ValueError as error:
        raise SourceError(f"{path.name}: not one number a line: {error}; remove {path} and fetch again") from error
    if left.size != engines:
        raise SourceError(
            f"{path.name}: remaining life of {left.size} engines, but {test.name} has {engines}; "
            "both must be of one subset"
        )
    return left
