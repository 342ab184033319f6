"""Which machines are played, and the file they are played from."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data import paths
from edge_runtime.decode import decode, suggest
from edge_runtime.manifest import Contract
from serving.demo.errors import ChoiceError, DemoError

NANOS = 1_000_000_000


@dataclass(frozen=True)
class Played:
    """The last life of one machine. Times as they are played, in nanos: its first and last row, and its failure.

    `settings`: of its nameplate, as the gateway has them. `failed`: it ended by failure; else the record just stops.
    """

    asset: str
    begin: int
    last: int
    end: int
    failed: bool
    settings: dict[str, float]


@dataclass(frozen=True)
class Stage:
    """All that is played: of `fleet`, by the bundle in `bundle`. `waveforms`: channels that have a side file."""

    fleet: str
    bundle: Path
    contract: Contract
    machines: tuple[Played, ...]
    waveforms: tuple[str, ...] = ()

    @property
    def begin(self) -> int:
        return min(machine.begin for machine in self.machines)

    @property
    def length(self) -> float:
        """Seconds (or cycles) from the first row to the last."""
        return (max(machine.last for machine in self.machines) - self.begin) / NANOS

    @property
    def life(self) -> float:
        """Nanos in a unit of life."""
        return self.contract.life.time_units * NANOS

    @property
    def interval(self) -> int:
        return int(self.contract.time.interval * NANOS)


def read_contract(fleet: str) -> Contract:
    """Of the fleet's bundle; `DemoError` if the pipeline has not made it yet."""
    bundle = paths.artifact(fleet, "bundle")
    needed = (bundle / "manifest.json", paths.observations(fleet), paths.artifact(fleet, "splits.json"))
    for path in needed:
        if not path.exists():
            raise DemoError(
                f"{path} is not there: run `uv run dvc repro` first, which makes what the fleets in params.yaml need "
                f"('{fleet}' must be among them), in the folder of the repository"
            )
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    return decode(Contract, manifest["contract"], "contract")


def prepare(fleet: str, contract: Contract, wanted: Sequence[str] | int, folder: Path, now: int) -> Stage:
    """Write `recording.parquet` (and side files) and `machines.csv` into `folder`: a life each of `wanted`.

    They are moved in time, each as a whole, so that all begin together and the longest has just ended. A number of
    machines: those with the shortest lives among those whose record reaches their failure.
    """
    from data.lives import read_lives  # these import pandas, which takes a while
    from data.splits import read_splits

    test = set(read_splits(paths.artifact(fleet, "splits.json")).test)
    lives = [life for life in read_lives(paths.artifact(fleet, "lives.csv")) if life.asset in test]
    chosen = _choose(played_lives(lives), wanted)
    moved = _moves(chosen, contract, now)
    settings = _settings(fleet, contract)
    recording = folder / "recording.parquet"
    _write_recording(fleet, contract, chosen, moved, recording)
    sides = {each.name: paths.waveform(paths.observations(fleet), each.name) for each in contract.waveforms}
    waveforms = tuple(name for name, side in sides.items() if side.exists())
    for name in waveforms:
        _write_side(sides[name], contract, chosen, moved, paths.waveform(recording, name))
    machines = tuple(
        Played(
            life.asset,
            life.begin + by,
            life.last + by,
            life.end + by,
            life.kind == "failure" and life.end == life.last,
            settings.get(life.asset, {}),
        )
        for life, by in zip(chosen, moved, strict=True)
    )
    _write_machines(contract, machines, folder / "machines.csv")
    return Stage(fleet, paths.artifact(fleet, "bundle").absolute(), contract, machines, waveforms)


def played_lives(lives: Sequence[Any]) -> dict[str, Any]:
    """Of each machine the last life that ended in a failure, or else its last; `lives` in order of time."""
    last = {life.asset: life for life in lives}
    return last | {life.asset: life for life in lives if life.kind == "failure"}


def _choose(lives: dict[str, Any], wanted: Sequence[str] | int) -> list[Any]:
    if not lives:
        raise ChoiceError("no machine was held out in splits.json: the demo plays none that a model has learnt from")
    if isinstance(wanted, int):
        failed = [life for life in lives.values() if life.kind == "failure"]
        ranked = sorted(failed, key=lambda life: (life.end - life.last, life.last - life.begin, life.asset))
        if not ranked:
            raise ChoiceError("no held-out machine has failed: there is nothing to foresee")
        return sorted(ranked[:wanted], key=lambda life: life.last - life.begin)
    for name in wanted:
        if name not in lives:
            raise ChoiceError(f"'{name}' is no held-out machine: {suggest(name, list(lives))}")
    return [lives[name] for name in dict.fromkeys(wanted)]


def _moves(lives: Sequence[Any], contract: Contract, now: int) -> list[int]:
    """What to add to the times of each: whole intervals, so that windows hold the same samples as before."""
    if contract.time.unit != "s":
        return [min(life.begin for life in lives) - life.begin for life in lives]
    interval = int(contract.time.interval * NANOS)
    start = now - max(life.last - life.begin for life in lives) - interval
    return [(start - life.begin) // interval * interval for life in lives]


def _write_recording(fleet: str, contract: Contract, lives: Sequence[Any], moved: Sequence[int], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    source = paths.observations(fleet)
    table = pq.read_table(source, filters=[("asset", "in", [life.asset for life in lives])])
    parts = []
    for life, by in zip(lives, moved, strict=True):
        mine = pc.and_(pc.equal(table["asset"], life.asset), pc.equal(table["life"], life.life))
        parts.append(_later(table.filter(mine), by, contract).drop_columns(["life"]))
    pq.write_table(pa.concat_tables(parts), path)


def _write_side(source: Path, contract: Contract, lives: Sequence[Any], moved: Sequence[int], path: Path) -> None:
    """The snapshots of these lives."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    parts = []
    for life, by in zip(lives, moved, strict=True):
        table = pq.read_table(source, filters=[("asset", "=", life.asset)])
        nanos = pc.cast(table["time"], pa.int64())
        if contract.time.unit != "s":
            nanos = pc.multiply(nanos, NANOS)
        table = table.filter(pc.and_(pc.greater_equal(nanos, life.begin), pc.less_equal(nanos, life.last)))
        parts.append(_later(table, by, contract))
    pq.write_table(pa.concat_tables(parts), path)


def _later(table: Any, by: int, contract: Contract) -> Any:
    """`table` with its times moved by so many nanos."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table.schema.get_field_index("time")
    if contract.time.unit == "s":
        time = pc.add(pc.cast(table["time"], pa.int64()), by)
    else:
        time = pc.add(pc.cast(table["time"], pa.float64()), by / NANOS)
    return table.set_column(column, "time", pc.cast(time, table.schema.field(column).type))


def _settings(fleet: str, contract: Contract) -> dict[str, dict[str, float]]:
    """Asset → what its nameplate says."""
    path = paths.artifact(fleet, "machines.csv")
    if not path.exists():
        return {}
    names = {setting.name for setting in contract.settings}
    with path.open(encoding="utf-8", newline="") as stream:
        return {
            row["asset"]: {name: float(value) for name, value in row.items() if name in names and value}
            for row in csv.DictReader(stream)
        }


def _write_machines(contract: Contract, machines: Sequence[Played], path: Path) -> None:
    names = sorted({name for machine in machines for name in machine.settings})
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["asset", "class", *names])
        for machine in machines:
            values = [repr(machine.settings[name]) if name in machine.settings else "" for name in names]
            writer.writerow([machine.asset, contract.asset_class, *values])
