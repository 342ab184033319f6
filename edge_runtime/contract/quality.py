"""Quality flags of one reading: the bits of the graph's output `quality`, the same in reports and on the wire."""

from enum import IntFlag


class Quality(IntFlag):
    """Why a reading was not used as it came. 0 is a good reading.

    >>> Quality(5) == Quality.MISSING | Quality.STUCK
    True
    """

    MISSING = 1  # not received, or too old when its observation closed
    OUT_OF_RANGE = 2  # outside the physically possible range of the class; includes infinities
    STUCK = 4  # unchanged for longer than the class allows
    SPIKE = 8  # one lone jump; accepted if the next reading confirms it
    HELD = 16  # a last good value stands in
    LATE = 32  # arrived after its observation had closed; set by assembly, kept, never used
    DUPLICATE = 64  # same channel and source time as an earlier one; set by assembly, dropped
