"""Physics of the machines: simulate fleets, expected values, what-if. Knows nothing of machine learning.

In: the number of machines and a seed. Out: one `Record` a life, what the sensors of a machine said between new (or
the day it was connected) and failure, repair or the end of the record, with the true damage beside it. Everything made
here is simulated and has to be called so wherever it is shown.

* `SIMULATORS[name](machines, seed)` yields the records of a fleet; records of one asset follow each other in time.
  A machine's records depend on the seed and its number only: a larger fleet begins with the smaller one.
* `pump.expected(pump, duty, damage)` gives what the sensors of a pump show at a duty; another `damage` is a what-if.

Times are int64 UTC nanoseconds. Only numpy is needed.
"""

from collections.abc import Callable, Iterator

from twins.pump_fleet import simulate_pumps
from twins.record import Record

SIMULATORS: dict[str, Callable[[int, int], Iterator[Record]]] = {"pump": simulate_pumps}

__all__ = ["SIMULATORS", "Record", "simulate_pumps"]
