"""What can go wrong at the centre, as one tree.

    ServingError
    ├── ConfigError         centre.toml cannot be used
    ├── DatabaseError       the database cannot be used
    │   ├── AwayError       it cannot be reached or is busy: try again later
    │   │   └── DoubtError  its connection broke while it committed: perhaps it has
    │   └── SchemaError     its tables are of another version
    ├── RegistryError       the registry says no
    │   ├── UnknownError    there is no such asset, node, gateway or version
    │   ├── ConflictError   somebody else was faster, or it exists already
    │   └── InvalidError    what was asked for makes no sense
    └── RequestError        a request to the service cannot be answered; `code` says why, for programs

Messages state the rule, the value that broke it and the way out.
"""


class ServingError(Exception):
    """Base of all errors of this package."""


class ConfigError(ServingError):
    pass


class DatabaseError(ServingError):
    pass


class AwayError(DatabaseError):
    pass


class DoubtError(AwayError):
    pass


class SchemaError(DatabaseError):
    pass


class RegistryError(ServingError):
    pass


class UnknownError(RegistryError):
    """`what` there is none of by that name: asset, plant (or a node of one), alarm, gateway, key, version."""

    def __init__(self, message: str, what: str = "asset") -> None:
        super().__init__(message)
        self.what = what


class ConflictError(RegistryError):
    pass


class InvalidError(RegistryError):
    pass


class RequestError(ServingError):
    """`code` is one of a small fixed set (`serving.api.errors` gives each its status); `where` the part of the request.

    `after`: seconds until the same request may work.
    """

    def __init__(self, code: str, message: str, where: str = "", after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.where = where
        self.after = after
