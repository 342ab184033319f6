"""The scene as a terminal shows it: a table of machines, the alarms, and what the centre has taken."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from serving.demo.reading import Point
from serving.demo.watch import FORESEEN, Change, Machine, Scene
from serving.demo.words import Words

COLOURS = ("green", "yellow", "dark_orange", "red")  # by level of alarm
_BAR, _AXIS, _TREND = 5, 24, 14  # characters
_COLUMNS = (0, 1, 2, 3, 4, 5, 6), (0, 1, 2, 3, 6), (0, 1, 2, 6)  # shown, where there is room for them
_BLOCKS = "▁▂▃▄▅▆▇█"
_ALARMS = 6  # shown


class View:
    """`speed`: how many times as fast as it was; None where time is counted. `width`: of the terminal, characters."""

    def __init__(self, words: Words, speed: float | None, folder: str, service: str | None, width: int) -> None:
        self._words, self._speed, self._folder, self._service = words, speed, folder, service
        self._width = width

    def starting(self, what: str) -> RenderableType:
        return Panel(Text(what), title=self._title(), border_style="cyan", box=box.ROUNDED)

    def scene(self, scene: Scene, over: Sequence[Machine]) -> RenderableType:
        """`over`: machines whose record has been played."""
        table = self._table(scene, over)
        body: list[RenderableType] = [table, self._legend() if len(table.columns) > len(_COLUMNS[-1]) else Text()]
        body += [Text(), self._alarms(scene), Text(), self._footer(scene)]
        subtitle = f"{self._words.moment(scene.now)} of {self._words.number(self._length)}"
        if self._speed is not None:
            subtitle += f", {self._speed:,.0f} times as fast as it was"
        return Panel(Group(*body), title=self._title(), subtitle=subtitle, border_style="cyan", box=box.ROUNDED)

    @property
    def _length(self) -> float:
        stage = self._words.stage
        return max(machine.last - stage.begin for machine in stage.machines) / stage.life

    def _title(self) -> str:
        contract = self._words.stage.contract
        title = contract.title + (
            "" if "simulated" in contract.title.lower() or not contract.simulated else " (simulated)"
        )
        return f"[bold]Overhaul[/] · {title} · machines no model has seen"

    def _table(self, scene: Scene, over: Sequence[Machine]) -> Table:
        words = self._words
        table = Table(box=None, expand=True, pad_edge=False, header_style="dim")
        headings = ["machine", "health", f"life left ({words.units})", f"0 … {words.cap:g}", "since new"]
        headings += [f"fails in {words.horizon:g} {words.units}", "alarm"]
        widths = self._widths(headings)
        shown = self._shown(widths)
        for place in shown:
            table.add_column(headings[place], style="bold" if place == 0 else "", no_wrap=True, min_width=widths[place])
        for machine in scene.machines:
            row = self._row(machine, machine in over)
            table.add_row(*(row[place] for place in shown))
        return table

    def _widths(self, headings: Sequence[str]) -> list[int]:
        """Of the columns, whatever comes: what is shown does not change on the way, and no verdict is cut."""
        words = self._words
        bar = _BAR + len(" 100%")
        remaining = 5 + len(f"  {words.interval(words.cap, math.inf)}")
        verdict = len(f"failed, foreseen {words.with_unit(self._length)}")
        needed = [0, bar, remaining, _AXIS, _TREND, bar, verdict]
        needed[0] = max(len(machine.asset) for machine in words.stage.machines)
        return [max(len(heading), width) for heading, width in zip(headings, needed, strict=True)]

    def _shown(self, widths: Sequence[int]) -> tuple[int, ...]:
        """Columns that there is room for, two characters between them, in a frame of four."""
        for columns in _COLUMNS:
            if sum(widths[place] + 2 for place in columns) + 2 <= self._width:
                return columns
        return _COLUMNS[-1]

    def _row(self, machine: Machine, over: bool) -> list[RenderableType]:
        point, words = machine.newest, self._words
        if point is None:
            return [machine.played.asset, Text("waiting", style="dim"), "", "", "", "", ""]
        colour = COLOURS[point.alarm]
        remaining = Text(f"{words.remaining(point.rul):>5}", style=f"bold {colour}")
        remaining.append(f"  {words.interval(point.lower, point.upper)}", style="dim")
        alarm = Text("●" * point.alarm or "–", style=colour)
        if point.warming_up > 0:
            alarm = Text("warming up", style="dim")
        if over:
            style = "bold white on red" if machine.warning is None else "bold white on dark_green"
            alarm = Text(words.short_outcome(machine), style=style)
        return [
            machine.played.asset,
            _bar(point.health, "green" if point.health > 0.5 else "yellow" if point.health > 0.25 else "red"),
            remaining,
            self._axis(machine, point, colour),
            self._trend(machine.points, colour),
            _bar(point.failure, "red" if point.failure > 0.5 else "yellow" if point.failure > 0.2 else "green"),
            alarm,
        ]

    def _axis(self, machine: Machine, point: Point, colour: str) -> Text:
        """From 0 to the cap: the interval, what is foretold, and the truth."""
        words, cap = self._words, self._words.cap

        def place(life: float) -> int:
            return min(_AXIS - 1, max(0, round(min(life, cap) / cap * (_AXIS - 1))))

        cells = [("·", "dim")] * _AXIS
        for at in range(place(point.lower), place(point.upper) + 1):
            cells[at] = ("━", colour)
        truth = words.truly_left(machine, point.t)
        cells[place(truth)] = ("◆" if truth <= cap else "▸", "bold white")
        cells[place(point.rul)] = ("●", f"bold {colour}")
        return Text.assemble(*cells)

    def _trend(self, points: Sequence[Point], colour: str) -> Text:
        """Remaining life since the start, as a line of blocks."""
        step = max(1.0, len(points) / _TREND)
        chosen = [points[int(i * step)].rul for i in range(min(_TREND, len(points)))]
        levels = [min(1.0, (0.0 if math.isnan(rul) else rul) / self._words.cap) for rul in chosen]
        return Text("".join(_BLOCKS[round(level * (len(_BLOCKS) - 1))] for level in levels), style=colour)

    def _legend(self) -> Text:
        return Text("● foretold   ━ interval   ◆ truth, which the twins are not told", style="dim")

    def _alarms(self, scene: Scene) -> RenderableType:
        changes = sorted((c for m in scene.machines for c in m.changes), key=lambda change: change.t)
        if not changes:
            return Text("no alarm yet", style="dim")
        return Group(*(self._alarm(change) for change in changes[-_ALARMS:]))

    def _alarm(self, change: Change) -> Text:
        text = Text(f"{self._words.moment(change.t):>10}  ", style="dim")
        return text.append(self._words.change(change), style=COLOURS[change.level])

    def _footer(self, scene: Scene) -> Text:
        text = Text(style="dim")
        text.append(f"committed  {scene.rows:,} rows in {scene.messages:,} messages, {scene.refused} refused; ")
        text.append(f"{scene.rate:.1f} messages/s, {scene.row_rate:,.0f} rows/s", style="bold not dim")
        text.append(f"; gateway {scene.gateway}\n")
        if self._service:
            text.append(f"service    {self._service} (try /models, /openapi.json)\n")
        return text.append(f"files      {self._folder}; Ctrl-C ends it all")


def _bar(share: float, colour: str) -> Text:
    share = 0.0 if math.isnan(share) else min(1.0, max(0.0, share))
    full = round(share * _BAR)
    return Text.assemble(("█" * full, colour), ("░" * (_BAR - full), "dim"), f" {share:4.0%}")


def summary(words: Words, machines: Sequence[Machine]) -> Table:
    """The end: what was foreseen, when, and how far from the truth. "taken back": warnings that were cleared again."""
    title = f"What was foreseen, in {words.units}. Warning: the alarm of level {FORESEEN} or more that stood at the end"
    table = Table(box=box.SIMPLE_HEAD, title=title, title_style="", title_justify="left")
    table.add_column("machine", no_wrap=True)
    for heading in ("life", "warned before", "said then", "interval", "truth"):
        table.add_column(heading, justify="right", no_wrap=heading == "interval")
    table.add_column("inside")
    table.add_column("taken back", justify="right")
    for machine in machines:
        played, warning = machine.played, machine.warning
        life = words.number((played.end - played.begin) / words.stage.life)
        back = str(machine.taken_back)
        if warning is None:
            table.add_row(played.asset, life, "not", "", "", "", "", back, style="red")
            continue
        truth = words.truly_left(machine, warning.t)
        inside = "yes" if words.within(truth, warning.lower, warning.upper) else "no"
        said = words.remaining(warning.rul), words.interval(warning.lower, warning.upper), words.number(truth)
        table.add_row(played.asset, life, words.number(truth), *said, inside, back)
    return table
