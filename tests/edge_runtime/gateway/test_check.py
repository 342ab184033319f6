import json
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import paho.mqtt.client as paho
import pytest

from edge_runtime.cli import main
from edge_runtime.gateway.check import check
from edge_runtime.gateway.checks import here, models
from edge_runtime.gateway.checks.here import secret_files
from edge_runtime.gateway.checks.line import Line, lines_text
from edge_runtime.gateway.config import HttpSettings, read_config
from edge_runtime.gateway.http import StatusServer
from edge_runtime.sources.mqtt import check as mqtt_check
from tests.edge_runtime.broker import running
from tests.edge_runtime.certificates import Authority
from tests.edge_runtime.gateway.plant import GATEWAY, MQTT, write_plant
from tests.edge_runtime.gateway.statuses import full_status
from tests.edge_runtime.sources.modbus.modbus_server import ModbusServer


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    with running("iotcore", tmp_path_factory.mktemp("broker")) as started:
        yield started


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """Nothing is published here: do not wait for it."""
    monkeypatch.setattr(mqtt_check, "LISTEN", 0.05)


@pytest.fixture
def find(tmp_path, broker):
    """The lines about a gateway.toml, by part and what."""

    def find(text=GATEWAY + MQTT, **urls):
        path = write_plant(tmp_path, text, **({"link": broker.url, "plant": broker.url} | urls))
        return {(line.part, line.what): line for line in check(path)}

    return find


def failures(lines):
    return {key: line.detail for key, line in lines.items() if line.result == "FAIL"}


def test_a_sound_plant_is_all_well(find, broker, tmp_path):
    lines = find()
    assert failures(lines) == {}
    told = {key: line.detail for key, line in lines.items()}
    assert told["config", str(tmp_path / "gateway.toml")] == "1 bundles, 1 sources"
    assert told["data", str(tmp_path / "data")] == "will be made"
    assert "SIMULATED on CPUExecutionProvider; passed over TensorrtExecutionProvider" in told["bundle", "tiny"]
    assert told["machines", "tiny"] == "2 machines"
    assert told["mapping", "tiny"] == "3 channels, 1 by name"
    assert told["spool", "1.0 GiB"].startswith("7 days without the centre take at most about ")
    assert told["source plant", f"broker {broker.url}"].startswith("connected")
    assert told["link", f"broker {broker.url}"].startswith("connected")
    assert "Granted QoS 1" in told["link", "topic overhaul/1/north/gw-7/down/+"]
    assert told["commands", "enabled = false"]
    assert told["http", "127.0.0.1:0"] == "free"
    assert not (tmp_path / "data").exists()


def test_the_command_prints_a_table_and_fails_with_1(tmp_path, broker, capsys):
    path = write_plant(tmp_path, link=broker.url, plant=broker.url)
    assert main(["check", str(path)]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[0].startswith("ok    config")
    assert main(["check", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {"part": "machines", "what": "tiny", "result": "ok", "detail": "2 machines"} in told
    path.write_text(path.read_text().replace("[gateway]", "[gatewy]"))
    assert main(["check", str(path)]) == 1
    told = capsys.readouterr().out
    assert "FAIL  config" in told
    assert "gatewy is no section: did you mean 'gateway'?" in told
    assert told.splitlines()[-1].endswith("failed, 0 to look at")


def test_the_command_says_nothing_but_its_table(tmp_path):
    path = write_plant(tmp_path, link="mqtt://127.0.0.1:1", plant="mqtt://127.0.0.1:1")
    command = [sys.executable, "-m", "edge_runtime.cli", "check", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("ok    config")


def test_brokers_that_are_away_are_named(find):
    lines = failures(find(link="mqtt://127.0.0.1:1", plant="mqtt://127.0.0.1:1"))
    assert set(lines) == {("source plant", "broker mqtt://127.0.0.1:1"), ("link", "broker mqtt://127.0.0.1:1")}
    assert all("nothing listens at 127.0.0.1:1" in detail for detail in lines.values())


def test_a_folder_that_others_may_enter_is_refused(find, tmp_path):
    (tmp_path / "data").mkdir(mode=0o755)
    (tmp_path / "data").chmod(0o755)
    assert "chmod 700" in failures(find())["data", str(tmp_path / "data")]
    (tmp_path / "data").chmod(0o700)
    assert find()["data", str(tmp_path / "data")].detail == "can be written"
    (tmp_path / "data").rmdir()
    (tmp_path / "data").write_text("")
    assert "is a file" in failures(find())["data", str(tmp_path / "data")]


def test_secrets_that_others_may_read_are_named(find, tmp_path):
    pem, key = Authority(tmp_path / "ca").issue("gw-7")
    key.chmod(0o640)
    (tmp_path / "word").write_text("secret\n")
    (tmp_path / "word").chmod(0o600)
    text = (GATEWAY + MQTT).replace(
        'url = "{link}"',
        f'url = "mqtts://localhost:1"\ntls = {{{{ ca = "ca/ca.pem", certificate = "{pem}", key = "{key}" }}}}',
    )
    text = text.replace('url = "{plant}"', 'url = "{plant}"\nusername = "gw"\npassword_file = "word"')
    lines = find(text)
    assert f"chmod 600 {key}" in failures(lines)["secrets", "link.tls.key"]
    assert lines["secrets", "source plant.password_file"].result == "ok"
    assert f"chmod 600 {key}" in failures(lines)["link", "broker mqtts://localhost:1"]


@pytest.mark.parametrize(
    ("name", "delivery", "result"), [("gw-7", "hub", "ok"), ("gw-8", "hub", "FAIL"), ("gw-8", "broker", "warn")]
)
def test_the_certificate_of_another_gateway_is_named_without_a_broker(find, tmp_path, name, delivery, result):
    pem, key = Authority(tmp_path / "ca").issue(name)
    tls = f'url = "mqtts://localhost:1"\ntls = {{{{ certificate = "{pem}", key = "{key}" }}}}\ndelivery = "{delivery}"'
    line = find((GATEWAY + MQTT).replace('url = "{link}"', tls))["link", "certificate"]
    assert line.result == result
    assert f"is of '{name}'" in line.detail
    assert ("[gateway] id is 'gw-7'" in line.detail) == (result != "ok")


def test_a_certificate_that_is_none_is_named(find, tmp_path):
    (tmp_path / "own.pem").write_text("nonsense")
    tls = 'url = "mqtts://localhost:1"\ntls = {{ certificate = "own.pem", key = "own.pem" }}'
    text = (GATEWAY + MQTT).replace('url = "{link}"', tls)
    assert "holds no certificate in PEM" in failures(find(text))["link", "certificate"]
    (tmp_path / "own.pem").unlink()
    assert "cannot be read: No such file" in failures(find(text))["link", "certificate"]


def test_all_secrets_of_a_configuration_are_found(tmp_path):
    text = GATEWAY.replace("port = 0", 'token_file = "t"').replace(
        'url = "{link}"', 'url = "mqtts://c"\npassword_file="p"\nusername="u"'
    )
    config = read_config(write_plant(tmp_path, text))
    assert list(secret_files(config)) == [("link.password_file", tmp_path / "p"), ("http.token_file", tmp_path / "t")]


def test_a_broken_bundle_is_named_and_what_needs_it_left_out(find, tmp_path):
    find()
    twin = tmp_path / "bundles" / "tiny" / "twin.onnx"
    twin.write_bytes(twin.read_bytes() + b"x")
    lines = find()
    assert "truncated or altered" in failures(lines)["bundle", "tiny"]
    assert lines["machines", str(tmp_path / "machines.csv")].result == "warn"


def test_a_bundle_of_another_class_is_named(find, tmp_path):
    find()
    shutil.copytree(tmp_path / "bundles" / "tiny", tmp_path / "bundles" / "pump")
    lines = failures(find(GATEWAY.replace("tiny =", "pump =").replace('bundles/tiny"', 'bundles/pump"') + MQTT))
    assert "is of class 'tiny': write tiny = …" in lines["bundle", "pump"]


def test_a_wrong_table_of_machines_is_named(tmp_path):
    write_plant(tmp_path)
    path = tmp_path / "gateway.toml"
    (tmp_path / "machines.csv").write_text("asset,class,offset\np-1,tiny,200\n")
    (line,) = [line for line in check(path) if line.part == "machines"]
    assert line.result == "FAIL"
    assert "line 2: setting 'offset' is '200'" in line.detail
    (tmp_path / "machines.csv").write_text("asset,class,offset\np-1,tiny,200\np 2,tiny,\n")
    details = [line.detail.split(":")[0] for line in check(path) if line.part == "machines"]
    assert sorted(details) == ["line 2", "line 3"]
    (tmp_path / "machines.csv").unlink()
    (line,) = [line for line in check(path) if line.part == "machines"]
    assert line.detail == (
        "cannot be read: there is no such file: write a line 'asset,class' and one line a machine below it"
    )


MODBUS = """
[[source]]
type = "modbus"
name = "drives"
host = "127.0.0.1"
port = 1
timeout = 0.2
values = [
  {{ asset = "p-1", channel = "flow", address = 0 }},
  {{ asset = "p-1", channel = "sped", address = 1 }},
  {{ asset = "p-9", channel = "flow", address = 2 }},
]
"""


def test_channels_that_no_source_feeds_are_named(find):
    lines = find(GATEWAY + MODBUS)
    assert (
        "drives reads machine 'p-9', which machines.csv does not have"
        in failures(lines)["mapping", "reads what is not there"]
    )
    assert lines["mapping", "tiny.flow"].detail == "no source feeds it, of p-2: missing"
    assert lines["mapping", "tiny.speed"].detail == "no source feeds it, of p-1, p-2: missing"
    assert lines["mapping", "tiny.shake"].result == "warn"
    assert ("mapping", "tiny") not in lines


def test_channels_that_do_not_exist_are_named(tmp_path):
    path = write_plant(tmp_path, GATEWAY + MODBUS)
    details = [line.detail for line in check(path) if line.part == "mapping" and line.result == "FAIL"]
    assert "source drives reads channel 'sped' of p-1, a tiny: did you mean 'speed'?" in details


DEVICE = """
[[source]]
type = "modbus"
name = "drives"
host = "127.0.0.1"
port = {port}
values = [
  {{{{ asset = "p-1", channel = "flow", address = 0, type = "float32", order = "{order}", scale = {scale} }}}},
  {{{{ asset = "p-2", channel = "flow", address = 2 }}}},
]
"""


@pytest.mark.parametrize(
    ("words", "order", "scale", "result", "told"),
    [
        ([0x0000, 0x41AC], "CDAB", 1, "ok", "21.5 (registers 0x0000 0x41AC)"),
        ([0x0000, 0x41AC], "ABCD", 1, "warn", 'right order of bytes and words? order = "CDAB" would give 21.5'),
        ([0x0000, 0x4357], "ABCD", 0.1, "warn", 'right order of bytes and words? order = "CDAB" would give 21.5'),
        ([0x8F5C, 0x41AC], "ABCD", 1, "warn", 'type and scale right? order = "CDAB" would give 21.57'),
        ([0x0000, 0x41AC], "CDAB", 100, "warn", "2150 (registers 0x0000 0x41AC): outside the channel's range, 0 … 400"),
        ([0x0000, 0x7F80], "CDAB", 1, "FAIL", "inf (registers 0x0000 0x7F80): no finite number in the channel's range"),
    ],
)
def test_a_reading_that_cannot_be_is_told_with_what_may_be_set_wrongly(find, words, order, scale, result, told):
    with ModbusServer() as server:
        server.set(16, 0, [*words, 50])
        lines = find(GATEWAY + DEVICE.format(port=server.port, order=order, scale=scale))
    line = lines["source drives", "drives: p-1 flow (unit 1, holding 0)"]
    assert line.result == result
    assert told in line.detail
    assert line.detail.count("order of bytes") == (result != "ok")
    assert lines["source drives", "drives: p-2 flow (unit 1, holding 2)"].detail == "50 (registers 0x0032)"


@pytest.mark.parametrize(
    ("asset", "values", "told"),
    [
        ("p-1", '{"flow": 21.5, "event": 0}', None),
        ("p-1", '{"flow": 2150000}', "flow 2150000 of p-1 is outside the channel's range, 0 … 400 L/min: are unit and"),
        ("p-1", '{"flwo": 21.5}', "'flwo' is no channel of p-1: did you mean 'flow'?"),
        ("p-9", '{"flow": 21.5}', "machines.csv does not have 'p-9'"),
    ],
)
def test_messages_that_no_twin_can_use_are_told(find, broker, monkeypatch, asset, values, told):
    """They come while the check listens."""
    monkeypatch.setattr(mqtt_check, "LISTEN", 2.0)
    stop = threading.Event()

    def send():
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        client.connect("127.0.0.1", int(broker.url.rpartition(":")[2]))
        client.loop_start()
        while not stop.wait(0.05):
            client.publish(f"plant/{asset}/readings", values)
        client.disconnect()
        client.loop_stop()

    thread = threading.Thread(target=send)
    thread.start()
    line = find()["source plant", "topic plant/{asset}/readings"]
    stop.set()
    thread.join()
    assert line.result == ("ok" if told is None else "warn"), line.detail
    assert told is None or told in line.detail


def test_a_recording_in_another_unit_is_told(find, tmp_path):
    rows = "".join(f"p-1,2026-01-03T10:00:0{n}Z,{n}00000,{50 + n}\n" for n in range(1, 9))
    (tmp_path / "week.csv").write_text("asset,time,flow,speed\n" + rows)
    lines = find(GATEWAY + REPLAY)
    flow = lines["source week", "week: channel flow"]
    assert (flow.result, "outside the channel's range, 0 … 400 L/min: are column and unit right?" in flow.detail) == (
        "warn",
        True,
    )
    assert lines["source week", "week: channel speed"].result == "ok"


REPLAY = """
[[source]]
type = "replay"
name = "week"
path = "week.csv"
"""


def test_what_nobody_uses_of_a_file_is_told(find, tmp_path):
    (tmp_path / "week.csv").write_text(
        "asset,time,flwo,speed,event\n" + "".join(f"p-{n},2026-01-03T10:00:0{n}Z,1,2,0\n" for n in range(1, 9))
    )
    lines = find(GATEWAY + REPLAY)
    assert failures(lines) == {}
    details = [line.detail for line in check(tmp_path / "gateway.toml") if line.what == "week: week.csv"]
    assert details == [
        "column 'flwo' is no channel: did you mean 'flow'?",
        "machines.csv does not have p-3, p-4, p-5, p-6, p-7 and 1 more: their rows are dropped; "
        'list them, or write machines = "machines.csv"',
    ]
    assert lines["mapping", "tiny.flow"].detail == "no source feeds it, of p-1, p-2: missing"
    assert ("mapping", "tiny.speed") not in lines
    lines = find(GATEWAY + REPLAY + 'machines = "machines.csv"\n')
    assert lines["mapping", "week: week.csv"].detail.startswith("column 'flwo'")


def test_a_file_that_cannot_be_read_is_told_by_its_source(find):
    lines = find(GATEWAY + REPLAY)
    assert [part for part, _ in failures(lines)] == ["source week"]


def test_it_is_told_when_nobody_knows_yet_what_comes(find):
    topics = MQTT.replace('  {{ topic = "plant/{{asset}}/shake", format = "waveform", channel = "shake" }},\n', "")
    lines = find(GATEWAY + topics)
    assert (lines["mapping", "tiny"].result, lines["mapping", "tiny"].detail.split(":")[0]) == (
        "warn",
        "3 channels, 0 by name",
    )
    silent = lines["source plant", "topic plant/{asset}/readings"]
    assert (silent.result, "no message within" in silent.detail) == ("warn", True)
    assert find()["mapping", "tiny"].result == "ok", "one of them has a name"


def test_a_spool_that_is_too_small_is_told(find, monkeypatch):
    lines = find(GATEWAY + MQTT + "[spool]\nmax_bytes = 1_048_576\n")
    assert "the oldest would be dropped; raise [spool] max_bytes" in lines["spool", "1.0 MiB"].detail
    assert lines["spool", "1.0 MiB"].result == "warn"
    monkeypatch.setattr(models.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 90, 10))
    assert "make room" in failures(find())["spool", "disk"]


def test_a_gateway_that_runs_is_left_alone(find):
    server = StatusServer(HttpSettings(port=0), full_status)
    server.start()
    try:
        lines = find((GATEWAY + MQTT).replace("port = 0", f"port = {server.port}"))
        assert lines["http", f"127.0.0.1:{server.port}"].detail.endswith("does the gateway run already?")
        assert failures(lines) == {}
    finally:
        server.stop()


def test_an_address_that_is_not_of_this_computer_is_no_running_gateway(find, tmp_path):
    (tmp_path / "word").write_text("0123456789abcdef\n")
    (tmp_path / "word").chmod(0o600)
    http = 'host = "192.0.2.1"\ntoken_file = "word"\nport = 9464'
    detail = failures(find((GATEWAY + MQTT).replace("port = 0", http)))["http", "192.0.2.1:9464"]
    assert "address of this computer" in detail
    assert "already" not in detail


def test_a_gateway_without_a_source_is_told_so_and_not_channel_by_channel(find):
    lines = find(GATEWAY)
    assert [key for key in lines if key[0] == "mapping"] == [("mapping", "no source")]
    assert "write a [[source]]" in lines["mapping", "no source"].detail


def test_commands_need_a_key_that_is_one(find, tmp_path):
    commands = '[commands]\nenabled = true\npublic_key = "centre.pem"\nstop_file = "stop"\n'
    (tmp_path / "centre.pem").write_text("nonsense")
    assert "Ed25519" in failures(find(GATEWAY + MQTT + commands))["commands", "public_key"]
    nowhere = find(GATEWAY + MQTT + commands.replace('"stop"', '"run/stop"'))["commands", "stop_file"]
    assert (nowhere.result, "there is no folder" in nowhere.detail) == ("warn", True)
    (tmp_path / "stop").write_text("")
    assert find(GATEWAY + MQTT + commands)["commands", "stop_file"].result == "warn"
    (tmp_path / "centre.pem").unlink()
    told = failures(find(GATEWAY + MQTT + commands))["commands", "public_key"]
    assert told.startswith(f"{tmp_path / 'centre.pem'} cannot be read (No such file or directory): name the file")
    allow = 'allow = [{{ asset = "p-9", channel = "speed", low = 0, high = 1 }}]\n'
    assert "machine 'p-9' is not in" in failures(find(GATEWAY + MQTT + commands + allow))["commands", "allow"]


@pytest.mark.parametrize(
    ("allowed", "source", "told"),
    [
        ('channel = "spead"', MQTT, "channel 'spead' of p-1, a tiny, does not exist: did you mean 'speed'?"),
        ('channel = "speed"', MQTT, "source 'plant' does not say how it is written: give it command = { topic"),
        ('channel = "flow"', MODBUS, "source 'drives' has no value of that machine and channel with writable = true"),
        ('channel = "flow"', MQTT + MODBUS, "name the source that writes it, source = …; there are plant, drives"),
        ('channel = "flow", source = "drives"', MQTT + MODBUS, "with writable = true"),
    ],
)
def test_what_is_allowed_and_cannot_be_written_is_named(find, tmp_path, allowed, source, told):
    (tmp_path / "centre.pem").write_text("A" * 43 + "=")
    commands = '[commands]\nenabled = true\npublic_key = "centre.pem"\n'
    allow = f'allow = [{{{{ asset = "p-1", {allowed}, low = 0, high = 1 }}}}]\n'
    assert told in failures(find(GATEWAY + source + commands + allow))["commands", "allow"]


def test_what_can_be_written_is_well(find, tmp_path):
    (tmp_path / "centre.pem").write_text("A" * 43 + "=")
    allow = 'allow = [{{ asset = "p-1", channel = "speed", low = 0, high = 1 }}]\n'
    commands = '[commands]\nenabled = true\npublic_key = "centre.pem"\n' + allow
    command = 'command = {{ topic = "plant/{{asset}}/set/{{channel}}" }}'
    assert failures(find(GATEWAY + MQTT + command + "\n" + commands)) == {}
    writable = MODBUS.replace('channel = "flow", address = 0', 'channel = "speed", address = 0, writable = true')
    assert ("commands", "allow") not in failures(find(GATEWAY + writable + commands))


def test_assignments_need_a_key_that_is_one(find, tmp_path):
    shared = '[commands]\npublic_key = "centre.pem"\n[assignments]\nenabled = true\n'
    (tmp_path / "centre.pem").write_text("nonsense")
    assert "Ed25519" in failures(find(GATEWAY + MQTT + shared))["assignments", "public_key"]
    (tmp_path / "centre.pem").write_text("A" * 43 + "=")
    assert find(GATEWAY + MQTT + shared)["assignments", "public_key"].result == "ok"
    own = '[assignments]\nenabled = true\npublic_key = "own.pem"\n'
    assert "No such file" in failures(find(GATEWAY + MQTT + own))["assignments", "public_key"]


def test_what_is_insecure_is_told(find):
    lines = find((GATEWAY + MQTT).replace('url = "{plant}"', 'url = "{plant}"\ninsecure = true'))
    assert lines["computer", "plant: insecure = true"].result == "warn"
    assert ("computer", "link: insecure = true") not in lines


def test_extras_that_are_missing_are_named(find, tmp_path):
    """In a process of its own, in which they cannot be imported."""
    pem, key = Authority(tmp_path / "ca").issue("gw-7")
    tls = f'url = "mqtts://localhost:1"\ntls = {{{{ certificate = "{pem}", key = "{key}" }}}}'
    find(GATEWAY.replace('url = "{link}"', tls))
    code = (
        "import importlib.util, sys\n"
        "missing = ('prometheus_client', 'cryptography')\n"
        "sys.modules |= dict.fromkeys(missing)\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name in missing else find(name, *rest)\n"
        "from edge_runtime.cli import main\n"
        "main(['check', sys.argv[1], '--json'])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "gateway.toml")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = {(line["part"], line["what"]): line for line in json.loads(done.stdout)}
    for where in (("http", "/metrics"), ("link", "certificate")):
        assert lines[where]["result"] == "warn"
        assert "pip install 'overhaul[gateway]'" in lines[where]["detail"]


def test_two_runtimes_are_refused(find, monkeypatch):
    monkeypatch.setattr(here, "installed_runtimes", lambda: ["onnxruntime", "onnxruntime-gpu"])
    assert "overwrite each other's files" in failures(find())["computer", "onnxruntime"]


def test_the_guide_shows_a_real_table(find):
    guide = (Path(__file__).parents[3] / "docs" / "gateway.md").read_text()
    shown = re.findall(r"^    (?:ok  |warn|FAIL)  ([a-z]+(?: plant)?)  ", guide, re.MULTILINE)
    assert list(dict.fromkeys(shown)) == list(dict.fromkeys(part for part, _ in find()))


def test_the_table_is_aligned():
    lines = [Line("a", "b", "ok", "fine"), Line("long part", "c", "FAIL", "broken")]
    assert lines_text(lines).splitlines() == [
        "ok    a          b  fine",
        "FAIL  long part  c  broken",
        "2 checked: 1 failed, 0 to look at",
    ]
