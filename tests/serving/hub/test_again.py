"""Dead letters that can be stored by now."""

from sqlalchemy import func, select

from edge_runtime.clock import SystemClock
from serving.database.queries import list_gateways
from serving.database.tables import dead_letters, prognoses
from serving.hub.again import again, main
from serving.hub.reading import Dead, Letter, read
from serving.hub.store import Store
from serving.registry.audit import Act
from serving.registry.owners import register
from serving.registry.settings import RegistrySettings
from tests.serving.hub import made
from tests.serving.hub.process import url_of


def count(database, table):
    with database.read() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def take_up(database, **options):
    return again(database, RegistrySettings(), SystemClock(), 1 << 20, **options)


def test_a_machine_that_was_registered_late(database):
    store = Store(database, RegistrySettings(), SystemClock(), 1 << 20)
    reads = made.Sender().read(*(made.block(made.prognoses(("m1", "m2"), (n,))) for n in range(1, 121)))
    store.commit([*reads, read(Letter(b"overhaul/1/north/gw-7/up/event", "application/json", b"{"))])
    assert count(database, dead_letters) == 121
    with database.write() as connection:
        register(connection, Act("ann", 1), "m1", "pump", gateway=made.GATEWAY)
    assert take_up(database, reason="old_term") == 0
    assert take_up(database) == 0  # of each the rows of m2 are dead still
    assert count(database, prognoses) == 120
    with database.write() as connection:
        register(connection, Act("ann", 1), "m2", "pump", gateway=made.GATEWAY)
    assert take_up(database, reason="unknown_asset") == 120
    assert count(database, prognoses) == 240
    assert count(database, dead_letters) == 1
    assert store.commit(reads)[0].ack.lanes  # should a gateway send it again, it changes nothing
    assert count(database, prognoses) == 240


def test_how_a_gateway_was_once_is_not_how_it_is(database):
    """A status that could not be read when it came can be by now."""
    store = Store(database, RegistrySettings(), SystemClock(), 1 << 20)
    store.commit([made.status("online")._replace(status=None, dead=Dead("major", "of a newer gateway"))])
    store.commit([made.status("offline")])
    assert take_up(database) == 1
    with database.read() as connection:
        assert [each.state for each in list_gateways(connection)] == ["offline"]


def test_letters_that_were_cut_stay(database):
    Store(database, RegistrySettings(), SystemClock(), 10).commit(made.Sender().read(made.block(made.prognoses())))
    with database.write() as connection:
        register(connection, Act("ann", 1), "m1", "pump", gateway=made.GATEWAY)
    assert take_up(database) == 0
    assert count(database, dead_letters) == 1


def test_by_command(database, database_settings, tmp_path, capsys):
    url = url_of(database_settings) if database.sqlite else database_settings.url
    config = tmp_path / "centre.toml"
    config.write_text(f'[database]\nurl = "{url}"\n')
    assert main(["--config", str(config)]) == 0
    assert capsys.readouterr().out == "0 of 0 dead letters could be stored now\n"
    store = Store(database, RegistrySettings(), SystemClock(), 1 << 20)
    store.commit(made.Sender().read(made.block(made.prognoses())))
    assert main(["--config", str(config), "--reason", "unknown"]) == 0
    assert capsys.readouterr().out.endswith("'unknown'; reasons of those there are: unknown_asset (1)\n")
    assert main(["--config", str(config), "--reason", "unknown_asset"]) == 0
    assert capsys.readouterr().out.startswith("0 of 1 dead letters could be stored now; the others stay")
    with database.write() as connection:
        register(connection, Act("ann", 1), "m1", "pump", gateway=made.GATEWAY)
    assert main(["--config", str(config)]) == 0
    assert capsys.readouterr().out == "1 of 1 dead letters could be stored now; none of them is left\n"
    config.write_text("[databas]\n")
    assert main(["--config", str(config)]) == 1
    assert "did you mean 'database'?" in capsys.readouterr().err
