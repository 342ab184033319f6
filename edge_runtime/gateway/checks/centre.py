"""Trying the link to the centre once: what `overhaul-edge check` says about it. Nothing is published."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from edge_runtime.clock import Clock
from edge_runtime.contract import topics
from edge_runtime.errors import ConfigError, EdgeError
from edge_runtime.mqtt.connection import Connection
from edge_runtime.sources.source import Finding
from edge_runtime.tls import common_name
from edge_runtime.upstream.settings import LinkSettings

PATIENCE = 20.0  # s


def check_identity(settings: LinkSettings, gateway: str) -> Iterator[Finding]:
    """Whose certificate it is, without asking the broker, which would let in gw-7 in place of gw-8."""
    certificate = settings.tls.certificate
    if certificate is None:
        return
    try:
        name = common_name(certificate)
    except ConfigError as error:
        yield Finding("certificate", False, str(error))
        return
    except EdgeError as error:
        yield Finding("certificate", True, f"not checked whether it is of '{gateway}': {error}", warn=True)
        return
    if name == gateway:
        yield Finding("certificate", True, f"{certificate} is of '{name}'")
        return
    told = f"{certificate} is of {name!r}, [gateway] id is '{gateway}'"
    if settings.delivery == "broker":
        yield Finding("certificate", True, f"{told}: does the broker's access list know it by that name?", warn=True)
    else:
        way_out = (
            "brokers go by the name and would refuse all that is published: use this gateway's own, or mend the id"
        )
        yield Finding("certificate", False, f"{told}: {way_out}")


def check_link(settings: LinkSettings, site: str, gateway: str, clock: Clock) -> list[Finding]:
    """Connect and subscribe as the gateway does, under a client id of its own: whoever else runs stays connected."""
    what, pattern = f"broker {settings.url}", topics.downward(site, gateway)
    client_id, ask = f"{gateway}-check-{os.getpid()}", [(pattern, 1)]
    connection = Connection(settings, client_id, ask, lambda *_: None, clock, on_round=lambda: False, clean=True)
    connection.start()
    try:
        deadline = time.monotonic() + PATIENCE
        while not (connection.subscribed or connection.counts["disconnects"]) and time.monotonic() < deadline:
            time.sleep(0.01)
        if not connection.connected:
            return [Finding(what, False, connection.detail)]
        largest = connection.server.get("MaximumPacketSize")
        told = f"connected; its largest packet is {largest or 'not told'}"
        answer = connection.granted.get(pattern, "no answer")
    finally:
        connection.stop()
    findings = [Finding(what, True, f"{told}; {settings.weakness}" if settings.weakness else told)]
    if settings.delivery == "broker":
        findings.append(Finding("delivery", True, "broker: what it loses is lost"))
    granted = answer.startswith("Granted")
    way_out = "" if granted else ": without it no acknowledgement comes; check the broker's access list"
    return [*findings, Finding(f"topic {pattern}", granted, answer + way_out)]
