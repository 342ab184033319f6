"""One ONNX step function in an onnxruntime session: (observation, settings, state) → (outputs, state′).

Any graph with the contract's inputs will do: a bundle's `twin.onnx`, or the feature graph that training streams history
through. The batch axis is the fleet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from edge_runtime.arrays import F32, Array
from edge_runtime.errors import ModelError

STATE_OUT = "state_out"
_REQUIRED = ("readings", "dt", "event", "age", "settings", "state")


class StepFunction:
    """A loaded graph.

    `channels` C, `settings` P and `state_size` S are the widths of the inputs; `waveforms` maps each waveform input to
    (axes, samples); `outputs` are the names the graph gives, without `state_out`.
    Raises `ModelError` when the graph cannot be loaded or lacks a part of the contract.
    """

    def __init__(self, model: bytes | Path, *, threads: int = 1, provider: str = "CPUExecutionProvider") -> None:
        self.provider = provider
        self.threads = threads
        self._session = _open(model, threads, provider)
        shapes = {i.name: i.shape for i in self._session.get_inputs()}
        names = [o.name for o in self._session.get_outputs()]
        missing = [f"input '{name}'" for name in _REQUIRED if name not in shapes]
        if STATE_OUT not in names:
            missing.append(f"output '{STATE_OUT}'")
        if missing:
            raise ModelError(f"not a step function: {', '.join(missing)} missing; export the graph again")
        self.channels = _width(shapes, "readings")
        self.settings = _width(shapes, "settings")
        self.state_size = _width(shapes, "state")
        self.waveforms = {
            name: (_width(shapes, name, 1), _width(shapes, name, 2)) for name in shapes if f"{name}.row" in shapes
        }
        self.outputs = tuple(name for name in names if name != STATE_OUT)
        self._all = [*self.outputs, STATE_OUT]
        self._no_waveforms: dict[str, Array] = {}
        for name, (axes, samples) in self.waveforms.items():
            self._no_waveforms[name] = np.zeros((0, axes, samples), np.float32)
            self._no_waveforms[f"{name}.row"] = np.zeros(0, np.int64)
        self.widths = self._first_step()

    def __call__(self, inputs: Mapping[str, Array], wanted: Sequence[str] | None = None) -> dict[str, Array]:
        """Outputs by name for the `inputs` of one batch: those `wanted` (default: all) and always `state_out`.

        Waveforms that are not given count as "no snapshot" (K = 0).
        """
        feed = {**self._no_waveforms, **inputs} if self._no_waveforms else inputs
        names = self._all if wanted is None else [*wanted, STATE_OUT]
        return dict(zip(names, self._session.run(names, feed), strict=True))

    def start(self, machines: int) -> F32:
        """States of new machines: zeros, f32[machines, S]."""
        return np.zeros((machines, self.state_size), np.float32)

    def _first_step(self) -> dict[str, tuple[int, ...]]:
        """Shape of one row of each output, found by stepping a new machine that received nothing.

        onnxruntime plans its memory by the shapes of the first run, and knows other shapes by all their dimensions
        XORed: six inputs of the same batch size cancel out, so that plan is used for every batch. Made for one machine
        it saves a fifth of the calls for one; made for many it would fit nothing else, and save next to nothing.
        """
        nothing: dict[str, Array] = {
            "readings": np.full((1, self.channels), np.nan, np.float32),
            "dt": np.zeros(1, np.float32),
            "event": np.zeros(1, np.float32),
            "age": np.full(1, np.nan, np.float32),
            "settings": np.full((1, self.settings), np.nan, np.float32),
            "state": self.start(1),
        }
        return {name: value.shape[1:] for name, value in self(nothing).items() if name != STATE_OUT}

    def empty(self, wanted: Sequence[str] | None = None) -> dict[str, Array]:
        """The outputs of a batch without machines."""
        return {name: np.zeros((0, *self.widths[name]), np.float32) for name in wanted or self.outputs}


def _open(model: bytes | Path, threads: int, provider: str) -> Any:
    if provider not in ort.get_available_providers():
        raise ModelError(
            f"provider '{provider}' is not in this onnxruntime: use one of {ort.get_available_providers()}"
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    # Planning which output may reuse which buffer costs more at run time than it saves: with it one machine takes 8 %
    # longer, and 5,000 as much memory.
    options.enable_mem_reuse = False
    # A spinning pool burns a gateway's core between observations.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(model, options, providers=[provider])
    except Exception as error:  # onnxruntime has no common base for what a bad graph raises
        raise ModelError(f"onnxruntime {ort.__version__} cannot load the graph: {error}") from error
    if provider not in session.get_providers():  # where a library or the device is missing, it takes the CPU in silence
        raise ModelError(f"onnxruntime cannot use '{provider}' on this device: install its libraries, or use the CPU")
    return session


def _width(shapes: Mapping[str, Sequence[int | str | None]], name: str, axis: int = 1) -> int:
    shape = shapes[name]
    size = shape[axis] if axis < len(shape) else None
    if not isinstance(size, int):
        raise ModelError(f"input '{name}' has shape {list(shape)}: axis {axis} must be a fixed size")
    return size
