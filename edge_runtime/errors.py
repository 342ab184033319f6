"""What can go wrong, as one tree.

    EdgeError
    ├── ModelError          the graph cannot be loaded or is not a step function
    ├── BundleError         a bundle cannot be used
    │   ├── FormatError     its manifest cannot be read, or is of a newer format
    │   ├── IntegrityError  a file is missing, truncated or altered
    │   └── SelfTestError   the graph does not reproduce its recorded outputs here
    ├── WireError           a message cannot be read; `reason` is what readers count
    │   └── MajorError      it is of a newer major version of the contract: for the dead-letter table
    ├── StateError          a snapshot does not belong to this fleet or bundle
    ├── DataError           a file of observations cannot be scored
    ├── JournalError        the journal cannot be opened, or can take no more
    ├── SourceError         a source of readings cannot be reached
    ├── CommandError        a set-point cannot be written to a machine
    │   └── CommandRefusedError  it may not be: `reason` says why
    ├── AssignmentRefusedError  what the centre tells about a machine cannot be taken: `reason` says why
    └── ConfigError         a configuration of the gateway cannot be used

Messages state the rule, the value that broke it and the way out.
"""


class EdgeError(Exception):
    """Base of all errors of this package."""


class ModelError(EdgeError):
    pass


class BundleError(EdgeError):
    pass


class FormatError(BundleError):
    pass


class IntegrityError(BundleError):
    pass


class SelfTestError(BundleError):
    pass


class StateError(EdgeError):
    pass


class DataError(EdgeError):
    pass


class ConfigError(EdgeError):
    pass


class WireError(EdgeError):
    """`reason` is one word of a small fixed set, for counters; `detail` says what is wrong with this message."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class MajorError(WireError):
    pass


class JournalError(EdgeError):
    pass


class SourceError(EdgeError):
    pass


class CommandError(EdgeError):
    pass


class CommandUnsureError(CommandError):
    """It was sent to the machine, and nobody knows whether it was carried out."""


class CommandRefusedError(CommandError):
    """`reason` is one word of a small fixed set, for counters and for the answer to the centre."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class AssignmentRefusedError(EdgeError):
    """`reason` is one word of a small fixed set, for counters and for the answer to the centre."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
