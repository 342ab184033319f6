"""The demo as it is started: real processes, which are all gone at the end however it ends."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from edge_runtime.gateway.config import read_config
from serving.demo.__main__ import main
from serving.demo.errors import DemoError
from serving.demo.plant import gateway_settings
from serving.demo.processes import Processes
from serving.demo.recording import prepare, read_contract
from tests.edge_runtime.broker import until
from tests.serving.demo.made import HOUR, START, write_fleet

ROOT = Path(__file__).parents[3]


@pytest.fixture
def plant(tmp_path, monkeypatch):
    """A folder in which the pipeline has been run."""
    write_fleet(tmp_path / "plant")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path / "plant"


def command(*options):
    return [sys.executable, "-m", "serving.demo", "--fleet", "tiny", *options]


def ours(folder):
    """Processes, of anybody, that the demo in `folder` has started."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TMPDIR", "").startswith(str(folder.parent / "tmp")):
                found.append(process)
        except psutil.Error:
            pass
    return [process for process in found if process.pid != os.getpid()]


def listeners(processes):
    return [c.laddr for process in processes for c in process.net_connections() if c.status == psutil.CONN_LISTEN]


def assert_nothing_left(folder):
    until(lambda: not ours(folder), 20, f"the end of {ours(folder)}")
    left = [
        path.name for path in (folder.parent / "tmp").iterdir() if path.name.startswith(("overhaul-demo-", "bentoml"))
    ]
    assert left == []


def test_from_the_first_process_to_the_last_line(plant):
    process = subprocess.Popen(
        command("--machines", "2", "--speed", "9000", "--stay"),
        cwd=plant,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said = read_until(process, "going on until Ctrl-C")
        found = ours(plant)
        assert len(found) >= 5
        addresses = listeners(found)
        assert len(addresses) >= 2
        assert all(address.ip == "127.0.0.1" for address in addresses), addresses
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=30)
        assert (process.returncode, error) == (0, "")
        assert "m2 failed, foreseen 4.9 h before" in said
        assert "waiting for the service" in said
        assert "m2: alarm raised: level 1" in said
        assert any(line.split()[:2] == ["m3", "10.0"] for line in said.splitlines())
        assert "with the same 300 observations of m2 says the same: remaining lives differ by 0 h at most" in said
        assert_nothing_left(plant)
    finally:
        end(process, plant)


def read_until(process, text):
    """What it says up to the line with `text`."""
    said = ""
    while text not in said:
        line = process.stdout.readline()
        assert line, said + (process.stderr.read() if process.stderr else "")
        said += line
    return said


def end(process, plant):
    for left in [process, *ours(plant)]:
        left.kill()
    process.communicate()


CTRL_C_AT_IMPORT = """
import os, signal, sys
class Press:
    def find_spec(self, name, path=None, target=None):
        if name == "sqlalchemy":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Press())
from serving.demo.__main__ import main
sys.exit(main([]))
"""


def test_ctrl_c_while_libraries_load(plant):
    command = [sys.executable, "-c", CTRL_C_AT_IMPORT]
    done = subprocess.run(command, cwd=plant, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert_nothing_left(plant)


def kill_it(process, how):
    if how == "a second Ctrl-C":
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
    else:
        process.send_signal(getattr(signal, how))


@pytest.mark.parametrize(
    "how",
    [
        "SIGKILL",
        pytest.param("SIGTERM", marks=pytest.mark.slow),
        pytest.param("SIGHUP", marks=pytest.mark.slow),
        pytest.param("a second Ctrl-C", marks=pytest.mark.slow),
    ],
)
def test_it_leaves_no_process(plant, how):
    process = subprocess.Popen(command("--no-service", "--speed", "60"), cwd=plant, stdout=subprocess.PIPE, text=True)
    try:
        read_until(process, "hour ")
        assert len(ours(plant)) >= 4
        kill_it(process, how)
        process.communicate(timeout=30)
        assert process.returncode == (-signal.SIGKILL if how == "SIGKILL" else 0)
        until(lambda: not ours(plant), 30, "the end of what it had started")
        if how != "SIGKILL":
            assert_nothing_left(plant)
    finally:
        end(process, plant)


def test_a_part_that_dies_ends_it_and_its_log_is_named(plant):
    process = subprocess.Popen(
        command("--no-service", "--speed", "60"), cwd=plant, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        read_until(process, "hour ")
        next(each for each in ours(plant) if "serving.hub" in each.cmdline()).kill()
        _, error = process.communicate(timeout=30)
        assert process.returncode == 1
        assert "the hub has ended with code -9\nits log is " in error
        assert Path(re.search(r"its log is (\S+?),?\s", error)[1]).name == "hub.log"
        assert list((plant.parent / "tmp").glob("overhaul-demo-*/hub.log"))  # is kept
        until(lambda: not ours(plant), 20, "the end of all others")
    finally:
        end(process, plant)


def test_a_terminal_that_is_closed(plant):
    """In a terminal it shows a live view; when that is closed, it ends."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        os.chdir(plant)
        os.execv(sys.executable, command("--no-service", "--speed", "60"))
    seen = b""
    deadline = time.monotonic() + 60
    while b"committed" not in seen or b"m2" not in seen:
        assert time.monotonic() < deadline, seen
        if select.select([terminal], [], [], 0.5)[0]:
            seen += os.read(terminal, 65536)
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert_nothing_left(plant)


@pytest.mark.slow
def test_nobody_reads_it(plant):
    process = subprocess.Popen(command("--no-service", "--speed", "60"), cwd=plant, stdout=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 0
    assert_nothing_left(plant)


def test_without_a_bundle(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([]) == 1
    told = capsys.readouterr().err
    assert "artifacts/pump/bundle/manifest.json is not there: run `uv run dvc repro` first" in told
    assert list(tmp_path.iterdir()) == []


def test_a_machine_that_is_not_held_out(plant, monkeypatch, capsys):
    monkeypatch.chdir(plant)
    assert main(["--fleet", "tiny", "--no-service", "--machines", "m1"]) == 1
    assert "'m1' is no held-out machine: there are m2, m3, m4" in capsys.readouterr().err
    assert_nothing_left(plant)


def test_what_is_played(plant, monkeypatch, tmp_path):
    """Only held-out machines that failed, all from one beginning, in whole intervals, and nothing in the future."""
    import pyarrow.parquet as pq

    monkeypatch.chdir(plant)
    now = START + 5000 * HOUR + 17
    stage = prepare("tiny", read_contract("tiny"), 5, tmp_path, now)
    assert [(m.asset, m.failed, m.settings) for m in stage.machines] == [
        ("m2", True, {"offset": 1.5}),
        ("m3", True, {}),
    ]
    assert {machine.begin for machine in stage.machines} == {stage.begin}
    assert (stage.begin - START) % stage.interval == 0
    assert 0 < now - stage.machines[1].end < 2 * stage.interval
    table = pq.read_table(tmp_path / "recording.parquet")
    assert table.num_rows == 900
    mine = table.filter(table["asset"].to_numpy(zero_copy_only=False) == "m2")
    assert mine["time"].cast("int64").to_pylist()[::299] == [stage.begin, stage.machines[0].end]
    assert mine["age"].to_pylist()[::299] == [0, 299 / 60]
    assert mine["event"].to_pylist()[:2] == [1, 0]
    assert stage.waveforms == ()


def test_a_machine_that_was_repaired_and_runs_on_is_played_until_it_failed(plant, monkeypatch, tmp_path):
    monkeypatch.chdir(plant)
    file = plant / "artifacts/tiny/lives.csv"
    begin = START + 1200 * HOUR
    file.write_text(file.read_text() + f"m3,1,{begin},{begin + HOUR},{begin + HOUR},censored,True,True\n")
    stage = prepare("tiny", read_contract("tiny"), 5, tmp_path, START + 5000 * HOUR)
    assert [(machine.asset, machine.failed) for machine in stage.machines] == [("m2", True), ("m3", True)]


def test_snapshots_of_waveforms_are_played_too(plant, monkeypatch, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    monkeypatch.chdir(plant)
    times = [START + 70 * HOUR // 60, START + 200 * HOUR // 60, START + 9000 * HOUR]  # the last: in no life of m2
    columns = {
        "asset": ["m2", "m2", "m2"],
        "time": pa.array(times, pa.timestamp("ns", tz="UTC")),
        "samples": pa.array([[1.0, 2, 3, 4]] * 3, pa.list_(pa.float32())),
    }
    pq.write_table(pa.table(columns), plant / "data/observations/tiny.shake.parquet")
    stage = prepare("tiny", read_contract("tiny"), ["m2"], tmp_path, START + 9000 * HOUR)
    assert stage.waveforms == ("shake",)
    table = pq.read_table(tmp_path / "recording.shake.parquet")
    assert table["time"].cast("int64").to_pylist() == [stage.begin, stage.begin + 130 * HOUR // 60]
    path = tmp_path / "gateway.toml"
    path.write_text(gateway_settings(stage, 9000.0, 1883))
    [source] = read_config(path).sources
    assert [(each.channel, each.axes) for each in source.settings.waveforms] == [("shake", 1)]


def test_a_part_that_cannot_start(tmp_path):
    processes = Processes(tmp_path)
    processes.start("hub", ["serving.hub", "--config", "nowhere.toml"], {})
    try:
        until(lambda: not processes.parts[0].alive, 30)
        with pytest.raises(DemoError, match=r"(?s)the hub has ended with code 1.*nowhere.toml cannot be read"):
            processes.check()
    finally:
        processes.stop()
