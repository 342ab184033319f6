"""`params.yaml`, typed: what a data scientist turns."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from data.errors import DataError
from data.splits import SplitParams
from training.isolation_forest import IsolationForestParams
from training.lstm import LstmParams
from training.xgboost_model import XgboostParams

PARAMS = Path("params.yaml")


@dataclass(frozen=True)
class FeatureParams:
    seed: int = 7


@dataclass(frozen=True)
class PrognosisParams:
    interval: float = 0.9  # share of a fleet's rows that the interval should hold
    bins: int = 8  # of predicted remaining life, each calibrated by itself


@dataclass(frozen=True)
class Params:
    fleets: list[str] = field(default_factory=list)
    split: SplitParams = field(default_factory=SplitParams)
    features: FeatureParams = field(default_factory=FeatureParams)
    xgboost: XgboostParams = field(default_factory=XgboostParams)
    isolation_forest: IsolationForestParams = field(default_factory=IsolationForestParams)
    lstm: LstmParams = field(default_factory=LstmParams)
    prognosis: PrognosisParams = field(default_factory=PrognosisParams)


def read_params(path: Path = PARAMS) -> Params:
    """The parameters in `path`; unknown keys and wrong types are refused with the key's name."""
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise DataError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a mapping of sections (fleets, split, features, …)")
    sections = {f.name: f.default_factory for f in fields(Params)}
    unknown = [key for key in content if key not in sections]
    for section, value in content.items():
        if isinstance(value, dict) and section in sections:
            known = {f.name for f in fields(sections[section])}
            unknown += [f"{section}.{key}" for key in value if key not in known]
    if unknown:
        raise DataError(f"{path}: unknown key {', '.join(unknown)}: see training/params.py for what there is")
    try:
        return TypeAdapter(Params).validate_python(content)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise DataError(f"{path}: {problems}") from error
