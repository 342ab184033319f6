import io
import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.gateway.config import LogSettings
from edge_runtime.gateway.logs import MINUTE, MOST_KEYS, JsonFormatter, RepeatFilter, TextFormatter, configure


class HandClock:
    def __init__(self):
        self.now = 0

    def utc(self):
        return self.now

    def monotonic(self):
        return self.now


def record(message="lost %s", arguments=("line-3",), level=logging.WARNING, **extra):
    made = logging.makeLogRecord({"name": "source", "msg": message, "args": arguments, "levelno": level, **extra})
    made.levelname, made.created = logging.getLevelName(level), 1767434400.25
    return made


def test_json_has_one_object_a_line():
    told = json.loads(JsonFormatter().format(record(asset="p-1", tries=3)))
    assert told == {
        "time": "2026-01-03T10:00:00.250Z",
        "level": "warning",
        "logger": "source",
        "message": "lost line-3",
        "asset": "p-1",
        "tries": 3,
    }


def test_exceptions_are_told_in_both_formats():
    try:
        raise OSError("unplugged\nagain")
    except OSError as error:
        broken = record(exc_info=(OSError, error, error.__traceback__))
    assert "unplugged" in json.loads(JsonFormatter().format(broken))["exception"]
    assert "\n" not in JsonFormatter().format(broken)
    assert "OSError: unplugged" in TextFormatter().format(broken)


def test_text_is_for_people():
    assert TextFormatter().format(record(tries=3)) == "2026-01-03T10:00:00.250Z warning source: lost line-3 (tries=3)"


def test_repetitions_are_counted_and_told_later():
    clock = HandClock()
    quiet = RepeatFilter(2, clock)
    passed = [quiet.filter(record(arguments=(str(i),))) for i in range(7)]
    assert passed == [True, True] + [False] * 5
    assert quiet.filter(record("another"))
    clock.now += MINUTE
    later = record()
    assert quiet.filter(later)
    assert later.left_out == 5
    again = record()
    assert quiet.filter(again)
    assert not hasattr(again, "left_out")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, MINUTE // 2)), max_size=60), st.integers(1, 4))
def test_what_passes_and_what_is_left_out_is_everything(messages, repeats):
    clock = HandClock()
    quiet = RepeatFilter(repeats, clock)
    passed, told = 0, 0
    for text, later in messages:
        clock.now += later
        made = record(text, ())
        if quiet.filter(made):
            passed += 1
            told += getattr(made, "left_out", 0)
    untold = sum(entry[2] for entry in quiet._seen.values())
    assert passed + told + untold == len(messages)


def test_a_flood_of_different_messages_takes_bounded_memory():
    clock = HandClock()
    quiet = RepeatFilter(1, clock)
    passed = sum(quiet.filter(record(f"message {i}", ())) for i in range(2 * MOST_KEYS))
    assert passed == MOST_KEYS + 1
    assert len(quiet._seen) <= MOST_KEYS + 1
    clock.now += MINUTE
    assert quiet.filter(record("new", ()))
    assert len(quiet._seen) < 5


@pytest.fixture
def root():
    logger = logging.getLogger()
    handlers, level = list(logger.handlers), logger.level
    yield logger
    logger.handlers[:], logger.level = handlers, level
    for name in ("asyncua", "pymodbus", "asyncio"):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.mark.usefixtures("root")
def test_configure_writes_what_the_level_lets_through():
    stream = io.StringIO()
    configure(LogSettings(level="info", format="json", repeats=3), stream, HandClock())
    for i in range(5):
        logging.getLogger("edge_runtime.x").info("round %d", i)
    logging.getLogger("edge_runtime.x").debug("not this")
    logging.getLogger("asyncua.client").warning("chatter")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["round 0", "round 1", "round 2"]
