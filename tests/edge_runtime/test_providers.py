import importlib.metadata

import onnxruntime
import pytest

from edge_runtime.bundle import Bundle
from edge_runtime.errors import IntegrityError, ModelError, SelfTestError
from edge_runtime.providers import ORDER, check_runtime, installed_runtimes, load_best
from tests.edge_runtime.tiny import tiny_bundle, tiny_contract

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"


@pytest.fixture
def device(monkeypatch):
    """A device on which onnxruntime claims to have other providers; this one has none of them."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(ORDER))


@pytest.fixture
def tolerant(tmp_path):
    """A bundle with tolerances for all providers."""
    tolerance = tiny_contract()["tolerance"][CPU]
    return tiny_bundle(tmp_path, tolerance=dict.fromkeys(ORDER, tolerance))


def test_a_processor_alone_gives_the_cpu_and_says_so(tmp_path):
    bundle, passed_over = load_best(tiny_bundle(tmp_path))
    assert bundle.step.provider == CPU
    assert passed_over == [f"{TENSORRT}: not in this onnxruntime", f"{CUDA}: not in this onnxruntime"]
    assert set(bundle.self_test) == {*bundle.contract.outputs, "state_out"}
    assert 0 <= max(bundle.self_test.values()) <= 1e-5


@pytest.mark.usefixtures("device")
def test_a_provider_for_which_the_bundle_has_no_tolerances_is_passed_over(tmp_path):
    bundle, passed_over = load_best(tiny_bundle(tmp_path))
    assert bundle.step.provider == CPU
    assert [line.partition(": ")[0] for line in passed_over] == [TENSORRT, CUDA]
    assert all(f"no tolerances for {name}" in line for name, line in zip(ORDER, passed_over, strict=False))


@pytest.mark.usefixtures("device")
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_falls_back_in_silence_is_passed_over(tolerant):
    bundle, passed_over = load_best(tolerant)
    assert bundle.step.provider == CPU
    assert len(passed_over) == 2
    assert "cannot" in passed_over[0]


def test_a_provider_that_computes_otherwise_is_passed_over(tolerant, monkeypatch):
    load = Bundle.load

    def loads(folder, *, threads, provider):
        if provider == CUDA:
            raise SelfTestError("self-test: output 'rul', row 3 …")
        return load(folder, threads=threads, provider=CPU)

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(Bundle, "load", loads)
    _, passed_over = load_best(tolerant)
    assert passed_over[1] == f"{CUDA}: self-test: output 'rul', row 3 …"


def test_one_that_is_asked_for_is_used_or_refused(tmp_path):
    folder = tiny_bundle(tmp_path)
    assert load_best(folder, wanted=CPU)[0].step.provider == CPU
    with pytest.raises(SelfTestError, match="no tolerances for CUDAExecutionProvider"):
        load_best(folder, wanted=CUDA)


def test_a_broken_bundle_is_the_bundle_s_fault(tmp_path):
    (tiny_bundle(tmp_path) / "twin.onnx").unlink()
    with pytest.raises(IntegrityError, match=r"twin\.onnx cannot be read"):
        load_best(tmp_path)


def _install(folder, name, module):
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "RECORD").write_text(f"{module}/__init__.py,,\n")


def test_two_runtimes_installed_together_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(
        importlib.metadata, "distributions", lambda: importlib.metadata.Distribution.discover(path=[str(tmp_path)])
    )
    _install(tmp_path, "onnxruntime-gpu", "onnxruntime")
    _install(tmp_path, "onnxruntime-extensions", "onnxruntime_extensions")
    check_runtime()
    _install(tmp_path, "onnxruntime", "onnxruntime")
    assert installed_runtimes() == ["onnxruntime", "onnxruntime-gpu"]
    with pytest.raises(ModelError, match="onnxruntime and onnxruntime-gpu are installed together"):
        load_best(tmp_path)


def test_this_environment_has_one():
    assert len(installed_runtimes()) == 1
