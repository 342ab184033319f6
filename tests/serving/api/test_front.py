"""Who may ask, and how much: each refusal has its status and says what to do."""

import gzip
import json
import time
import zlib

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from serving.api.jwt import Tokens
from serving.api.keys import Keys, create_key, main, revoke_key
from serving.api.limits import check_depth
from serving.api.settings import JwtSettings, LimitSettings
from serving.database.engine import Database
from serving.database.settings import DatabaseSettings
from serving.errors import AwayError, ConfigError, InvalidError, RequestError, UnknownError
from serving.registry.audit import Act, read_audit
from serving.registry.hierarchy import add_node
from serving.registry.owners import register
from tests.serving.service import T0, Client, seen

ACT = Act("ann", 1)
ASK = {"fleet": "tiny", "observations": seen(0)}


@pytest.fixture
def sqlite(sqlite_template, tmp_path):
    import shutil

    shutil.copy(sqlite_template, tmp_path / "centre.db")
    database = Database(DatabaseSettings(url="sqlite:///centre.db", folder=tmp_path))
    yield database
    database.close()


@pytest.fixture(scope="module")
def open_client(tmp_path_factory):
    return Client(tmp_path_factory.mktemp("bundles"))


@pytest.fixture
def client(sqlite, tmp_path):
    return Client(tmp_path / "bundles", sqlite, insecure=False)


def key(database, *roles, plants=("*",), **more):
    with database.write() as connection:
        return create_key(connection, ACT, "test", roles, plants, **more)


def ask(service, headers=None, body=None, **more):
    status, answer, told = service.request("POST", "/predict", body or ASK, headers, **more)
    return status, answer.get("error", {}).get("code"), answer, told


def bearer(value):
    return {"Authorization": f"Bearer {value}"}


def test_keys(client, sqlite):
    good = key(sqlite, "read")
    assert ask(client, bearer(good))[0] == 200
    assert ask(client, {"X-API-Key": good})[0] == 200
    status, code, answer, told = ask(client)
    assert (status, code, told["www-authenticate"]) == (401, "no_key", 'Bearer realm="overhaul"')
    assert "send Authorization: Bearer" in answer["error"]["message"]
    for wrong in (
        good[:-1] + ("A" if good[-1] != "A" else "B"),
        "ovh_000000000000_" + "x" * 43,
        "ovh_",
        "x",
        "x" * 9000,
    ):
        assert ask(client, bearer(wrong))[:2] == (401, "wrong_key")
    assert ask(client, bearer(key(sqlite, "read", expires=5)))[:2] == (401, "wrong_key")


def test_only_the_hash_of_a_key_is_kept(sqlite, tmp_path):
    secret = key(sqlite, "read").rpartition("_")[2]
    sqlite.close()
    for file in tmp_path.glob("centre.db*"):
        assert secret.encode() not in file.read_bytes()


def test_a_revoked_key_is_refused(client, sqlite, monkeypatch):
    good = key(sqlite, "read")
    assert ask(client, bearer(good))[0] == 200
    with sqlite.write() as connection:
        revoke_key(connection, ACT, good.split("_")[1])
        with pytest.raises(UnknownError):
            revoke_key(connection, ACT, good.split("_")[1])
        assert [entry.action for entry in read_audit(connection)] == ["key.revoke", "key.create"]
    monkeypatch.setattr("serving.api.keys._REMEMBERED", -1.0)
    status, code, answer, _ = ask(client, bearer(good))
    assert (status, code) == (401, "wrong_key")
    assert "revoked" in answer["error"]["message"]


def test_while_the_database_is_away_known_keys_are_answered(client, sqlite, monkeypatch):
    """What needs no database, as ever; nobody can revoke a key meanwhile."""
    known, revoked, new = (key(sqlite, "read") for _ in range(3))
    assert ask(client, bearer(known))[0] == ask(client, bearer(revoked))[0] == 200
    monkeypatch.setattr("serving.api.keys._REMEMBERED", -1.0)
    with sqlite.write() as connection:
        revoke_key(connection, Act("ann", 2), revoked.split("_")[1])
    assert ask(client, bearer(revoked))[:2] == (401, "wrong_key")

    def away():
        raise AwayError("the database is away")

    monkeypatch.setattr(sqlite, "read", away)
    assert ask(client, bearer(known))[0] == 200
    assert ask(client, bearer(revoked))[:2] == (503, "away")
    assert ask(client, bearer(new))[:2] == (503, "away")


def test_roles(client, sqlite):
    with sqlite.write() as connection:
        register(connection, ACT, "p1", "tiny")
    reader, observer, commander = (key(sqlite, role) for role in ("read", "observe", "command"))
    going_on = {**ASK, "asset": "p1", "continue": True}
    status, code, answer, _ = ask(client, bearer(reader), going_on)
    assert (status, code) == (403, "role")
    assert "needs the role observe; your key has read" in answer["error"]["message"]
    assert ask(client, bearer(reader), {**going_on, "store": False})[0] == 200
    assert ask(client, bearer(observer), going_on)[0] == 200
    assert ask(client, bearer(commander))[:2] == (403, "role")
    with pytest.raises(InvalidError, match="role boss"):
        key(sqlite, "boss")


def test_a_key_sees_the_machines_of_its_plants(client, sqlite):
    with sqlite.write() as connection:
        for name in ("p1", "p2", "p3"):
            register(connection, ACT, name, "tiny")
        register(connection, ACT, "p4", "tiny", gateway="gw-1", site="north")
        for path in ("north", "north/l1", "south", "south/l1"):
            add_node(connection, ACT, path)
        add_node(connection, ACT, "north/l1/m1", asset="p1")
        add_node(connection, ACT, "south/l1/m1", asset="p2")
    north = bearer(key(sqlite, "observe", "read", plants=("north",)))
    going_on = {**ASK, "continue": True}
    assert ask(client, north, {**going_on, "asset": "p1"})[0] == 200
    assert ask(client, north, {**going_on, "asset": "p4"})[0] == 200  # of a gateway of that site
    told = [ask(client, north, {**going_on, "asset": name}) for name in ("p2", "p3", "p9")]
    assert [each[:2] for each in told] == [(404, "unknown_asset")] * 3
    said = {each[2]["error"]["message"].replace(name, "?") for each, name in zip(told, ("p2", "p3", "p9"), strict=True)}
    assert said == {"asset '?' is not known in the plants of your key (north): check its id, or register it"}


def tokens(tmp_path):
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (tmp_path / "issuer.pem").write_bytes(public)
    return private, public, JwtSettings("EdDSA", tmp_path / "issuer.pem", "https://issuer.example")


def claims(**changes):
    now = int(time.time())
    good = {"iss": "https://issuer.example", "aud": "overhaul", "sub": "ann", "iat": now, "exp": now + 600}
    told = {**good, "roles": ["read"], "plants": ["*"], **changes}
    return {name: value for name, value in told.items() if value is not None}


def test_tokens(tmp_path):
    private, public, settings = tokens(tmp_path)
    client = Client(tmp_path / "bundles", insecure=False, jwt=settings)

    def status(token):
        return ask(client, bearer(token))[:2]

    assert status(jwt.encode(claims(), private, "EdDSA")) == (200, None)
    assert status(jwt.encode(claims(roles=["command", "boss"]), private, "EdDSA")) == (403, "role")
    now = int(time.time())
    refused = {
        "another issuer": claims(iss="https://other.example"),
        "another audience": claims(aud="others"),
        "expired": claims(exp=now - 60),
        "from the future": claims(iat=now + 600, exp=now + 900),
        "valid too long": claims(exp=now + 10_000_000),
        **{f"no {name}": claims(**{name: None}) for name in ("iss", "aud", "sub", "iat", "exp")},
        "odd times": claims(iat="x"),
        "no end": claims(exp=float("inf")),
    }
    for name, each in refused.items():
        assert status(jwt.encode(each, private, "EdDSA")) == (401, "wrong_key"), name
    assert status(jwt.encode(claims(), Ed25519PrivateKey.generate(), "EdDSA")) == (401, "wrong_key")
    assert status(jwt.encode(claims(), None, "none")) == (401, "wrong_key")
    head = jwt.utils.base64url_encode(b'{"alg":"HS256","typ":"JWT"}') + b"."
    head += jwt.utils.base64url_encode(json.dumps(claims()).encode())
    import hashlib
    import hmac

    forged = head + b"." + jwt.utils.base64url_encode(hmac.digest(public, head, hashlib.sha256))
    assert status(forged.decode()) == (401, "wrong_key")  # signed by what everybody knows


def test_subjects_are_told_apart(tmp_path):
    """Whatever their length: answers are remembered, and approvals given, by subject."""
    private, _, settings = tokens(tmp_path)
    read = Tokens(settings).read
    names = ["ann", "CN=" + "x" * 100 + "1", "CN=" + "x" * 100 + "2", "a\0"]
    ids = [read(jwt.encode(claims(sub=name), private, "EdDSA")).id for name in names]
    assert ids[0] == "sub/ann"
    assert len(set(ids)) == len(names)
    assert max(map(len, ids)) <= 80
    assert all(map(str.isprintable, ids))


def test_a_key_of_a_token_that_is_none(tmp_path):
    (tmp_path / "issuer.pem").write_text("nothing")
    settings = JwtSettings("EdDSA", tmp_path / "issuer.pem", "https://issuer.example")
    with pytest.raises(ConfigError, match="is no public key in PEM"):
        Client(tmp_path / "bundles", insecure=False, jwt=settings)


def test_without_keys_it_does_not_start_unless_told(tmp_path):
    with pytest.raises(ConfigError, match="nobody could use this service"):
        Client(tmp_path / "bundles", insecure=False)


def test_insecure_is_for_this_computer_only(open_client):
    assert ask(open_client)[0] == 200
    assert ask(open_client, client="10.0.0.7")[:2] == (403, "insecure")
    assert ask(open_client, {"host": "evil.example:3000"})[:2] == (403, "insecure")
    assert ask(open_client, {"host": "[::1]:3000"})[0] == 200
    for page in ("https://evil.example", "null", "http://localhost.evil.example:3000"):
        assert ask(open_client, {"origin": page})[:2] == (403, "insecure")
    assert ask(open_client, {"origin": "http://localhost:8080"})[0] == 200


PACKED = gzip.compress(json.dumps(ASK).encode())
LIMITS = LimitSettings(body=2048, unpacked=4096, depth=6, observations=3, machines=2)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return Client(tmp_path_factory.mktemp("bundles"), limits=LIMITS)


MALFORMED = {
    "no JSON": (b"{", {}, 400, "malformed"),
    "no object": (b"[]", {}, 422, "form"),
    "empty": (b" ", {}, 400, "malformed"),
    "no text": (b"\xff\xfe", {}, 400, "malformed"),
    "not a number": (b'{"fleet":"tiny","observations":[{"time":NaN,"readings":{}}]}', {}, 422, "form"),
    "beyond all numbers": (b'{"fleet":"tiny","observations":[{"time":1e999,"readings":{}}]}', {}, 422, "form"),
    "too large": (b'"' + b"x" * 3000 + b'"', {}, 413, "size"),
    "said to be too large": (b"{}", {"content-length": "99999"}, 413, "size"),
    "too deep": (b'{"x":' + b"[" * 50 + b"]" * 50 + b"}", {}, 413, "size"),
    "a bomb": (gzip.compress(b" " * 10_000_000)[:2040], {"content-encoding": "gzip"}, 413, "size"),
    "cut off": (PACKED[:-4], {"content-encoding": "gzip"}, 400, "malformed"),
    "more behind it": (PACKED + b"x", {"content-encoding": "gzip"}, 400, "malformed"),
    "no gzip": (b"{}", {"content-encoding": "gzip"}, 400, "malformed"),
    "another encoding": (b"{}", {"content-encoding": "br"}, 415, "encoding"),
    "another type": (b"{}", {"content-type": "application/vnd.bentoml+pickle"}, 415, "encoding"),
    "many observations": (json.dumps({**ASK, "observations": seen(0, 1, 2, 3)}).encode(), {}, 413, "size"),
    "many machines": (
        json.dumps({"fleet": "tiny", "columns": {"asset": ["a", "b", "c"], "time": [T0] * 3, "readings": {}}}).encode(),
        {},
        413,
        "size",
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.parametrize("parts", [1, 7])
def test_what_is_refused_before_it_is_read(small, name, parts):
    body, headers, status, code = MALFORMED[name]
    got, answer, told = small.request("POST", "/predict", body, headers, parts=parts)
    assert (got, answer["error"]["code"]) == (status, code)
    assert len(answer["error"]["message"]) > 20
    assert (told.get("connection") == "close") == (status == 413)


FORMS = {
    "an unknown member, a missing one": (
        '{"fleet": "tiny", "observations": [{"time": 1, "reading": {}}]}',
        "observations[0].reading: there is no such member: did you mean 'readings'? (1 more problem)",
    ),
    "an unknown member": (
        '{"fleet": "tiny", "observation": []}',
        "observation: there is no such member: did you mean 'observations'?",
    ),
    "a missing member": (
        '{"fleet": "tiny", "observations": [{"time": 1}]}',
        "observations[0].readings: this is missing, and required",
    ),
    "NaN": (
        '{"fleet": "tiny", "observations": [{"time": 1, "readings": {"flow": NaN}}]}',
        "observations[0].readings.flow: NaN and infinity are no numbers: send null for a reading that was not received",
    ),
    "a number in quotes": (
        '{"fleet": "tiny", "observations": [{"time": 1, "readings": {"flow": "612"}}]}',
        "observations[0].readings.flow: '612' is text: expected a number, without quotes: 612",
    ),
    "a word": (
        '{"fleet": "tiny", "columns": {"asset": ["a"], "time": [1], "readings": {"flow": ["high"]}}}',
        "columns.readings.flow[0]: 'high' is text: expected a number",
    ),
    "a time that is none": (
        '{"fleet": "tiny", "observations": [{"time": null, "readings": {}}]}',
        "observations[0].time: null is nothing: expected text (1 more problem)",
    ),
    "another shape": ('{"fleet": "tiny", "observations": {}}', "observations: {…} is an object: expected a list […]"),
    "nothing": ("", "the body: it is empty: send JSON"),
    "a choice": (
        '{"fleet": "tiny", "observations": [{"time": 1, "readings": {}, "event": "repair"}]}',
        "observations[0].event: Input should be 'none', 'new_life' or 'sensor_replaced'; got 'repair'",
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_what_is_wrong_with_the_form_is_told(open_client, name):
    body, message = FORMS[name]
    status, answer, _ = open_client.request("POST", "/predict", body.encode())
    assert (status, answer["error"]["message"]) == (422 if body else 400, message)


def test_packed_bodies_are_read(small):
    assert small.request("POST", "/predict", PACKED, {"content-encoding": "gzip"})[0] == 200
    deflated = zlib.compress(json.dumps(ASK).encode())
    assert small.request("POST", "/predict", deflated, {"content-encoding": "deflate"}, parts=3)[0] == 200


@pytest.mark.parametrize(
    ("text", "depth"),
    [
        (b'{"a":"[[[["}', 1),
        (b'{"a":"\\"[[["}', 1),
        (b"[[1],[2],[3]]", 2),
        (b'[{"a":[1]}]', 3),
        (b"[][][]", 1),
        (b'"[', 1),
    ],
)
def test_depth_counts_what_nests(text, depth):
    check_depth(text, depth)
    if depth > 1:
        with pytest.raises(RequestError, match="nests deeper"):
            check_depth(text, depth - 1)


def test_rate(tmp_path):
    client = Client(tmp_path, limits=LimitSettings(rate=0.001, burst=2))
    assert [ask(client)[0] for _ in range(3)] == [200, 200, 429]
    status, code, _, told = ask(client)
    assert (status, code) == (429, "rate")
    assert int(told["retry-after"]) > 100


def test_too_many_wait(tmp_path):
    client = Client(tmp_path, limits=LimitSettings(waiting=2))
    answers = client.together(*[{"observations": seen(0)}] * 6)
    assert {status for status, _ in answers} == {200, 503}


def test_paths_and_methods(open_client):
    status, answer, told = open_client.request("GET", "/predict")
    assert (status, answer["error"]["code"], told["allow"]) == (405, "method", "POST")
    assert open_client.request("GET", "/docs.json")[1] == b"behind"


def test_where_the_database_is_is_for_the_log(tmp_path, caplog):
    away = Database(DatabaseSettings(url="postgresql://overhaul@/centre?host=/nowhere/at/all"))
    status, answer, _ = Client(tmp_path, away, insecure=False).request("GET", "/readyz")
    assert (status, answer["error"]["code"]) == (503, "not_ready")
    assert "nowhere" not in answer["error"]["message"]
    assert "nowhere" in caplog.text


@pytest.mark.parametrize(
    ("path", "way_out"),
    [
        ("/asset", "did you mean /assets?"),
        ("/assets/", "did you mean /assets?"),
        ("/assets/p1/histori", "did you mean /assets/{asset}/history?"),
        ("/zzz", "see /openapi.json"),
        ("/" + "x" * 5000, "see /openapi.json"),
    ],
)
def test_a_path_that_is_none(open_client, path, way_out):
    status, answer, told = open_client.request("POST", path, b"{}")
    assert (status, answer["error"]["code"], told["content-type"]) == (404, "unknown_path", "application/json")
    assert answer["error"]["message"].endswith(way_out)
    assert len(answer["error"]["message"]) < 200


def test_ready_models_and_metrics(open_client, tmp_path):
    assert open_client.request("GET", "/readyz")[1] == {"ready": True, "models": 1, "database": "none"}
    (model,) = open_client.request("GET", "/models")[1]["models"]
    assert model["channels"][0] == {"name": "flow", "quantity": "flow", "unit": "L/min", "range": [0, 400]}
    ask(open_client)
    told = open_client.request("GET", "/metrics")[1].decode()
    assert 'overhaul_requests_total{route="/predict",status="200"}' in told
    nothing = Client(tmp_path)
    nothing.centre.catalogue.shelf = type(nothing.centre.catalogue.shelf)()
    status, answer, _ = nothing.request("GET", "/readyz")
    assert (status, answer["error"]["code"]) == (503, "not_ready")


def test_the_command_makes_lists_and_revokes_keys(sqlite, tmp_path, capsys):
    (tmp_path / "centre.toml").write_text('[database]\nurl = "sqlite:///centre.db"\n')
    config = ["--config", str(tmp_path / "centre.toml")]
    assert main(["create", *config, "--role", "read", "--plant", "north", "--name", "app", "--days", "1"]) == 0
    made = capsys.readouterr().out.strip()
    caller = Keys(sqlite).look_up(made)
    assert (caller.roles, caller.plants) == ({"read"}, {"north"})
    assert main(["list", *config]) == 0
    assert "valid  read  north  app" in capsys.readouterr().out
    for days in ("-1", "inf", "nan", "a week"):
        with pytest.raises(SystemExit):
            main(["create", *config, "--role", "read", "--plant", "north", f"--days={days}"])
        assert "--days" in capsys.readouterr().err
    with sqlite.write() as connection:
        create_key(connection, Act("test", 0), "old", ["read"], ["north"], expires=1)
    assert main(["list", *config]) == 0
    assert "expired  read  north  old" in capsys.readouterr().out
    assert main(["revoke", *config, "--id", made.split("_")[1]]) == 0
    assert main(["revoke", *config, "--id", "nothing"]) == 1
    with pytest.raises(RequestError, match="revoked"):
        Keys(sqlite).look_up(made)
