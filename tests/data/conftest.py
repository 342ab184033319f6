"""A small class of fans, and a workspace to run stages in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from data.asset_class import AssetClass
from data.class_file import load

FAN: dict[str, Any] = {
    "name": "fan",
    "title": "Fan",
    "time": {"unit": "s", "interval": 60, "assemble": False, "tick": 60, "max_gap": 600},
    "life": {"unit": "min", "age": "optional", "begins": "new", "ends": "failure", "healthy": {"min_remaining": 50}},
    "labels": {"cap": 60, "horizon": 10},
    "channels": {
        "speed": {"role": "condition", "quantity": "speed", "unit": "rpm", "range": [0, 3000]},
        "vibration": {"quantity": "vibration", "unit": "mm/s", "range": [0, 50]},
    },
    "settings": {"rated_speed": {"unit": "rpm", "range": [100, 3000], "default": 1500}},
    "features": {"warm_up": 2},
    "source": {"reader": "table", "files": ["fan.csv"]},
}


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with nested `changes`; None removes a key."""
    result = dict(base)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(base.get(key), dict):
            result[key] = merged(base[key], value)
        else:
            result[key] = value
    return result


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to run stages in, without a mirror."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OVERHAUL_MIRROR", raising=False)
    return tmp_path


@pytest.fixture
def fan(workspace: Path) -> Callable[..., AssetClass]:
    """`fan(source={…}, …)`: the class of fans with changes, loaded from a file as any class is."""

    def make(**changes: Any) -> AssetClass:
        folder = workspace / "classes"
        folder.mkdir(exist_ok=True)
        content = merged(FAN, changes)
        (folder / f"{content['name']}.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        return load(content["name"], folder)

    return make
