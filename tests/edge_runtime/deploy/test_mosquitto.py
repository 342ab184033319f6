"""The configuration that is shipped, in a real mosquitto with real certificates."""

import contextlib
import os
import pwd
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
from importlib.resources import files
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge_runtime.clock import SystemClock
from edge_runtime.contract import topics
from edge_runtime.gateway.checks.centre import check_link
from edge_runtime.tls import Tls
from edge_runtime.upstream.settings import LinkSettings
from tests.edge_runtime.broker import MOSQUITTO, free_port, until
from tests.edge_runtime.certificates import Authority

pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed here")

NOT_AUTHORISED = 0x87
SHIPPED = files("edge_runtime.deploy")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def broker(authority, tmp_path_factory):
    """The port of a mosquitto with the files as they are shipped; only folders, port and user are others."""
    folder = tmp_path_factory.mktemp("mosquitto")
    certificates = folder / "etc" / "certs"
    certificates.mkdir(parents=True)
    (folder / "var").mkdir()
    shutil.copy(authority.ca, certificates / "ca.pem")
    for source, name in zip(authority.issue("broker"), ("broker.pem", "broker.key"), strict=True):
        shutil.copy(source, certificates / name)
    (folder / "etc" / "overhaul.acl").write_text((SHIPPED / "overhaul.acl").read_text())
    (folder / "etc" / "overhaul.acl").chmod(0o600)
    port = free_port()
    text = (SHIPPED / "mosquitto.conf").read_text()
    assert "listener 8883 127.0.0.1" in text
    text = text.replace("listener 8883", f"listener {port}").replace("/etc/mosquitto", str(folder / "etc"))
    (folder / "mosquitto.conf").write_text(f"{text}\nuser root\npersistence_location {folder / 'var'}/\n")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([MOSQUITTO, "-c", str(folder / "mosquitto.conf")], stdout=log, stderr=log)
    until(lambda: listens(port, process, folder / "log"), what="mosquitto")
    yield port
    process.terminate()
    process.wait(20)


# /etc/mosquitto/mosquitto.conf as Debian's and Ubuntu's packages have it
DEBIAN = """\
# Place your local configuration in /etc/mosquitto/conf.d/
pid_file /run/mosquitto/mosquitto.pid

persistence true
persistence_location /var/lib/mosquitto/

log_dest file /var/log/mosquitto/mosquitto.log

include_dir /etc/mosquitto/conf.d
"""


def is_user(name):
    try:
        return bool(pwd.getpwnam(name))
    except KeyError:
        return False


@pytest.fixture
def debian(authority):
    """Folder, port and key of a broker set up as on Debian, the shipped file in conf.d; only the folder is another."""
    folder = Path(tempfile.mkdtemp())  # not below tmp_path, which is closed to the user that mosquitto becomes
    folder.chmod(0o755)
    if any(not parent.stat().st_mode & 0o001 for parent in folder.parents):
        folder.rmdir()
        pytest.skip(f"other users cannot get into {folder.parent}")
    root, port, etc = os.geteuid() == 0, free_port(), folder / "etc" / "mosquitto"
    (etc / "conf.d").mkdir(parents=True)
    (etc / "overhaul.acl").write_text((SHIPPED / "overhaul.acl").read_text())
    shipped = (SHIPPED / "mosquitto.conf").read_text().replace("listener 8883", f"listener {port}")
    for path, text in ((etc / "mosquitto.conf", DEBIAN), (etc / "conf.d" / "overhaul.conf", shipped)):
        path.write_text(re.sub(r"^(\w.* )(/(?:etc|run|var)/)", rf"\1{folder}\2", text, flags=re.MULTILINE))
    for place in ("run", "var/lib", "var/log"):
        (folder / place / "mosquitto").mkdir(parents=True)
        if root:
            shutil.chown(folder / place / "mosquitto", "mosquitto")
    (etc / "certs").mkdir()
    shutil.copy(authority.ca, etc / "certs" / "ca.pem")
    for source, name in zip(authority.issue("broker"), ("broker.pem", "broker.key"), strict=True):
        shutil.copy(source, etc / "certs" / name)
    yield folder, port, etc / "certs" / "broker.key"
    shutil.rmtree(folder)


@contextlib.contextmanager
def mosquitto(folder):
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [MOSQUITTO, "-c", str(folder / "etc" / "mosquitto" / "mosquitto.conf")], stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(20)


needs_its_user = pytest.mark.skipif(
    os.geteuid() == 0 and not is_user("mosquitto"), reason="there is no user that mosquitto could become"
)


@needs_its_user
def test_it_starts_where_the_guide_puts_it(debian, authority):
    folder, port, key = debian
    if os.geteuid() == 0:
        shutil.chown(key, "mosquitto")
    with mosquitto(folder) as process:
        until(lambda: listens(port, process, folder / "log"), what="mosquitto")
        client = Client(port, authority, "gw-a")
        assert client.publish(topics.up("north", "gw-a", "event")) in (0, 0x10)  # 0x10: nobody hears it
        assert client.publish(topics.up("north", "gw-b", "event")) == NOT_AUTHORISED
        client.close()


@needs_its_user
@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_a_key_of_root_is_why_it_would_not_start(debian):
    folder, _, key = debian
    assert key.stat().st_uid == 0
    with mosquitto(folder) as process:
        assert process.wait(20) != 0
    said = (folder / "log").read_text() + (folder / "var" / "log" / "mosquitto" / "mosquitto.log").read_text()
    assert "Unable to load server key file" in said
    assert "chown mosquitto /etc/mosquitto/certs/broker.key" in (SHIPPED / "mosquitto.conf").read_text()


def listens(port, process, log):
    assert process.poll() is None, log.read_text()
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Client:
    """A connected client; `heard` is what came, `properties` what the broker said of its limits."""

    def __init__(self, port, authority, name, *, context=None, **certificate):
        self.heard, self.answers = [], {}
        self._answered = threading.Condition()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"test-{name}", protocol=mqtt.MQTTv5)
        if context is None:
            context = ssl.create_default_context(cafile=authority.ca)
            context.load_cert_chain(*authority.issue(name, **certificate))
        self.client.tls_set_context(context)
        self.client.on_connect = lambda *_arguments: self._answer("connect", _arguments[3:])
        self.client.on_subscribe = lambda *_arguments: self._answer(_arguments[2], _arguments[3])
        self.client.on_publish = lambda *_arguments: self._answer(_arguments[2], _arguments[3])
        self.client.on_message = lambda _client, _data, message: self.heard.append((message.topic, message.payload))
        self.client.connect("localhost", port)
        self.client.loop_start()
        self.reason, self.properties = self._await("connect")

    def _answer(self, key, value):
        with self._answered:
            self.answers[key] = value
            self._answered.notify_all()

    def _await(self, key):
        with self._answered:
            assert self._answered.wait_for(lambda: key in self.answers, 20), f"no answer to {key}"
            return self.answers.pop(key)

    def publish(self, topic, payload=b"x", *, retain=False):
        """The broker's reason code."""
        return self._await(self.client.publish(topic, payload, qos=1, retain=retain).mid).value

    def subscribe(self, topic):
        _, mid = self.client.subscribe(topic, options=SubscribeOptions(qos=1))
        return [code.value for code in self._await(mid)]

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()
        del self.client  # no cycle is left: paho closes its sockets when it goes


@pytest.fixture
def connect(broker, authority):
    made = []

    def connect(name, **options):
        made.append(Client(broker, authority, name, **options))
        return made[-1]

    yield connect
    for client in made:
        client.close()


def test_a_gateway_speaks_with_the_hub_and_hears_its_answers(connect):
    hub, gateway = connect("hub"), connect("gw-a")
    for topic in topics.upward():
        assert hub.subscribe(topic) == [1]
    assert gateway.subscribe(topics.downward("north", "gw-a")) == [1]
    sent = [topics.up("north", "gw-a", "alarm", "pump-1"), topics.up("north", "gw-a", "observation")]
    for topic in sent:
        assert gateway.publish(topic) == 0
    assert gateway.publish(topics.status("north", "gw-a"), retain=True) == 0
    until(lambda: len(hub.heard) == 3, what="what the gateway sent")
    assert [topic for topic, _ in hub.heard] == [*sent, topics.status("north", "gw-a")]
    assert hub.publish(topics.down("north", "gw-a", "ack"), b"ok") == 0
    until(lambda: gateway.heard, what="the hub's answer")
    assert gateway.heard == [("overhaul/1/north/gw-a/down/ack", b"ok")]


def test_a_gateway_cannot_publish_as_another(connect):
    hub, gateway = connect("hub"), connect("gw-a")
    hub.subscribe("overhaul/#")
    forged = [
        topics.up("north", "gw-b", "alarm", "pump-1"),
        topics.status("north", "gw-b"),
        topics.down("north", "gw-b", "command"),
        topics.down("north", "gw-a", "ack"),
        "overhaul/2/north/gw-a/up/alarm",
        "elsewhere",
    ]
    assert {gateway.publish(topic) for topic in forged} == {NOT_AUTHORISED}
    assert gateway.publish(topics.up("north", "gw-a", "event")) == 0
    until(lambda: topics.up("north", "gw-a", "event") in dict(hub.heard), what="what is allowed")
    retained = {topics.status("north", "gw-a")}  # of the test before
    assert {topic for topic, _ in hub.heard} - retained == {topics.up("north", "gw-a", "event")}


def test_a_gateway_hears_nothing_that_is_for_others(connect):
    hub, curious, other = connect("hub"), connect("gw-a"), connect("gw-b")
    for topic in ("#", "overhaul/1/north/gw-b/#", "$SYS/#"):
        curious.subscribe(topic)
    other.subscribe(topics.downward("north", "gw-b"))
    assert hub.publish(topics.down("north", "gw-b", "command"), b"secret") == 0
    assert other.publish(topics.up("north", "gw-b", "alarm", "pump-1")) == 0
    assert hub.publish(topics.down("north", "gw-a", "ack"), b"mine") == 0
    until(lambda: other.heard and curious.heard, what="delivery")
    assert {topic for topic, _ in curious.heard} == {"overhaul/1/north/gw-a/down/ack"}


def test_the_hub_sends_nothing_in_the_name_of_a_gateway(connect):
    hub = connect("hub")
    assert hub.publish(topics.up("north", "gw-a", "alarm", "pump-1")) == NOT_AUTHORISED
    assert hub.publish(topics.status("north", "gw-a")) == NOT_AUTHORISED


def test_a_name_with_wildcards_is_not_a_way_around(connect):
    for name, file in (("+", "plus"), ("#", "hash")):
        trickster = connect(name, file=file)
        assert trickster.publish(topics.up("north", "gw-b", "event")) == NOT_AUTHORISED


def test_the_name_in_the_packet_counts_for_nothing(broker, authority):
    context = ssl.create_default_context(cafile=authority.ca)
    context.load_cert_chain(*authority.issue("gw-a"))
    liar = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="gw-b", protocol=mqtt.MQTTv5)
    liar.tls_set_context(context)
    liar.username_pw_set("gw-b", "anything")
    codes = []
    liar.on_publish = lambda *arguments: codes.append(arguments[3].value)
    liar.connect("localhost", broker)
    liar.loop_start()
    liar.publish(topics.up("north", "gw-b", "event"), b"x", qos=1)
    until(lambda: codes, what="the broker's answer")
    liar.disconnect()
    liar.loop_stop()
    assert codes == [NOT_AUTHORISED]


def test_the_last_will_goes_to_its_own_status_only(broker, authority, connect):
    hub = connect("hub")
    hub.subscribe("overhaul/#")
    for topic in (topics.status("north", "gw-b"), topics.status("north", "gw-a")):
        context = ssl.create_default_context(cafile=authority.ca)
        context.load_cert_chain(*authority.issue("gw-a"))
        gateway = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="will", protocol=mqtt.MQTTv5)
        gateway.tls_set_context(context)
        gateway.will_set(topic, b"offline", qos=1, retain=True)
        connected = threading.Event()
        gateway.on_connect = lambda *_, told=connected: told.set()
        gateway.connect("localhost", broker)
        gateway.loop_start()
        assert connected.wait(20)
        gateway.loop_stop()
        gateway.socket().close()  # without DISCONNECT: the broker publishes the will
    until(lambda: (topics.status("north", "gw-a"), b"offline") in hub.heard, what="the last will")
    assert not [topic for topic, _ in hub.heard if "gw-b" in topic]


def test_the_check_of_a_gateway_passes_there(broker, authority):
    certificate, key = authority.issue("gw-a")
    tls = Tls(ca=authority.ca, certificate=certificate, key=key)
    settings = LinkSettings(url=f"mqtts://localhost:{broker}", tls=tls)
    findings = check_link(settings, "north", "gw-a", SystemClock())
    assert [finding.ok for finding in findings] == [True, True]
    assert "its largest packet is 1048576" in findings[0].detail
    without = LinkSettings(url=f"mqtts://localhost:{broker}", tls=Tls(ca=authority.ca))
    (finding,) = check_link(without, "north", "gw-a", SystemClock())
    assert not finding.ok
    assert "wants to see a certificate: name certificate and key in tls" in finding.detail


def handshake(port, context):
    """TLS, then an MQTT CONNECT without a name; the broker's first bytes, b"" when it hangs up."""
    with (
        socket.create_connection(("127.0.0.1", port), 20) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        secure.sendall(bytes.fromhex("101000044d5154540502003c00000378") + b"yz")
        return secure.recv(100)


@pytest.fixture
def trusting(authority):
    return ssl.create_default_context(cafile=authority.ca)


def test_without_a_certificate_nobody_comes_in(broker, trusting):
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(broker, trusting)


def test_a_certificate_of_another_authority_is_refused(broker, trusting, tmp_path):
    trusting.load_cert_chain(*Authority(tmp_path, "test authority").issue("gw-a"))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(broker, trusting)


def test_tls_before_1_3_is_refused(broker, authority, trusting):
    trusting.load_cert_chain(*authority.issue("gw-a"))
    assert handshake(broker, trusting)[:1] == b"\x20"  # CONNACK
    trusting.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match=r"(?i)version|alert"):
        handshake(broker, trusting)


def test_plain_mqtt_is_refused(broker):
    with socket.create_connection(("127.0.0.1", broker), 20) as plain:
        plain.sendall(bytes.fromhex("101000044d5154540502003c00000378") + b"yz")
        with contextlib.suppress(ConnectionError):
            assert plain.recv(100)[:1] != b"\x20"


def test_the_limits_are_told_to_clients(connect):
    client = connect("gw-a")
    assert client.properties.MaximumPacketSize == 1_048_576
    assert client.properties.ReceiveMaximum == 200
