"""Operating-regime normalisation: how far a sensor is from what a healthy machine shows under the same conditions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from itertools import combinations_with_replacement
from operator import mul

import numpy as np

from features.array import Array, combine, constant, matmul, namespace, row_max, row_sum, split
from features.parameters import Parameters


def polynomial(x: Array, degree: int) -> Array:
    """All monomials of `x` [B,K] up to `degree`, the constant first: [B,Q].

    >>> polynomial(np.array([[2.0, 3.0]], np.float32), 2)
    array([[1., 2., 3., 4., 6., 9.]], dtype=float32)
    """
    xp = namespace(x)
    return xp.concat([xp.ones_like(x[:, :1]), *monomials(x, degree)], axis=1)


def monomials(x: Array, degree: int) -> list[Array]:
    """Those of `polynomial` but for the constant, [B,1] each."""
    columns = split(x, [1] * x.shape[1])
    terms = []
    for power in range(1, degree + 1):
        for factors in combinations_with_replacement(columns, power):
            terms.append(reduce(mul, factors))
    return terms


@dataclass(frozen=True)
class Normalisation:
    """z = (x − expected(conditions)) / spread(regime), kept as written: x·a − b would cost 5e-3 in float32."""

    parameters: Parameters

    def __call__(self, values: Array, conditions: Array | None) -> tuple[Array, Array | None]:
        """z [B,S] of `values` [B,S], NaN where a value or any condition [B,K] is; and how far out the conditions are.

        That is [B,1], None without conditions: 0 in the middle of the nearest regime, 1 at the edge of what training
        machines showed there.
        """
        p, xp = self.parameters, namespace(values)
        if conditions is None:
            return (values - constant(values, p.expected)) / constant(values, p.spread), None
        unknown = xp.isnan(conditions)
        if len(p.centres) == 1:
            offset = (conditions - constant(values, p.centres)) / constant(values, p.half_widths)
            known = xp.where(unknown, constant(values, 0), offset)
            if p.degree > 0:
                # each condition is in it: the expected value is NaN where any condition is
                z = (values - combine(monomials(offset, p.degree), p.expected)) / constant(values, p.spread)
            else:
                z = (values - constant(values, p.expected)) / constant(values, p.spread) + row_sum(offset - known)
        else:
            c = xp.where(unknown, constant(values, p.centres[:1]), conditions)
            rows = np.concatenate([p.expected, p.spread, p.centres, p.half_widths], axis=1)
            row = xp.take(constant(values, rows), self._nearest(c), axis=0)
            sensors, k = len(p.sensors), c.shape[1]
            expected, spread, centre, half_width = split(row, [sensors, sensors, k, k])
            known = (c - centre) / half_width
            # NaN where any condition is, otherwise exactly 0
            z = (values - expected) / spread + row_sum(conditions - c)
        return z, row_max(xp.abs(known))

    def _nearest(self, conditions: Array) -> Array:
        """Index of the nearest regime, int64[B]: argmin of |c − μ|² = |μ|² − 2 c·μ + |c|², without the last term."""
        p = self.parameters
        centres = p.centres / p.scale
        scores = matmul(conditions / constant(conditions, p.scale), (-2 * centres.T).astype(np.float32))
        return namespace(conditions).argmin(scores + constant(conditions, (centres**2).sum(axis=1)), axis=1)
