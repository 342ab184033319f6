"""Prognoses on request, without the web: what was asked for, checked; run together with others; and told.

    wire form ──reading.read──▶ Ask ──Lane.submit──▶ groups of what waits ──run──▶ outputs ──answers──▶ plain values

Whatever waits when the runner becomes free is advanced in one call of the graph: the busier, the larger the batch, and
nobody waits for others on a quiet day. Histories go through it in lockstep. What a machine gets does not depend on who
else is in the batch (but for the rounding that the manifest's parity rule allows).
"""
