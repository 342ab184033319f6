"""A bundle: a folder with `twin.onnx`, `manifest.json` and `golden.npz`, which proves itself when it is loaded.

`golden.npz` holds the inputs `in.<name>` and outputs `out.<name>` of one batched call, recorded at export. Loading
checks that the files are those the manifest speaks of, and that the graph gives the recorded outputs *here*, on this
processor and this onnxruntime. A bundle that does not is refused, with the output, row, value and tolerance.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.arrays import F32, Array
from edge_runtime.errors import FormatError, IntegrityError, ModelError, SelfTestError
from edge_runtime.fleet import Fleet
from edge_runtime.manifest import FORMAT, Contract, Manifest, checksum, model_id, parse
from edge_runtime.step import STATE_OUT, StepFunction

TWIN, GOLDEN, MANIFEST = "twin.onnx", "golden.npz", "manifest.json"


@dataclass(frozen=True)
class Bundle:
    """A graph that has passed its self-test, and its manifest. `self_test`: the largest error of each output in it."""

    folder: Path
    manifest: Manifest
    step: StepFunction
    self_test: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path | str, *, threads: int = 1, provider: str = "CPUExecutionProvider") -> Bundle:
        """Read, check and self-test the bundle in `folder`; `BundleError` or `ModelError` when it must not be used."""
        folder = Path(folder)
        manifest, files = read_files(folder)
        # Before the session is made: TensorRT takes minutes for it.
        if provider not in manifest.contract.tolerance:
            raise SelfTestError(
                f"the bundle has no tolerances for {provider}, only for {', '.join(manifest.contract.tolerance)}: use "
                "one of these, or export with tolerances measured on this provider"
            )
        step = StepFunction(files[TWIN], threads=threads, provider=provider)
        _check_contract(step, manifest.contract)
        return cls(folder, manifest, step, _self_test(step, files[GOLDEN], manifest.contract))

    @property
    def model_id(self) -> str:
        return self.manifest.model_id

    @property
    def contract(self) -> Contract:
        return self.manifest.contract

    def fleet(self, assets: Sequence[str], settings: F32 | None = None) -> Fleet:
        """New twins of `assets`; `settings` f32[N,P], NaN = class default."""
        return Fleet(self.step, assets, settings, model_id=self.model_id)


def read_files(folder: Path) -> tuple[Manifest, dict[str, bytes]]:
    """Manifest and files of the bundle in `folder`, which belong together; `BundleError` if they do not."""
    manifest, raw = parse(_read(folder, MANIFEST))
    if raw.get("checksum") != checksum(raw):
        raise IntegrityError(f"{folder / MANIFEST} is altered: its checksum does not fit; copy the bundle again")
    files = _read_files(folder, manifest)
    actual = model_id(files[TWIN], raw["contract"])
    if actual != manifest.model_id:
        raise IntegrityError(
            f"{folder}: graph and contract make model {actual}, the manifest says {manifest.model_id}: "
            "they were not exported together; export or copy the bundle again"
        )
    return manifest, files


def write_bundle(
    folder: Path,
    twin: bytes,
    golden: Mapping[str, Array],
    contract: Mapping[str, Any],
    *,
    models: Mapping[str, Mapping[str, Any]],
    quality: Mapping[str, Any],
    provenance: Mapping[str, str | None],
    more: Mapping[str, bytes] | None = None,
) -> str:
    """Write a bundle into `folder` and return its model id.

    `contract` is the plain object behind `Contract`; `golden` has the arrays `in.<input>` and `out.<output>`. `more`:
    other files by name, kept with the bundle under its checksums; they do not change the model id.
    """
    folder.mkdir(parents=True, exist_ok=True)
    packed = io.BytesIO()
    np.savez_compressed(packed, **golden)  # type: ignore[arg-type]  # its stub takes the names for its own options
    files = {TWIN: twin, GOLDEN: packed.getvalue(), **(more or {})}
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "model_id": model_id(twin, contract),
        "contract": contract,
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        "models": models,
        "quality": quality,
        "provenance": provenance,
    }
    # Tuples and other spellings of JSON become what a reader will see before the checksum is taken.
    manifest = json.loads(json.dumps(manifest, allow_nan=False))
    manifest["checksum"] = checksum(manifest)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return str(manifest["model_id"])


def _read(folder: Path, name: str) -> bytes:
    try:
        if (folder / name).exists() and not (folder / name).is_file():  # a device or a pipe may never end
            raise IntegrityError(f"{folder / name} is no file: copy the bundle again")
        return (folder / name).read_bytes()
    except OSError as error:
        raise IntegrityError(
            f"{folder / name} cannot be read ({error.strerror}): "
            f"a bundle is a folder with {TWIN}, {MANIFEST} and {GOLDEN}"
        ) from error


def _read_files(folder: Path, manifest: Manifest) -> dict[str, bytes]:
    """The files the manifest lists, each with the sha256 it says."""
    files = {}
    for name in (TWIN, GOLDEN):
        if name not in manifest.files:
            raise FormatError(f"{folder / MANIFEST} lists no sha256 for {name}: export the bundle again")
    for name, expected in manifest.files.items():
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise FormatError(f"{folder / MANIFEST} lists {name!r}: files of a bundle lie in its folder")
        files[name] = _read(folder, name)
        actual = hashlib.sha256(files[name]).hexdigest()
        if actual != expected:
            raise IntegrityError(
                f"{folder / name} is truncated or altered: sha256 is {actual}, the manifest says {expected}; "
                "copy the bundle again"
            )
    return files


def _check_contract(step: StepFunction, contract: Contract) -> None:
    """The graph has the sizes and outputs that the contract declares."""
    facts = {
        "channels": (step.channels, len(contract.channels)),
        "settings": (step.settings, len(contract.settings)),
        "state size": (step.state_size, contract.state.size),
        "waveforms": (step.waveforms, {w.name: (len(w.axes), w.samples) for w in contract.waveforms}),
        "outputs": (sorted(step.outputs), sorted(contract.outputs)),
    }
    for what, (graph, declared) in facts.items():
        if graph != declared:
            raise ModelError(
                f"{what}: the graph has {graph}, the manifest declares {declared}; export the bundle again"
            )


def _self_test(step: StepFunction, golden: bytes, contract: Contract) -> dict[str, float]:
    """Replay the recorded call and compare each output within its tolerance for this provider: the largest errors."""
    tolerance = contract.tolerance[step.provider]
    try:
        with np.load(io.BytesIO(golden), allow_pickle=False) as arrays:
            recorded = {name: arrays[name] for name in arrays.files}
        inputs = {name[3:]: value for name, value in recorded.items() if name.startswith("in.")}
        got = step(inputs)
    except Exception as error:  # zip, NumPy and onnxruntime errors have no common base
        raise SelfTestError(f"{GOLDEN} cannot be replayed: {error}") from error
    expected = {name[4:]: value for name, value in recorded.items() if name.startswith("out.")}
    if not len(inputs["readings"]):
        raise SelfTestError(f"{GOLDEN} has no rows, which prove nothing: export the bundle again")
    errors = {}
    for name in (*contract.outputs, STATE_OUT):
        if name not in expected or name not in tolerance:
            where = GOLDEN if name not in expected else "the manifest's tolerance"
            raise SelfTestError(f"output '{name}' is missing in {where}: export the bundle again")
        errors[name] = _compare(name, got[name], expected[name], tolerance[name])
    return errors


def _compare(name: str, got: Array, expected: Array, tolerance: float) -> float:
    """Equal within `tolerance`, absolute; the state holds raw units, so there it is relative for values beyond 1.

    Returns the largest error.
    """
    if got.shape != expected.shape:
        raise SelfTestError(f"self-test: output '{name}' has shape {got.shape}, recorded was {expected.shape}")
    if expected.dtype.kind != "f":
        raise SelfTestError(f"self-test: output '{name}' was recorded as {expected.dtype}, which is no floating point")
    scale = np.maximum(1.0, np.abs(expected)) if name == STATE_OUT else 1.0
    with np.errstate(invalid="ignore"):  # inf − inf
        error = np.abs(got.astype(np.float64) - expected) / scale
    error[(got == expected) | (np.isnan(got) & np.isnan(expected))] = 0.0
    same = error <= tolerance  # false for NaN
    if not same.all():
        at = tuple(int(i) for i in np.argwhere(~same)[0])
        place = f"row {at[0]}" + (f", column {at[1]}" if len(at) > 1 else "")
        raise SelfTestError(
            f"self-test: output '{name}', {place}: the graph gives {got[at]:.9g} here, recorded was "
            f"{expected[at]:.9g}, tolerance {tolerance:g} ({np.sum(~same)} of {same.size} values differ): this "
            "onnxruntime or processor computes otherwise than the one it was exported on; use another version or "
            "provider, or export again"
        )
    return float(error.max(initial=0.0))
