"""The challenger becomes the champion in the MLflow registry, if it passes the rules of mlflow/promotion.yaml.

python -m training.promote <fleet>              judge; promote or refuse; tag the version with the verdict
python -m training.promote <fleet> --dry-run    judge only, and change nothing
python -m training.promote <fleet> --rollback   the previous champion is the champion again

It ends with 0 when promoted (or rolled back; with --dry-run: when it would be), with 3 when refused, with 1 when it
could not judge. A first version, without a champion to compare with, has to pass the absolute limits.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from data.errors import DataError
from edge_runtime.bundle import Bundle
from edge_runtime.errors import EdgeError
from training import tracking
from training.promotion.candidate import FAILED, OFF, PASSED, Candidate, Judgement
from training.promotion.judge import judge
from training.promotion.race import race
from training.promotion.rules import FILE, Rules, read_rules
from training.registry import CHALLENGER, CHAMPION, PREVIOUS, Registry, RegistryError

REFUSED = 3  # exit code: judged, and not good enough


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.promote", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("fleet", help="<class> or <class>-<subset>, e.g. pump or turbofan-FD001")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and change nothing")
    parser.add_argument("--rollback", action="store_true", help="the previous champion is the champion again")
    parser.add_argument("--reason", default="", help="of the rollback, for the version's tags")
    options = parser.parse_args(arguments)
    try:
        if options.rollback:
            return roll_back(options.fleet, options.reason, dry_run=options.dry_run)
        return promote(options.fleet, dry_run=options.dry_run)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def promote(fleet: str, *, dry_run: bool = False) -> int:
    """Judge the challenger of `fleet` and act on it; the exit code."""
    rules, registry = read_rules(fleet), Registry(fleet)
    aliases = registry.aliases()
    champion, challenger = aliases.get(CHAMPION), aliases.get(CHALLENGER)
    if challenger is None or challenger == champion:
        raise RegistryError(
            f"'{fleet}' has no challenger (champion: version {champion or 'none'}): train one by `uv run dvc repro`, "
            f"or give a version the alias '{CHALLENGER}'"
        )
    print(f"{fleet}: version {challenger} (challenger) against {f'version {champion}' if champion else 'no champion'}")
    with tempfile.TemporaryDirectory() as folder:
        judgements = judged(rules, registry, challenger, champion, Path(folder))
    print("\n".join(table(judgements)))
    broken = [each.rule for each in judgements if each.state == FAILED]
    if not dry_run:
        tags = {each.rule.replace(",", ""): each.line for each in judgements}
        registry.tag(challenger, tags | {"against": champion or "none", "commit": tracking.commit()})
    if broken:
        if not dry_run:
            registry.refuse(challenger, "; ".join(broken))
        print(f"not promoted: {'; '.join(broken)}. {f'Version {champion}' if champion else 'None'} is the champion.")
        print(f"mend what FAILED and train anew, or change the limit for this fleet in {FILE}, and say why there")
        return REFUSED
    if dry_run:
        print(f"would be promoted: nothing was changed (--dry-run), version {challenger} is the challenger still")
        return 0
    registry.promote(challenger, champion)
    way_back = f"; back to version {champion}: python -m training.promote {fleet} --rollback" if champion else ""
    print(f"promoted: version {challenger} is the champion{way_back}")
    return 0


def judged(rules: Rules, registry: Registry, challenger: str, champion: str | None, folder: Path) -> list[Judgement]:
    """What the rules say; of a challenger that does not run here, only that."""
    old = None
    if champion is not None:
        try:
            old = Candidate.load(champion, Bundle.load(registry.fetch(champion, folder / "champion")))
        except EdgeError as error:
            raise RegistryError(
                f"the champion, version {champion}, does not run here, so nothing can be compared with it: {error}. "
                f"Go back by --rollback, or take its alias '{CHAMPION}' away: then the absolute limits judge alone"
            ) from error
    try:
        new = Candidate.load(challenger, Bundle.load(registry.fetch(challenger, folder / "challenger")))
    except EdgeError as error:
        return [Judgement("bundle", "", "refused", "loads, and passes its self-test", FAILED, str(error))]
    runs = Judgement("bundle", "runs" if old else "", "runs", "passes its self-test here", PASSED)
    if rules.latency is not None:
        entered = [each.bundle for each in (new, old) if each]
        times = race(entered, rules.latency.machines, rules.latency.rounds)
        new = replace(new, us=times[0])
        old = replace(old, us=times[1]) if old else None
    return [runs, *judge(rules, new, old)]


def roll_back(fleet: str, reason: str, *, dry_run: bool = False) -> int:
    """The previous champion of `fleet` is the champion again, if it still runs; the exit code."""
    registry = Registry(fleet)
    aliases = registry.aliases()
    champion, previous = aliases.get(CHAMPION), aliases.get(PREVIOUS)
    if champion is None or previous is None or previous == champion:  # an interrupted promotion
        raise RegistryError(
            f"'{fleet}' has no version with the alias '{PREVIOUS if champion else CHAMPION}' to go back to: "
            "a promotion leaves one behind, a rollback uses it up"
        )
    with tempfile.TemporaryDirectory() as folder:
        try:
            Bundle.load(registry.fetch(previous, Path(folder)))
        except EdgeError as error:
            raise RegistryError(f"version {previous} does not run here, so it is no way back: {error}") from error
    if dry_run:
        print(f"{fleet}: would go back from version {champion} to version {previous}: nothing was changed (--dry-run)")
        return 0
    registry.roll_back(champion, previous, reason or "not given")
    print(f"{fleet}: version {previous} is the champion again; version {champion} has no alias any more")
    return 0


def table(judgements: Sequence[Judgement]) -> list[str]:
    """For a terminal: columns, and below a rule why it was judged so."""
    heads = ("rule", "champion", "challenger", "limit", "")
    marks = {PASSED: "passed", FAILED: "FAILED", OFF: "off"}
    cells = [heads] + [
        (each.rule, each.champion, each.challenger, each.limit, marks[each.state]) for each in judgements
    ]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heads))]
    lines = [
        "  " + "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in cells
    ]
    made = [lines[0]]
    for line, each in zip(lines[1:], judgements, strict=True):
        made.append(line)
        if each.why:
            made.append(f"    {each.why}")
    return made


if __name__ == "__main__":
    sys.exit(main())
