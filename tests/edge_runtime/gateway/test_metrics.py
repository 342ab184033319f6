import subprocess
import sys

import prometheus_client
import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge_runtime.gateway.metrics import METRICS, exposition, registry
from edge_runtime.gateway.status import JournalStatus
from tests.edge_runtime.gateway.statuses import NOW, empty_status, full_status


def samples(status):
    text, _ = exposition(registry(lambda: status))
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_each_metric_has_a_value_when_every_part_tells():
    assert {name for name, _ in samples(full_status())} == {metric.name for metric in METRICS}


def test_values_are_those_of_the_status():
    got = samples(full_status())
    assert got["overhaul_edge_observations_total", (("class", "pump"),)] == 90_311
    assert got["overhaul_edge_machines_in_alarm", (("class", "pump"), ("level", "1"))] == 3
    assert got["overhaul_edge_source_connected", (("source", "press"), ("type", "opcua"))] == 0
    assert got["overhaul_edge_source_insecure", (("source", "press"), ("type", "opcua"))] == 1
    events = "overhaul_edge_source_events_total"
    assert got[events, (("event", "not_json"), ("source", "line-3"), ("type", "mqtt"))] == 3
    assert got["overhaul_edge_spool_dropped_total", (("lane", "raw"),)] == 3
    assert got["overhaul_edge_link_last_ack_time_seconds", ()] == NOW / 1e9 - 1
    assert got["overhaul_edge_journal_writable", ()] == 1
    assert samples(full_status(journal=JournalStatus("disk full")))["overhaul_edge_journal_writable", ()] == 0


def test_what_never_happened_has_no_time():
    got = {name for name, _ in samples(empty_status())}
    assert "overhaul_edge_journal_commits_total" in got
    assert "overhaul_edge_journal_checkpoint_time_seconds" not in got
    assert not any(name.startswith("overhaul_edge_link") for name in got)


def test_names_follow_the_conventions_of_prometheus():
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.name.startswith("overhaul_edge_")
        assert "asset" not in metric.labels
        assert metric.help.endswith(".")
        for unit in ("seconds", "bytes"):
            if unit in metric.name:
                assert metric.name.removesuffix("_total").endswith(unit)


def test_openmetrics_is_given_to_those_who_prefer_it():
    text, kind = exposition(registry(full_status), "application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert text.endswith(b"# EOF\n")


def test_each_gateway_has_a_registry_of_its_own():
    before = list(prometheus_client.REGISTRY.collect())
    one, other = registry(full_status), registry(empty_status)
    assert one is not other
    assert len(list(prometheus_client.REGISTRY.collect())) == len(before)


def test_without_prometheus_client_the_extra_is_named():
    code = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "from edge_runtime.gateway.metrics import registry\n"
        "registry(lambda: None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "EdgeError: metrics need prometheus-client: pip install 'overhaul[gateway]'" in done.stderr


@pytest.mark.parametrize("status", [full_status(), empty_status()])
def test_the_text_is_stable(status):
    assert samples(status) == samples(status)
