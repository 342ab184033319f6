"""What a checkpoint holds of the twins of one class."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_runtime.arrays import F32, I64, Array
from edge_runtime.contract.block import read_table, write_table
from edge_runtime.contract.limits import Limits
from edge_runtime.decode import decode
from edge_runtime.errors import JournalError
from edge_runtime.gateway.assigned import Assigned
from edge_runtime.gateway.layout import Layout, pack_layouts, unpack_layouts
from edge_runtime.gateway.twins import Twins
from edge_runtime.manifest import Contract

_LIMITS = Limits(json=1 << 26, block=1 << 40, columns=16)


@dataclass(frozen=True, eq=False)
class Saved:
    """The twins of one class as a checkpoint has them; `index` asset → row of `state`, `time` and `number`.

    `layouts`: of the journal's entries, oldest first. `assigned`: asset → what the centre told of it.
    """

    model_id: str
    contract: Contract
    index: Mapping[str, int]
    state: F32
    time: I64
    number: I64
    intake: bytes
    occurrences: Mapping[str, Any]
    layouts: list[Layout]
    streams: Mapping[str, bytes]
    assigned: Mapping[str, Assigned]


def layout(twins: Twins, position: int) -> Layout:
    """How entries of `twins` are to be read, from `position` on."""
    waveforms = {w.name: (len(w.axes), w.samples) for w in twins.bundle.contract.waveforms}
    return Layout(position, twins.machines.assets, twins.channels, waveforms)


def pack_twins(name: str, twins: Twins, layouts: list[Layout], streams: Mapping[str, bytes]) -> dict[str, bytes]:
    """The parts of class `name`."""
    fleet = twins.fleet
    table: dict[str, Array] = {"state": fleet.state, "time": fleet.time, "number": fleet.number}
    parts = {
        "fleet": write_table(table, {"model_id": fleet.model_id}),
        "contract": _contract_json(twins.bundle.contract),
        "layouts": pack_layouts(layouts),
        "intake": twins.intake.state(),
        "occurrences": json.dumps(twins.occurrences.state()).encode(),
        "assigned": json.dumps({asset: dataclasses.asdict(one) for asset, one in twins.assigned.items()}).encode(),
        **{f"streams.{part}": data for part, data in streams.items()},
    }
    return {f"{name}/{part}": data for part, data in parts.items()}


def unpack_twins(name: str, parts: Mapping[str, bytes]) -> Saved | None:
    """What `parts` have of class `name`; None if they know it not."""
    mine = {key.partition("/")[2]: data for key, data in parts.items() if key.partition("/")[0] == name}
    if not mine:
        return None
    try:
        columns, notes = read_table(mine["fleet"], _LIMITS)
        layouts = unpack_layouts(mine["layouts"])
        return Saved(
            model_id=notes["model_id"],
            contract=decode(Contract, json.loads(mine["contract"]), "contract"),
            index={asset: row for row, asset in enumerate(layouts[-1].assets)},
            state=columns["state"],
            time=columns["time"],
            number=columns["number"],
            intake=mine["intake"],
            occurrences=json.loads(mine["occurrences"]),
            layouts=layouts,
            streams={key.partition(".")[2]: data for key, data in mine.items() if key.startswith("streams.")},
            assigned={
                asset: decode(Assigned, one, "assigned")
                for asset, one in json.loads(mine.get("assigned", b"{}")).items()
            },
        )
    except (KeyError, ValueError) as error:
        raise JournalError(
            f"the checkpoint of class '{name}' cannot be read ({error!r}): move the journal away"
        ) from error


def _contract_json(contract: Contract) -> bytes:
    return json.dumps(dataclasses.asdict(contract)).encode()
