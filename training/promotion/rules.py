"""`mlflow/promotion.yaml`, typed: what a challenger has to pass. The file is the one place of the limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data.errors import DataError

FILE = Path("mlflow/promotion.yaml")


class _Rule(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AccuracyRule(_Rule):
    """Of the cross-validated RMSE. `worse`: standard errors of the difference; `guess`: share of the RMSE of the
    best guess without sensors."""

    worse: float = Field(ge=0)
    guess: float = Field(gt=0)


class CoverageRule(_Rule):
    """The band around the interval's level; its upper end moves up where few machines calibrated it."""

    below: float = Field(ge=0, lt=1)
    above: float = Field(ge=0, lt=1)


class FalseAlarmRule(_Rule):
    """Per machine-month or 1,000 cycles, as the figure's name says; `worse` is added to the champion's."""

    most: float = Field(ge=0)
    worse: float = Field(ge=0)


class ParityRule(_Rule):
    """`within_tolerance`: least share of rows; `max_error`: a share of the cap."""

    within_tolerance: float = Field(gt=0, le=1)
    max_error: float = Field(gt=0)


class CanaryRule(_Rule):
    missed: int = Field(ge=0)


class LatencyRule(_Rule):
    """`most`: µs a machine in a call of `machines`; `worse`: times the champion's."""

    machines: int = Field(ge=1)
    rounds: int = Field(ge=1)
    most: float = Field(gt=0)
    worse: float = Field(ge=1)


class Rules(_Rule):
    """None: the rule is switched off."""

    accuracy: AccuracyRule | None
    coverage: CoverageRule | None
    false_alarms: FalseAlarmRule | None
    parity: ParityRule | None
    canaries: CanaryRule | None
    latency: LatencyRule | None


def read_rules(fleet: str, path: Path = FILE) -> Rules:
    """The rules of `fleet`: those of the file with what it overrides; `DataError` names key and way out."""
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): run this in the root of the repository") from error
    except yaml.YAMLError as error:
        raise DataError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a mapping of rules ({', '.join(Rules.model_fields)}, fleets)")
    fleets = content.pop("fleets", None) or {}
    if not isinstance(fleets, dict):
        raise DataError(f"{path}: fleets: expected a mapping of fleets to the limits they override")
    rules = _checked(content, str(path))
    # Mistakes in the overrides of other fleets are told now, not when their turn comes.
    made = {
        name: _checked(_merged(content, own, f"{path}: fleets.{name}"), f"{path}: fleets.{name}")
        for name, own in fleets.items()
    }
    return made.get(fleet, rules)


def _merged(content: dict[str, Any], own: Any, where: str) -> dict[str, Any]:
    """`content` with the single limits that a fleet overrides."""
    if not isinstance(own, dict):
        raise DataError(f"{where}: expected a mapping of rules, got {own!r}")
    merged = dict(content)
    for rule, limits in own.items():
        base = content.get(rule)
        merged[rule] = {**base, **limits} if isinstance(base, dict) and isinstance(limits, dict) else limits
    return merged


def _checked(content: dict[str, Any], where: str) -> Rules:
    try:
        return Rules.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(_problem(each["loc"], each["type"], each["msg"], each["input"]) for each in error.errors())
        raise DataError(f"{where}: {problems}; training/promotion/rules.py says what there is") from error


def _problem(loc: tuple[int | str, ...], kind: str, message: str, value: Any) -> str:
    key = ".".join(map(str, loc))
    if kind == "extra_forbidden":
        return f"unknown key {key}: take it out"
    if kind == "missing":
        return f"{key} is missing: write its limit" + (", or null to switch the rule off" if len(loc) == 1 else "")
    return f"{key}: {message}, got {value!r}"
