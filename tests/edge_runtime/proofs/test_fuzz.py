"""Whatever comes beside it, good data gives the same states to the bit; all else is refused, counted, acknowledged."""

import itertools
import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from edge_runtime.gateway.config import read_config
from edge_runtime.gateway.gateway import Gateway
from edge_runtime.mqtt.broker import BrokerSettings
from edge_runtime.simulate.publisher import Publisher, encode
from edge_runtime.sources.mqtt.source import MqttSettings
from edge_runtime.sources.source import WaveformArrival
from tests.edge_runtime.broker import iotcore, until  # noqa: F401
from tests.edge_runtime.crash.plant import uninterrupted
from tests.edge_runtime.gateway.rig import Rig, TurnedClock
from tests.edge_runtime.hub import Hub
from tests.edge_runtime.proofs import garbage
from tests.edge_runtime.proofs.fed import FedSource, publish
from tests.edge_runtime.proofs.plant import SECOND, START, write_config
from tests.edge_runtime.tiny import tiny_bundle

ROUNDS = 12
BY_BROKER = 100  # rounds
CASES = 17  # packets of garbage in an example, at least
ASSEMBLED, OTHERS = ("g-1", "g-2"), ("h-1", "h-2")
GOOD, DECOYS = (*ASSEMBLED, *OTHERS), ("d-1", "e-1")
MACHINES = {"assembled": (*ASSEMBLED, "d-1"), "as-they-come": (*OTHERS, "e-1")}
TIMES = {
    "assembled": {"unit": "s", "interval": 60, "tick": 600, "max_gap": 86400},
    "as-they-come": {"unit": "s", "interval": 20, "tick": 600, "max_gap": 86400, "assemble": False},
}
TOLD = {"received", "untimed", "redelivered"}  # counted, and no refusals
PACKETS = garbage.for_good(ASSEMBLED, OTHERS) | garbage.for_decoys(DECOYS) | garbage.strange


class Source(FedSource):
    """Notes what becomes of each message: put into the inbox, or refused for a reason."""

    def __init__(self, clock):
        super().__init__(MqttSettings(name="plant", url="mqtt://127.0.0.1:1", topics=garbage.TOPICS), "gw-7", clock)
        self.refused = Counter()  # reason → messages
        self.put = self.arrivals = 0  # messages, and what they were put together to
        self._ids = [itertools.cycle(range(1, 65_536)) for _ in self._readers]
        self.ids = [[] for _ in self._readers]
        for reader in self._readers:
            reader._refuse = self._noting(reader._refuse, lambda _reason, _topic, _payload, receipt: [receipt])
            reader._parts._refuse = self._noting(reader._parts._refuse, lambda _reason, receipts: receipts)

    def _noting(self, refuse, receipts_of):
        def noting(*arguments):
            self.refused[arguments[0]] += sum(map(_messages, receipts_of(*arguments)))
            refuse(*arguments)

        return noting

    def start(self, inbox):
        super().start(inbox)
        for reader in self._readers:
            reader._put = self._putting(inbox.put)

    def _putting(self, put):
        def putting(arrival):
            self.put += _messages(arrival.receipt)
            self.arrivals += 1
            assert put(arrival)
            return True

        return putting

    def send(self, packet):
        """To the connection that has subscribed to its topic; the first has those that nobody has."""
        topic = packet.topic.decode(errors="replace")
        waveforms = [kind.template for kind in garbage.TOPICS if kind.format == "waveform"]
        connection = int(any(template.match(topic) is not None for template in waveforms))
        mid = 0
        if packet.flags & 2:
            mid = next(self._ids[connection])
            self.ids[connection].append(mid)
        self.feed(publish(packet.topic, packet.payload, packet.properties, flags=packet.flags, mid=mid), connection)

    def send_again(self):
        """Nothing is kept over a restart."""


def _messages(receipt):
    return 1 if receipt is None else len(receipt) - 1


class Fates:
    """What becomes of each arrival at the intake of `twins`: taken in, or refused for a reason."""

    def __init__(self, twins):
        self.counts = Counter()
        self._intake = twins.intake
        self._add, self._add_waveform = self._intake.add, self._intake.add_waveform
        self._intake.add = lambda arrival: self._note(self._add, arrival)
        self._intake.add_waveform = lambda arrival: self._note(self._add_waveform, arrival)

    def _note(self, add, arrival):
        intake = self._intake
        before, counted = self._rows(), intake.counts.copy()
        add(arrival)
        if isinstance(arrival, WaveformArrival):
            taken = any(
                other is arrival
                for waiting in intake.snapshots._waiting.values()
                for channel in waiting.values()
                for _, other, _ in channel
            )
        else:
            taken = self._rows() > before
        reasons = sorted((intake.counts - counted).elements())
        self.counts["taken" if taken else reasons[0] if reasons else "unexplained"] += 1

    def _rows(self):
        return len(self._intake._rows if self._intake.assembles else self._intake.passage._rows)


class Trial:
    """A gateway that hears good machines, and whatever is in `beside`: round → packets."""

    def __init__(self, folder, bundles, beside=None):
        self.clock = TurnedClock()
        self.source = Source(self.clock)
        kinds = {name: (bundles[name], MACHINES[name]) for name in MACHINES}
        self.rig = Rig(folder, kinds, self.clock, self.source)
        self.fates = {name: Fates(twins) for name, twins in self.rig.engine.twins.items()}
        try:
            self._run(beside or {})
        finally:
            self.rig.close()

    def _run(self, beside):
        for number in range(ROUNDS):
            self.clock.turn(20)
            good = self._good(number)
            strange = beside.get(number, [])
            for one, other in itertools.zip_longest(good, strange):
                for packet in filter(None, (one, other)):
                    self.source.send(packet)
            self._work()
        for _ in range(8):  # windows close, parts are given up
            self.clock.turn(30)
            self._work()
        assert self.rig.journal.flush()
        self.source.work()

    def _good(self, number):
        now = self.clock.utc()
        for machine, asset in enumerate(GOOD):
            yield garbage.reading(asset, now, flow=number * 1.25 + machine, speed=100.5 - number)
        if number % 3 == 0:
            yield from garbage.waveform("g-1", now, [[number, 1, 2, 3]])
            yield from garbage.waveform("h-1", now, [[number, 1, 2, 3]], parts=2)

    def _work(self):
        self.source.work()
        self.rig.engine.step()
        self.source.work()

    @property
    def good(self):
        """All that is known of the good machines: states, and what the centre has been told."""
        found = {}
        for name, assets in MACHINES.items():
            fleet = self.rig.fleet(name)
            for row, asset in enumerate(assets):
                if asset in GOOD:
                    found[asset] = fleet.state[row].tobytes(), int(fleet.time[row]), int(fleet.number[row])
        rows = {key: row for key, row in self.rig.hub.rows.items() if key[1] in GOOD}
        alarms = [alarm for alarm in self.rig.hub.alarms if alarm["asset"] in GOOD]
        return found, rows, sorted((alarm["asset"], alarm["number"], alarm["level"]) for alarm in alarms)

    def check_books(self):
        """Every message is accounted for, and acknowledged."""
        source, engine = self.source, self.rig.engine
        assert engine.counts["faults"] == source.refused["unexpected"] == 0
        assert all(twins.counts["failed"] == 0 for twins in engine.twins.values())
        counts = source.status().counts
        assert counts["received"] == source.total
        assert counts["received"] == source.put + source.refused.total(), counts
        assert {reason for reason, count in counts.items() if count} - TOLD == set(source.refused) - TOLD
        fates = sum((fates.counts for fates in self.fates.values()), Counter())
        assert fates["unexplained"] == 0
        assert source.arrivals == fates.total() + engine.counts["unknown_asset"]
        assert source.acknowledged == source.ids, "each message of QoS 1 is acknowledged once, in order"


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    return {name: tiny_bundle(folder / name, time=TIMES[name], asset_class=name) for name in MACHINES}


@pytest.fixture(scope="module")
def alone(tmp_path_factory, bundles):
    """The same with nothing beside the good machines."""
    folder = tmp_path_factory.mktemp("alone")
    trial = Trial(folder, bundles)
    trial.check_books()
    assert trial.good[0]["g-1"][2] >= 4
    assert len(trial.good[2]) > 4
    return trial


@pytest.mark.timeout(3600)
@settings(
    max_examples=max(15, settings().max_examples // 5),  # thorough: 600 examples, 10,000 packets at the least
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking takes minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example, HealthCheck.data_too_large],
)
@given(packets=st.lists(st.tuples(st.integers(0, ROUNDS - 1), PACKETS), min_size=CASES, max_size=40))
def test_garbage_is_refused_by_reason_and_changes_nothing(packets, tmp_path_factory, bundles, alone):
    beside = {}
    for number, packet in packets:
        beside.setdefault(number, []).append(packet)
    trial = Trial(tmp_path_factory.mktemp("trial"), bundles, beside)
    trial.check_books()
    assert trial.good == alone.good


def test_ten_thousand_damaged_packets(tmp_path, bundles, alone):
    packets = iter(garbage.mutated(10_000, GOOD, DECOYS))
    beside = {number: list(itertools.islice(packets, -(-10_000 // ROUNDS))) for number in range(ROUNDS)}
    trial = Trial(tmp_path, bundles, beside)
    trial.check_books()
    assert trial.source.total > 10_000
    assert len(+trial.source.refused) > 5
    assert trial.good == alone.good


# Over a real broker, which lets through what is well-formed MQTT only.

MQTT = """
[[source]]
type = "mqtt"
name = "plant"
url = "{plant}"
topics = [
  {{ topic = "plant/{{asset}}/readings" }},
  {{ topic = "plant/{{asset}}/shake", format = "waveform", channel = "shake" }},
]
"""


def test_garbage_over_a_real_broker(tmp_path, iotcore):  # noqa: F811
    """From below and from above; what is good arrives, and nothing is left unacknowledged."""
    path = write_config(tmp_path, [*GOOD, *DECOYS], centre=iotcore.url, more=MQTT.format(plant=iotcore.url))
    history = {asset: [] for asset in GOOD}
    publisher = Publisher(BrokerSettings(name="machines", url=iotcore.url), "machines")
    with Hub(iotcore.url, tmp_path / "hub") as hub:
        gateway = Gateway(read_config(path))
        gateway.start()
        (source,) = gateway.sources
        try:
            until(lambda: source.subscribed and gateway.link.healthy)
            publisher.start()
            sent = publish_all(publisher, history)
            assert publisher.finish()
            publisher.stop()
            until(lambda: source.status().counts["received"] == sent)
            until(lambda: source.waiting == 0, what="all being acknowledged")
            until(lambda: len([key for key in hub.rows("prognosis") if key[0] in GOOD]) == len(GOOD) * BY_BROKER)
            counts = source.status().counts
            tally = gateway.link.tally()
        finally:
            gateway.stop()
        prognoses, alarms, _ = uninterrupted(tmp_path, history)
        assert {key: row for key, row in hub.rows("prognosis").items() if key[0] in GOOD} == prognoses
        assert {key for key in hub.rows("alarm") if key[0] in GOOD} == alarms
        assert hub.count("conflict") == hub.count("repeated") == 0
    assert counts["unexpected"] == 0
    assert counts["connects"] == 2
    assert sum(count for reason, count in tally.items() if reason.startswith("refused_")) >= BY_BROKER


def publish_all(publisher, history):
    """Good readings with garbage between them; how many messages are for the gateway's source."""
    sent = 0
    random = np.random.default_rng(1)
    packets = (packet for packet in garbage.mutated(100_000, GOOD, DECOYS) if packet.topic.endswith(b"/readings"))
    for number in range(BY_BROKER):
        at, group = START + number * 60 * SECOND, []
        for asset in GOOD:
            values = {"flow": float(random.integers(100)), "speed": float(number)}
            history[asset].append((at, list(values.values()), 0.0))
            group.append(encode(f"plant/{asset}/readings", json.dumps({"time": at, **values}).encode()))
            strange = next(packets)
            if strange.topic[:6] == b"plant/" and strange.topic.count(b"/") == 2 and strange.topic.isascii():
                group.append(encode(strange.topic.decode(), strange.payload))
            about = {"axes": int(random.integers(0, 9)), "time": "soon"}
            group.append(encode(f"plant/{asset}/shake", random.bytes(int(random.integers(40))), about))
        sent += len(group)
        for kind in ("ack", "request", "command"):
            group.append(encode(f"overhaul/1/north/gw-7/down/{kind}", random.bytes(int(random.integers(40)))))
        publisher.send(group)
    return sent
