"""A worker whose settings or database are wrong says so to everybody, and goes on by itself once they are right."""

import asyncio
import json
import logging

import pytest

from serving.api.front import Before
from serving.api.worker import Worker
from serving.database.engine import Database
from serving.database.schema import upgrade
from serving.database.settings import DatabaseSettings
from tests.edge_runtime.tiny import tiny_bundle
from tests.serving.service import seen

CENTRE = """
[database]
url = "sqlite:///centre.db"
[service]
insecure = true
[service.models]
folders = ["*/bundle"]
"""


async def behind(scope, receive, send):  # noqa: ARG001 as ASGI calls it
    await send({"type": "http.response.start", "status": 204, "headers": []})


async def ask(worker, method, path, body=None):
    """Status, and the body read as JSON."""
    sent = []
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": method, "path": path, "client": ("127.0.0.1", 1), "headers": headers}

    async def receive():
        return {"type": "http.request", "body": json.dumps(body).encode()}

    async def send(message):
        sent.append(message)

    await Before(behind, lambda: worker.front)(scope, receive, send)
    return sent[0]["status"], json.loads(b"".join(each.get("body", b"") for each in sent) or b"null")


async def until_ready(worker):
    async with asyncio.timeout(60):
        while (await ask(worker, "GET", "/readyz"))[0] != 200:
            await asyncio.sleep(0.02)


def in_worker(work):
    """`work` with an open worker that looks again at once."""

    async def go():
        worker = Worker(every=0.05)
        await worker.open()
        try:
            await work(worker)
        finally:
            await worker.close()

    asyncio.run(go())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    tiny_bundle(tmp_path / "tiny/bundle")
    (tmp_path / "centre.toml").write_text(CENTRE)
    monkeypatch.setenv("OVERHAUL_CENTRE", str(tmp_path / "centre.toml"))
    return tmp_path


def assert_told(caplog, text):
    """Once, in one line, without a traceback."""
    (record,) = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert text in record.getMessage()
    assert "\n" not in record.getMessage()
    assert record.exc_info is None


def test_a_database_without_tables(folder, caplog):
    async def work(worker):
        for method, path in (("GET", "/readyz"), ("POST", "/predict"), ("GET", "/assets"), ("GET", "/nowhere")):
            status, answer = await ask(worker, method, path)
            assert (status, answer["error"]["code"]) == (503, "not_ready")
            assert "the database has no tables" in answer["error"]["message"]
        assert (await ask(worker, "GET", "/livez"))[0] == 204  # the process is there
        await asyncio.sleep(0.2)  # it looks again meanwhile
        assert_told(caplog, "the database has no tables")
        database = Database(DatabaseSettings(url="sqlite:///centre.db", folder=folder))
        upgrade(database)
        database.close()
        await until_ready(worker)
        assert (await ask(worker, "POST", "/predict", {"fleet": "tiny", "observations": seen(0)}))[0] == 200

    in_worker(work)


def test_a_database_that_is_none(folder, caplog):
    (folder / "centre.db").write_bytes(b"this is something else" * 100)

    async def work(worker):
        status, answer = await ask(worker, "GET", "/readyz")
        assert (status, answer["error"]["code"]) == (503, "not_ready")
        assert "file is not a database; check its url" in answer["error"]["message"]

    in_worker(work)
    assert_told(caplog, "file is not a database")


def test_a_database_that_is_away_holds_up_nothing_else(folder):
    away = folder / "disk/centre.db"
    (folder / "centre.toml").write_text(CENTRE.replace("centre.db", "disk/centre.db"))

    async def work(worker):
        status, answer = await ask(worker, "GET", "/readyz")
        assert (status, answer["error"]["code"]) == (503, "not_ready")
        assert (await ask(worker, "POST", "/predict", {"fleet": "tiny", "observations": seen(0)}))[0] == 200
        away.parent.mkdir()  # it is back, without tables
        async with asyncio.timeout(60):
            while "no tables" not in (await ask(worker, "POST", "/predict"))[1]["error"]["message"]:
                await asyncio.sleep(0.02)

    in_worker(work)


def test_settings_that_are_wrong(folder, caplog):
    right = CENTRE + "[database]\nupgrade = true"
    right = CENTRE.replace("[service]", "upgrade = true\n[service]", 1)
    (folder / "centre.toml").write_text(right.replace("insecure", "insecur"))

    async def work(worker):
        status, answer = await ask(worker, "GET", "/readyz")
        assert (status, answer["error"]["code"]) == (503, "not_ready")
        assert "did you mean 'insecure'?" in answer["error"]["message"]
        assert_told(caplog, "did you mean 'insecure'?")
        (folder / "centre.toml").write_text(right)
        await until_ready(worker)

    in_worker(work)
