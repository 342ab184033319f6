"""A plant from a table, and the registry from a terminal."""

import pytest

from serving.api.keys import create_key, revoke_key
from serving.api.keys import main as keys
from serving.database.queries import find_asset, list_assets
from serving.errors import InvalidError
from serving.registry.__main__ import main
from serving.registry.audit import Act, read_audit
from serving.registry.hierarchy import add_node, change_node, find_node, read_tree
from serving.registry.owners import register, set_tier
from serving.registry.plan import apply_plan, read_plan
from tests.edge_runtime.tiny import tiny_bundle

ACT = Act("ann", 1)
TABLE = """path,kind,title,criticality,asset,class,gateway,tier
north/line-2/pump-3,machine,"Feed pump, old",A,pump-3,tiny,gw-7,full
north,plant,Works North,,,,,
north/line-2,line,Bottling,C,,,,

north/line-2/pump-4,,,,pump-4,tiny,,basic
"""


def table(tmp_path, text=TABLE):
    (tmp_path / "plant.csv").write_text(text)
    return tmp_path / "plant.csv"


def apply(database, path):
    plan = read_plan(path)
    with database.write() as connection:
        return apply_plan(connection, ACT, plan, path.name)


def test_a_plant_from_a_table(database, tmp_path):
    assert apply(database, table(tmp_path)) == [
        "north: added",
        "north/line-2: added",
        "pump-3: registered, class tiny, owner gw-7",
        "north/line-2/pump-3: added, asset pump-3",
        "pump-4: registered, class tiny, owner the centre",
        "north/line-2/pump-4: added, asset pump-4",
    ]
    with database.read() as connection:
        node, asset = find_node(connection, "north/line-2/pump-3"), find_asset(connection, "pump-3")
        assert (node.title, node.criticality, node.asset) == ("Feed pump, old", "A", "pump-3")
        assert (asset.gateway, asset.tier, find_asset(connection, "pump-4").tier) == ("gw-7", "full", "basic")
    assert apply(database, table(tmp_path)) == []
    changed = TABLE.replace("Bottling,C", "Bottling,A").replace("tiny,,basic", "tiny,,full").replace(",", ";")
    changed = changed.replace('"Feed pump; old"', '"Feed pump, old"')
    assert apply(database, table(tmp_path, "\ufeff" + changed.replace('"Feed pump, old"', "Feed pump"))) == [
        "north/line-2: changed",
        "north/line-2/pump-3: changed",
        "pump-4: tier full, before basic",
    ]


BAD = {
    "kind,title\nplant,x\n": "no column 'path'",
    "path,colour\nnorth,red\n": "column 'colour'",
    "path,kind\nnorth,line\n": "line 2: kind 'line': north is a plant",
    "path\na/b/c/d/e\n": "line 2: path 'a/b/c/d/e': expected up to 4 names",
    "path,tier\nnorth,half\n": "line 2: tier 'half': expected full or basic",
    "path,class\nnorth,pump\n": "line 2: class, gateway and tier are of an asset",
    "path,title\nnorth,x,y\n": "line 2: more values than columns",
}


@pytest.mark.parametrize("text", BAD)
def test_a_table_that_is_none(tmp_path, text):
    with pytest.raises(InvalidError) as caught:
        read_plan(table(tmp_path, text))
    assert BAD[text] in str(caught.value)


def test_a_table_in_another_encoding_names_the_line(tmp_path):
    (tmp_path / "plant.csv").write_bytes("path,title\nnorth,x\nnorth/l1,Abfüllung\n".encode("latin-1"))
    with pytest.raises(InvalidError, match=r"plant\.csv, line 3 is not UTF-8: save the table as CSV UTF-8"):
        read_plan(tmp_path / "plant.csv")


def test_all_that_stands_in_the_way_is_told_and_nothing_is_changed(database, tmp_path):
    with database.write() as connection:
        register(connection, ACT, "pump-3", "tiny")
    text = (
        "path,asset,class,gateway,criticality\n"
        "north,,,,\n"
        "north/l 1,,,,\n"
        "north/l2/m1,pump-3,,,\n"
        "north/l1,,,,\n"
        "north/l1/m1,pump-3,other,,\n"
        "north/l1/m2,pump-3,,gw-9,\n"
        "north/l1/m3,pump-5,,,\n"
        "north/l1/m4,,,,Z\n"
    )
    with pytest.raises(InvalidError) as caught:
        apply(database, table(tmp_path, text))
    said = str(caught.value).splitlines()
    assert said[0] == "plant.csv: 6 problems, nothing was changed"
    places = [line.strip().partition(":")[0] for line in said[1:]]
    assert places == ["line 3", "line 4", "line 6", "line 7", "line 8", "line 9"]
    with database.read() as connection:
        assert read_tree(connection) == []


def test_an_asset_gets_a_place_later(database):
    with database.write() as connection:
        for name in ("m1", "m2"):
            register(connection, ACT, name, "tiny")
        for path in ("north", "north/l1", "north/l1/a", "north/l1/b"):
            add_node(connection, ACT, path)
        assert change_node(connection, ACT, "north/l1/a", asset="m1").asset == "m1"
        assert change_node(connection, ACT, "north/l1/a", asset="m1", title="x").title == "x"
        with pytest.raises(InvalidError, match="a line is no asset"):
            change_node(connection, ACT, "north/l1", asset="m2")


@pytest.fixture
def run(database_settings, tmp_path, capsys):
    tiny_bundle(tmp_path / "tiny/bundle")
    url = database_settings.url
    (tmp_path / "centre.toml").write_text(f'[database]\nurl = "{url}"\n[service.models]\nfolders = ["*/bundle"]\n')

    def go(*words, status=0):
        assert main([*words, "--config", str(tmp_path / "centre.toml"), "--by", "ann"]) == status
        captured = capsys.readouterr()
        return captured.err if status else captured.out

    return go


def test_from_a_terminal(run, database, tmp_path):
    path = str(table(tmp_path))
    assert "nothing was changed: without --check it is" in run("import", path, "--check")
    assert run("show") == ""
    assert "pump-3: registered" in run("import", path, "--reason", "new plant")
    assert run("import", path) == "nothing to change\n"
    assert run("add", "north/line-3", "--title", "Packing", "--criticality", "A") == (
        "north/line-3: line, criticality A\n"
    )
    assert run("change", "north/line-3", "--criticality", "C") == "north/line-3: Packing, criticality C\n"
    assert "there is something below north" in run("remove", "north", status=1)
    assert run("remove", "north/line-3") == "north/line-3: removed\n"
    assert run("register", "pump-9", "--class", "tiny") == "pump-9: full, owner the centre, term 0\n"
    assert run("assign", "pump-9", "--gateway", "gw-7") == "pump-9: full, owner gw-7, term 1\n"
    assert "has term 1 by now" in run("assign", "pump-9", "--centre", "--term", "0", status=1)
    assert run("tier", "pump-9", "basic") == "pump-9: basic, owner gw-7, term 1\n"
    told = run("show")
    assert "    pump-3  machine A  Feed pump, old  [pump-3: tiny, full, gw-7, 0]\n" in told
    assert "pump-9  stands nowhere  [tiny, basic, gw-7]\n" in told
    assert run("show", "north/line-2").startswith("  line-2  line C  Bottling\n")
    log = run("audit", "--subject", "asset/pump-9")
    assert [line.split("  ")[1:3] for line in log.splitlines()] == [
        ["ann", "asset.register"],
        ["ann", "asset.assign"],
        ["ann", "asset.tier"],
    ]
    with database.read() as connection:
        assert {entry.detail.get("reason") for entry in read_audit(connection, "asset/pump-3")} == {"new plant"}


def test_settings_from_a_terminal(run):
    run("register", "pump-9", "--class", "tiny")
    assert "version 0" in run("settings", "show", "pump-9")
    assert "offset = 2.5" in run("settings", "set", "pump-9", "offset=2.5", "--reason", "trial")
    assert "is 99: expected -10 … 10" in run("settings", "set", "pump-9", "offset=99", status=1)
    assert "'ofset' is no setting" in run("settings", "set", "pump-9", "ofset=1", status=1)
    assert "expected NAME=VALUE" in run("settings", "set", "pump-9", "offset", status=1)
    assert "have version 1 by now, not 7" in run("settings", "set", "pump-9", "offset=1", "--version", "7", status=1)
    assert "offset" not in run("settings", "set", "pump-9", "offset=")
    assert "offset = 2.5" in run("settings", "show", "pump-9", "--version", "1")
    run("register", "other-1", "--class", "other", "--new-class")
    assert "settings cannot be checked" in run("settings", "set", "other-1", "offset=1", status=1)


def test_a_class_that_no_bundle_is_of(run, database, tmp_path):
    said = run("register", "pump-9", "--class", "tinny", status=1)
    assert "class 'tinny': no bundle here is of it; did you mean 'tiny'?" in said
    path = str(table(tmp_path, TABLE.replace("pump-4,tiny", "pump-4,tinny")))
    assert "line 6: class 'tinny'" in run("import", path, status=1)
    with database.read() as connection:
        assert list_assets(connection) == []
    run("import", path, "--new-class")
    assert run("import", path) == "nothing to change\n"


@pytest.mark.usefixtures("run")
def test_without_a_bundle_a_class_is_taken_with_a_warning(tmp_path, capsys):
    config = tmp_path / "centre.toml"
    config.write_text(config.read_text().replace("*/bundle", "none/bundle"))
    assert main(["register", "pump-9", "--class", "tinny", "--config", str(config)]) == 0
    assert "warning: class 'tinny' is taken as it is written" in capsys.readouterr().err


def test_a_key_without_plant_or_role_names_the_option(run, tmp_path, capsys):
    config = ["--config", str(tmp_path / "centre.toml")]
    run("show")
    assert keys(["create", "--role", "read", *config]) == 1
    assert "--plant is missing: name the plants it may see" in capsys.readouterr().err
    assert keys(["create", "--plant", "north", *config]) == 1
    assert "--role is missing: expected some of read" in capsys.readouterr().err


def test_the_audit_is_plain_text_with_the_names_of_keys(run, database):
    with database.write() as connection:
        key = create_key(connection, Act("ann", 1), "maintenance-app", ["read"], ["north", "south"])
        key_id = key.split("_")[1]
        by = Act(f"key/{key_id}", 2, "moved")
        register(connection, by, "pump-3", "tiny")
        set_tier(connection, Act("key/0123456789ab", 3), "pump-3", "basic")
        revoke_key(connection, Act("ann", 4), key_id)
    lines = [line.split("  ", 1)[1] for line in run("audit").splitlines()]
    assert lines[0] == f"ann  key.create  key/{key_id}  " + lines[0].split("  ")[-1]
    for part in ("name: maintenance-app", "roles: read", "plants: north south"):
        assert part in lines[0]
    assert lines[1].startswith(f"key/{key_id} (maintenance-app)  asset.register  asset/pump-3  ")
    assert lines[1].endswith("reason: moved")
    assert lines[2] == "key/0123456789ab  asset.tier  asset/pump-3  before: full, after: basic"
    assert lines[3] == f"ann  key.revoke  key/{key_id}  name: maintenance-app"
    assert "gateway: none" in lines[1]
