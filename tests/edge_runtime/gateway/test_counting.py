from types import SimpleNamespace

import pytest

from edge_runtime.gateway.check import check
from edge_runtime.gateway.config import read_config
from edge_runtime.gateway.counting import miscounted
from tests.edge_runtime.gateway.plant import GATEWAY, MQTT, write_plant

SOURCES = """
[[source]]
type = "mqtt"
name = "plant"
url = "mqtt://127.0.0.1:1"
topics = [
  {{ topic = "a/{{asset}}", time_unit = "cycle" }},
  {{ topic = "b/{{asset}}/{{channel}}", format = "value" }},
  {{ topic = "c/p-1", asset = "p-1" }},
]
[[source]]
type = "replay"
name = "week"
path = "week.csv"
[[source]]
type = "modbus"
name = "drives"
host = "127.0.0.1"
values = [{{ asset = "p-1", channel = "flow", address = 0 }}]
"""


def told(tmp_path, **units):
    """What is said of the sources; classes by their unit of time, p-1 is of the first."""
    config = read_config(write_plant(tmp_path, GATEWAY + SOURCES))
    contracts = {name: SimpleNamespace(time=SimpleNamespace(unit=unit)) for name, unit in units.items()}
    first, *others = units
    machines = {first: SimpleNamespace(assets=("p-1",)), **{name: SimpleNamespace(assets=()) for name in others}}
    return list(miscounted(contracts, machines, config.sources))


def test_utc_for_a_class_that_counts_cycles_is_told_with_the_way_out(tmp_path):
    rest = "class engine counts cycles"
    assert told(tmp_path, engine="cycle") == [
        f"source plant, topic b/{{asset}}/{{channel}}: its times are UTC, {rest}: send JSON with the cycle as its time",
        f'source plant, topic c/p-1: its times are UTC, {rest}: write time_unit = "cycle"',
        f'source week: its times are UTC, {rest}: write unit = "cycle"',
        f"source drives: its times are UTC, {rest}: only sources of type mqtt and replay can tell cycles",
    ]


def test_cycles_for_a_class_that_goes_by_utc_are_told(tmp_path):
    assert told(tmp_path, pump="s") == [
        "source plant, topic a/{asset}: its times are cycles, class pump goes by UTC: leave time_unit out"
    ]


def test_where_classes_differ_only_what_is_of_one_machine_can_be_wrong(tmp_path):
    assert told(tmp_path, pump="s", engine="cycle") == []
    lines = told(tmp_path, engine="cycle", pump="s")
    assert [line.partition(":")[0] for line in lines] == ["source plant, topic c/p-1", "source drives"]


@pytest.mark.parametrize(("unit", "results"), [("ns", []), ("cycle", ["warn"])])
def test_check_says_so(tmp_path, unit, results):
    text = GATEWAY + MQTT.replace('/readings"', f'/readings", time_unit = "{unit}"')
    lines = check(write_plant(tmp_path, text))
    assert [line.result for line in lines if line.what == "times"] == results
