"""What the step function has learned: the constants fitted on training machines."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from features.array import Float32


@dataclass(frozen=True)
class Parameters:
    """Fitted constants. G regimes, K conditions, Q basis functions of the conditions, S sensors in use, P projections.

    A regime is a set point of the operating conditions. With one regime the expected value of a sensor is a
    polynomial of the conditions, with several it is a mean per regime.
    """

    sensors: tuple[str, ...]  # in use: those that vary while healthy, from channels, derived channels and waveforms
    centres: Float32  # [G,K] middle of each regime, in units of the conditions
    half_widths: Float32  # [G,K] half the extent of each regime seen in training
    scale: Float32  # [K] distance that counts as one in choosing the nearest regime
    degree: int  # of the polynomial; 0 with several regimes
    expected: Float32  # [Q,S] basis coefficients: row g the mean in regime g, or polynomial coefficients
    spread: Float32  # [G,S] standard deviation of what is left, healthy
    projections: tuple[str, ...]  # names of the health-index projections, the first is that of `health`
    weights: Float32  # [S,P]
    healthy: float  # median of the health projection on healthy machines
    failed: float  # median of it at failure
    middle: Float32  # [S] of the smoothed normalised sensors of training machines, from new to failed
    reach: Float32  # [S] from the middle to the edge of what they showed
    notes: tuple[str, ...] = ()  # what a reader of the manifest has to know, e.g. too few healthy rows

    def save(self, path: Path) -> None:
        """One .npz without object arrays."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self) if isinstance(getattr(self, f.name), np.ndarray)}
        rest = {k: v for k, v in asdict(self).items() if k not in arrays}
        np.savez(path, rest=np.frombuffer(json.dumps(rest).encode(), np.uint8), **arrays)

    @classmethod
    def load(cls, path: Path) -> Parameters:
        with np.load(path, allow_pickle=False) as file:
            rest = json.loads(file["rest"].tobytes())
            arrays = {name: file[name] for name in file.files if name != "rest"}
        for name in ("sensors", "projections", "notes"):
            rest[name] = tuple(rest[name])
        return cls(**rest, **arrays)


def unfitted(sensors: tuple[str, ...], conditions: int) -> Parameters:
    """Parameters under which a normalised reading is the cleaned reading itself: the start of fitting."""
    return Parameters(
        sensors=sensors,
        centres=np.zeros((1, conditions), np.float32),
        half_widths=np.ones((1, conditions), np.float32),
        scale=np.ones(conditions, np.float32),
        degree=0,
        expected=np.zeros((1, len(sensors)), np.float32),
        spread=np.ones((1, len(sensors)), np.float32),
        projections=(),
        weights=np.zeros((len(sensors), 0), np.float32),
        healthy=1.0,
        failed=0.0,
        middle=np.zeros(len(sensors), np.float32),
        reach=np.ones(len(sensors), np.float32),
    )
