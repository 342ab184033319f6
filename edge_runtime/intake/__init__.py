"""From what sources send to what the fleet advances.

    Arrival, WaveformArrival → Intake → Batch

Nothing that arrives makes it raise; what cannot be used is counted by reason. Each machine is on its own: its times,
its gaps and its nonsense are nobody else's. What it holds when the gateway stops can be put back, and it goes on as if
nothing had happened.
"""

from edge_runtime.intake.intake import Intake

__all__ = ["Intake"]
