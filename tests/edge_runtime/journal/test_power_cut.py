"""What was acknowledged survives: the power cut at any moment, and the process killed."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.edge_runtime.journal import storage
from tests.edge_runtime.journal.load import check

needs_shim = pytest.mark.skipif(storage.shim() is None, reason="there is no C compiler to build the test's disk with")
ROOT = Path(__file__).parents[3]


def start(folder, seed, seconds, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.edge_runtime.journal.load", folder, str(seed), str(seconds)],
        cwd=ROOT,
        env=storage.environment(folder, **environment) if environment else None,
        stdout=subprocess.PIPE,
    )


def recorded(folder, seed, seconds, troubled=False):
    """What a run of some seconds did to its disk; it is `troubled` when the disk fails now and then."""
    log = folder.with_name(folder.name + ".log")
    folder.mkdir(exist_ok=True)
    troubles = {name: folder.with_name(f"{folder.name}.{name}") for name in ("broken", "full")} if troubled else {}
    process = start(folder, seed, seconds, fsync_ms=4, log=log, **troubles)
    process.communicate(timeout=60)
    assert process.returncode == 0
    return storage.read_log(log)


def tellings(operations):
    """Where something was acknowledged or published."""
    number = {o.file for o in operations if o.type == "O" and o.data.endswith(b"/told")}
    return [i for i, o in enumerate(operations) if o.type == "W" and o.file in number]


def cut(operations, rng, into, seed, before=None, told_before=""):
    """The power goes: mostly just when something was told, when least of what it rests on may be on the disk."""
    told = tellings(operations)
    at = rng.choice(told) + 1 if told and rng.random() < 0.7 else rng.randint(0, len(operations))
    storage.rebuild(operations, at, rng, into, before)
    (into / "told").unlink(missing_ok=True)
    heard = told_before + b"".join(operations[i].data for i in told if i < at).decode()
    return check(into, seed, heard), heard


@needs_shim
@pytest.mark.parametrize("troubled", [False, True], ids=["good disk", "bad disk"])
def test_power_cuts_lose_nothing_that_was_acknowledged(tmp_path, troubled):
    seed = random.randrange(10**6)
    operations = recorded(tmp_path / "data", seed, 1.5, troubled)
    rng = random.Random(seed)
    found = [cut(operations, rng, tmp_path / f"cut{i}", seed)[0] for i in range(12)]
    assert max(found) > 20, f"seed {seed}: hardly anything was written"


@needs_shim
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_hundred_power_cuts_each_followed_by_another(tmp_path):
    for i in range(50):
        seed = random.randrange(10**6)
        rng = random.Random(seed)
        operations = recorded(tmp_path / f"data{i}", seed, rng.uniform(0.3, 3), i % 3 == 0)
        _, heard = cut(operations, rng, tmp_path / f"cut{i}", seed)
        subprocess.run(["cp", "-r", tmp_path / f"cut{i}", tmp_path / f"before{i}"], check=True)
        operations = recorded(tmp_path / f"cut{i}", seed, rng.uniform(0.3, 3), i % 3 == 1)
        cut(operations, rng, tmp_path / f"again{i}", seed, tmp_path / f"before{i}", heard)


def kill_and_check(folder, seed, rng):
    process = start(folder, seed, 60)
    assert process.stdout.readline() == b"ready\n"
    time.sleep(rng.uniform(0, 0.5))
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    heard = folder / "told"
    return check(folder, seed, heard.read_text() if heard.exists() else "")


def test_killed_again_and_again_it_goes_on_where_it_was(tmp_path):
    seed = random.randrange(10**6)
    rng = random.Random(seed)
    found = [kill_and_check(tmp_path, seed, rng) for _ in range(4)]
    assert found == sorted(found)
    assert found[-1] > 20, f"seed {seed}"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_a_hundred_times(tmp_path):
    rng = random.Random()
    found = [kill_and_check(tmp_path, 7, rng) for _ in range(100)]
    assert found == sorted(found)
