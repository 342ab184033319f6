import hashlib
import zipfile

import pytest

from data.errors import FetchError
from data.fetch import fetch
from tests.data.test_archive import zipped
from tests.data.web import serving

GOOD, BAD = b"asset,time,speed,vibration\n", b"something else\n"
SHA = hashlib.sha256(GOOD).hexdigest()


@pytest.fixture
def web():
    with serving() as web:
        yield web


def source(*places, sha256=SHA):
    return {"source": {"files": [{"name": "fan.csv", "sha256": sha256}], "places": list(places)}}


def raw(workspace):
    return (workspace / "data/raw/fan/fan.csv").read_bytes()


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_the_users_own_files_come_first(fan, workspace, monkeypatch):
    put(workspace / "data/sources/fan.csv", GOOD)
    put(workspace / "mirror/fan.csv", BAD)
    monkeypatch.setenv("OVERHAUL_MIRROR", str(workspace / "mirror"))
    fetch(fan(**source(sha256=None)))
    assert raw(workspace) == GOOD


def test_a_changed_local_file_is_taken_anew(fan, workspace):
    for content in (BAD, GOOD):
        put(workspace / "data/sources/fan.csv", content)
        fetch(fan(**source(sha256=None)))
        assert raw(workspace) == content


def test_the_mirror_is_searched_for_the_right_one_of_several(fan, workspace, monkeypatch):
    put(workspace / "mirror/a/fan.csv", BAD)
    put(workspace / "mirror/b/deep/fan.csv", GOOD)
    monkeypatch.setenv("OVERHAUL_MIRROR", str(workspace / "mirror"))
    fetch(fan(**source({"url": "http://127.0.0.1:9/never-asked.zip"})))
    assert raw(workspace) == GOOD


def test_a_nested_zip_is_searched_and_later_fleets_use_the_cache(fan, workspace, web):
    web.files["/set.zip"] = zipped(**{"set/inner.zip": zipped(**{"data/fan.csv": GOOD})})
    cls = fan(**source({"url": f"{web.address}/set.zip"}))
    fetch(cls)
    assert raw(workspace) == GOOD
    (workspace / "data/raw/fan/fan.csv").unlink()
    fetch(cls)
    assert raw(workspace) == GOOD
    assert len(web.requests) == 1


def test_a_wrong_checksum_is_named_and_the_next_place_tried(fan, workspace, web):
    web.files |= {"/bad/fan.csv": BAD, "/good/fan.csv": GOOD}
    fetch(fan(**source({"url": f"{web.address}/bad/fan.csv"}, {"url": f"{web.address}/good/fan.csv"})))
    assert raw(workspace) == GOOD
    with pytest.raises(FetchError) as error:
        fetch(fan(**source({"url": f"{web.address}/bad/fan.csv"}, sha256="0" * 64)))
    assert hashlib.sha256(BAD).hexdigest() in str(error.value)


def test_a_bad_download_is_not_kept(fan, workspace, web):
    web.files["/fan.csv"] = BAD
    cls = fan(**source({"url": f"{web.address}/fan.csv"}))
    with pytest.raises(FetchError, match="sha256"):
        fetch(cls)
    web.files["/fan.csv"] = GOOD
    fetch(cls)
    assert raw(workspace) == GOOD


def test_a_wheel_is_tried_before_a_url(fan, workspace, monkeypatch):
    wheel = workspace / "links" / "fandata-1.0-py3-none-any.whl"
    about = "fandata-1.0.dist-info"
    put(wheel, b"")
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("fandata/sets/fan.csv", GOOD)
        file.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: fandata\nVersion: 1.0\n")
        file.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{about}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    fetch(fan(**source({"url": "http://127.0.0.1:9/never-asked.zip"}, {"wheel": "fandata==1.0"})))
    assert raw(workspace) == GOOD


def test_a_failure_names_each_place_why_and_what_to_do(fan, workspace, web, monkeypatch):
    (workspace / "mirror").mkdir()
    monkeypatch.setenv("OVERHAUL_MIRROR", str(workspace / "mirror"))
    web.files["/set.zip"] = zipped(**{"../fan.csv": GOOD})
    with pytest.raises(FetchError) as error:
        fetch(fan(**source({"url": f"{web.address}/set.zip"}, {"url": f"{web.address}/gone.zip"})))
    lines = str(error.value).splitlines()
    assert "fan.csv" in lines[0]
    assert "data/sources/: no file fan.csv in it" in lines[1]
    assert "mirror" in lines[2]
    assert "points out of it" in lines[3]
    assert "the server answered 404" in lines[4]
    assert "OVERHAUL_MIRROR" in lines[5]
    assert not (workspace / "data/raw/fan/fan.csv").exists()


@pytest.mark.parametrize("name", ["../fan.csv", "/etc/passwd", "a/../../fan.csv"])
def test_a_source_file_outside_its_folder_is_refused(fan, name):
    with pytest.raises(FetchError, match=r"without '\.\.'"):
        fetch(fan(source={"files": [name]}))


def test_a_file_of_nearly_that_name_is_offered(fan, workspace):
    put(workspace / "data/sources/plant/fans.csv", GOOD)
    with pytest.raises(FetchError, match=r"cannot fetch plant/fan\.csv of fan: did you mean 'plant/fans\.csv'\?"):
        fetch(fan(source={"files": [{"name": "plant/fan.csv"}]}))
