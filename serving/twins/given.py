"""What went into the graph besides observations, as far as it is stored: settings of the time, and raw waveforms."""

from __future__ import annotations

import bisect

import numpy as np
from sqlalchemy import Connection, select

from edge_runtime.arrays import F32, I64
from edge_runtime.manifest import Contract
from serving.database.queries import Asset, Observed, read_waveform
from serving.database.tables import asset_settings, waveform_features
from serving.errors import RequestError
from serving.models.served import Served

_ROW = np.zeros(1, np.int64)


class Given:
    """Of one machine. Settings are those that the registry had when an observation was received."""

    def __init__(self, connection: Connection, asset: Asset) -> None:
        self._connection, self._asset = connection, asset
        table = asset_settings.c
        query = select(table.at, table["values"]).where(table.asset == asset.id).order_by(table.version)
        found = connection.execute(query).all()
        self._since = [row[0] for row in found]
        self._values = [row[1] for row in found]
        self._used: set[int] = set()
        self._made: tuple[int, Contract, F32] | None = None

    def settings(self, received: int, contract: Contract) -> F32:
        """f32[1,P] as they were set when an observation was `received`, UTC nanos; NaN: the default of the class."""
        version = bisect.bisect_right(self._since, received)
        if self._made is None or self._made[0] != version or self._made[1] is not contract:
            values = self._values[version - 1] if version else {}
            row = [values.get(setting.name, np.nan) for setting in contract.settings]
            self._made = version, contract, np.array([row], np.float32).reshape(1, len(row))
            self._used.add(version)
        return self._made[2]

    def waveforms(self, term: int, span: Observed, served: Served) -> dict[int, dict[str, tuple[F32, I64]]]:
        """Number → waveform → (f32[1,axes,N], row) of the snapshots that went through the graph with `span`.

        `RequestError` for one that was not kept: the state has seen what nobody has any more.
        """
        found: dict[int, dict[str, tuple[F32, I64]]] = {}
        shapes = served.bundle.step.waveforms
        if not shapes or not len(span.keys):
            return found
        table = waveform_features.c
        first, last = int(span.keys.number[0]), int(span.keys.number[-1])
        query = select(table.number, table.channel).where(
            table.asset == self._asset.id, table.term == term, table.number >= first, table.number <= last
        )
        for number, channel in self._connection.execute(query.order_by(table.number)).all():
            samples = read_waveform(self._connection, self._asset.id, channel, term, number)
            if samples is None or samples.shape != shapes.get(channel):
                raise RequestError(
                    "not_replayable",
                    f"with observation {number} a snapshot of waveform '{channel}' went through the twin, and "
                    f"was not kept: only moments before it, or after the twin's next snapshot, are known; "
                    f"{self._way_out()}",
                    "t",
                )
            found.setdefault(number, {})[channel] = (samples[None], _ROW)
        return found

    def _way_out(self) -> str:
        if self._asset.gateway is None:
            return "the centre keeps no waveforms of requests"
        return 'link.raw = "all" at the gateway keeps all waveforms'

    def notes(self, contract: Contract) -> list[str]:
        """What the replay could not know."""
        notes = []
        if len(self._used) > 1:
            notes.append("settings were changed meanwhile: each observation was replayed with those the registry had")
        silent = [each.name for each in contract.waveforms if f"{each.name}.features" not in contract.outputs]
        if silent:
            notes.append(f"the bundle tells nothing of waveforms {', '.join(silent)}: none were replayed")
        elif contract.waveforms and self._asset.gateway is None:
            notes.append("waveforms in requests with several observations are not recorded, and were not replayed")
        return notes
