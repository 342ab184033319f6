import pytest

from data.download import BLOCK, download, download_wheel, forget
from data.errors import FetchError
from tests.data.web import serving

CONTENT = bytes(range(256)) * 4000


@pytest.fixture
def web():
    with serving() as web:
        web.files["/set.bin"] = CONTENT
        yield web


def test_a_download_is_kept(web, tmp_path):
    url = f"{web.address}/set.bin?download=1"
    web.files["/set.bin?download=1"] = CONTENT
    assert download(url, tmp_path).name == "set.bin"
    assert download(url, tmp_path).read_bytes() == CONTENT
    assert len(web.requests) == 1


def test_a_broken_transfer_is_resumed_where_it_broke_off(web, tmp_path):
    web.break_after = [3 * BLOCK, 2 * BLOCK + 1]
    assert download(f"{web.address}/set.bin", tmp_path).read_bytes() == CONTENT
    assert [wanted for _, wanted in web.requests] == [None, f"bytes={3 * BLOCK}-", f"bytes={5 * BLOCK}-"]


def test_a_later_run_resumes_what_an_earlier_one_left(web, tmp_path):
    web.break_after = [BLOCK] * 5
    with pytest.raises(FetchError):
        download(f"{web.address}/set.bin", tmp_path)
    web.requests.clear()
    assert download(f"{web.address}/set.bin", tmp_path).read_bytes() == CONTENT
    assert web.requests == [("/set.bin", f"bytes={5 * BLOCK}-")]


def test_a_file_that_changed_meanwhile_is_not_pieced_together(web, tmp_path):
    web.break_after = [BLOCK] * 5
    with pytest.raises(FetchError):
        download(f"{web.address}/set.bin", tmp_path)
    web.files["/set.bin"], web.version = CONTENT[::-1], "2"
    assert download(f"{web.address}/set.bin", tmp_path).read_bytes() == CONTENT[::-1]


def test_a_part_that_is_complete_is_taken(web, tmp_path):
    path = download(f"{web.address}/set.bin", tmp_path)
    path.rename(path.with_name("set.bin.part"))
    assert download(f"{web.address}/set.bin", tmp_path).read_bytes() == CONTENT


def test_a_refusal_of_the_server_is_told(web, tmp_path):
    with pytest.raises(FetchError, match="the server answered 404"):
        download(f"{web.address}/nothing.bin", tmp_path)


def test_a_forgotten_download_is_fetched_again(web, tmp_path):
    download(f"{web.address}/set.bin", tmp_path)
    forget(f"{web.address}/set.bin", tmp_path)
    download(f"{web.address}/set.bin", tmp_path)
    assert len(web.requests) == 2


def test_a_wheel_that_is_nowhere_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(FetchError, match="pip download failed"):
        download_wheel("no-such-data-set==1.0", tmp_path / "cache")
    assert not list((tmp_path / "cache" / "downloads").iterdir())
