"""A service with commands, on a database with machines of class tiny; and a key to sign with."""

import dataclasses

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select

from edge_runtime.clock import SystemClock
from serving.api.keys import create_key
from serving.commands.settings import CommandSettings
from serving.database.tables import assets
from serving.registry.audit import Act
from serving.registry.hierarchy import add_node
from serving.registry.owners import register
from tests.serving.service import Client

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PEM = serialization.Encoding.PEM
PUBLIC = KEY.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
PRIVATE = KEY.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
SECOND = 1_000_000_000
ON = CommandSettings(enabled=True, per_minute=100)


class TurnedClock(SystemClock):
    def __init__(self):
        self.passed = 0

    def utc(self):
        return super().utc() + self.passed

    def turn(self, seconds):
        self.passed += int(seconds * SECOND)


class Service(Client):
    """`keys`: name → API key. Machines p-1 and p-2 of gateway gw-7, plant north; p-0 of the centre."""

    def __init__(self, folder, database, settings=ON, clock=None):
        super().__init__(folder, database, insecure=False, clock=clock or TurnedClock())
        self.database, self.keys = database, {}
        self.centre.commands = settings
        act = Act("test", 1)
        with database.write() as connection:
            if connection.execute(select(assets.c.id)).first() is None:
                add_node(connection, act, "north")
                add_node(connection, act, "north/l1")
                for name, gateway in (("p-0", None), ("p-1", "gw-7"), ("p-2", "gw-7")):
                    register(connection, act, name, "tiny", gateway=gateway, site="north")
                    add_node(connection, act, f"north/l1/{name}", asset=name)
            for name, roles, plants in (
                ("ann", ("read", "command"), ("north",)),
                ("bob", ("read", "command"), ("north",)),
                ("eve", ("read", "command"), ("south",)),
                ("reader", ("read",), ("north",)),
            ):
                self.keys[name] = create_key(connection, act, name, roles, plants)

    def set(self, **changes):
        """Other settings of commands."""
        self.centre.commands = dataclasses.replace(self.centre.commands, **changes)

    def as_(self, who, method, path, body=b"", **headers):
        given = {"x-api-key": self.keys[who], **{name.replace("_", "-"): value for name, value in headers.items()}}
        return self.request(method, path, body, given)[:2]

    def make(self, who="ann", asset="p-1", **body):
        """(status, answer)."""
        headers = {"idempotency_key": body.pop("key")} if "key" in body else {}
        body = {"channel": "speed", "value": 1450.0, "reason": "less load at night", **body}
        return self.as_(who, "POST", f"/assets/{asset}/commands", body, **headers)

    def made(self, *arguments, **body):
        status, answer = self.make(*arguments, **body)
        assert status == 200, answer
        return answer["id"]

    def read(self, command, who="ann", asset="p-1"):
        return self.as_(who, "GET", f"/assets/{asset}/commands/{command}")[1]

    def listed(self, query="", who="ann", asset="p-1"):
        return self.as_(who, "GET", f"/assets/{asset}/commands?{query}")[1]

    def approve(self, command, who="bob", asset="p-1"):
        return self.as_(who, "POST", f"/assets/{asset}/commands/{command}/approve")

    def cancel(self, command, who="ann", asset="p-1"):
        return self.as_(who, "POST", f"/assets/{asset}/commands/{command}/cancel", {"reason": "not needed"})
