"""Errors of `data`. Every message states the rule, the value that broke it and the way out.

DataError                 base: a person can put it right
├── AssetClassError       an asset class file that cannot be used (file, line, fix)
├── FetchError            no place gave a source file (each place, why, what to do)
├── SourceError           a source that cannot be what the class says (file, column, fix)
└── SplitError            too few machines or failures to train and to test
"""


class DataError(ValueError):
    """Base of all errors of this package."""


class AssetClassError(DataError):
    """An asset class file that cannot be used; the message names the file, the line and the fix."""


class FetchError(DataError):
    """No place gave a source file; the message names each place tried, why it failed and what to do."""


class SourceError(DataError):
    """A source that cannot be what the class says it is; the message names file, column or channel, and the fix."""


class SplitError(DataError):
    """Too few machines or failures to train and to test."""
