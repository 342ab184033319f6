"""Transactions are whole and durable; an error that means "later" is told from one that means "never"."""

import threading

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import IntegrityError, OperationalError

from serving.database.engine import Database, away, is_away
from serving.database.settings import DatabaseSettings
from serving.database.tables import counts
from serving.errors import AwayError, ConfigError


def add(connection, name, value=1):
    connection.execute(insert(counts).values(gateway="", name=name, value=value))


def names(database):
    with database.read() as connection:
        return sorted(connection.execute(select(counts.c.name)).scalars())


def test_all_or_nothing(database):
    def fail():
        with database.write() as connection:
            add(connection, "a")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert names(database) == []
    with database.write() as connection:
        add(connection, "a")
        add(connection, "b")
    assert names(database) == ["a", "b"]


def test_readers_do_not_see_what_is_not_committed(database):
    with database.write() as connection:
        add(connection, "a")
        assert names(database) == []
    assert names(database) == ["a"]


def test_many_threads_write(database):
    def work(number):
        for turn in range(5):
            with database.write() as connection:
                add(connection, f"{number}-{turn}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(names(database)) == 20


def test_what_is_wrong_for_ever(database):
    with database.write() as connection:
        add(connection, "a")
    with pytest.raises(IntegrityError) as caught, away(), database.write() as connection:
        add(connection, "a")
    assert not is_away(caught.value)


def test_a_database_that_another_process_writes_to(tmp_path, sqlite_template):
    path = tmp_path / "centre.db"
    path.write_bytes(sqlite_template.read_bytes())
    settings = DatabaseSettings(url=f"sqlite:///{path}", busy=0.1)
    one, two = Database(settings), Database(settings)
    with one.write() as connection:
        add(connection, "a")
        with pytest.raises(AwayError, match="database is locked"), away(), two.write():
            pass
    with two.write() as connection:
        add(connection, "b")
    assert names(one) == ["a", "b"]
    one.close()
    two.close()


def test_no_server(tmp_path):
    database = Database(DatabaseSettings(url=f"postgresql://postgres@/x?host={tmp_path}"))
    with pytest.raises(AwayError, match="the database cannot be used now"), away(), database.read():
        pass
    database.close()


def test_a_limit_of_the_server_is_no_absence():
    class RefusedError(Exception):
        sqlstate = "54000"

    assert not is_away(OperationalError("", {}, RefusedError()))
    assert is_away(OperationalError("", {}, Exception()))


def test_sqlite_is_set_up_to_keep_what_it_commits(tmp_path):
    database = Database(DatabaseSettings(url="sqlite:///new.db", folder=tmp_path))
    with database.read() as connection:
        found = [connection.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous")]
    database.close()
    assert found == ["wal", 2]
    assert (tmp_path / "new.db").stat().st_mode & 0o777 == 0o600


def test_urls(tmp_path, monkeypatch):
    for url, said in (
        ("mysql://host/name", "expected sqlite"),
        ("postgresql://user:secret@host/name", "url holds a password"),
        ("sqlite://", "names no file"),
        ("nonsense", "nonsense"),
    ):
        with pytest.raises(ValueError, match=said):
            DatabaseSettings(url=url)
    with pytest.raises(ValueError, match="keep one"):
        DatabaseSettings(password_env="A", password_file=tmp_path)
    settings = DatabaseSettings(url="postgresql://user@host/name", password_env="OVERHAUL_TEST_PASSWORD")
    with pytest.raises(ConfigError, match="OVERHAUL_TEST_PASSWORD is not set"):
        settings.target()
    monkeypatch.setenv("OVERHAUL_TEST_PASSWORD", "secret")
    assert settings.target().password == "secret"
    secret = tmp_path / "secret"
    secret.write_text("from file\n")
    by_file = DatabaseSettings(url="postgresql://user@host/name", password_file=secret)
    with pytest.raises(ConfigError, match="others can read"):
        by_file.target()
    secret.chmod(0o600)
    assert by_file.target().password == "from file"
    assert str(DatabaseSettings(url="sqlite:///a.db", folder=tmp_path).target().database) == str(tmp_path / "a.db")
