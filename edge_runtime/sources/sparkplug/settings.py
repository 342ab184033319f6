"""What gateway.toml says about a Sparkplug source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from edge_runtime.contract.names import is_identifier
from edge_runtime.decode import Between
from edge_runtime.mqtt.broker import BrokerSettings
from edge_runtime.sources.mqtt.payload import Rename


@dataclass(frozen=True, kw_only=True)
class SparkplugSettings(BrokerSettings):
    """`group` of edge nodes. `host_id` names us to them (default: the gateway's id); ids hold no /, + or #.

    `assets`: "node/device", "device" or "node" → asset. `rename`: metric → channel, scale, offset. `timeout` of a
    command, until its value is read back.
    """

    group: str
    host_id: str | None = None
    assets: Mapping[str, str] = field(default_factory=dict)
    rename: Mapping[str, Rename] = field(default_factory=dict)
    rebirth_every: Annotated[float, Between(1, 3600)] = 10.0
    timeout: Annotated[float, Between(0.1, 120)] = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in (("group", self.group), ("host_id", self.host_id)):
            if value is not None and (not value or any(sign in value for sign in "/+#")):
                raise ValueError(f"{name} = {value!r}: expected a name without /, + and #")
        for where, asset in self.assets.items():
            if not is_identifier(asset):
                raise ValueError(f"assets.{where} = {asset!r}: expected 1 to 64 letters, digits, '_' or '-'")
