"""Features of a waveform snapshot: one row of numbers for a block of samples.

Statistics of each axis, as in ISO 20958 and Randall, Vibration-based Condition Monitoring (2011), ch. 3: RMS, peak,
crest factor (peak/RMS) and kurtosis (fourth standardised moment, 3 for Gaussian noise; impacts raise it).
"""

from __future__ import annotations

from data.asset_class import Channel
from features.array import Array, constant, namespace, row_max

STATISTICS = ("rms", "peak", "crest_factor", "kurtosis")


def names(channel: str, spec: Channel) -> list[str]:
    """Feature names, statistic by statistic, axis by axis: `vibration.kurtosis.x`."""
    assert spec.waveform is not None
    return [f"{channel}.{statistic}.{axis}" for statistic in STATISTICS for axis in spec.waveform.axes]


def statistics(samples: Array, spec: Channel) -> Array:
    """f32[K, 4 × axes] of `samples` f32[K,axes,N]; NaN (missing) for an axis with any sample not finite or out of
    range.
    """
    xp = namespace(samples)
    low, high = spec.range
    usable = (samples >= constant(samples, low)) & (samples <= constant(samples, high))
    x = xp.where(usable, samples, constant(samples, float("nan")))
    centred = x - xp.mean(x, axis=-1, keepdims=True)
    square = centred * centred
    power = xp.mean(square, axis=-1)
    tiny = constant(samples, 1e-36)  # a shaft vibrates by 1e-6 m: its power squared is 1e-24
    rms = xp.sqrt(power)
    peak = row_max(xp.abs(centred))[..., 0]
    kurtosis = xp.mean(square * square, axis=-1) / xp.maximum(power * power, tiny)
    return xp.concat([rms, peak, peak / xp.maximum(rms, tiny), kurtosis], axis=1)
