"""Names that nobody here knows: counters say how often they come, the log says which, once each and not for ever."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from edge_runtime.decode import shown, suggest

log = logging.getLogger(__name__)

MOST = 5  # of a kind and source: whoever sends garbage must not fill the log


class Strangers:
    """For one thread. What comes from outside is cut to what fits a line."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], set[str]] = {}  # (source, kind) → names as they were told

    def see(self, source: object, kind: str, name: object, why: str, known: Sequence[str] = ()) -> None:
        """`source` has sent a `kind` (machine, channel) called `name`; `known`: those that may be meant."""
        where = str(getattr(source, "name", "?")), kind
        seen = self._seen.setdefault(where, set())
        if len(seen) > MOST:
            return
        text = shown(name)
        if text in seen:
            return
        seen.add(text)
        if len(seen) > MOST:
            log.warning("source '%s' sends more unknown names of the kind '%s': they are only counted", *where)
        else:
            hint = f": {suggest(str(name)[:64], known)}" if known else ""
            log.warning("source '%s' sends an unknown %s %s: %s%s", *where, text, why, hint)
