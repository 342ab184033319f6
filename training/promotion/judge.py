"""All rules, one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from training.promotion.accuracy import accuracy
from training.promotion.candidate import (
    FAILED,
    HEADS,
    NONE,
    OFF,
    PASSED,
    UNKNOWN,
    Candidate,
    Judgement,
    heads,
    shown,
    state,
)
from training.promotion.race import busy
from training.promotion.rules import FILE, CanaryRule, CoverageRule, FalseAlarmRule, LatencyRule, ParityRule, Rules

SAME = ("fleet", "asset_class", "life", "labels")  # of the contract: otherwise figures do not mean the same
RATE = "false_alarms_per_"  # … a machine's month, or a number of cycles


def judge(rules: Rules, challenger: Candidate, champion: Candidate | None) -> list[Judgement]:
    """In the order of a reader's questions; both have run their `training.promotion.race`."""
    checks: dict[str, Callable[[Any, Candidate, Candidate | None], Iterator[Judgement]]] = {
        "accuracy": accuracy,
        "coverage": coverage,
        "false_alarms": false_alarms,
        "parity": parity,
        "canaries": canaries,
        "latency": latency,
    }
    made = [contract(challenger, champion)]
    for name, check in checks.items():
        rule = getattr(rules, name)
        off = Judgement(name.replace("_", " "), "", "", "", OFF, f"switched off in {FILE}")
        made += [off] if rule is None else check(rule, challenger, champion)
    return made


def contract(challenger: Candidate, champion: Candidate | None) -> Judgement:
    """Both speak of the same machines, in the same unit, under the same cap and horizon."""
    own = asdict(challenger.bundle.contract)
    new = f"cap {own['labels']['cap']:g} {own['life']['unit']}"
    if champion is None:
        return Judgement("contract", NONE, new, "", PASSED, "no champion: the absolute limits judge alone")
    old = asdict(champion.bundle.contract)
    before = f"cap {old['labels']['cap']:g} {old['life']['unit']}"
    broken = [f"{name} was {old[name]}, is {own[name]}" for name in SAME if old[name] != own[name]]
    if broken:
        way_out = "register it as another fleet, or take the champion's alias away: then the absolute limits judge"
        why = f"{'; '.join(broken)}: figures do not compare; {way_out}"
        return Judgement("contract", before, new, "the same", FAILED, why)
    other = [name for name in own if name not in SAME and old[name] != own[name]]
    why = f"differs in {', '.join(other)}: see that gateways have what it reads" if other else ""
    return Judgement("contract", before, new, "the same", PASSED, why)


def coverage(rule: CoverageRule, challenger: Candidate, champion: Candidate | None) -> Iterator[Judgement]:
    """Of the interval: absolute, since its level is a promise, which is the champion's too."""
    for i in heads(challenger, champion):
        suffix, words = [*HEADS.items()][i]
        names = [f"rul{suffix}.cv.interval.{name}" for name in ("level", "coverage")]
        old = shown(champion, names[1], ".1%")
        level, value = (challenger.figure(name) for name in names)
        if level is None or value is None:
            why = challenger.lacks(names[0] if level is None else names[1])
            yield Judgement(f"coverage{words}", old, UNKNOWN, "around its level", FAILED, why)
            continue
        before = champion.figure(names[0]) if champion else None
        if before is not None and before != level:
            way_out = "keep prognosis.interval in params.yaml, or take the champion's alias away"
            why = f"the champion promises {before:.0%}, this one {level:.0%}: {way_out}"
            yield Judgement(f"coverage{words}", old, f"{value:.1%}", f"a {before:.0%} interval", FAILED, why)
            continue
        few = conformal_excess(challenger.figure("n.cv.machines"))
        low, high = level - rule.below, level + few + rule.above
        passed = state(low <= value <= high)
        limit = f"{low:.1%} … {min(high, 1):.1%}"
        yield Judgement(f"coverage{words}", old, f"{value:.1%}", limit, passed, f"of the {level:.0%} interval")


def conformal_excess(machines: float | None) -> float:
    """How much more than its level an interval calibrated on so many machines may hold: with one score a machine up to
    1/(n+1) (Lei et al. 2018, Distribution-free predictive inference for regression); rows of a machine are many, so
    that this is a guide, no theorem. With few machines calibration has to err on that side."""
    return 0.0 if machines is None else 1 / (machines + 1)


def false_alarms(rule: FalseAlarmRule, challenger: Candidate, champion: Candidate | None) -> Iterator[Judgement]:
    """Of level 2 and higher: those call for action."""
    levels = sorted(alarm.level for alarm in challenger.bundle.contract.alarms if alarm.level >= 2)
    if not levels:
        why = "the class declares no alarm of level 2 or higher: none can be false"
        yield Judgement("false alarms", NONE, NONE, f"≤ {rule.most:g}", PASSED, why)
        return
    for i in heads(challenger, champion):
        suffix, words = [*HEADS.items()][i]
        yield from _false_alarms(rule, challenger, champion, f"alarms{suffix}.level_{levels[0]}.cv", words)


def _false_alarms(
    rule: FalseAlarmRule, challenger: Candidate, champion: Candidate | None, section: str, head: str
) -> Iterator[Judgement]:
    own, none = challenger.get(section), f"{RATE}…"
    key = next((key for key in own if key.startswith(RATE)), none) if isinstance(own, Mapping) else none
    name, unit = f"{section}.{key}", key.removeprefix(RATE).replace("_", " ")
    words, limit, old = f"false alarms{head}", f"≤ {rule.most:g}", shown(champion, name, ".3g")
    value, within = challenger.figure(name), challenger.get(f"ci.{name}")
    if value is None:
        yield Judgement(words, old, UNKNOWN, limit, FAILED, challenger.lacks(name))
        return
    why = f"per {unit}" + (f"; {within[0]:.2g} … {within[1]:.2g} by chance" if isinstance(within, list) else "")
    yield Judgement(words, old, f"{value:.3g}", limit, state(value <= rule.most), why)
    if champion is None:
        return
    words, before = f"{words}, to champion", champion.figure(name)
    if before is None:
        yield Judgement(words, old, f"{value:.3g}", f"{rule.worse:g} more", FAILED, champion.never_said(name))
        return
    most = before + rule.worse
    yield Judgement(words, old, f"{value:.3g}", f"≤ {most:.3g}", state(value <= most), why)


def parity(rule: ParityRule, challenger: Candidate, champion: Candidate | None) -> Iterator[Judgement]:
    """The graph says what the trained models said."""
    least, most = rule.within_tolerance, rule.max_error * challenger.bundle.contract.labels.cap
    for name, words, limit, passed in (
        ("parity.within_tolerance", "parity, rows within tolerance", f"≥ {least:.5g}", lambda share: share >= least),
        ("parity.max_abs_error", "parity, largest error", f"≤ {most:.3g}", lambda error: error <= most),
    ):
        value, old = challenger.figure(name), shown(champion, name)
        if value is None:
            yield Judgement(words, old, UNKNOWN, limit, FAILED, challenger.lacks(name))
        else:
            yield Judgement(words, old, shown(challenger, name), limit, state(passed(value)))


def canaries(rule: CanaryRule, challenger: Candidate, champion: Candidate | None) -> Iterator[Judgement]:
    """Faults that were planted; one that is not said to be caught was missed."""

    def caught(candidate: Candidate | None) -> dict[str, bool]:
        found = candidate.get("canaries") if candidate else None
        return {name: each.get("caught") is True for name, each in (found or {}).items() if isinstance(each, Mapping)}

    own, old = caught(challenger), caught(champion)
    before = f"{sum(old.values())} of {len(old)}" if old else UNKNOWN if champion else NONE
    limit = f"{rule.missed} missed"
    if not own:
        yield Judgement("canaries", before, UNKNOWN, limit, FAILED, challenger.lacks("canaries"))
        return
    missed = [name for name, is_caught in own.items() if not is_caught]
    untold = [challenger.lacks(f"canaries.{name}.caught") for name in missed if _untold(challenger, name)]
    why = "; ".join([f"missed: {', '.join(missed)}", *untold]) if missed else ""
    yield Judgement(
        "canaries", before, f"{len(own) - len(missed)} of {len(own)}", limit, state(len(missed) <= rule.missed), why
    )


def _untold(candidate: Candidate, canary: str) -> bool:
    return candidate.get(f"canaries.{canary}.caught") is None


def latency(rule: LatencyRule, challenger: Candidate, champion: Candidate | None) -> Iterator[Judgement]:
    """As measured here and now; `ValueError` if it was not."""
    if challenger.us is None or (champion is not None and champion.us is None):
        raise ValueError("latency is measured before it is judged: see training.promotion.race")
    old = f"{champion.us:.1f} µs" if champion else NONE
    new, why = f"{challenger.us:.1f} µs", f"a machine, {rule.machines:,} in a call, best of {rule.rounds} in turns"
    why += f"; {disturbed}: judge again when it is idle" if (disturbed := busy()) else ""
    yield Judgement("latency", old, new, f"≤ {rule.most:g} µs", state(challenger.us <= rule.most), why)
    if champion and champion.us is not None:
        limit = rule.worse * champion.us
        yield Judgement("latency, to champion", old, new, f"≤ {limit:.1f} µs", state(challenger.us <= limit), why)
