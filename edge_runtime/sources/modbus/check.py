"""Trying a Modbus source once: its connection, and each register by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edge_runtime.sources.modbus.client import LostError, ModbusClient, RefusedError, SilentError
from edge_runtime.sources.modbus.register import BITS, Register
from edge_runtime.sources.source import Finding, Reading

_HINTS = {
    "illegal address": ": the device has no such place; addresses count from 0: 40001 in a manual is holding 0",
    "illegal function": ": the device does not have this table",
    "gateway target silent": ": nothing with this unit id answers behind the gateway",
}
_DOUBTS = "address, order of bytes and words, type and scale"


def check(name: str, wire: ModbusClient, registers: Sequence[Register]) -> list[Finding]:
    """A finding a register. Those of a unit that was silent once are not tried any more: each would cost a timeout."""
    findings, silent = [], set()
    for register in registers:
        what = (
            f"{name}: {register.asset} {register.channel} (unit {register.unit}, {register.table} {register.address})"
        )
        if register.unit in silent:
            findings.append(Finding(what, False, f"not tried: unit {register.unit} was silent"))
            continue
        try:
            if not wire.is_open:
                wire.open()
            words = wire.read(register.table, register.unit, *register.place)
        except RefusedError as error:
            findings.append(Finding(what, False, error.reason + _HINTS.get(error.reason, "")))
        except (SilentError, LostError) as error:
            silent.add(register.unit)
            findings.append(Finding(what, False, f"{error}: is the unit id right, and the unit on?"))
        else:
            findings.append(_found(what, register, words))
    return findings


def _found(what: str, register: Register, words: Sequence[int]) -> Finding:
    raw = "bit" if register.table in BITS else "registers " + " ".join(f"0x{word:04X}" for word in words)
    if register.is_invalid(words):
        return Finding(what, True, f"no value now: {raw} is in `invalid`")
    if register.is_nothing(words):
        told = f"no value (NaN, {raw}): the device has none now; if it never has, is this the right place?"
        return Finding(what, True, told, warn=True)
    value, hint = register.value(words), register.order_hint(words)
    reading = Reading(register.asset, register.channel, value, _DOUBTS, register.others(words), hint)
    return Finding(what, math.isfinite(value), f"{value:.7g} ({raw}){hint}", bool(hint), (reading,))
