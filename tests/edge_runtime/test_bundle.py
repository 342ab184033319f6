import hashlib
import json
import os
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.bundle import Bundle
from edge_runtime.errors import BundleError, EdgeError, FormatError, IntegrityError, ModelError, SelfTestError
from edge_runtime.manifest import checksum, model_id
from tests.edge_runtime.tiny import tiny_bundle, tiny_contract, tiny_golden

FILES = ("twin.onnx", "manifest.json", "golden.npz")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("bundle"))


def test_a_good_bundle_loads_and_steps(folder):
    bundle = Bundle.load(folder)
    fleet = bundle.fleet(["a", "b"])
    out, _ = fleet.advance(slice(None), np.array([0, 0]), np.ones((2, 2), np.float32))
    assert out["health"].tolist() == [1, 1]
    assert fleet.snapshot().model_id == bundle.model_id
    assert len(bundle.model_id) == 64


def test_writing_twice_gives_the_same_bytes(folder, tmp_path):
    tiny_bundle(tmp_path)
    assert all((tmp_path / name).read_bytes() == (folder / name).read_bytes() for name in FILES)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(FILES), st.floats(0, 1, exclude_max=True), st.integers(0, 7))
def test_one_flipped_bit_anywhere_is_found(folder, tmp_path_factory, name, place, bit):
    copy = tmp_path_factory.mktemp("copy")
    for other in FILES:
        (copy / other).write_bytes((folder / other).read_bytes())
    data = bytearray((folder / name).read_bytes())
    at = int(place * len(data))
    data[at] ^= 1 << bit
    (copy / name).write_bytes(data)
    if data[at : at + 1] in (b"e", b"E") and name == "manifest.json" and says_the_same(copy / name, folder / name):
        return  # 1e-05 or 1E-05
    with pytest.raises(BundleError, match=name):
        Bundle.load(copy)


def says_the_same(one, other):
    try:
        return json.loads(one.read_bytes()) == json.loads(other.read_bytes())
    except ValueError:
        return False


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("keep", [0, 0.5, None])
def test_truncated_and_missing_files_are_named(folder, tmp_path, name, keep):
    for other in FILES:
        (tmp_path / other).write_bytes((folder / other).read_bytes())
    data = (tmp_path / name).read_bytes()
    if keep is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(data[: int(keep * len(data))])
    with pytest.raises(BundleError, match=name):
        Bundle.load(tmp_path)


def test_no_bundle_at_all(tmp_path):
    with pytest.raises(IntegrityError, match="a bundle is a folder with"):
        Bundle.load(tmp_path / "nowhere")


def rewrite(folder, change):
    """Change the manifest and sign it off again, as someone who knows the format would."""
    raw = json.loads((folder / "manifest.json").read_text())
    change(raw)
    raw["checksum"] = checksum(raw)
    (folder / "manifest.json").write_text(json.dumps(raw))


def reforge(folder, change=dict.copy, golden=None):
    """Change a bundle throughout: whoever made it knew the format, and made a mistake."""
    raw = json.loads((folder / "manifest.json").read_text())
    if golden is not None:
        np.savez(folder / "golden.npz", **golden)
        raw["files"]["golden.npz"] = hashlib.sha256((folder / "golden.npz").read_bytes()).hexdigest()
    change(raw)
    raw["model_id"] = model_id((folder / "twin.onnx").read_bytes(), raw["contract"])
    raw["checksum"] = checksum(raw)
    (folder / "manifest.json").write_text(json.dumps(raw))
    return folder


@pytest.mark.parametrize("kind", ["U1", "M8[ns]", [("a", "f4")], "complex64", "bool"])
def test_recorded_outputs_that_are_no_numbers_are_refused(tmp_path, kind):
    golden = {**tiny_golden()}
    golden["out.health"] = np.zeros(len(golden["out.health"]), kind)
    with pytest.raises(SelfTestError, match="'health' was recorded as"):
        Bundle.load(reforge(tiny_bundle(tmp_path), golden=golden))


def test_a_self_test_without_rows_is_none(tmp_path):
    with pytest.raises(SelfTestError, match="has no rows"):
        Bundle.load(reforge(tiny_bundle(tmp_path), golden={name: value[:0] for name, value in tiny_golden().items()}))


def test_what_is_no_file_is_not_read(tmp_path):
    os.mkfifo(tiny_bundle(tmp_path) / "more")
    with pytest.raises(IntegrityError, match="is no file"):
        Bundle.load(reforge(tmp_path, lambda raw: raw["files"].update(more="0")))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["time"].update(interval=0), "time.interval is 0"),
        (lambda c: c["time"].update(interval=1e-12), "time.interval"),
        (lambda c: c["time"].update(tick=-1), "time.tick"),
        (lambda c: c["time"].update(max_gap=1e308), "time.max_gap"),
        (lambda c: c["life"].update(time_units=0), "life.time_units"),
        (lambda c: c["channels"][0].update(aggregate="median"), "aggregate 'median'"),
        (lambda c: c["channels"][0].update(max_age=1e300), "max_age"),
        (lambda c: c["channels"][0].update(late=-1), "late"),
        (lambda c: c["state"]["slices"][0].update(start=-1), "starts at -1"),
        (lambda c: c["state"]["slices"][-1].update(size=9), "slices end at"),
    ],
)
def test_a_contract_that_no_gateway_could_follow_is_refused(tmp_path, change, message):
    with pytest.raises(FormatError, match=re.escape(message)):
        Bundle.load(reforge(tiny_bundle(tmp_path), lambda raw: change(raw["contract"])))


def test_a_contract_of_another_graph_is_refused(tmp_path):
    rewrite(tiny_bundle(tmp_path), lambda raw: raw["contract"].update(title="Another"))
    with pytest.raises(IntegrityError, match="were not exported together"):
        Bundle.load(tmp_path)


def test_files_outside_the_folder_are_refused(tmp_path):
    rewrite(tiny_bundle(tmp_path), lambda raw: raw["files"].update({"../secret": "0" * 64}))
    with pytest.raises(FormatError, match=r"\.\./secret"):
        Bundle.load(tmp_path)


def test_a_newer_format_is_refused_with_what_to_do(tmp_path):
    rewrite(tiny_bundle(tmp_path), lambda raw: raw.update(format=2))
    with pytest.raises(FormatError, match="update overhaul here, or export"):
        Bundle.load(tmp_path)


def test_a_mismatch_names_output_row_value_and_tolerance(tmp_path):
    golden = tiny_golden()
    golden["out.rul"][3] += 0.01
    with pytest.raises(SelfTestError, match=r"'rul', row 3: .* gives 98\..* tolerance 1e-05 \(1 of 5 values differ\)"):
        Bundle.load(tiny_bundle(tmp_path, golden=golden))
    golden = tiny_golden()
    golden["out.contribution"][2, 1] = 7  # was NaN
    with pytest.raises(SelfTestError, match="'contribution', row 2, column 1"):
        Bundle.load(tiny_bundle(tmp_path, golden=golden))


@pytest.mark.parametrize("name", ["in.readings", "out.alarm", "out.state_out"])
def test_an_incomplete_recording_is_refused(tmp_path, name):
    golden = tiny_golden()
    del golden[name]
    with pytest.raises(SelfTestError, match=name.split(".")[1]):
        Bundle.load(tiny_bundle(tmp_path, golden=golden))


def test_recorded_objects_are_never_unpickled(tmp_path):
    golden = tiny_golden() | {"in.age": np.array([None] * 5, dtype=object)}
    with pytest.raises(SelfTestError, match="allow_pickle"):
        Bundle.load(tiny_bundle(tmp_path, golden=golden))


def test_tolerances_must_name_this_provider(tmp_path):
    tolerance = {"CUDAExecutionProvider": tiny_contract()["tolerance"]["CPUExecutionProvider"]}
    with pytest.raises(SelfTestError, match="no tolerances for CPUExecutionProvider, only for CUDAExecutionProvider"):
        Bundle.load(tiny_bundle(tmp_path, tolerance=tolerance))


def test_a_graph_that_differs_from_its_contract_is_refused(tmp_path):
    channels = tiny_contract()["channels"][:1]
    with pytest.raises(ModelError, match="channels: the graph has 2, the manifest declares 1"):
        Bundle.load(tiny_bundle(tmp_path, channels=channels))


def test_a_graph_that_cannot_be_loaded_is_refused(tmp_path):
    with pytest.raises(EdgeError, match="cannot load the graph"):
        Bundle.load(tiny_bundle(tmp_path, twin=b"nonsense"))
