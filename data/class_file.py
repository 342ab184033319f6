"""Reads the file of an asset class.

`load(fleet)` finds the file of a fleet's class, checks it and resolves the subset:

>>> turbofan = load("turbofan-FD002")
>>> turbofan.name, turbofan.subset, turbofan.time.unit, len(turbofan.sensors), turbofan.conditions
('turbofan', 'FD002', 'cycle', 21, ['altitude', 'mach', 'throttle_angle'])

More data of the same class is a subset with a file of its own, `<class>-<subset>.yaml`, which has two keys:

    subset_of: pump
    source: {reader: table, …}

Errors (`AssetClassError`) name the file, the line and the fix.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from data.asset_class import AssetClass, CmapssSource, TableSource, did_you_mean
from data.class_problems import explain, line_of, repeated
from data.errors import AssetClassError
from edge_runtime.contract.names import is_identifier

CLASSES = Path(__file__).parent / "asset_classes"
SUBSET_OF = "subset_of"


def load(fleet: str, folder: Path = CLASSES) -> AssetClass:
    """The class of `fleet` (`<class>` or `<class>-<subset>`), read from `<folder>/<class>.yaml` and checked."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", fleet):
        raise AssetClassError(f"fleet '{fleet}': a fleet name has 1 to 64 letters, digits, '_' or '-'")
    path, subset = _find(fleet, folder)
    text = path.read_text(encoding="utf-8")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise AssetClassError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise AssetClassError(f"{path}: expected a mapping of sections (name, time, channels, …)")
    for line, key in repeated(node):
        raise AssetClassError(f"{path}:{line}: '{key}' stands there twice: a section has each key once; take one out")
    if SUBSET_OF in content:
        return _load_subset(path, node, content)
    try:
        loaded = AssetClass.model_validate({**content, "subset": subset})
    except ValidationError as error:
        raise AssetClassError(explain(path, node, content, error)) from error
    if loaded.name != path.stem:
        raise AssetClassError(f"{path}:{line_of(node, ('name',))}: name is '{loaded.name}': it must be '{path.stem}'")
    _check_subset(path, loaded)
    if isinstance(loaded.source, CmapssSource):
        files = {key: getattr(loaded.source, key).of(subset) for key in ("train", "test", "remaining")}
        loaded = loaded.model_copy(update={"source": loaded.source.model_copy(update=files)})
    return loaded


def load_class(name: str, folder: Path = CLASSES) -> AssetClass:
    """The class `name`, whichever of its subsets: all but the source is the same."""
    path = folder / f"{name}.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() and is_identifier(name) else {}
    return load(_any_fleet(name, content), folder)


def _load_subset(path: Path, node: yaml.Node, content: dict[str, Any]) -> AssetClass:
    """The class that `subset_of` names, with the source that stands here."""
    for key in content.keys() - {SUBSET_OF, "source"}:
        where = f"{path}:{line_of(node, (key,))}"
        raise AssetClassError(
            f"{where}: '{key}': a subset has its own '{SUBSET_OF}' and 'source', all else is its class's"
        )
    name, line = content[SUBSET_OF], line_of(node, (SUBSET_OF,))
    subset = path.stem.removeprefix(f"{name}-")
    base = path.with_name(f"{name}.yaml")
    if not isinstance(name, str) or subset in (path.stem, "") or not base.exists():
        raise AssetClassError(
            f"{path}:{line}: {SUBSET_OF} is {name!r}: name a class that has a file here; this file is called "
            "<class>-<subset>.yaml"
        )
    whole = yaml.safe_load(base.read_text(encoding="utf-8"))
    try:
        # The class is sound: what is wrong then stands here.
        loaded = AssetClass.model_validate({**whole, "subset": subset, "source": content.get("source")})
    except (ValidationError, TypeError) as error:
        load_class(name, base.parent)
        if isinstance(error, ValidationError):
            raise AssetClassError(explain(path, node, {**whole, **content}, error)) from error
        raise
    if not isinstance(loaded.source, TableSource):
        raise AssetClassError(f"{path}:{line_of(node, ('source',))}: source: a subset of its own has reader 'table'")
    return loaded


def _any_fleet(name: str, content: Any) -> str:
    """A fleet of the class `name`."""
    source = content.get("source") if isinstance(content, dict) else None
    subsets = source.get("subsets") if isinstance(source, dict) else None
    return f"{name}-{subsets[0]}" if subsets else name


def _find(fleet: str, folder: Path) -> tuple[Path, str | None]:
    """The longest class name that `fleet` begins with, and what follows its dash."""
    parts = fleet.split("-")
    for n in range(len(parts), 0, -1):
        path = folder / ("-".join(parts[:n]) + ".yaml")
        if path.exists():
            return path, "-".join(parts[n:]) or None
    known = sorted(p.stem for p in folder.glob("*.yaml"))
    raise AssetClassError(
        f"fleet '{fleet}': no class file {folder / (fleet + '.yaml')}; there are {', '.join(known) or 'none'}"
        + did_you_mean(fleet, set(known))
    )


def _check_subset(path: Path, loaded: AssetClass) -> None:
    subsets = getattr(loaded.source, "subsets", None)
    if subsets is None and loaded.subset is not None:
        raise AssetClassError(f"{path}: class '{loaded.name}' has no subsets: write '{loaded.name}' in params.yaml")
    if subsets is not None and loaded.subset not in subsets:
        names = ", ".join(f"{loaded.name}-{s}" for s in subsets)
        raise AssetClassError(f"{path}: '{loaded.fleet}' is not a subset of this class: use one of {names}")
