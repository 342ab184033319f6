"""Operating-regime normalisation: how far a sensor is from what a healthy machine shows under the same conditions."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np

from features.array import Array, combine, constant, matmul, namespace, row_any, row_max
from features.parameters import Parameters


def polynomial(x: Array, degree: int) -> Array:
    """All monomials of `x` [B,K] up to `degree`, the constant first: [B,Q].

    >>> polynomial(np.array([[2.0, 3.0]], np.float32), 2)
    array([[1., 2., 3., 4., 6., 9.]], dtype=float32)
    """
    xp = namespace(x)
    columns = [x[:, i : i + 1] for i in range(x.shape[1])]
    terms = [columns[0] * constant(x, 0) + constant(x, 1)]
    for power in range(1, degree + 1):
        for factors in combinations_with_replacement(columns, power):
            term = factors[0]
            for factor in factors[1:]:
                term = term * factor
            terms.append(term)
    return xp.concat(terms, axis=1)


@dataclass(frozen=True)
class Normalisation:
    """z = (x − expected(conditions)) / spread(regime), kept as written: x·a − b would cost 5e-3 in float32."""

    parameters: Parameters

    def __call__(self, values: Array, conditions: Array | None) -> tuple[Array, Array]:
        """z [B,S] of `values` [B,S], NaN where a value or any condition [B,K] is; and `unfamiliar` [B,1].

        `unfamiliar` rises from 0 at the edge of the conditions seen in training to 1 at twice their extent.
        """
        p = self.parameters
        if conditions is None:
            zero = values[:, :1] * constant(values, 0)
            unfamiliar = namespace(values).where(zero == zero, zero, constant(values, 0))
            return (values - constant(values, p.expected[0])) / constant(values, p.spread[0]), unfamiliar
        xp = namespace(values)
        zero = constant(values, 0)
        missing = xp.isnan(conditions)
        c = xp.where(missing, constant(values, p.centres[:1]), conditions)
        if len(p.centres) == 1:
            offset = (c - constant(values, p.centres)) / constant(values, p.half_widths)
            if p.degree:
                expected = combine(polynomial(offset, p.degree), p.expected)
            else:
                expected = constant(values, p.expected)
            spread = constant(values, p.spread)
        else:
            regime = self._nearest(c)
            rows = np.concatenate([p.expected, p.spread, p.centres, p.half_widths], axis=1)
            row = xp.take(constant(values, rows), regime, axis=0)
            sensors, k = len(p.sensors), c.shape[1]
            expected, spread = row[:, :sensors], row[:, sensors : 2 * sensors]
            offset = (c - row[:, 2 * sensors : 2 * sensors + k]) / row[:, 2 * sensors + k :]
        excess = row_max(xp.abs(offset)) - constant(values, 1)
        unfamiliar = xp.minimum(xp.maximum(excess, zero), constant(values, 1))
        unknown = row_any(missing)
        z = xp.where(unknown, constant(values, np.nan), (values - expected) / spread)
        return z, unfamiliar

    def _nearest(self, conditions: Array) -> Array:
        """Index of the nearest regime, int64[B]: argmin of |c − μ|² = |μ|² − 2 c·μ + |c|², without the last term."""
        p = self.parameters
        centres = p.centres / p.scale
        scores = matmul(conditions / constant(conditions, p.scale), (-2 * centres.T).astype(np.float32))
        return namespace(conditions).argmin(scores + constant(conditions, (centres**2).sum(axis=1)), axis=1)
