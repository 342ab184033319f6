"""An MQTT publisher that plays a file of observations as JSON, one message an observation, and waveforms beside it."""

from __future__ import annotations

import argparse
import hashlib
import logging
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_runtime.clock import SystemClock
from edge_runtime.contract.names import is_identifier
from edge_runtime.contract.text import dump
from edge_runtime.errors import DataError, SourceError
from edge_runtime.gateway.logs import RepeatFilter
from edge_runtime.mqtt import connection
from edge_runtime.mqtt.broker import BrokerSettings
from edge_runtime.simulate.player import quoted
from edge_runtime.simulate.publisher import Message, Publisher, encode
from edge_runtime.sources.replay.playback import schedule
from edge_runtime.sources.replay.recording import Block, Recording, Row, Side
from edge_runtime.tls import Tls

_log_of_connection = logging.getLogger(connection.__name__)
NANOS = 1_000_000_000
_GROUP = 256  # messages sent together
_ROOM = 2048  # bytes of a packet for topic and properties


@dataclass(frozen=True)
class Summary:
    """`acked` messages the broker has taken; `again` were sent more than once, after reconnects."""

    messages: int
    acked: int
    again: int
    seconds: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command can be told."""
    parser.add_argument("file", type=Path, help="CSV or Parquet with columns asset, time and channels")
    parser.add_argument("--unit", choices=("s", "cycle"), default="s", help="of the times in the file (default s)")
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument(
        "--speed", type=_positive, default=1.0, metavar="X", help="seconds, or cycles, a second (default 1)"
    )
    pace.add_argument("--rate", type=_positive, metavar="N", help="messages a second, whatever their times")
    parser.add_argument("--loop", action="store_true", help="from the beginning again, for ever")
    parser.add_argument("--keep-times", action="store_true", help="do not move times so that they seem to be now")
    parser.add_argument("--url", default="mqtt://127.0.0.1:1883", help="of the broker (default %(default)s)")
    parser.add_argument("--prefix", default="plant", help="first level of the topics (default %(default)s)")
    parser.add_argument(
        "--waveform", action="append", default=[], metavar="CHANNEL=FILE[:AXES]", help="a side file, Parquet"
    )
    parser.add_argument(
        "--part-bytes", type=int, default=16_384, help="larger waveforms go in parts (default %(default)s)"
    )
    parser.add_argument("--username")
    parser.add_argument("--password-file", type=Path, help="of mode 600")
    for name in ("ca", "certificate", "key"):
        parser.add_argument(f"--{name}", type=Path, help="for mqtts://, PEM")
    parser.add_argument("--insecure", action="store_true", help="plain mqtt:// over a network")


def run(options: argparse.Namespace) -> None:
    """Play all of it, say what became of it."""
    try:
        settings = broker_settings(options)
    except ValueError as error:
        raise SourceError(str(error)) from error
    recording = Recording(options.file, options.unit, [_side(text) for text in options.waveform])
    print(toml(options), flush=True)
    repeats = RepeatFilter(1, SystemClock())  # each attempt to connect would say the same
    _log_of_connection.addFilter(repeats)
    try:
        done = play(recording, settings, options)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return
    finally:
        _log_of_connection.removeFilter(repeats)
    print(
        f"finished: {done.acked:,} of {done.messages:,} messages acknowledged, {done.again:,} sent again, "
        f"in {done.seconds:.1f} s",
        file=sys.stderr,
    )
    if done.acked < done.messages:
        raise SourceError(f"{done.messages - done.acked:,} messages were not acknowledged within a minute")


def broker_settings(options: argparse.Namespace) -> BrokerSettings:
    return BrokerSettings(
        name="simulator",
        url=options.url,
        username=options.username,
        password_file=options.password_file,
        tls=Tls(options.ca, options.certificate, options.key),
        insecure=options.insecure,
    )


def play(recording: Recording, settings: BrokerSettings, options: argparse.Namespace) -> Summary:
    """Publish everything when it is due, and wait until the broker has it."""
    for asset in recording.assets:
        if not is_identifier(asset):
            raise DataError(
                f"{recording.path}: asset {asset!r} is no id of 1 to 64 letters, digits, '_' or '-': rename it"
            )
    publisher = Publisher(settings, f"simulator-{time.time_ns()}")
    publisher.start()
    try:
        maximum = int(publisher.server.get("MaximumPacketSize", 1 << 28)) - _ROOM
        part_bytes = max(1024, min(options.part_bytes, maximum))
        began, messages = time.monotonic(), 0
        for group in _paced(recording, options, part_bytes):
            publisher.send(group)
            messages += len(group)
        publisher.finish()
        return Summary(messages, publisher.acked, publisher.again, time.monotonic() - began)
    finally:
        publisher.stop()


def messages_of(item: Row | Block, prefix: str, unit: str, part_bytes: int) -> list[Message]:
    """One for an observation; one or, if it is large, several for a waveform."""
    if isinstance(item, Row):
        # the shortest number that is this float32
        values = {name: float(str(np.float32(v))) for name, v in item.values.items() if math.isfinite(v)}
        body = {"time": item.time if unit == "s" else item.time / NANOS, **values}
        return [encode(f"{prefix}/{item.asset}/readings", dump(body))]
    topic, payload = f"{prefix}/{item.asset}/waves/{item.channel}", item.samples.astype("<f4").tobytes()
    about: dict[str, object] = {"time": item.time if unit == "s" else f"{item.time / NANOS:.9f}"}
    about |= {"axes": item.samples.shape[0], "samples": item.samples.shape[1]}
    if len(payload) <= part_bytes:
        return [encode(topic, payload, about)]
    parts = -(-len(payload) // part_bytes)
    about |= {"id": item.time, "parts": parts, "sha256": hashlib.sha256(payload).hexdigest()}
    return [encode(topic, payload[i * part_bytes : (i + 1) * part_bytes], about | {"part": i}) for i in range(parts)]


def toml(options: argparse.Namespace) -> str:
    """A [[source]] of gateway.toml that reads all of it."""
    unit = 'time_unit = "cycle"' if options.unit == "cycle" else 'time_unit = "ns"'
    topics = [f"  {{ topic = {quoted(options.prefix + '/{asset}/readings')}, {unit} }},"]
    if options.waveform:
        topic = quoted(options.prefix + "/{asset}/waves/{channel}")
        topics.append(f'  {{ topic = {topic}, format = "waveform", {unit} }},')
    insecure = ["insecure = true"] if options.insecure else []
    lines = ["[[source]]", 'type = "mqtt"', 'name = "simulated-mqtt"', f"url = {quoted(options.url)}", *insecure]
    return "\n".join([*lines, "topics = [", *topics, "]"])


def _paced(recording: Recording, options: argparse.Namespace, part_bytes: int) -> Iterator[list[Message]]:
    """Messages in groups, each when it is due."""
    clock = SystemClock()
    speed = 0.0 if options.rate else options.speed
    items = schedule(recording, clock, speed, options.loop, shift=not options.keep_times)
    encoded: Iterator[tuple[int, Message]] = (
        (due, message) for due, item in items for message in messages_of(item, options.prefix, options.unit, part_bytes)
    )
    if options.rate:
        if not options.loop:
            encoded = iter(list(encoded))  # beforehand, so that the pace is kept
        began, step = clock.monotonic(), NANOS / options.rate
        encoded = ((began + round(i * step), message) for i, (_, message) in enumerate(encoded))
    group: list[Message] = []
    for due, message in encoded:
        wait = due - clock.monotonic()
        if (wait > 0 and group) or len(group) >= _GROUP:
            yield group
            group = []
            wait = due - clock.monotonic()
        if wait > 0:
            time.sleep(wait / 1e9)
        group.append(message)
    if group:
        yield group


def _side(text: str) -> Side:
    channel, _, rest = text.partition("=")
    path, _, axes = rest.rpartition(":") if rest.rpartition(":")[2].isdecimal() else (rest, "", "1")
    if not channel or not path:
        raise DataError(f"--waveform {text}: expected CHANNEL=FILE, or CHANNEL=FILE:3 for three axes")
    return Side(channel, Path(path), int(axes))


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number
