"""Topic templates: `plant/{asset}/{channel}` as a filter to subscribe to, a pattern to read, a topic to write to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

FIELDS = ("asset", "channel")


@dataclass(frozen=True)
class Template:
    """Levels are words, `+` (any one level), `{asset}` and `{channel}`; the last may be `#` (all that follow).

    >>> template = Template("plant/{asset}/{channel}")
    >>> template.filter, template.match("plant/pump-1/flow"), template.match("plant/pump-1")
    ('plant/+/+', {'asset': 'pump-1', 'channel': 'flow'}, None)
    >>> template.fill(asset="pump-1", channel="speed")
    'plant/pump-1/speed'
    """

    text: str

    def __post_init__(self) -> None:
        levels = self.text.split("/")
        for i, level in enumerate(levels):
            whole = level in ("+", *(f"{{{name}}}" for name in FIELDS)) or (level == "#" and i == len(levels) - 1)
            if not whole and any(sign in level for sign in "+#{}\0"):
                raise ValueError(
                    f"topic {self.text!r}: level {level!r} is neither a word nor one of +, {{asset}}, {{channel}}, "
                    "nor # at the end"
                )
        for name in FIELDS:
            if levels.count(f"{{{name}}}") > 1:
                raise ValueError(f"topic {self.text!r} has {{{name}}} twice: once is enough")
        if not self.text or len(self.text.encode()) > 1000:
            raise ValueError(f"topic {self.text[:40]!r}: expected 1 to 1000 bytes")

    @property
    def filter(self) -> str:
        return "/".join("+" if level[:1] == "{" else level for level in self.text.split("/"))

    def has(self, name: str) -> bool:
        return f"{{{name}}}" in self.text.split("/")

    def match(self, topic: str) -> dict[str, str] | None:
        """The fields of `topic`, or None if it is another."""
        found, levels, expected = {}, topic.split("/"), self.text.split("/")
        if expected[-1] == "#":
            expected.pop()
            if len(levels) < len(expected):
                return None
        elif len(levels) != len(expected):
            return None
        for level, wanted in zip(levels, expected, strict=False):
            if wanted[:1] == "{":
                found[wanted[1:-1]] = level
            elif wanted not in ("+", level):
                return None
        return found

    def fill(self, **fields: str) -> str:
        """The topic with these fields."""
        return "/".join(fields[level[1:-1]] if level[:1] == "{" else level for level in self.text.split("/"))


def widest(filters: Iterable[str]) -> list[str]:
    """The filters without those that another covers: a broker sends a message once for each that it matches.

    >>> widest(["plant/+/readings", "plant/+/+", "line/#", "line/1", "plant/+/+"])
    ['plant/+/+', 'line/#']
    """
    unique = list(dict.fromkeys(filters))
    return [one for one in unique if not any(other != one and _covers(other, one) for other in unique)]


def _covers(wide: str, narrow: str) -> bool:
    """Whether all topics of `narrow` are topics of `wide`."""
    levels, under = wide.split("/"), narrow.split("/")
    if levels[-1] == "#":
        levels.pop()
        under = under[: len(levels)] if len(under) >= len(levels) else under
    elif under[-1] == "#":
        return False
    return len(levels) == len(under) and all(
        level == below or (level == "+" and below != "#") for level, below in zip(levels, under, strict=True)
    )
