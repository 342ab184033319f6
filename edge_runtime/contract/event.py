"""Values of the graph's input `event`."""

from enum import IntEnum


class Event(IntEnum):
    """What happened to the machine right before an observation."""

    NONE = 0
    NEW_LIFE = 1  # new or renewed: everything learned since new is forgotten
    SENSOR_REPLACED = 2  # what is known about the sensors is forgotten
