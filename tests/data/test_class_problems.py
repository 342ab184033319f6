"""A mistake in a class file is told by key and line, with what is allowed, what is there and an example."""

import pytest

from data.class_file import load
from data.errors import AssetClassError

LOG = {"reader": "table", "files": ["fan.csv"], "failures": {"file": "log.csv"}}


@pytest.fixture
def said(fan):
    """`said(time={…}, …)`: what is said of the class with these changes, without the file and the line."""

    def explain(**changes):
        with pytest.raises(AssetClassError) as error:
            fan(**changes)
        lines = str(error.value).splitlines()
        assert all("fan.yaml:" in line for line in lines)
        return [line.split(": ", 1)[1] for line in lines]

    return explain


READERS = "use one of table, cmapss, simulation, e.g. reader: table"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"source": {"reader": "tabel"}}, f"source.reader: 'tabel' is no reader: {READERS}; did you mean 'table'?"),
        ({"source": {"reader": 5}}, f"source.reader: '5' is no reader: {READERS}"),
        ({"source": {"reader": None}}, f"source.reader: required key 'reader' is missing: {READERS}"),
        ({"source": "table"}, "source: must be a section of keys, e.g. {reader: …} (got 'table')"),
        (
            {"source": LOG | {"failures": "log.csv"}},
            "source.failures: must be a section of keys, e.g. {file: …} (got 'log.csv')",
        ),
        ({"source": {"files": "fan.csv"}}, "source.files: must be a list, e.g. [fan.csv] (got 'fan.csv')"),
        ({"source": {"files": []}}, "source.files: must have at least one entry (got [])"),
        ({"source": {"files": [3]}}, 'source.files.0: must be text, e.g. "3" in quotes (got 3)'),
        ({"source": {"settings": ["a"]}}, "source.settings: must be text (got ['a'])"),
        ({"source": {"separator": ";;"}}, "source.separator: must be one character, e.g. ';' or \"\\t\" (got ';;')"),
        (
            {"source": {"columns": {"vibratoin": "V"}}},
            "source.columns.vibratoin: 'vibratoin' is no channel: did you mean 'vibration'?",
        ),
        ({"source": {"columns": {"x": "V"}}}, "source.columns.x: 'x' is no channel: channels are "),
        ({"labels": {"cap": "inf"}}, "labels.cap: must be a finite number (got 'inf')"),
        ({"labels": 60}, "labels: must be a section of keys, e.g. {cap: …, horizon: …} (got 60)"),
        ({"time": {"unit": "h"}}, "time.unit: must be 's' or 'cycle' (got 'h')"),
        ({"life": {"age": True}}, "life.age: must be 'required', 'optional' or 'none' (got true; YAML reads yes, no, "),
        ({"simulated": "maybe"}, "simulated: must be true or false (got 'maybe')"),
        ({"title": 7}, 'title: must be text, e.g. "7" in quotes (got 7)'),
        ({"channels": {"vibration": {"range": [0]}}}, "channels.vibration.range: must be two numbers, the lower one "),
        ({"channels": {"vibration": {"range": 50}}}, "channels.vibration.range: must be two numbers, the lower one "),
        ({"channels": {"Shaft": {}}}, "channels.Shaft: a name is lower case letters, digits and '_', a letter first"),
        ({"features": {"regimes": "many"}}, "features.regimes: must be 'auto' (got 'many') or must be a whole number"),
        ({"settings": {"rated_speed": {"default": 5}}}, "settings.rated_speed: default 5 lies outside range [100.0, "),
        ({"speed": 1}, "speed: unknown key 'speed': there are alarms, channels, "),
    ],
)
def test_what_is_allowed_is_told(said, changes, told):
    assert any(line.startswith(told) for line in said(**changes)), said(**changes)
    assert not any("Input should" in line or "discriminator" in line for line in said(**changes))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"time": {"interval": "1h"}}, "time.interval: must be a number, e.g. 3600 (got '1h'): write it as a number "),
        ({"time": {"max_gap": "2 days"}}, "of time.unit, 172800"),
        ({"labels": {"cap": "2.5 h"}}, "of life.unit, 150"),
        ({"channels": {"speed": {"hold": "90min"}}}, "of time.unit, 5400"),
        ({"time": {"unit": "cycle", "tick": "3h"}}, "of time.unit"),
        ({"time": {"interval": None}}, "required key 'interval' is missing"),
        ({"time": {"interval": "often"}}, "time.interval: must be a number, e.g. 3600 (got 'often')"),
    ],
)
def test_a_duration_written_as_text_is_converted(said, changes, told):
    assert any(told in line for line in said(**changes))


def test_one_line_a_key_and_only_those_of_the_reader(said):
    lines = said(source={"reader": "simulation"})
    assert [line.split(":")[0] for line in lines] == [
        *(f"source.{key}" for key in ("simulator", "machines", "seed", "files"))
    ]
    assert "there are machines, reader, seed, simulator" in lines[-1]


def test_the_keys_of_each_section_are_its_own(said):
    (line,) = said(life={"healthy": {"min_remaining": 50, "minimum": 5}})
    assert line == "life.healthy.minimum: unknown key 'minimum': there are max_age, min_remaining"
    (line,) = said(source=LOG | {"failures": {"file": "log.csv", "failure_value": ["x"]}})
    assert line.endswith("did you mean 'failure_values'?")


def test_a_key_that_stands_there_twice_is_refused(fan, workspace):
    fan()
    file = workspace / "classes" / "fan.yaml"
    lines = file.read_text().splitlines()
    at = lines.index("  vibration:")
    file.write_text("\n".join([*lines[: at + 1], "    unit: mm/s", *lines[at + 1 :]]))
    with pytest.raises(AssetClassError, match=r"fan\.yaml:\d+: 'unit' stands there twice"):
        load("fan", file.parent)


def test_a_gap_is_longer_than_an_interval(said):
    (line,) = said(time={"interval": 60, "max_gap": 30})
    assert "max_gap 30 must not be shorter than interval 60" in line


def test_what_does_not_go_together_is_told_where_it_stands(fan, workspace):
    with pytest.raises(AssetClassError) as error:
        fan(
            derived={"rise": {"quantity": "rise", "unit": "1", "formula": "vibratoin / 2", "range": [0, 1]}},
            alarms={"shaking": {"level": 2, "signal": "vibratoin", "above": 3, "dead_band": 1}},
        )
    lines = (workspace / "classes" / "fan.yaml").read_text().splitlines()
    for line, key in zip(str(error.value).splitlines(), ("derived.rise.formula", "alarms.shaking.signal"), strict=True):
        _, number, where, told = line.split(":", 3)
        assert (where.strip(), "did you mean 'vibration'?" in told) == (key, True)
        assert lines[int(number) - 1].strip().startswith(key.rpartition(".")[2])
