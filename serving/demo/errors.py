"""What can keep the demo from going on; the message says what to do."""

from serving.errors import ServingError


class DemoError(ServingError):
    """A part has failed, or something it needs is missing."""


class ChoiceError(DemoError):
    """What was asked for cannot be played."""
