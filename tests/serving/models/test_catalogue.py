"""Bundles on the shelf: put there, replaced, refused; and requests that hold one."""

import json
import shutil
import threading

import pytest

from serving.errors import RequestError, ServingError
from serving.models.catalogue import Catalogue
from serving.models.settings import ModelsSettings
from tests.edge_runtime.tiny import tiny_bundle
from tests.serving.service import Client, seen


def catalogue(folder):
    return Catalogue.of(ModelsSettings(folders=("*/bundle",), base=folder))


def test_by_fleet_class_version_and_model(tmp_path):
    tiny_bundle(tmp_path / "a/bundle", fleet="tiny-1")
    tiny_bundle(tmp_path / "b/bundle", fleet="tiny-2")
    kept = catalogue(tmp_path)
    assert sorted(line.split(":")[0] for line in kept.refresh()) == ["fleet 'tiny-1'", "fleet 'tiny-2'"]
    one = kept.shelf.find("tiny-1")
    assert kept.shelf.find("tiny-1", one.version) is one
    assert kept.shelf.find("tiny-1", one.model_id) is one
    assert kept.shelf.by_model(one.model_id) is one
    with pytest.raises(RequestError, match="class 'tiny' has several fleets: name one of tiny-1, tiny-2"):
        kept.shelf.find("tiny")
    two = kept.shelf.find("tiny-2")
    shutil.rmtree(tmp_path / "b")
    assert kept.refresh() == [f"fleet 'tiny-2': no longer served, before {two.version}"]
    assert kept.shelf.find("tiny") is one


def test_nothing_changes_what_is_the_same(tmp_path):
    tiny_bundle(tmp_path / "tiny/bundle")
    kept = catalogue(tmp_path)
    kept.refresh()
    one = kept.shelf.find("tiny")
    assert kept.refresh() == []
    assert kept.shelf.find("tiny") is one


def test_a_bad_bundle_is_told_and_the_old_one_stays(tmp_path):
    tiny_bundle(tmp_path / "tiny/bundle")
    kept = catalogue(tmp_path)
    kept.refresh()
    one = kept.shelf.find("tiny")
    manifest = tmp_path / "tiny/bundle/manifest.json"
    raw = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**raw, "checksum": "0"}))
    assert kept.refresh() == []
    assert kept.shelf.find("tiny") is one
    (problem,) = kept.problems.values()
    assert "is altered" in problem
    tiny_bundle(tmp_path / "tiny/bundle", title="Another")
    assert len(kept.refresh()) == 1
    assert kept.problems == {}
    assert kept.shelf.find("tiny").contract.title == "Another"


def test_a_bundle_that_was_seen_half_copied_is_taken_when_it_is_whole(tmp_path):
    made = tiny_bundle(tmp_path / "elsewhere")
    (tmp_path / "tiny/bundle").mkdir(parents=True)
    kept = catalogue(tmp_path)
    shutil.copy(made / "manifest.json", tmp_path / "tiny/bundle")
    kept.refresh()
    assert "twin.onnx cannot be read" in str(kept.problems)
    graph = (made / "twin.onnx").read_bytes()
    for part in (graph[:100], graph):
        assert kept.refresh() == []
        (tmp_path / "tiny/bundle/twin.onnx").write_bytes(part)
    shutil.copy(made / "golden.npz", tmp_path / "tiny/bundle")
    assert len(kept.refresh()) == 1
    assert kept.problems == {}


def test_a_source_that_cannot_be_asked_keeps_what_it_offered(tmp_path):
    tiny_bundle(tmp_path / "tiny/bundle")
    kept = catalogue(tmp_path)
    kept.refresh()

    class Away:
        def look(self):
            raise ServingError("the registry is away")

    kept._sources = (Away(),)
    kept.refresh()
    assert kept.shelf.find("tiny")
    assert kept.problems == {"source 1": "the registry is away"}


def test_replaced_under_load_without_dropping_a_request(tmp_path):
    client = Client(tmp_path)
    done, stop = [], threading.Event()

    def ask():
        while not stop.is_set():
            done.append(client.predict(observations=seen(0, 60)))

    threads = [threading.Thread(target=ask)]
    threads[0].start()
    models = set()
    try:
        for number in range(5):
            tiny_bundle(tmp_path / "tiny/bundle", title=f"version {number}")
            client.centre.catalogue.refresh()
            models.add(client.centre.catalogue.shelf.find("tiny").model_id)
            before = len(done)
            while len(done) < before + 3:
                pass
    finally:
        stop.set()
        threads[0].join()
    assert {status for status, _ in done} == {200}
    assert {answer["model"]["model_id"] for _, answer in done} >= models
    assert len(models) == 5
