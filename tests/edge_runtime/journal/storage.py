"""A slow, full or broken disk for a process under test, and power cuts on it; see storage.c.

    process = subprocess.Popen(..., env=environment(folder, fsync_ms=20, log=log))
    ...
    operations = read_log(log)
    rebuild(operations, at=1234, rng=random.Random(7), into=other_folder)

`before`: a copy of the folder from before the process began, if it was not empty.

What a sync covered that had ended by then is on the rebuilt disk. Of everything later any part may be: disks write
sectors of 512 bytes in the order they like, and each holds some state that it had in the cache since. What a failed
sync covered stays doubtful for good, as on Linux: the cache takes it for written. A sync that tells of an earlier
failure only is none; what it covered is as unsure as before. Names (made, renamed, removed) are on
the disk in order, up to any point after the folder's last sync.
"""

from __future__ import annotations

import functools
import os
import random
import shutil
import struct
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

SECTOR = 512
LOST = ("-shm",)  # mapped memory, rebuilt by SQLite
_RECORD = struct.Struct("<cIqqI")


class Operation(NamedTuple):
    type: str  # Open, Write, Truncate, sync begin, Sync end, Failed sync, Earlier failure told, Unlink, Rename
    file: int
    a: int  # offset, size, number of the sync
    data: bytes


@functools.cache
def shim() -> Path | None:
    """The library to preload, built once a session; None where there is no C compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    library = Path(tempfile.mkdtemp(prefix="storage-")) / "storage.so"
    source = Path(__file__).with_name("storage.c")
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, source, "-ldl", "-lpthread"], check=True)
    return library


def environment(
    folder: Path,
    fsync_ms: float = 0.0,
    log: Path | None = None,
    full: Path | None = None,
    broken: Path | None = None,
) -> dict[str, str]:
    """The environment of a process whose files below `folder` lie on such a disk.

    Syncs take `fsync_ms` longer. While the file `full` exists there is no space, while `broken` exists syncs fail. With
    a `log` (outside `folder`) all is logged; nothing is then truly synced, so that it is quick.
    """
    library = shim()
    assert library is not None
    given = {"STORAGE_LOG": log, "STORAGE_FULL": full, "STORAGE_BROKEN": broken}
    return {
        **os.environ,
        "LD_PRELOAD": str(library),
        "STORAGE_FOLDER": str(folder),
        "STORAGE_FSYNC_MS": str(fsync_ms),
        **{name: str(path) for name, path in given.items() if path is not None},
    }


def read_log(log: Path) -> list[Operation]:
    """What the process did, in order; the last record may be cut off by its end."""
    data, at, found = log.read_bytes(), 0, []
    while at + _RECORD.size <= len(data):
        kind, file, a, _, length = _RECORD.unpack_from(data, at)
        at += _RECORD.size + length
        if at <= len(data):
            found.append(Operation(kind.decode(), file, a, data[at - length : at]))
    return found


@dataclass
class _File:
    before: bytes = b""
    changes: list[Operation] = field(default_factory=list)
    fate: list[str] = field(default_factory=list)  # of each change: "unsure", "durable", "doubtful"
    begun: dict[int, int] = field(default_factory=dict)  # sync → changes when it began

    def change(self, operation: Operation) -> None:
        self.changes.append(operation)
        self.fate.append("unsure")

    def ended(self, sync: int, fate: str) -> None:
        upto = self.begun[sync]
        self.fate[:upto] = [fate if old == "unsure" else old for old in self.fate[:upto]]


def rebuild(operations: list[Operation], at: int, rng: random.Random, into: Path, before: Path | None = None) -> None:
    """Write into the folder `into` (made) what the disk may hold if the power goes after `at` operations."""
    into.mkdir(parents=True)
    files: dict[int, _File] = {}
    names: list[Operation] = []
    durable, begun = 0, {}  # of the names
    there = {} if before is None else {path.name: path.read_bytes() for path in before.iterdir()}
    for operation in operations[:at]:
        file = files.setdefault(operation.file, _File())
        if operation.type == "O" and (found := there.pop(Path(operation.data.decode()).name, None)) is not None:
            file.before = found
            names.insert(0, operation)
            durable += 1
        elif operation.type in "OUR":
            names.append(operation)
        elif operation.type in "WT":
            file.change(operation)
        elif operation.type == "s":
            file.begun[operation.a], begun[operation.a] = len(file.changes), len(names)
        elif operation.type == "F":
            file.ended(operation.a, "doubtful")
        elif operation.type == "S":
            file.ended(operation.a, "durable")
            if _is_folder(operation.file, names):
                durable = max(durable, begun[operation.a])
    for name, found in there.items():
        (into / name).write_bytes(found)
    for name, number in _names(names[: rng.randint(durable, len(names))]).items():
        if not name.endswith(LOST) and not _is_folder(number, names):
            (into / name).write_bytes(_content(files[number], rng))


def _is_folder(file: int, names: list[Operation]) -> bool:
    paths = {Path(o.data.decode()) for o in names if o.type == "O"}
    return any(
        o.type == "O" and o.file == file and any(Path(o.data.decode()) in p.parents for p in paths) for o in names
    )


def _names(operations: list[Operation]) -> dict[str, int]:
    names: dict[str, int] = {}
    for operation in operations:
        if operation.type in "UR":
            names = {name: file for name, file in names.items() if file != operation.file}
        if operation.type in "OR":
            names[Path(operation.data.decode()).name] = operation.file
    return names


def _content(file: _File, rng: random.Random) -> bytes:
    """Sector by sector what the cache held after some change to it: after the last durable one at least."""
    cache, disk = bytearray(file.before), bytearray(file.before)
    unsure = file.fate.count("unsure")
    # Of what is unsure: all up to some change, which may be torn, or a share of the sectors.
    in_order = rng.choice((0, unsure, rng.randint(0, unsure))) if rng.random() < 0.6 else None
    share = rng.choice((0.05, 0.5, 0.95))
    for change, fate in zip(file.changes, file.fate, strict=True):
        _apply(cache, change)
        odds = {"durable": 1.0, "doubtful": 0.5, "unsure": share}[fate]
        if fate == "unsure" and in_order is not None:
            odds = 1.0 if in_order > 0 else 0.5 if in_order == 0 else 0.0
            in_order -= 1
        _reach(disk, cache, change, odds, rng)
    return bytes(disk)


def _reach(disk: bytearray, cache: bytearray, change: Operation, odds: float, rng: random.Random) -> None:
    """Each sector that `change` touched gets from the cache to the disk, or not."""
    if change.type == "T":
        if odds == 1.0 or rng.random() < odds:
            _apply(disk, change)
        return
    for start in range(change.a // SECTOR * SECTOR, change.a + len(change.data), SECTOR):
        if odds == 1.0 or rng.random() < odds:
            sector = cache[start : start + SECTOR]
            disk.extend(bytes(max(0, start + len(sector) - len(disk))))
            disk[start : start + len(sector)] = sector


def _apply(content: bytearray, change: Operation) -> None:
    end = change.a + len(change.data)
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    if change.type == "W":
        content[change.a : end] = change.data
    else:
        del content[end:]
