"""What a gateway has been told of a machine, over HTTP."""

import pytest

from serving.api.keys import create_key
from serving.registry.asset_settings import set_settings
from serving.registry.audit import Act
from serving.registry.hierarchy import add_node
from serving.registry.owners import register
from tests.serving.service import Client

ACT = Act("ann", 1_767_225_600_000_000_000)


@pytest.fixture
def client(database, tmp_path):
    with database.write() as connection:
        register(connection, ACT, "m1", "tiny", gateway="gw-7", site="north", term=3)
        add_node(connection, ACT, "north")
        add_node(connection, ACT, "north/l1")
        add_node(connection, ACT, "north/l1/m1", asset="m1")
    return Client(tmp_path, database)


def test_what_its_gateway_has_been_told(client, database, tmp_path):
    path = "/assets/m1/assignment"
    assert client.request("GET", path)[:2] == (200, {"asset": "m1", "assignment": None})
    with database.write() as connection:
        set_settings(connection, ACT, "m1", {"offset": 2.0})
    status, answer, _ = client.request("GET", path)
    told = answer["assignment"]
    assert (status, len(told.pop("id"))) == (200, 26)
    assert told == {
        "gateway": "gw-7",
        "term": 3,
        "settings_version": 1,
        "status": "waiting",
        "at": "2026-01-01T00:00:00Z",
        "sent_at": None,
        "answered_at": None,
        "sent": "",
        "reason": "",
    }
    with database.write() as connection:
        secret = create_key(connection, ACT, "test", ("read",), ("south",))
    closed = Client(tmp_path, database, insecure=False)
    assert closed.request("GET", path)[0] == 401
    for name in ("m9", "m1"):
        headers = {"Authorization": f"Bearer {secret}"}
        status, answer, _ = closed.request("GET", f"/assets/{name}/assignment", headers=headers)
        assert (status, answer["error"]["code"]) == (404, "unknown_asset")
