"""One Sparkplug edge node with its devices, as a host application must see it: who is alive, and what aliases mean.

Births say which metrics there are; data messages name them by alias. Every message of a node has a sequence number, one
more than the last; when one is missing it may have been a birth, so nothing is believed any more until the node has
been born again. What is not believed is a `Refusal`:

    unborn             data of a node or device whose birth has not been seen
    out_of_sequence    a message is missing before this one
    old_death          the death of an earlier session of the node
    no_seq             a message without a sequence number
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from edge_runtime.sources.mqtt.payload import Refusal
from edge_runtime.sources.sparkplug.payload import Metric, Payload

_BD_SEQ = "bdSeq"


class Known(NamedTuple):
    """What a birth says about a metric. `alias` None: it is named in each message."""

    name: str
    type: int
    alias: int | None


@dataclass
class _Device:
    """The node itself (device None) or one of its devices, alive."""

    by_alias: dict[int, Known] = field(default_factory=dict)
    by_name: dict[str, Known] = field(default_factory=dict)


class Node:
    """Fed with the messages of one edge node in the order they come. `alive`: its devices; "" is the node itself."""

    def __init__(self) -> None:
        self.alive: dict[str, _Device] = {}
        self.wants_rebirth = False
        self.unknown_metrics = 0
        self._seq: int | None = None  # of the last message; None: no birth has been seen
        self._bd_seq: int | None = None

    @property
    def born(self) -> bool:
        return self._seq is not None

    def receive(self, kind: str, device: str, payload: Payload) -> Iterator[tuple[Known, Metric]]:
        """The metrics of a message that may be believed, with their names. `kind` is NBIRTH, NDATA, …"""
        if kind == "NDEATH":
            self._die(payload)
            return iter(())
        if kind == "NBIRTH":
            self._be_born(payload)
        else:
            self._count(payload.seq)
        if kind == "DDEATH":
            self.alive.pop(device, None)
            return iter(())
        if kind in ("NBIRTH", "DBIRTH"):
            self.alive[device] = _learn(payload)
        elif device not in self.alive:
            self.wants_rebirth = True
            raise Refusal("unborn")
        return self._named(self.alive[device], payload)

    def metric(self, device: str, name: str) -> Known | None:
        """What is known about a metric of a device that is alive."""
        found = self.alive.get(device)
        return None if found is None else found.by_name.get(name)

    def _be_born(self, payload: Payload) -> None:
        if payload.seq is None:
            self._lose()
            raise Refusal("no_seq")
        self.alive.clear()
        self._seq, self.wants_rebirth = payload.seq % 256, False
        self._bd_seq = _bd_seq(payload)

    def _die(self, payload: Payload) -> None:
        died = _bd_seq(payload)
        if self.born and died is not None and self._bd_seq is not None and died != self._bd_seq:
            raise Refusal("old_death")  # the will of a connection that ended after the next birth
        self.alive.clear()
        self._seq, self.wants_rebirth = None, False

    def _count(self, seq: int | None) -> None:
        if self._seq is None:
            self.wants_rebirth = True
            raise Refusal("unborn")
        if seq is None:
            self._lose()
            raise Refusal("no_seq")
        if seq != (self._seq + 1) % 256:
            self._lose()
            raise Refusal("out_of_sequence")
        self._seq = seq

    def _lose(self) -> None:
        self.alive.clear()
        self._seq, self.wants_rebirth = None, True

    def _named(self, device: _Device, payload: Payload) -> Iterator[tuple[Known, Metric]]:
        for metric in payload.metrics:
            known = None
            if metric.name is not None:
                known = device.by_name.get(metric.name)
            elif metric.alias is not None:
                known = device.by_alias.get(metric.alias)
            if known is None:
                self.unknown_metrics += 1
                self.wants_rebirth = True  # its birth would have told
            else:
                yield known, metric


def _learn(payload: Payload) -> _Device:
    device = _Device()
    for metric in payload.metrics:
        if metric.name is None or len(metric.name) > 1000:
            continue
        known = device.by_name[metric.name] = Known(metric.name, metric.type, metric.alias)
        if metric.alias is not None:
            device.by_alias[metric.alias] = known
    return device


def _bd_seq(payload: Payload) -> int | None:
    for metric in payload.metrics:
        if metric.name == _BD_SEQ and isinstance(metric.value, int):
            return metric.value
    return None
