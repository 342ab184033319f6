import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.cli import main
from edge_runtime.errors import DataError
from edge_runtime.gateway.config import HttpSettings
from edge_runtime.gateway.http import StatusServer
from edge_runtime.gateway.page import duration, size, status_text
from edge_runtime.gateway.status import SECOND, JournalStatus, LinkStatus, read_status
from tests.edge_runtime.gateway.statuses import NOW, empty_status, full_status


@pytest.mark.parametrize("status", [full_status(), empty_status()])
def test_a_status_survives_its_journey(status):
    assert read_status(status.json()) == status


def test_a_newer_gateway_may_tell_more():
    told = json.loads(full_status().json())
    told["weather"] = "fine"
    told["link"]["moon"] = 1
    assert read_status(json.dumps(told)) == full_status()


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", b"\xff", "[" * 100_000, '{"gateway": 1}'])
def test_what_is_no_status_is_refused(text):
    with pytest.raises(DataError, match="not the status of a gateway"):
        read_status(text)


def test_the_page_tells_what_matters():
    text = status_text(full_status())
    for fact in (
        "gateway gw-7 at north, overhaul 0.1.0, up 1 d 2 h",
        "!  source press is not connected: connection refused",
        "!  insecure: source press: security policy None",
        "!  lane raw: 3 messages were dropped because the spool was full",
        "model 3f2a9c0011bb on CPUExecutionProvider, 40 machines",
        "alarms: 3 at level 1, 1 at level 2",
        "warming up 2, unfamiliar 1, silent 0",
        "observations 90,311; refused: late 9, not_a_number 3",
        "not used: CUDAExecutionProvider: not in this onnxruntime",
        "received 361,244, 3.85/s on average; not_json 3, connects 1",
        "INSECURE: security policy None",
        "3 arrivals wait",
        "272.8 MiB a day",
        "31 s ago, position 180,622",
        "oldest 10 s ago   DROPPED 3",
        "mqtts://centre:8883: healthy\n",
        "20.0 MiB, 88.3% less than plain",
        "refused_out_of_range  1",
        "unknown_asset  12",
    ):
        assert fact in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_what_is_wrong_stands_first():
    broken = full_status(
        clock_synced=False,
        journal=JournalStatus("no space left on device"),
        link=LinkStatus("mqtts://centre:8883", False, False, "name not known"),
    )
    problems = [line for line in status_text(broken).splitlines() if line.startswith("  !")]
    assert len(problems) == 6
    assert status_text(broken).splitlines()[1:7] == problems
    assert any("no space left on device" in line for line in problems)
    assert any("name not known" in line for line in problems)


def test_the_last_refusal_of_a_source_is_quoted():
    first, *others = full_status().sources
    first = dataclasses.replace(first, refused=("time: plant/p-1: b'{}'", "unreadable: plant/p-2: b'garbage'"))
    lines = status_text(full_status(sources=(first, *others))).splitlines()
    assert [line.split("  ", 1)[1].strip() for line in lines if "last refused" in line] == [
        "line-3  last refused: unreadable: plant/p-2: b'garbage'"
    ]


def test_a_bundle_that_a_restart_could_not_use_is_told():
    (bundle,) = full_status().bundles
    broken = full_status(bundles=(dataclasses.replace(bundle, problem="twin.onnx is truncated or altered"),))
    (told,) = [line for line in status_text(broken).splitlines() if "twin.onnx" in line]
    assert told == "  !  bundle pump runs on, but a restart could not use its folder: twin.onnx is truncated or altered"


@pytest.mark.parametrize(
    ("delivery", "last_ack", "told"),
    [
        ("hub", None, 'start a hub (docs/centre.md), or set delivery = "broker"'),
        ("hub", 1, "does the hub run?"),
        ("broker", None, "broker is connected but does not acknowledge"),
    ],
)
def test_a_silent_centre_is_told_with_the_ways_out(delivery, last_ack, told):
    link = LinkStatus("mqtts://centre:8883", True, False, delivery=delivery, last_ack=last_ack)
    (line,) = [line for line in status_text(empty_status(link=link)).splitlines() if line.startswith("  !")]
    assert told in line


def test_nothing_is_said_of_a_day_before_an_hour_has_passed():
    for uptime, said in ((3_599, False), (3_600, True)):
        page = status_text(full_status(started=NOW - uptime * SECOND))
        assert ("272.8 MiB a day" in page) == said
        assert "written     295.6 MiB" in page


def test_why_the_centre_does_not_acknowledge_is_told_if_it_is_known():
    refused = full_status(link=LinkStatus("mqtts://centre", True, False, "the broker refuses what is published"))
    assert "  !  the link to the centre: the broker refuses what is published" in status_text(refused).splitlines()
    silent = full_status(link=LinkStatus("mqtts://centre", True, False, "connected"))
    assert "no hub has acknowledged anything" in status_text(silent)


def test_an_idle_gateway_has_a_page():
    text = status_text(empty_status())
    assert "none loaded yet" in text
    assert "no centre is configured" in text
    assert "!" not in text


@given(st.floats(0, 1e9), st.floats(0, 1e18))
def test_durations_and_sizes_are_short(seconds, count):
    assert 0 < len(duration(seconds)) < 20
    assert 0 < len(size(count)) < 14


@pytest.fixture
def gateway():
    """A port that answers, and a gateway.toml that names it."""
    server = StatusServer(HttpSettings(port=0), full_status)
    server.start()
    yield server
    server.stop()


def settings(monkeypatch, **changes):
    """`status` without a file asks the default port: here, that of the test."""
    made = HttpSettings(**changes)
    monkeypatch.setattr("edge_runtime.gateway.config.HttpSettings", lambda: made)


def test_the_command_prints_page_and_json(gateway, monkeypatch, capsys):
    settings(monkeypatch, port=gateway.port)
    assert main(["status"]) == 0
    assert capsys.readouterr().out == status_text(full_status()) + "\n"
    assert main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(full_status().json())


def test_nothing_listens_there(gateway, monkeypatch, capsys):
    settings(monkeypatch, port=gateway.port)
    gateway.stop()
    assert main(["status"]) == 1
    told = capsys.readouterr().err
    assert "nothing answers at http://127.0.0.1:" in told
    assert "overhaul-edge run gateway.toml" in told
