"""The systemd unit: systemd itself says whether it is sound, and this computer whether Python can live with it."""

import configparser
import shutil
import subprocess
import sys
from importlib.resources import files

import pytest

from tests.edge_runtime.tiny import tiny_bundle

SHIPPED = files("edge_runtime.deploy")
UNIT = SHIPPED / "overhaul-edge.service"
ANALYZE = shutil.which("systemd-analyze")
LARGEST_EXPOSURE = 20  # of 100; 16 when this was written, 0 to 39 is what systemd calls OK or better
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed here")


def analyze(*arguments):
    return subprocess.run([ANALYZE, *arguments], capture_output=True, text=True, check=False)


@pytest.fixture
def installed(tmp_path):
    """The unit with a program that exists here, and the drop-in for the Jetson beside it."""
    text = UNIT.read_text()
    assert "ExecStart=/opt/overhaul/bin/overhaul-edge run /etc/overhaul/gateway.toml" in text
    unit = tmp_path / "overhaul-edge.service"
    unit.write_text(text.replace("/opt/overhaul/bin/overhaul-edge", sys.executable))
    return unit


@needs_systemd
def test_systemd_finds_no_fault(installed):
    done = analyze("verify", str(installed))
    if "Failed to initialize manager" in done.stderr:
        pytest.skip(f"systemd-analyze cannot verify here: {done.stderr.strip()}")
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_systemd_would_find_a_fault(installed):
    installed.write_text(installed.read_text().replace("ProtectSystem=strict", "ProtectSystem=strickt"))
    done = analyze("verify", str(installed))
    if "Failed to initialize manager" in done.stderr:
        pytest.skip(f"systemd-analyze cannot verify here: {done.stderr.strip()}")
    assert "strickt" in done.stderr


@needs_systemd
def test_the_drop_in_is_sound(installed):
    folder = installed.with_name("overhaul-edge.service.d")
    folder.mkdir()
    (folder / "jetson.conf").write_text((SHIPPED / "jetson.conf").read_text())
    done = analyze("verify", str(installed))
    if "Failed to initialize manager" in done.stderr:
        pytest.skip(f"systemd-analyze cannot verify here: {done.stderr.strip()}")
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_little_is_exposed():
    done = analyze("security", "--offline=true", "--no-pager", f"--threshold={LARGEST_EXPOSURE}", str(UNIT))
    if "unrecognized option" in done.stderr:
        pytest.skip("systemd-analyze here is older than 250 and cannot judge a file")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "Overall exposure level" in done.stdout


def test_the_unit_fits_the_program():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read_string(UNIT.read_text())
    service = unit["Service"]
    assert service["Type"] == "notify"  # edge_runtime.gateway.systemd speaks to NOTIFY_SOCKET …
    assert "AF_UNIX" in service["RestrictAddressFamilies"]  # … which is a Unix socket
    assert float(service["WatchdogSec"]) >= 10
    assert service["Restart"] == "always"
    assert service["User"] != "root"


_UNDER_THE_UNIT = """
import ctypes, sys
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0):  # PR_SET_MDWE: nothing becomes executable that was not
    sys.exit(77)
import mmap
try:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
except PermissionError:
    print("denied")
import cryptography.hazmat.primitives.asymmetric.ed25519 as ed25519, paho.mqtt.client, prometheus_client, sqlite3, ssl
from edge_runtime.bundle import Bundle
bundle = Bundle.load(sys.argv[1], threads=2)  # runs its self-test
key = ed25519.Ed25519PrivateKey.generate()
key.public_key().verify(key.sign(b"x"), b"x")
sqlite3.connect(":memory:").execute("select 1").fetchone()
ssl.create_default_context()
print(bundle.step.provider)
"""


def test_graphs_run_where_memory_never_becomes_executable(tmp_path):
    """MemoryDenyWriteExecute=yes, as the kernel itself enforces it since 6.3."""
    command = [sys.executable, "-c", _UNDER_THE_UNIT, str(tiny_bundle(tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("this kernel has no PR_SET_MDWE")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["denied", "CPUExecutionProvider"]
