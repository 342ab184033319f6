"""One bundle as it is served: what is run, and what each answer says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from edge_runtime.arrays import F32
from edge_runtime.bundle import Bundle
from edge_runtime.manifest import Contract


@dataclass(frozen=True, eq=False)
class Served:
    """`name` of the fleet; `version` in the registry, or of the folder; `mark` changes when its source does."""

    name: str
    version: str
    bundle: Bundle
    aliases: tuple[str, ...] = ()
    run_id: str | None = None
    mark: str = ""

    @property
    def model_id(self) -> str:
        return self.bundle.model_id

    @property
    def contract(self) -> Contract:
        return self.bundle.contract

    @cached_property
    def channels(self) -> Mapping[str, int]:
        """Name → column of the readings."""
        return {channel.name: column for column, channel in enumerate(self.contract.channels)}

    @cached_property
    def ranges(self) -> tuple[F32, F32]:
        """What is physically possible, lowest and highest f32[C]."""
        low, high = (np.array([each.range[end] for each in self.contract.channels], np.float32) for end in (0, 1))
        return low, high

    @cached_property
    def contract_body(self) -> Mapping[str, Any]:
        """The contract as `edge_runtime.decode` reads it back."""
        return asdict(self.contract)

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """What each answer names, so that any number can be traced to its model, run and data."""
        provenance = self.bundle.manifest.provenance
        return {
            "model_id": self.model_id,
            "fleet": self.name,
            "asset_class": self.contract.asset_class,
            "version": self.version,
            "mlflow_run": self.run_id or provenance.run_id,
            "data_hash": provenance.data_hash,
            "commit": provenance.commit,
            "simulated": self.contract.simulated,
            "time_unit": self.contract.time.unit,
            "life_unit": self.contract.life.unit,
            "horizon": self.contract.labels.horizon,
            "cap": self.contract.labels.cap,
        }
