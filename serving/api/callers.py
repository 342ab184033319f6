"""Who calls, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass

from serving.errors import RequestError

ROLES = ("read", "observe", "acknowledge", "command")
ALL = "*"


@dataclass(frozen=True)
class Caller:
    """`id` names the key or the subject of a token; `roles` of ROLES; `plants` whose machines it may ask about.

    read: prognoses and twins. observe: continue stored twins. acknowledge: alarms. command: set-points.
    """

    id: str
    roles: frozenset[str]
    plants: frozenset[str]

    @property
    def everywhere(self) -> bool:
        return ALL in self.plants

    def check_role(self, *roles: str) -> None:
        """`RequestError` unless it has one of `roles`."""
        if not self.roles.intersection(roles):
            has = ", ".join(sorted(self.roles)) or "none"
            raise RequestError("role", f"this needs the role {' or '.join(roles)}; your key has {has}: use another key")

    def check_plant(self, asset: str, plants: frozenset[str]) -> None:
        """The same answer for a machine that is elsewhere as for one that is nowhere: keys do not tell what exists."""
        if not self.everywhere and not self.plants & plants:
            raise unknown_asset(asset, self)


def unknown_asset(asset: str, caller: Caller) -> RequestError:
    where = "" if caller.everywhere else f" in the plants of your key ({', '.join(sorted(caller.plants)) or 'none'})"
    return RequestError("unknown_asset", f"asset '{asset}' is not known{where}: check its id, or register it", "asset")


LOCAL = Caller("insecure", frozenset(ROLES), frozenset({ALL}))
