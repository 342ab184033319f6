"""What the screen shows, at several widths."""

import dataclasses
import io

import pytest
from rich.console import Console

from serving.demo.view import View, summary
from serving.demo.watch import Machine, Scene
from serving.demo.words import Words
from tests.serving.demo.made import scene, stage


def shown(renderable, width):
    console = Console(width=width, file=io.StringIO(), force_terminal=True, highlight=False, record=True)
    console.print(renderable)
    return console.export_text()


def draw(folder, hours, width, **changes):
    played = stage(folder, **changes)
    words, now = Words(played), scene(played, hours)
    over = [machine for machine in now.machines if machine.newest.t == machine.played.last]
    return shown(View(words, 3600.0, "/here", "http://127.0.0.1:1", width).scene(now, over), width), words, now


@pytest.mark.parametrize("width", [80, 100, 140])
def test_a_machine_fails_foreseen(tmp_path, width):
    text, _, _ = draw(tmp_path, 620, width)
    assert "Tiny machine (simulated)" in text
    assert "failed, foreseen 95.0 h" in text
    assert "290.0  224.0 … 356.0" in text
    assert "hour 505.0" in text
    assert "m2: alarm raised: level 2, 105.0 h left (76.0 … 134.0)" in text
    assert "3,456 rows in 12 messages, 0 refused" in text
    assert "hour 620.0 of 900.0, 3,600 times" in text
    assert all(len(line) <= width for line in text.splitlines())
    assert "…│" not in text.replace(" ", "")  # nothing is cut
    assert ("since new" in text) == (width >= 118)
    assert ("◆" in text) == (width >= 92)


@pytest.mark.parametrize("width", [92, 99, 108, 120, 132])
def test_no_verdict_is_cut(tmp_path, width):
    played = stage(tmp_path)
    long = [dataclasses.replace(each, asset=f"pump-00{each.asset}") for each in played.machines]
    played = dataclasses.replace(played, machines=tuple(long))
    words, now = Words(played), scene(played, 620)
    text = shown(View(words, None, "", None, width).scene(now, [now.machines[0]]), width)
    assert "failed, foreseen 95.0 h" in text
    assert "pump-00m3" in text
    assert "…│" not in text.replace(" ", "")


def test_before_anything_is_known(tmp_path):
    text, words, now = draw(tmp_path, 0, 100)
    assert "no alarm yet" in text
    assert "> 480" in text
    assert words.remaining(480.0) == "> 480"
    waiting = tuple(Machine(machine.played, machine.asset) for machine in now.machines)
    nothing = Scene(waiting, 0, 0, 0, 0.0, 0.0, "unknown", 0, False)
    assert "waiting" in shown(View(words, None, "", None, 100).scene(nothing, []), 100)


def test_what_a_model_of_simulated_machines_says_is_called_simulated(tmp_path):
    assert "Pump (simulated)" in draw(tmp_path, 5, 100, title="Pump")[0]
    assert "simulated" not in draw(tmp_path, 5, 100, title="Pump", simulated=False)[0]


def test_the_summary(tmp_path):
    _, words, now = draw(tmp_path, 620, 100)
    text = shown(summary(words, now.machines), 80)
    row = next(line for line in text.splitlines() if "m2" in line)
    assert row.split() == ["m2", "600.0", "95.0", "105.0", "76.0", "…", "134.0", "95.0", "yes", "0"]
    assert "not" in next(line for line in text.splitlines() if "m3" in line)
