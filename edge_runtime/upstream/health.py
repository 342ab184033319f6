"""Whether what is made now can go up now; the engine makes live messages while it is so, and a backlog else."""

from __future__ import annotations

SECOND = 1_000_000_000


class Health:
    """`healthy` follows what `look` is told with hysteresis: down after `down` nanos of trouble, up after `up` without.

    Trouble is: no connection; something waits for the centre, and it has acknowledged nothing for `silent` nanos; or
    the oldest live message waits for longer than `live_within` nanos. Times are monotonic nanos.
    """

    def __init__(self, live_within: int, silent: int = 15 * SECOND, down: int = 3 * SECOND, up: int = SECOND) -> None:
        self.healthy = False
        self._live_within, self._silent, self._down, self._up = live_within, silent, down, up
        self._idle = 0  # when nothing was waiting for the last time
        self._changing: int | None = None  # since when it is not as `healthy` says

    def look(
        self, now: int, connected: bool, outstanding: int, last_delivery: int | None, oldest_live: int | None
    ) -> bool:
        if not outstanding:
            self._idle = now
        silent = now - max(self._idle, last_delivery or 0)
        well = connected and silent < self._silent and (oldest_live is None or now - oldest_live < self._live_within)
        if well == self.healthy:
            self._changing = None
        else:
            self._changing = now if self._changing is None else self._changing
            if now - self._changing >= (self._up if well else self._down):
                self.healthy, self._changing = well, None
        return self.healthy
