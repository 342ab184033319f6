"""Where the gateway left off: the newest checkpoint, and the journal's entries after it advanced once more.

The same batches give the same states, to the bit, if the bundle is the same. What the centre has been told is not
computed again but read (entries `news`), and blocks hold each observation once (the cursor), so nothing goes up twice.

If a bundle was exchanged while the gateway was down, the slices of state it has in common with the old one go over as
the checkpoint has them. The entries after it are advanced by the new model: those of them that are not in blocks yet
get its prognoses, under its id.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass

import numpy as np

from edge_runtime.arrays import I64
from edge_runtime.gateway.checkpoint import Saved, layout, unpack_twins
from edge_runtime.gateway.engine import NEWS, Engine
from edge_runtime.gateway.layout import Translation
from edge_runtime.gateway.twins import Twins
from edge_runtime.journal.entries import unpack_batch, unpack_samples
from edge_runtime.journal.work import OBSERVATIONS, SAMPLES, Entry, Recovered

MOST_LAYOUTS = 16

log = logging.getLogger(__name__)


@dataclass
class Resumed:
    """What a restart found: entries and observations replayed, and the classes that go on with another model."""

    entries: int = 0
    observations: int = 0
    taken_over: tuple[str, ...] = ()


def resume(engine: Engine, recovered: Recovered) -> Resumed:
    """Put `engine`, made anew, where the gateway left off; before anything is submitted to the journal."""
    resumed = Resumed()
    parts = {} if recovered.checkpoint is None else recovered.checkpoint.parts
    engine.position, engine.cursor = recovered.next_position - 1, recovered.cursor
    translations: dict[str, Translation] = {}
    for name, twins in engine.twins.items():
        saved = unpack_twins(name, parts)
        now = layout(twins, recovered.next_position)
        engine.layouts[name] = [now]
        if saved is None:
            continue
        if not restore(twins, saved):
            resumed.taken_over += (name,)
        engine.streams[name].restore(saved.streams)
        translations[name] = Translation(saved.layouts[-1], now)
        known = now.same(saved.layouts[-1])
        engine.layouts[name] = saved.layouts if known else [*saved.layouts[1 - MOST_LAYOUTS :], now]
    if engine.watch is not None and "watch" in parts:
        engine.watch.restore(json.loads(parts["watch"]))
    for entry in recovered.entries:
        resumed.entries += 1
        resumed.observations += _replay(engine, entry, translations, in_blocks=entry.position > recovered.cursor)
    for name in resumed.taken_over:
        engine.twins[name].occurrences.hold()
    return resumed


def restore(twins: Twins, saved: Saved) -> bool:
    """Continue `twins` as `saved`, machine by machine; False: of another model, what both know goes over."""
    twins.occurrences.restore(saved.occurrences)
    if saved.snapshot.model_id != twins.model_id:
        raise NotImplementedError
    mine, theirs = _common(twins.machines.assets, saved.snapshot.assets)
    twins.fleet.state[mine] = saved.snapshot.state[theirs]
    twins.fleet.time[mine] = saved.snapshot.time[theirs]
    twins.fleet.number[mine] = saved.snapshot.number[theirs]
    twins.intake.restore(saved.intake)
    return True


def _common(mine: tuple[str, ...], theirs: tuple[str, ...]) -> tuple[I64, I64]:
    """Rows of the machines in both."""
    index = {asset: row for row, asset in enumerate(theirs)}
    pairs = [(row, index[asset]) for row, asset in enumerate(mine) if asset in index]
    rows: I64 = np.array(pairs, np.int64).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]


def _replay(engine: Engine, entry: Entry, translations: dict[str, Translation], *, in_blocks: bool) -> int:
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
    elif entry.kind == OBSERVATIONS:
        batch = translation.batch(unpack_batch(entry.body))
        if batch is not None:
            twins.intake.replay_batch(batch)
            return engine.repeat(name, batch, entry.position, in_blocks=in_blocks)
    return 0
