import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import ConfigError
from edge_runtime.gateway.config import (
    SOURCES,
    AllowedCommand,
    CommandSettings,
    GatewayConfig,
    HttpSettings,
    LogSettings,
    read_config,
)
from edge_runtime.journal.settings import JournalSettings, SpoolSettings
from tests.edge_runtime.gateway.plant import GATEWAY, MQTT, write_plant


@pytest.fixture
def read(tmp_path):
    def read(text=GATEWAY + MQTT):
        return read_config(write_plant(tmp_path, text))

    return read


def told(read, text):
    with pytest.raises(ConfigError) as found:
        read(text)
    return str(found.value)


def test_a_short_file_is_enough(read, tmp_path):
    config = read()
    assert config.path == tmp_path / "gateway.toml"
    assert config.gateway.id == "gw-7"
    assert config.gateway.data == tmp_path / "data"
    assert config.gateway.machines == tmp_path / "machines.csv"
    assert config.gateway.max_ahead == 60.0
    assert config.bundles == {"tiny": tmp_path / "bundles" / "tiny"}
    assert (config.journal, config.spool) == (JournalSettings(), SpoolSettings())
    assert (config.commands, config.log) == (CommandSettings(), LogSettings())
    assert config.http == HttpSettings(port=0)
    assert config.link.delivery == "hub"
    assert [(source.type, source.name) for source in config.sources] == [("mqtt", "plant")]


def test_sizes_are_told_as_they_are_written(read):
    assert "expected a number from 1_048_576 to 1_099_511_627_776, got 5" in told(
        read, GATEWAY + MQTT + "[spool]\nmax_bytes = 5\n"
    )


def test_every_section_is_read(read, tmp_path):
    config = read(
        GATEWAY.replace("[http]\nport = 0", "")
        + MQTT
        + """
[journal]
commit_after = 0.5
[spool]
max_bytes = 2_000_000
[commands]
enabled = true
public_key = "centre.pem"
stop_file = "/run/stop"
allow = [{{ asset = "p-1", channel = "speed", low = 0, high = 3000, per_minute = 6 }}]
[http]
enabled = false
[log]
level = "debug"
format = "text"
"""
    )
    assert config.journal.commit_after == 0.5
    assert config.spool.max_bytes == 2_000_000
    assert config.commands == CommandSettings(
        True, tmp_path / "centre.pem", Path("/run/stop"), (AllowedCommand("p-1", "speed", 0.0, 3000.0, 6.0),)
    )
    assert config.log == LogSettings("debug", "text")


def test_all_problems_are_told_at_once_each_with_its_way_out(read, tmp_path):
    text = told(
        read,
        """
[gateway]
id = "gw 7"
sight = "north"
data = "data"
machines = "machines.csv"
threads = 0
provider = "CUDA"
[bundle]
tiny = "bundles/tiny"
[link]
delivery = "hubb"
[[source]]
type = "mqt"
[[source]]
type = "mqtt"
name = "plant"
url = "mqtt://127.0.0.1"
topic = "x"
""",
    )
    assert text.splitlines() == [
        f"{tmp_path}/gateway.toml: 12 problems",
        "  gateway.sight is no key of gateway: did you mean 'site'?",
        "  gateway.id: expected an identifier of 1 to 64 letters, digits, '_' or '-', got 'gw 7'",
        '  gateway.site is missing: write site = "north"',
        "  gateway.threads: expected a number from 1 to 64, got 0",
        "  gateway.provider: expected one of 'auto', 'CPUExecutionProvider', 'CUDAExecutionProvider', "
        "'TensorrtExecutionProvider', got 'CUDA'",
        '  link.url is missing: write url = "mqtts://centre.example:8883"',
        "  link.delivery: expected one of 'hub', 'broker', got 'hubb': did you mean 'hub'?",
        "  bundle is no section: did you mean 'bundles'?",
        "  source[0].type is 'mqt': did you mean 'mqtt'?",
        "  source[1] 'plant'.topic is no key of source[1] 'plant': did you mean 'topics'?",
        "  source[1] 'plant'.topics is missing: write topics = [{ topic = \"plant/{asset}/readings\" }]",
        '  bundles names no bundle: write under [bundles] a line like pump = "bundles/pump"',
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GATEWAY + MQTT + MQTT, "source 'plant' is there 2 times: give each .*source.* a name of its own"),
        ("source = 1\n" + GATEWAY, "source: expected a list of tables, each under its own"),
        ("source = [1]\n" + GATEWAY, r"source\[0\]: expected a table"),
        (GATEWAY + '[[source]]\nname = "x"', r"source\[0\].type is missing: there are mqtt, sparkplug, opcua"),
        (GATEWAY + '[bundles."a b"]', "is not TOML|bundles"),
        (GATEWAY.replace("tiny =", '"ti ny" ='), "bundles.'ti ny': expected an identifier"),
        (GATEWAY + "[assignments]\nenabled = true", "assignments need the public key of the centre: write public_key"),
        (GATEWAY + "[commands]\nenabled = true", "commands need the public key of the centre: write public_key"),
        (GATEWAY.replace("port = 0", 'host = "0.0.0.0"'), "http: host = '0.0.0.0' can be reached from elsewhere"),
        (GATEWAY.replace("port = 0", "port = 70000"), "http.port: expected a number from 0 to 65535, got 70000"),
        (
            GATEWAY + '[commands]\nallow = [{{asset = "a", channel = "c", low = 2, high = 1}}]',
            r"commands.allow\[0\]: low = 2 is above high = 1",
        ),
        (
            GATEWAY + MQTT + '[commands]\nallow = [{{asset="a", channel="c", low=1, high=2, source="plnt"}}]',
            r"commands.allow\[0\].source: there is no source 'plnt': did you mean 'plant'",
        ),
        (GATEWAY + "[log]\nlevel = 3", "log.level: expected one of 'debug', 'info', 'warning', 'error', got 3"),
        (
            GATEWAY + '[journal]\ncommit_after = "1s"',
            "expected a number without quotes and unit .seconds, bytes., got '1s'",
        ),
        (GATEWAY + '[spool]\nmax_bytes = "1 GB"', "expected a whole number without quotes and unit"),
        (GATEWAY.replace("port = 0", 'port = "any"'), "http.port: expected a whole number, got 'any'"),
        (
            GATEWAY.replace('"{link}"', '"{link}"\npassword = "x"'),
            "link.password is no key of link: no secret stands in",
        ),
        (GATEWAY.replace("{link}", "mqtt://c:188300"), "expected mqtt://host:port or mqtts://host:port, the port from"),
        ("journal = 1" + GATEWAY, "journal: expected a table, { … }, got 1"),
        (GATEWAY + MQTT.replace("[\n  {{", "[1, {{"), r"topics\[0\]: expected a table, { topic = … }, got 1"),
        (GATEWAY + MQTT.partition("topics")[0] + 'topics = "x"', r"topics: expected a list, \[ … \], got 'x'"),
        (GATEWAY.replace('"gw-7"', "gw-7"), "is not TOML: .*line 3.*: 'id = gw-7'; text and times stand in quotes"),
        (GATEWAY.replace("id =", 'id = "a"\nid ='), "is not TOML: .*a key stands once in its section"),
        ("[gateway", "gateway.toml is not TOML: Expected"),
        ("x = " + "9" * 5000, "gateway.toml"),
        ("x = " + "[" * 5000, "gateway.toml is not TOML"),
    ],
)
def test_each_mistake_has_its_message(read, text, message):
    with pytest.raises(ConfigError, match=message):
        read(text)


def test_a_file_in_another_encoding_is_told(tmp_path):
    (tmp_path / "gateway.toml").write_bytes("[gateway]\nsite = 'Köln'".encode("latin-1"))
    with pytest.raises(ConfigError, match="save it as UTF-8"):
        read_config(tmp_path / "gateway.toml")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere.toml cannot be read \(No such file"):
        read_config(tmp_path / "nowhere.toml")


def test_passwords_have_no_place_in_the_file(read):
    assert "password is no key" in told(read, GATEWAY + MQTT.replace("topics", 'password = "x"\ntopics'))


def test_a_missing_extra_is_named_with_its_source(read, monkeypatch):
    monkeypatch.setitem(sys.modules, "pymodbus", None)
    monkeypatch.setitem(sys.modules, "pymodbus.pdu", None)
    source = """
[[source]]
type = "modbus"
name = "drives"
host = "127.0.0.1"
values = [{{ asset = "p-1", channel = "flow", address = 0 }}]
"""
    assert "pip install 'overhaul[modbus]'" in told(read, GATEWAY + source)


@pytest.mark.parametrize("kind", SOURCES)
def test_every_type_of_source_exists(kind, read):
    """Its settings and class are there, and an empty table is told what is missing."""
    text = told(read, f'{GATEWAY}[[source]]\ntype = "{kind}"\nname = "x"\n')
    assert "source[0] 'x'" in text
    assert "no module" not in text.lower()


_SECTIONS = ["gateway", "bundles", "journal", "spool", "link", "commands", "assignments", "http", "log", "source"]
_KEYS = ["id", "site", "data", "machines", "type", "name", "url", "topics", "tls", "values", "allow", "port", "raw"]
_scalar = (
    st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from(["mqtt", "modbus", "opcua", "replay", "mqtt://127.0.0.1", "x", ""])
    | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
)
_inner = st.dictionaries(st.sampled_from(_KEYS) | st.text(max_size=4), _scalar, max_size=2)
_value = _scalar | _inner | st.lists(_scalar | _inner, max_size=2)
_table = st.dictionaries(st.sampled_from(_KEYS), _value, max_size=4)
_file = st.dictionaries(
    st.sampled_from(_SECTIONS) | st.text(max_size=5),
    _value
    | st.dictionaries(st.sampled_from(_KEYS), _value)
    | st.lists(st.dictionaries(st.sampled_from(_KEYS), _value)),
    max_size=5,
)


def toml(value):
    """`value` as TOML, inline."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(c if c.isalnum() or c in "/:. " else f"\\U{ord(c):08x}" for c in value) + '"'
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{toml(key)} = {toml(item)}' for key, item in value.items())}}}"
    return repr(value)


def outcome(path):
    """Nothing but a configuration or a ConfigError that names the file."""
    try:
        return str(path) if isinstance(read_config(path), GatewayConfig) else ""
    except ConfigError as error:
        return str(error)


@given(_file)
def test_any_structure_is_read_or_told(tmp_path_factory, table):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text("\n".join(f"{toml(key)} = {toml(value)}" for key, value in table.items()))
    assert str(path) in outcome(path)
    assert "is not TOML" not in outcome(path)


@given(st.binary(max_size=100) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_are_read_or_told(tmp_path_factory, noise):
    path = tmp_path_factory.getbasetemp() / "noise.toml"
    path.write_bytes(noise)
    assert str(path) in outcome(path)


@given(st.sampled_from(_SECTIONS), st.sampled_from(_KEYS), _value)
def test_a_sound_file_with_one_wrong_value_is_told(tmp_path_factory, section, key, value):
    folder = tmp_path_factory.getbasetemp() / "one"
    path = write_plant(folder)
    line = f"{key} = {toml(value)}\n"
    text = path.read_text()
    head, found, tail = text.partition(f"[{section}]\n")
    path.write_text(head + found + line + tail if found else f"{text}\n[{section}]\n{line}")
    assert str(path) in outcome(path)
