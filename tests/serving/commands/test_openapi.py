"""What schemathesis makes of the routes of commands, of machines and commands that exist: no server error."""

import shutil

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings, strategies
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance
from sqlalchemy import func, select

from serving.database.engine import Database
from serving.database.settings import DatabaseSettings
from serving.database.tables import commands
from tests.serving.commands.rig import Service

CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def service(sqlite_template, tmp_path_factory):
    folder = tmp_path_factory.mktemp("service")
    shutil.copy(sqlite_template, folder / "centre.db")
    database = Database(DatabaseSettings(url="sqlite:///centre.db", folder=folder))
    made = Service(folder, database)
    made.set(per_minute=600, approvals=1)
    yield made
    database.close()


def test_no_server_error(service):
    key = service.keys["ann"].encode()

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            for message in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{message}.complete"})
            return
        headers = [(name, value) for name, value in scope["headers"] if name not in (b"authorization", b"x-api-key")]
        await service.app({**scope, "headers": [*headers, (b"x-api-key", key)]}, receive, send)

    api = schemathesis.openapi.from_asgi("/openapi.json", app)
    operations = [result.ok() for result in api.get_all_operations()]
    own = [operation for operation in operations if "/commands" in operation.label]
    assert len(own) == 5
    waiting = [service.made(), service.made()]
    for operation in own:
        for mode in GenerationMode:

            @given(case=operation.as_strategy(generation_mode=mode), tame=strategies.integers(0, 3))
            @settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
            def check(case, tame):
                if tame:
                    known = {"asset": "p-1", "command": waiting[tame % 2]}
                    case.path_parameters = {name: known[name] for name in case.path_parameters or {}}
                if tame > 1 and isinstance(case.body, dict) and "channel" in case.body:
                    case.body = {**case.body, "channel": "speed", "unit": "rpm"}
                case.call_and_validate(checks=CHECKS)

            try:
                check()
            except Unsatisfiable:
                assert mode is not GenerationMode.POSITIVE, f"{operation.label}: nothing was tried"
    with service.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(commands)).scalar() > len(waiting)
