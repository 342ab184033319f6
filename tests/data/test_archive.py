import io
import zipfile

import pytest

from data.archive import find
from data.errors import FetchError


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return buffer.getvalue()


def found(archive: bytes, name: str, tmp_path) -> list[bytes]:
    path = tmp_path / "archive.zip"
    path.write_bytes(archive)
    return [copy.read_bytes() for copy in find(path, name, tmp_path)]


def test_members_are_found_at_any_depth(tmp_path):
    inner = zipped(**{"CMAPSS/train.txt": b"inner"})
    archive = zipped(**{"a/train.txt": b"outer", "b/Data.ZIP": inner, "train.txt.md": b"no"})
    assert sorted(found(archive, "train.txt", tmp_path)) == [b"inner", b"outer"]
    assert found(archive, "a/train.txt", tmp_path) == [b"outer"]
    assert found(archive, "ain.txt", tmp_path) == []


@pytest.mark.parametrize(
    "name", ["../train.txt", "/etc/train.txt", "a/../../train.txt", "..\\train.txt", "C:\\train.txt"]
)
def test_an_archive_that_points_out_of_itself_is_refused_as_a_whole(tmp_path, name):
    with pytest.raises(FetchError, match="points out of it"):
        found(zipped(**{"good/train.txt": b"x", name: b"y"}), "train.txt", tmp_path)


@pytest.mark.parametrize("cut", [0.3, 0.7, 0.95])
def test_a_cut_archive_is_refused(tmp_path, cut):
    archive = zipped(**{"train.txt": bytes(range(256)) * 20})
    with pytest.raises(FetchError, match="damaged"):
        found(archive[: int(cut * len(archive))], "train.txt", tmp_path)


def test_an_altered_member_is_refused(tmp_path):
    archive = bytearray(zipped(**{"train.txt": b"0" * 1000}))
    archive[500] ^= 1
    with pytest.raises(FetchError, match="damaged"):
        found(bytes(archive), "train.txt", tmp_path)
