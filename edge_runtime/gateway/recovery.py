"""Where the gateway left off: the newest checkpoint, and the journal's entries after it advanced once more.

The same batches give the same states, to the bit, if the bundle is the same. What the centre has been told is not
computed again but read (entries `news`), and blocks hold each observation once (the cursor), so nothing goes up twice.

If a bundle was exchanged while the gateway was down, the slices of state it has in common with the old one go over as
the checkpoint has them. The entries after it are advanced by the new model: those of them that are not in blocks yet
get its prognoses, under its id.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edge_runtime.arrays import I64
from edge_runtime.gateway.assigned import apply, unpack_effect
from edge_runtime.gateway.checkpoint import Saved, layout, unpack_twins
from edge_runtime.gateway.engine import NEWS, Engine
from edge_runtime.gateway.layout import Translation
from edge_runtime.gateway.twins import Twins
from edge_runtime.journal.entries import unpack_batch, unpack_samples
from edge_runtime.journal.work import ASSIGNMENT, OBSERVATIONS, SAMPLES, Entry, Recovered
from edge_runtime.manifest import Contract
from edge_runtime.takeover import Takeover, take_over

MOST_LAYOUTS = 16


@dataclass
class Resumed:
    """What a restart found: entries and observations replayed, and the classes that go on with another model.

    `anew`: there was no checkpoint; the gateway knows nothing of earlier days.
    """

    entries: int = 0
    observations: int = 0
    taken_over: dict[str, Takeover] = field(default_factory=dict)
    anew: bool = False


def resume(engine: Engine, recovered: Recovered, progress: Callable[[int], None] = lambda _: None) -> Resumed:
    """Put `engine`, made anew, where the gateway left off; before anything is submitted to the journal.

    `progress` is told now and then how many entries have been replayed.
    """
    resumed = Resumed(anew=recovered.checkpoint is None)
    parts = {} if recovered.checkpoint is None else recovered.checkpoint.parts
    engine.position, engine.cursor = recovered.next_position - 1, recovered.cursor
    translations: dict[str, Translation] = {}
    contracts: dict[str, Contract] = {}  # that the entries were written under
    for name, twins in engine.twins.items():
        saved = unpack_twins(name, parts)
        now = layout(twins, recovered.next_position)
        engine.layouts[name] = [now]
        if saved is None:
            continue
        taken = restore(twins, saved)
        if taken is not None:
            resumed.taken_over[name] = taken
        engine.streams[name].restore(saved.streams)
        contracts[name] = saved.contract
        translations[name] = Translation(saved.layouts[-1], now)
        known = now.same(saved.layouts[-1])
        engine.layouts[name] = saved.layouts if known else [*saved.layouts[1 - MOST_LAYOUTS :], now]
    if engine.watch is not None and "watch" in parts:
        engine.watch.restore(json.loads(parts["watch"]))
    for entry in recovered.entries:
        resumed.entries += 1
        if resumed.entries % 1000 == 0:
            progress(resumed.entries)
        resumed.observations += _replay(
            engine, entry, translations, contracts, in_blocks=entry.position > recovered.cursor
        )
    for name, taken in resumed.taken_over.items():
        if taken.anew:
            engine.twins[name].occurrences.hold()
    return resumed


def restore(twins: Twins, saved: Saved) -> Takeover | None:
    """Continue `twins` as `saved`, machine by machine; what of its state another model could take over."""
    twins.occurrences.restore(saved.occurrences)
    twins.intake.restore(saved.intake)
    twins.keep_assigned(saved.assigned)
    if saved.model_id != twins.model_id:
        return take_over(saved, saved.contract, twins.fleet, twins.bundle.contract)
    mine, theirs = _common(twins.machines.assets, saved.index)
    twins.fleet.state[mine] = saved.state[theirs]
    twins.fleet.time[mine] = saved.time[theirs]
    twins.fleet.number[mine] = saved.number[theirs]
    return None


def _common(mine: Sequence[str], theirs: Mapping[str, int]) -> tuple[I64, I64]:
    """Rows of the machines in both."""
    pairs = [(row, theirs[asset]) for row, asset in enumerate(mine) if asset in theirs]
    rows: I64 = np.array(pairs, np.int64).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]


def _replay(
    engine: Engine,
    entry: Entry,
    translations: Mapping[str, Translation],
    contracts: Mapping[str, Contract],
    *,
    in_blocks: bool,
) -> int:
    """Do again what `entry` says; how many observations were advanced."""
    name = entry.asset_class
    if entry.kind == NEWS and not name:
        if engine.watch is not None:
            engine.watch.repeat(json.loads(entry.body))
        return 0
    twins, translation = engine.twins.get(name), translations.get(name)
    if twins is None or translation is None:  # a class that is no longer here
        return 0
    if entry.kind == NEWS:
        twins.occurrences.restore(json.loads(entry.body))
    elif entry.kind == SAMPLES:
        samples = translation.samples(unpack_samples(entry.body))
        if samples is not None:
            twins.intake.replay_samples(samples)
    elif entry.kind == ASSIGNMENT:
        apply(twins, unpack_effect(entry.body), contracts.get(name))
    elif entry.kind == OBSERVATIONS:
        batch = translation.batch(unpack_batch(entry.body))
        if batch is not None:
            twins.intake.replay_batch(batch)
            return engine.repeat(name, batch, entry.position, in_blocks=in_blocks)
    return 0
