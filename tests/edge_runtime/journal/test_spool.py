"""The spool while it is used by two threads at once: the link acknowledges, the writer deletes."""

from contextlib import closing

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_runtime.contract.message import Lane
from edge_runtime.journal import spool
from edge_runtime.journal.opening import open_database
from edge_runtime.journal.settings import SpoolSettings
from tests.edge_runtime.journal.tools import FakeClock, message

COUNT = 12
some = st.lists(st.tuples(st.integers(1, COUNT), st.integers(0, 3)).map(lambda pair: (pair[0], sum(pair))), max_size=4)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(before=some, meanwhile=some)
def test_what_is_acknowledged_while_other_messages_are_deleted_is_deleted_next(tmp_path, before, meanwhile):
    """Acknowledgements come out of order: also those of lower seqs than what is just being deleted."""
    path = tmp_path / "journal.db"
    path.unlink(missing_ok=True)
    opened = open_database(path, SpoolSettings(), FakeClock())
    with closing(opened.connection) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("BEGIN")
        opened.spool.add(connection, [message(Lane.LIVE) for _ in range(COUNT)])
        opened.ledger.settle()
        opened.spool.acknowledge(Lane.LIVE, 0, before)
        done = opened.spool.delete_acknowledged(connection, 99)
        opened.spool.acknowledge(Lane.LIVE, 0, meanwhile)
        opened.spool.deleted(done)
        left = set(range(1, COUNT + 1)) - {seq for low, high in [*before, *meanwhile] for seq in range(low, high + 1)}
        opened.spool.deleted(opened.spool.delete_acknowledged(connection, 99))
        found = spool.read(connection, opened.spool.epoch, Lane.LIVE, 0, COUNT, COUNT, 10**9)
        connection.execute("COMMIT")
        assert {one.seq for one in found} == left
        assert not opened.spool.to_delete()
