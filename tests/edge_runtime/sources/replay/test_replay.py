import contextlib
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.clock import SystemClock
from edge_runtime.decode import ProblemsError, decode_strict
from edge_runtime.errors import CommandError, DataError
from edge_runtime.gateway.inbox import GatewayInbox
from edge_runtime.intake.assembler import MOST_WINDOWS
from edge_runtime.sources.replay.playback import NANOS, as_now, schedule
from edge_runtime.sources.replay.recording import Block, Recording, Row, Side
from edge_runtime.sources.replay.source import CROWD, ReplaySettings, ReplaySource, ReplayWaveform
from edge_runtime.sources.source import Arrival, WaveformArrival
from tests.edge_runtime.gateway.rig import Rig, TurnedClock
from tests.edge_runtime.sources.inbox import ListInbox, wait_until
from tests.edge_runtime.tiny import tiny_bundle

TABLE = """\
asset,time,flow,speed,age
P-1,2026-01-03T10:00:00Z,1,100,5
P-1,2026-01-03T10:02:00Z,3,,6
P-1,2026-01-03T10:01:00Z,,,
P-2,2026-01-03T10:00:30Z,n/a,200,
,2026-01-03T10:00:30Z,7,7,
P-2,soon,8,8,
"""
BEGIN = 1767434400 * NANOS


@contextlib.contextmanager
def running(source, room=None):
    inbox = ListInbox(room)
    source.start(inbox)
    try:
        yield inbox
    finally:
        began = time.monotonic()
        source.stop()
        assert time.monotonic() - began < 20
        assert not [t for t in threading.enumerate() if t.name == f"replay {source.name}"]


def source_of(path, **options):
    return ReplaySource(
        ReplaySettings("recorded", path, **({"speed": 0.0, "retry_most": 0.1} | options)), SystemClock()
    )


def played(path, **options):
    source = source_of(path, **options)
    with running(source) as inbox:
        wait_until(lambda: source.status().detail.startswith("finished"))
        return inbox, source.status()


def write(tmp_path, text, name="table.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_observations_come_in_the_order_of_time_with_what_was_received(tmp_path):
    inbox, status = played(write(tmp_path, TABLE))
    assert [(a.asset, (a.time - BEGIN) // NANOS, a.values) for a in inbox.arrivals] == [
        ("P-1", 0, {"flow": 1, "speed": 100, "age": 5}),
        ("P-2", 30, {"speed": 200}),
        ("P-1", 60, {}),
        ("P-1", 120, {"flow": 3, "age": 6}),
    ]
    assert status.connected
    assert status.detail == "finished: 4 observations"
    assert status.counts == {"received": 4, "unusable_rows": 2}


def test_cycles_are_counted_and_new_lives_are_events(tmp_path):
    path = tmp_path / "table.parquet"
    table = {"asset": ["E1", "E1", "E1"], "time": [1.0, 2.0, 3.0], "life": [1, 1, 2], "t2": [5.0, None, 6.0]}
    pq.write_table(pa.table(table), path)
    inbox, _ = played(path, unit="cycle")
    assert [(a.time, a.values) for a in inbox.arrivals] == [
        (NANOS, {"t2": 5}),
        (2 * NANOS, {}),
        (3 * NANOS, {"t2": 6, "event": 1}),
    ]
    inbox, _ = played(write(tmp_path, "asset,time,event,t2\nE1,1,2,3\n"), unit="cycle")
    assert inbox.arrivals[0].values == {"event": 2, "t2": 3}


CELLS = st.none() | st.floats(width=32, allow_nan=False)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 50), CELLS, CELLS), min_size=1, max_size=40))
def test_nothing_of_a_table_is_lost_or_changed(tmp_path_factory, rows):
    text = ["asset,time,x,y", *(",".join("" if c is None else str(c) for c in row) for row in rows)]
    path = write(tmp_path_factory.mktemp("table"), "\n".join(text) + "\n")
    recording = Recording(path, "cycle")
    got = list(recording.play())
    times = [row.time for row in got]
    assert times == sorted(times)
    expected = [
        Row(asset, t * NANOS, {n: float(np.float32(v)) for n, v in (("x", x), ("y", y)) if v is not None})
        for asset, t, x, y in sorted(rows, key=lambda row: row[1])
    ]
    assert got == expected
    assert recording.assets == tuple(dict.fromkeys(row.asset for row in got))


def side_file(path, rows):
    samples = pa.array([row[2] for row in rows], pa.list_(pa.float32(), len(rows[0][2])))
    stamps = pa.array([row[1] for row in rows], pa.timestamp("ns", "UTC"))
    pq.write_table(pa.table({"asset": [row[0] for row in rows], "time": stamps, "samples": samples}), path)


def test_waveforms_come_before_the_observation_of_their_time(tmp_path):
    path = write(tmp_path, TABLE)
    side = tmp_path / "table.shake.parquet"
    side_file(
        side,
        [("P-1", BEGIN + 120 * NANOS, [1, 2, 3, 4]), ("P-2", BEGIN + 30 * NANOS, [5, 6, 7, 8]), ("P-1", None, [0] * 4)],
    )
    inbox, status = played(path, waveforms=(ReplayWaveform("shake", axes=2),))
    assert [type(item) for item in inbox.got] == [Arrival, WaveformArrival, Arrival, Arrival, WaveformArrival, Arrival]
    waveform = inbox.got[1]
    assert (waveform.asset, waveform.channel, waveform.time) == ("P-2", "shake", inbox.got[2].time)
    assert waveform.samples.dtype == np.float32
    assert waveform.samples.tolist() == [[5, 6], [7, 8]]
    assert status.counts["unusable_waveforms"] == 1
    with pytest.raises(DataError, match="blocks of 4 samples are not 3 equal axes"):
        Recording(path, "s", [Side("shake", side, 3)])
    with pytest.raises(DataError, match="no side file of waveforms"):
        Recording(path, "s", [Side("shake", path)])
    with pytest.raises(DataError, match="no side file of waveforms"):
        Recording(path, "s", [Side("shake", tmp_path / "nowhere.parquet")])


def test_a_full_inbox_is_waited_for_and_nothing_is_lost(tmp_path):
    path = write(tmp_path, "asset,time,x\n" + "".join(f"A,{i},{i}\n" for i in range(200)))
    source = source_of(path, unit="cycle")
    with running(source, room=50) as inbox:
        wait_until(lambda: len(inbox.got) == 50)
        for room in range(50, 201, 10):
            inbox.room = room
            wait_until(lambda room=room: len(inbox.got) == room)
        wait_until(lambda: source.status().detail == "finished: 200 observations")
    assert inbox.values("A", "x") == list(range(200))
    assert source.status().counts["received"] == 200
    assert 0 < source.status().counts["waited"] <= 200


def test_a_crowded_inbox_keeps_room_for_others_and_counts_no_overflow(tmp_path):
    rows = CROWD + 500
    path = write(tmp_path, "asset,time,x\n" + "".join(f"A,{i},{i}\n" for i in range(rows)))
    source, inbox, taken = source_of(path, unit="cycle"), GatewayInbox(), []
    source.start(inbox)
    wait_until(lambda: len(inbox) == CROWD, 60)
    time.sleep(0.05)  # it would knock ten times meanwhile
    assert len(inbox) == CROWD
    assert inbox.put(Arrival("B", 0, {}, source)), "others come in"
    while not source.status().detail.startswith("finished") or len(inbox):
        taken += inbox.take(100)
    source.stop()
    assert [arrival.values["x"] for arrival in taken if arrival.asset == "A"] == list(range(rows))
    assert inbox.overflow == 0
    assert source.status().counts["waited"] > 0


@pytest.mark.parametrize("room", [20_000, 50], ids=["roomy", "always full"])
def test_every_row_of_a_file_becomes_an_observation(tmp_path, room):
    """Played as fast as it is taken in, through the engine of a gateway into its journal."""
    rows, clock = 3000, TurnedClock(BEGIN + 10**6 * NANOS)
    minutes = [(machine, minute) for minute in range(rows // 3) for machine in range(3)]
    lines = [f"P-{machine},2026-01-03T{minute // 60:02}:{minute % 60:02}:00Z,1,1\n" for machine, minute in minutes]
    path = write(tmp_path, "asset,time,flow,speed\n" + "".join(lines))
    bundle = tiny_bundle(tmp_path / "bundle")  # an observation a minute
    rig = Rig(tmp_path, {"tiny": (bundle, ["P-0", "P-1"])}, clock)
    rig.inbox = rig.engine.inbox = GatewayInbox(room)
    listed = write(tmp_path, "asset,class\nP-0,tiny\nP-1,tiny\n", "machines.csv")
    source = source_of(path, machines=listed)
    source.start(rig.inbox)
    deadline = time.monotonic() + 60
    while not source.status().detail.startswith("finished") or len(rig.inbox):
        assert time.monotonic() < deadline
        rig.engine.step()
    source.stop()
    clock.turn(1)  # the last minutes close as time passes
    for _ in range(rows // 3 // MOST_WINDOWS + 5):
        rig.engine.step()
    rig.finish()
    assert source.status().counts["received"] == rows // 3 * 2
    assert source.status().counts["not_listed"] == rows // 3
    twins = rig.engine.twins["tiny"]
    assert twins.fleet.number.tolist() == [rows // 3, rows // 3]
    assert twins.counts["observations"] == rows // 3 * 2
    assert not rig.engine.counts["unknown_asset"]
    assert not +twins.intake.counts


def test_machines_that_are_not_listed_are_left_out(tmp_path):
    path = write(tmp_path, TABLE)
    listed = write(tmp_path, "asset,class,flow\nP-2,pump,3\nP-3,pump,\n", "machines.csv")
    side_file(tmp_path / "table.shake.parquet", [("P-1", BEGIN, [1.0, 2.0]), ("P-2", BEGIN, [3.0, 4.0])])
    inbox, status = played(path, machines=listed, waveforms=(ReplayWaveform("shake"),))
    assert [item.asset for item in inbox.got] == ["P-2", "P-2"]
    assert status.counts == {"received": 2, "not_listed": 3, "waveforms_not_listed": 1, "unusable_rows": 2}
    table, flow, speed = source_of(path, machines=listed).check()
    assert table.ok
    assert (flow.ok, speed.detail) == (True, "2 values, 8 … 200")  # of P-2, the row without a time among them
    assert "1 observations of 1 machines" in table.detail
    assert f"; 3 rows are left out: their machines are not in {listed}; 2 unusable_rows" in table.detail
    listed.write_text("asset,class\npump-1,pump\n")
    (finding,) = source_of(path, machines=listed).check()
    assert not finding.ok
    assert "none of its machines is listed in `machines`; it has P-1, P-2" in finding.detail
    (finding,) = source_of(path, machines=tmp_path / "nowhere.csv").check()
    assert not finding.ok


@pytest.mark.parametrize(
    ("text", "unit", "told"),
    [
        ("A,01.02.2026 10:00,1", "s", "'01.02.2026 10:00' is no date and time; write it as ISO 8601, like 2026-"),
        ("A,17,1", "s", "'17' is no date and time; for numbers of cycles say unit = 'cycle'"),
        ("A,2026-02-01,1", "cycle", "'2026-02-01' is no number of cycles; or is the unit 's'?"),
        (",2026-02-01,1", "s", "the column 'asset' is empty"),
    ],
)
def test_a_time_that_cannot_be_read_is_shown(tmp_path, text, unit, told):
    with pytest.raises(DataError) as raised:
        Recording(write(tmp_path, f"asset,time,x\n{text}\n"), unit)
    assert told in str(raised.value)


def test_a_stop_does_not_wait_for_the_next_observation_nor_for_the_inbox(tmp_path):
    path = write(tmp_path, TABLE)
    slow = source_of(path, speed=0.001)
    with running(slow) as inbox:
        wait_until(lambda: inbox.got)
        assert slow.status().detail == "playing: 1 of 4 observations"
    with running(source_of(path), room=0) as inbox:
        time.sleep(0.05)
    assert inbox.got == []


def test_the_pace_is_that_of_the_recording_times_the_speed(tmp_path):
    path = write(tmp_path, TABLE)
    began = time.monotonic()
    with running(source_of(path, speed=400.0)) as inbox:
        wait_until(lambda: len(inbox.got) == 4)
    assert time.monotonic() - began >= 0.3  # 120 s; how much more depends on this computer
    due = [due for due, _ in schedule(Recording(path), Still(7), speed=400.0)]
    assert due == [7 + s * NANOS // 400 for s in (0, 30, 60, 120)]


class Still:
    """A clock that stands."""

    def __init__(self, now):
        self.now = now

    def utc(self):
        return self.now

    def monotonic(self):
        return self.now


def test_shifted_playback_seems_live(tmp_path):
    table = "asset,time,x\n" + "".join(f"A,2026-01-03T10:00:00.{i}Z,{i}\n" for i in range(3))
    source = source_of(write(tmp_path, table), speed=1.0, shift=True)
    with running(source) as inbox:
        for n in (1, 2, 3):
            wait_until(lambda n=n: len(inbox.got) == n)
            assert abs(time.time_ns() - inbox.got[-1].time) < 20e9
    assert np.diff([a.time for a in inbox.arrivals]).tolist() == [NANOS // 10] * 2


@given(
    st.integers(0, 2 * 10**18),
    st.integers(0, 10**17),
    st.one_of(st.just(0.0), st.floats(1e-3, 1e6)),
    st.floats(0, 1),
)
def test_shifted_times_are_never_ahead_of_the_clock(first, length, speed, share):
    now = 1_800_000_000 * NANOS
    offset = as_now(first, first + length, speed, now)

    def ahead(passed):
        """How far what is played after `passed` of the recording is dated in the future."""
        return first + passed + offset - (now + (passed / speed if speed else 0))

    rounding = 10_000 + length / 1e9
    assert ahead(round(length * share)) <= rounding
    if speed >= 1 or speed == 0:
        assert abs(ahead(length)) <= rounding


def test_a_loop_begins_new_lives_at_later_times(tmp_path):
    path = write(tmp_path, "asset,time,x\nA,1,1\nB,1,2\nA,2,3\nB,2,4\n")
    with running(source_of(path, unit="cycle", loop=True), room=12) as inbox:
        wait_until(lambda: len(inbox.got) == 12)
    assert [a.time // NANOS for a in inbox.arrivals] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]
    assert [a.values.get("event", 0) for a in inbox.arrivals] == [0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0]
    assert inbox.values("A", "x") == [1, 3] * 3


def test_reading_can_be_stopped(tmp_path):
    path = write(tmp_path, TABLE)
    with pytest.raises(DataError, match="reading was stopped"):
        Recording(path, stop=lambda: True)


def test_a_file_that_is_not_there_yet_is_waited_for(tmp_path):
    path = tmp_path / "table.csv"
    source = source_of(path)
    with running(source) as inbox:
        wait_until(lambda: source.status().counts["failures"] >= 2)
        assert not source.status().connected
        assert "cannot be read: No such file" in source.status().detail
        path.write_text("asset,time,flow\nP-1,never,1\n")
        wait_until(lambda: "'never' is no date and time" in source.status().detail)
        path.write_text(TABLE)
        wait_until(lambda: len(inbox.got) == 4)


def test_check_tells_what_a_file_holds(tmp_path):
    table, flow, speed = source_of(write(tmp_path, TABLE)).check()
    assert (
        "4 observations of 2 machines, 2026-01-03T10:00:00Z to 2026-01-03T10:02:00Z (s); 2 unusable_rows"
        in table.detail
    )
    assert flow.what == "recorded: channel flow"
    assert flow.ok
    assert "1 … 8" in flow.detail
    assert "3 values" in speed.detail or "4 values" in speed.detail
    odd = source_of(write(tmp_path, "asset,time,x,y\nA,1,broken,\n"), unit="cycle").check()
    assert [finding.ok for finding in odd] == [True, False, False]
    assert "1 cells are no numbers, e.g. 'broken'" in odd[1].detail
    (finding,) = source_of(tmp_path / "nowhere.csv").check()
    assert not finding.ok


def test_a_recording_takes_no_set_points(tmp_path):
    with pytest.raises(CommandError, match="is a recording"):
        source_of(write(tmp_path, TABLE)).write("P-1", "speed", 1)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"shift": True, "unit": "cycle"}, 'no "now"'),
        ({"shift": True, "loop": True, "speed": 2.0}, "run ahead of the clock"),
        ({"shift": True, "loop": True, "speed": 0}, "run ahead of the clock"),
        ({"waveforms": [{"channel": "w"}, {"channel": "w"}]}, "more than once"),
        ({"speed": -1}, "expected a number from 0"),
    ],
)
def test_settings_say_what_is_wrong_with_them(changes, told):
    with pytest.raises(ProblemsError, match=told):
        decode_strict(ReplaySettings, {"name": "x", "path": "a.csv"} | changes, "source", Path())


def test_a_side_file_stands_beside_its_table():
    settings = decode_strict(
        ReplaySettings,
        {"name": "x", "path": "pump.parquet", "waveforms": [{"channel": "w"}, {"channel": "v", "path": "v.pq"}]},
        "source",
        Path("/data"),
    )
    assert [side.path for side in settings.sides] == [Path("/data/pump.w.parquet"), Path("/data/v.pq")]
    assert isinstance(Block("a", "w", 0, np.zeros((1, 1), np.float32)), Block)
