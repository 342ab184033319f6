"""`python -m serving.retrain pump --config centre.toml --failures failures.csv`: see `serving.retrain`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from data.class_file import load_class
from data.errors import DataError
from serving.database.engine import Database, away
from serving.drift.__main__ import look
from serving.errors import ServingError
from serving.export import __main__ as export_command
from serving.export.fleet import export
from serving.retrain.reasons import new_failures, reasons, unfinished
from serving.retrain.steps import NOT_GOOD_ENOUGH, Run, commands, promotion, require_failures, run, run_all, shown
from serving.settings import read_config

REFUSED = """\
The new version of '{fleet}' is in the MLflow registry as challenger and not promoted, see above; the champion stays.
Read {report}: train on more failures, or put mlflow/promotion.yaml right and run
  uv run python -m training.promote {fleet}"""
JUDGED = """\
The new version of '{fleet}' passes the rules and is the challenger still (--judge-only). Read {report}, then
promote it:
  uv run python -m training.promote {fleet}"""


def main(arguments: Sequence[str] | None = None, run: Run = run) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m serving.retrain", description="A new model from what the fleet lived through, if it is time."
    )
    export_command.add_arguments(parser)
    parser.add_argument("--config", type=Path, required=True, help="centre.toml")
    parser.add_argument("--force", action="store_true", help="whatever the drift")
    parser.add_argument("--enough", type=int, default=5, help="new failures that are a reason (5)")
    parser.add_argument("--judge-only", action="store_true", help="leave it to a person to promote what passes")
    parser.add_argument("--dry-run", action="store_true", help="say why and what would be run, and run nothing")
    options = parser.parse_args(arguments)
    try:
        return _retrain(options, run)
    except (ServingError, DataError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _retrain(options: argparse.Namespace, run: Run) -> int:
    config = read_config(options.config)
    wanted = export_command.wanted_by(options)
    cls = load_class(wanted.asset_class, wanted.classes)
    drift = look(config, wanted.asset_class)
    why = reasons(cls, wanted, drift, options.enough, force=options.force)
    for each in drift:
        print(f"{each.asset_class}: {each.verdict} ({each.reason})")
    if not why:
        new = (
            "no log of failures" if wanted.failures is None else f"{new_failures(cls, wanted)} new failures in the log"
        )
        print(f"{wanted.asset_class}: no reason to train a new model: no drift seen, {new} (enough: {options.enough})")
        return 0
    print(f"{wanted.asset_class}: a new model is due: " + "; ".join(why))
    todo, last = commands(wanted.fleet, wanted.sources), promotion(wanted.fleet, judge_only=options.judge_only)
    if options.dry_run:
        print("\n".join(["would run:", f"  {_export_line(options)}", *(f"  {shown(each)}" for each in [*todo, last])]))
        return 0
    database = Database(config.database)
    try:
        with away():
            manifest = export(database, wanted)
    finally:
        database.close()
    print("\n".join(export_command.lines(manifest)))
    require_failures(manifest)
    unfinished(wanted).touch()  # its failures are no news any more: if training fails, that is the reason to try again
    run_all(todo, run)
    words = {"fleet": wanted.fleet, "report": f"artifacts/{wanted.fleet}/report.html"}
    judged = run_all([last], run, expected=NOT_GOOD_ENOUGH)
    unfinished(wanted).unlink(missing_ok=True)
    if judged == NOT_GOOD_ENOUGH:
        print(REFUSED.format(**words))
        return NOT_GOOD_ENOUGH
    if options.judge_only:
        print(JUDGED.format(**words))
    return 0


def _export_line(options: argparse.Namespace) -> str:
    words = ["python", "-m", "serving.export", options.asset_class, "--config", str(options.config)]
    for name in ("fleet", "since", "until", "failures", "settings"):
        if (value := getattr(options, name)) is not None:
            words += [f"--{name}", str(value)]
    words += ["--skip-unusable"] if options.skip_unusable else []
    return shown(words)


if __name__ == "__main__":
    sys.exit(main())
