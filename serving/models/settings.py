"""Where bundles come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from edge_runtime.decode import Between, Example


@dataclass(frozen=True)
class RegistrySettings:
    """The MLflow registry: for each of its models (or of `fleets`), the versions that `aliases` stand for.

    The first of the aliases that a model has is what is served by default. Bundles are kept in the folder `cache`.
    """

    uri: Annotated[str, Example('"sqlite:///mlflow/store/mlflow.db"')]
    aliases: tuple[str, ...] = ("champion",)
    fleets: tuple[str, ...] = ()
    cache: Path = Path("bundles")


@dataclass(frozen=True)
class ModelsSettings:
    """`folders` are patterns of bundle folders, relative to the file of settings. Looked at `every` so many seconds."""

    folders: tuple[str, ...] = ("artifacts/*/bundle",)
    base: Path = field(default=Path())  # set by whoever reads the file
    registry: RegistrySettings | None = None
    every: Annotated[float, Between(0.1, 86_400)] = 10.0
    threads: Annotated[int, Between(1, 64)] = 1
    provider: str = "CPUExecutionProvider"
