"""The error of `training.leaks`, a `DataError`: a person can put it right."""

from __future__ import annotations

from data.errors import DataError


class LeakError(DataError):
    """The pipeline uses what it cannot know, or a canary was not caught; the message says which, and where to look."""
