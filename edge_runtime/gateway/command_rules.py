"""What the gateway itself says about a command that the centre has signed; nothing above can widen it."""

from __future__ import annotations

from collections.abc import Callable

from edge_runtime.contract.command import Command
from edge_runtime.errors import CommandRefusedError
from edge_runtime.gateway.config import AllowedCommand, CommandSettings

MINUTE = 60_000_000_000  # nanos


class Rules:
    """The stop file, the allow-list, the term, the range and the rate.

    `term(asset)` is the term under which the gateway has the asset, None if it has no such asset. `lately(asset,
    channel)` counts the commands of the last minute, those before a restart too.
    """

    def __init__(
        self,
        settings: CommandSettings,
        term: Callable[[str], int | None],
        lately: Callable[[str, str], int],
    ) -> None:
        self.allowed = {(one.asset, one.channel): one for one in settings.allow}
        self._stop_file, self._term, self._lately = settings.stop_file, term, lately
        self._rates: dict[tuple[str, str], Rate] = {}

    def check(self, command: Command) -> AllowedCommand:
        """The entry of the allow-list that lets `command` pass; `CommandRefusedError` if none does."""
        where = f"{command.asset} {command.channel}"
        if self._stop_file is not None and self._stop_file.exists():
            raise CommandRefusedError("stopped", f"{self._stop_file} exists: nothing is written")
        allowed = self.allowed.get((command.asset, command.channel))
        if allowed is None:
            raise CommandRefusedError("not_allowed", f"{where} is not in this gateway's allow-list")
        term = self._term(command.asset)
        if term != command.term:
            raise CommandRefusedError("term", f"{command.asset} is here under term {term}, not {command.term}")
        if not allowed.low <= command.value <= allowed.high:
            raise CommandRefusedError(
                "out_of_range", f"{where} = {command.value:g}: {allowed.low:g} to {allowed.high:g} is allowed"
            )
        return allowed

    def spend(self, allowed: AllowedCommand, now: int) -> None:
        """Count one write at `now`, monotonic nanos; `CommandRefusedError` if there were too many."""
        where = allowed.asset, allowed.channel
        if where not in self._rates:
            self._rates[where] = Rate(allowed.per_minute, now, self._lately(*where))
        if not self._rates[where].take(now):
            times = f"{allowed.per_minute:g} times a minute"
            raise CommandRefusedError("rate", f"{allowed.asset} {allowed.channel} may be written {times}")


class Rate:
    """`per_minute`, spread evenly, with bursts of as many (one at least); `used` of them are gone at `now`.

    >>> rate = Rate(2, now=0, used=0)
    >>> [rate.take(0), rate.take(0), rate.take(0), rate.take(MINUTE // 2), rate.take(MINUTE // 2)]
    [True, True, False, True, False]
    """

    def __init__(self, per_minute: float, now: int, used: int) -> None:
        self._per_nano = per_minute / MINUTE
        self._most = max(1.0, per_minute) if per_minute > 0 else 0.0
        self._left, self._since = max(0.0, self._most - used), now

    def take(self, now: int) -> bool:
        self._left = min(self._most, self._left + (now - self._since) * self._per_nano)
        self._since = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
