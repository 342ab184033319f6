"""Hubs that write at the same time, each with its own connection: nothing twice, nothing acknowledged too early."""

import random
import threading

from sqlalchemy import select

from edge_runtime.clock import SystemClock
from edge_runtime.contract.message import Lane
from serving.database.engine import Database, is_away
from serving.database.queries import read_waveform
from serving.database.tables import alarms, counts, messages, prognoses
from serving.hub.store import Store
from serving.registry.settings import RegistrySettings
from tests.serving.hub import made
from tests.serving.hub.test_store import rows_of, waveform


class Worker(threading.Thread):
    """A hub that gets `reads` in groups of any size, some more than once."""

    def __init__(self, settings, reads, seed):
        super().__init__()
        self.database = Database(settings)
        self.store = Store(self.database, RegistrySettings(adopt=True), SystemClock(), 1 << 20)
        self.reads, self.dice = reads, random.Random(seed)
        self.failure, self.retries, self.said = None, 0, []

    def run(self):
        try:
            while self.reads:
                size = self.dice.randint(1, 8)
                group, self.reads = (
                    self.reads[:size],
                    self.reads[size - self.dice.choice([0, 0, 1]) :] if size > 1 else self.reads[1:],
                )
                self.commit(group)
        except Exception as error:
            self.failure = error
        finally:
            self.database.close()

    def commit(self, group):
        for _ in range(50):
            try:
                self.check(self.store.commit(group))
                return
            except Exception as error:
                if not is_away(error):
                    raise
                self.retries += 1
        raise AssertionError("it never got through")

    def check(self, told):
        """All that is said to be committed is."""
        table = messages.c
        for each in told:
            for lane, ack in each.ack.lanes.items():
                self.said.append((lane, ack.upto))
                with self.database.read() as connection:
                    query = select(table.seq).where(table.epoch == each.ack.epoch, table.lane == int(lane))
                    stored = set(connection.execute(query).scalars())
                assert all(seq in ack for seq in range(1, ack.upto + 1))
                assert stored >= set(range(1, ack.upto + 1))
                for first, last in ack.ranges:
                    assert stored >= set(range(first, last + 1))


def test_hubs_at_the_same_time(database, database_settings):
    sender = made.Sender()
    sent = [made.block(made.prognoses(("m1", "m2", "m3"), (n,))) for n in range(1, 61)]
    # The same rows once more, in other blocks, and alarms of one occurrence.
    sent += [made.block(made.prognoses(("m3", "m2", "m1"), range(n, n + 5)), Lane.BACKFILL) for n in range(1, 60, 5)]
    sent += [made.alarm(n, 2 + n % 2, 3 - n % 2, since=1) for n in range(2, 30)]
    samples, parts = waveform()
    reads = sender.read(*sent, *parts)
    random.Random(3).shuffle(reads)
    again = random.Random(4).sample(reads, 20)
    workers = [Worker(database_settings, [*reads[part::3], *again], seed=part) for part in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.failure is None, worker.failure
    assert rows_of(database, prognoses) == 180
    assert rows_of(database, messages) == len(reads)
    assert rows_of(database, alarms) == 1
    with database.read() as connection:
        assert connection.execute(select(alarms.c.number)).scalar_one() == 29
        assert read_waveform(connection, 1, "shake", 0, 5).tobytes() == samples.tobytes()
        repeated = select(counts.c.value).where(counts.c.name == "repeated_prognoses")
        # A message that comes to two at the same moment is new to both of them; its rows are not.
        assert connection.execute(repeated).scalar_one() >= 180
    final = {lane: max(upto for worker in workers for said, upto in worker.said if said is lane) for lane in Lane}
    assert final == {Lane.ALARM: 28, Lane.LIVE: 60, Lane.BACKFILL: 12, Lane.RAW: len(parts)}
