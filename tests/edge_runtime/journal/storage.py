"""A slow, full or broken disk for a process under test, and power cuts on it; see storage.c.

    process = subprocess.Popen(..., env=environment(folder, fsync_ms=20, log=log))
    ...
    operations = read_log(log)
    rebuild(operations, at=1234, rng=random.Random(7), into=other_folder)

`before`: a copy of the folder from before the process began, if it was not empty.

What a sync covered that had ended by then is on the rebuilt disk. Of everything later any part may be: disks write
sectors of 512 bytes in the order they like, and each holds some state that it had in the cache since. Names (made,
renamed, removed) are on the disk in order, up to any point after the folder's last sync.
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
    type: str  # Open, Write, Truncate, sync begin, Sync end, Unlink, Rename
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
    begun: dict[int, int] = field(default_factory=dict)  # sync → changes when it began
    durable: int = 0  # so many changes are surely on the disk


def rebuild(operations: list[Operation], at: int, rng: random.Random, into: Path, before: Path | None = None) -> None:
    """Write into the folder `into` (made) what the disk may hold if the power goes after `at` operations."""
    into.mkdir(parents=True)
    files: dict[int, _File] = {}
    names: list[Operation] = []
    names_durable, names_begun = 0, {}
    there = {} if before is None else {path.name: path.read_bytes() for path in before.iterdir()}
    for operation in operations[:at]:
        file = files.setdefault(operation.file, _File())
        if operation.type == "O" and (found := there.pop(Path(operation.data.decode()).name, None)) is not None:
            file.before = found
            names.insert(0, operation)
            names_durable += 1
        elif operation.type in "OUR":
            names.append(operation)
        elif operation.type in "WT":
            file.changes.append(operation)
        elif operation.type == "s":
            file.begun[operation.a], names_begun[operation.a] = len(file.changes), len(names)
        elif operation.type == "S":
            file.durable = max(file.durable, file.begun[operation.a])
            if _is_folder(operation.file, names):
                names_durable = max(names_durable, names_begun[operation.a])
    for name, found in there.items():
        (into / name).write_bytes(found)
    for name, number in _names(names[: rng.randint(names_durable, len(names))]).items():
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
    content = bytearray(file.before)
    for change in file.changes[: file.durable]:
        _apply(content, change)
    unsure = file.changes[file.durable :]
    how = rng.choice(("nothing", "everything", "in order", "sectors", "few sectors"))
    if how == "nothing" or not unsure:
        return bytes(content)
    if how == "in order":
        unsure = unsure[: rng.randint(1, len(unsure))]
        unsure[-1] = _torn(unsure[-1], rng)
    if how in ("everything", "in order"):
        for change in unsure:
            _apply(content, change)
        return bytes(content)
    return _scattered(content, unsure, rng, 0.5 if how == "sectors" else 0.05)


def _torn(change: Operation, rng: random.Random) -> Operation:
    end = change.a + len(change.data)
    cut = rng.randint(change.a, end) // SECTOR * SECTOR
    return change._replace(data=change.data[: max(0, cut - change.a)]) if change.type == "W" else change


def _scattered(content: bytearray, unsure: list[Operation], rng: random.Random, share: float) -> bytes:
    """Each sector is as it was after some of the changes that touched it, or as it was before all of them."""
    found = bytearray(content)
    sizes = [len(content)]
    for change in unsure:
        _apply(content, change)
        sizes.append(len(content))
        if change.type == "W":
            for start in range(change.a // SECTOR * SECTOR, change.a + len(change.data), SECTOR):
                if rng.random() < share:
                    sector = content[start : start + SECTOR]
                    found.extend(bytes(max(0, start + len(sector) - len(found))))
                    found[start : start + len(sector)] = sector
    size = rng.choice(sizes)
    found.extend(bytes(max(0, size - len(found))))
    return bytes(found[:size] if rng.random() < 0.5 else found)


def _apply(content: bytearray, change: Operation) -> None:
    end = change.a + len(change.data)
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    if change.type == "W":
        content[change.a : end] = change.data
    else:
        del content[end:]
