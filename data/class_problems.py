"""What is wrong with a class file, in words: each problem with its line, its key, what is allowed and what is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from data import asset_class
from data.asset_class import LIFE_UNITS, AssetClass, InconsistentError, Spec, did_you_mean

READERS = {
    "table": asset_class.TableSource,
    "cmapss": asset_class.CmapssSource,
    "simulation": asset_class.SimulationSource,
}
SECTIONS: dict[str, list[type[Spec]]] = {
    "channels": [asset_class.Channel, asset_class.Waveform],
    "derived": [asset_class.Derived],
    "settings": [asset_class.Setting],
    "alarms": [asset_class.Alarm],
    "time": [asset_class.Time],
    "life": [asset_class.Life, asset_class.Healthy],
    "labels": [asset_class.Labels],
    "features": [asset_class.Features],
    "costs": [asset_class.Costs],
    "source": [asset_class.FailureLog, asset_class.SourceFile, asset_class.Place],
}
# Parts of a path that name an alternative of the schema, not a key of the file.
ALTERNATIVES = {"SourceFile", "str", "dict[str,str]", "literal['auto']", "constrained-int", "[key]"}
NAMES = {
    "^[a-z]": "a name is lower case letters, digits and '_', a letter first, e.g. bearing_temperature",
    "^[A-Z": "a name is 1 to 64 letters, digits, '_' or '-'",
}
DURATION = re.compile(r"([\d.]+) ?(s|sec|min|m|h|d)[a-z]*")
SPELLED = {"sec": "s", "m": "min"}  # how people write units of life, too


def explain(path: Path, node: yaml.Node, content: dict[str, Any], error: ValidationError) -> str:
    """One line a key: of an either-or only what is nearest to what stands there."""
    told: dict[tuple[int, str], list[str]] = {}
    for loc, said in _found(error, content):
        where = ".".join(map(str, loc)) or "file"
        told.setdefault((line_of(node, loc), where), []).append(said)
    return "\n".join(f"{path}:{line}: {where}: {' or '.join(said)}" for (line, where), said in told.items())


def _found(error: ValidationError, content: dict[str, Any]) -> Iterator[tuple[tuple[int | str, ...], str]]:
    for problem in error.errors():
        inconsistent = problem.get("ctx", {}).get("error")
        if isinstance(inconsistent, InconsistentError):
            yield from inconsistent.problems
        elif not _is_other_alternative(problem):
            yield _keys(problem), _message(problem, content)


def line_of(node: yaml.Node, loc: tuple[int | str, ...]) -> int:
    """Line of the deepest YAML node that the path `loc` reaches."""
    line = node.start_mark.line + 1
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == part:
                    line, node = key.start_mark.line + 1, value
                    break
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


def repeated(node: yaml.Node) -> Iterator[tuple[int, str]]:
    """Line and key of each entry that repeats a key of its mapping: YAML would let the last one win in silence."""
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                yield key.start_mark.line + 1, key.value
            seen.add(key.value)
            yield from repeated(value)
    elif isinstance(node, yaml.SequenceNode):
        for entry in node.value:
            yield from repeated(entry)


def _is_other_alternative(problem: Any) -> bool:
    """Where a text or a mapping may stand: whether the problem is of the one that was not tried."""
    if "str" in problem["loc"]:
        return isinstance(problem["input"], dict)
    return problem["type"] == "model_type" and problem["loc"][-1:] == ("SourceFile",)


def _keys(problem: Any) -> tuple[int | str, ...]:
    """The path as the file has it."""
    loc = tuple(part for part in problem["loc"] if part not in ALTERNATIVES)
    if loc[:1] == ("source",) and loc[1:2] and loc[1] in READERS:
        loc = loc[:1] + loc[2:]
    if problem["type"].startswith("union_tag"):
        return (*loc, "reader")
    return loc[:-1] if problem["type"] == "missing" and isinstance(loc[-1], int) else loc


def _message(problem: Any, content: dict[str, Any]) -> str:
    kind, loc, value, ctx = problem["type"], problem["loc"], problem["input"], problem.get("ctx", {})
    if kind == "value_error":
        return str(problem["msg"].removeprefix("Value error, "))
    if kind == "missing" and isinstance(loc[-1], str):
        return f"required key '{loc[-1]}' is missing"
    if kind == "extra_forbidden":
        known = _known_keys(loc[:-1])
        return f"unknown key '{loc[-1]}'" + (did_you_mean(loc[-1], known) or f": there are {', '.join(sorted(known))}")
    if kind == "union_tag_not_found":
        return f"required key 'reader' is missing: use one of {', '.join(READERS)}, e.g. reader: table"
    if kind == "union_tag_invalid":
        reader = str(value["reader"])
        return f"'{reader}' is no reader: use one of {', '.join(READERS)}, e.g. reader: table" + (
            did_you_mean(reader, set(READERS)).replace(": d", "; d")
        )
    allowed = _allowed(kind, loc, value, ctx) or problem["msg"].replace("Input should be", "must be")
    if isinstance(value, bool) and not kind.startswith("bool"):
        return f"{allowed} (got {str(value).lower()}; YAML reads yes, no, on and off so, unless they are in quotes)"
    return f"{allowed} (got {'nothing' if value is None else repr(value)})" + _conversion(loc, value, content)


def _allowed(kind: str, loc: tuple[int | str, ...], value: Any, ctx: dict[str, Any]) -> str | None:
    """What may stand there, with an example where it is not plain."""
    if "range" in loc and (kind in ("missing", "too_long") or kind.startswith("tuple")):
        return "must be two numbers, the lower one first, e.g. [0, 100]"
    if kind.startswith(("float", "int")):
        example = "3600" if loc[0] in ("time", "channels") else "0.5"
        return "must be a whole number, e.g. 4" if kind.startswith("int") else f"must be a number, e.g. {example}"
    if kind == "too_short":
        return "must have at least one entry"
    if kind in ("string_too_short", "string_too_long"):
        return "must be one character, e.g. ';' or \"\\t\""
    if kind == "list_type":
        return f"must be a list, e.g. [{value}]"
    if kind == "string_type":
        return f'must be text, e.g. "{value}" in quotes' if isinstance(value, int | float) else "must be text"
    if kind.startswith("bool"):
        return "must be true or false"
    if kind == "string_pattern_mismatch":
        return next((words for start, words in NAMES.items() if ctx["pattern"].startswith(start)), None)
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        model = getattr(asset_class, ctx.get("class_name", ""), None)
        needed = [name for name, field in model.model_fields.items() if field.is_required()] if model else ["reader"]
        return "must be a section of keys, e.g. {" + ", ".join(f"{name}: …" for name in needed) + "}"
    return None


def _conversion(loc: tuple[int | str, ...], value: Any, content: dict[str, Any]) -> str:
    """What a duration written with its unit comes to, in the unit of its section."""
    written = DURATION.fullmatch(value.strip().lower()) if isinstance(value, str) else None
    of = {"life": "life", "labels": "life", "time": "time", "channels": "time", "alarms": "time"}.get(str(loc[0]))
    if not written or not of:
        return ""
    sections = {name: content.get(name) for name in ("time", "life")}
    unit = {name: section.get("unit") for name, section in sections.items() if isinstance(section, dict)}
    seconds = LIFE_UNITS["s"]
    number, said = written[1], SPELLED.get(written[2], written[2])
    if unit.get(of) not in seconds or not re.fullmatch(r"\d+\.?\d*", number):
        return f": write it as a number of {of}.unit"
    return f": write it as a number of {of}.unit, {float(number) * seconds[said] / seconds[unit[of]]:g}"


def _known_keys(loc: tuple[int | str, ...]) -> set[str]:
    """Keys that the section at `loc` may have."""
    if not loc:
        return set(AssetClass.model_fields) - {"subset"}
    models: list[type[Spec]] = list(SECTIONS.get(str(loc[0]), []))
    if loc[0] == "source":
        deeper = {"failures": models[:1], "places": models[2:]}.get(str(loc[2]), models[1:2]) if loc[2:] else None
        models = deeper or [READERS[str(loc[1])]]
    elif loc[-1] in ("healthy", "waveform"):
        models = models[1:]
    else:
        models = models[:1]
    return {key for model in models for key in model.model_fields}
