"""The command `overhaul-edge`: look at a bundle, score a table with it, measure it; check, run and ask a gateway.

Results go to standard output or the named file, remarks and errors to standard error. Exit code 1 means that nothing
was produced, and the message says why; of `check`, that something is wrong.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.errors import EdgeError

if TYPE_CHECKING:
    from edge_runtime.score import Summary


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    options = _parser().parse_args(arguments)
    code: int | None = 0
    try:
        code = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads, `head` for instance, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (EdgeError, OSError) as error:
        print(f"overhaul-edge: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130  # as shells say it
    return code or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="overhaul-edge", description="Run bundles: proven models of machines.")
    parser.add_argument("--version", action=_Version, nargs=0, help="which one this is")
    commands = parser.add_subparsers(required=True, metavar="command")

    inspect = commands.add_parser("inspect", help="check a bundle and say what it is")
    inspect.add_argument("bundle", type=Path)
    inspect.add_argument("--json", action="store_true", help="all of it, for programs")
    inspect.set_defaults(run=_inspect)

    score = commands.add_parser("score", help="a prognosis for each row of a table of asset, time and channels")
    score.add_argument("bundle", type=Path)
    score.add_argument("file", type=Path, help="CSV or Parquet; optional columns: event, age, life")
    score.add_argument("-o", "--output", type=Path, required=True, help="CSV, or Parquet if it ends in .parquet")
    score.add_argument("--settings", type=Path, help="CSV of asset and the class's settings")
    score.set_defaults(run=_score)

    bench = commands.add_parser("bench", help="measure how long one call takes here (JSON)")
    bench.add_argument("bundle", type=Path)
    bench.add_argument("--machines", type=_positive, default=1, metavar="N")
    bench.add_argument("--steps", type=_positive, metavar="N", help="default: about two seconds of them")
    bench.set_defaults(run=_bench)

    for command in (inspect, score, bench):
        command.add_argument("--threads", type=_positive, default=1, help="of onnxruntime (default 1)")
        command.add_argument("--provider", default="CPUExecutionProvider", help="of onnxruntime")
    _add_gateway(commands)
    return parser


def _add_gateway(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = commands.add_parser("run", help="run the gateway until it is told to stop")
    run.add_argument("config", type=Path, help="gateway.toml")
    run.set_defaults(run=_run)

    check = commands.add_parser("check", help="try everything that a gateway.toml names, and say what is wrong")
    check.add_argument("config", type=Path, help="gateway.toml")
    check.add_argument("--json", action="store_true", help="for programs")
    check.set_defaults(run=_check)

    status = commands.add_parser("status", help="how the gateway that runs here fares")
    status.add_argument("config", type=Path, nargs="?", help="gateway.toml, if its [http] is not the default")
    status.add_argument("--json", action="store_true", help="all of it, for programs")
    status.add_argument("--health", action="store_true", help="say nothing if it is healthy, else end with 1")
    status.set_defaults(run=_status)

    simulate = commands.add_parser("simulate", help="play a file of observations as a machine would")
    simulate.add_argument("protocol", choices=("mqtt", "opcua", "modbus"))
    simulate.add_argument("rest", nargs=argparse.REMAINDER, help="arguments of that simulator; --help shows them")
    simulate.set_defaults(run=_simulate)


class _Version(argparse.Action):
    """Asked for only when it is wanted: reading the metadata of packages takes a moment."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            told = version("overhaul")
        except PackageNotFoundError:  # run from a folder
            told = "unknown"
        print(f"overhaul-edge {told}, Python {'.'.join(map(str, sys.version_info[:3]))}")
        parser.exit()


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


# The commands import what they need themselves: `--help` answers without loading onnxruntime.


def _inspect(options: argparse.Namespace) -> None:
    from edge_runtime.bundle import Bundle
    from edge_runtime.describe import describe, describe_text

    bundle = Bundle.load(options.bundle, threads=options.threads, provider=options.provider)
    print(json.dumps(describe(bundle), indent=2, ensure_ascii=False) if options.json else describe_text(bundle))


def _bench(options: argparse.Namespace) -> None:
    from edge_runtime.bench import bench
    from edge_runtime.bundle import Bundle

    bundle = Bundle.load(options.bundle, threads=options.threads, provider=options.provider)
    print(json.dumps(bench(bundle, options.machines, options.steps), indent=2))


def _score(options: argparse.Namespace) -> None:
    from edge_runtime.bundle import Bundle
    from edge_runtime.score import score

    bundle = Bundle.load(options.bundle, threads=options.threads, provider=options.provider)
    _report(score(bundle, options.file, options.output, options.settings))


def _run(options: argparse.Namespace) -> None:
    from edge_runtime.gateway.config import read_config
    from edge_runtime.gateway.gateway import run
    from edge_runtime.gateway.logs import configure

    config = read_config(options.config)
    configure(config.log)
    run(config)


def _check(options: argparse.Namespace) -> int:
    from edge_runtime.gateway.check import check
    from edge_runtime.gateway.checks.line import lines_json, lines_text
    from edge_runtime.gateway.logs import quiet

    with quiet():
        lines = check(options.config)
    print(lines_json(lines) if options.json else lines_text(lines))
    return 1 if any(line.result == "FAIL" for line in lines) else 0


def _status(options: argparse.Namespace) -> None:
    from edge_runtime.gateway.ask import ask, ask_health
    from edge_runtime.gateway.config import HttpSettings, read_config
    from edge_runtime.gateway.page import status_text

    http = read_config(options.config).http if options.config else HttpSettings()
    if options.health:
        ask_health(http)
        return
    status = ask(http)
    print(status.json() if options.json else status_text(status))


def _simulate(options: argparse.Namespace) -> None:
    simulator = importlib.import_module(f"edge_runtime.simulate.{options.protocol}")
    parser = argparse.ArgumentParser(prog=f"overhaul-edge simulate {options.protocol}", description=simulator.__doc__)
    simulator.add_arguments(parser)
    simulator.run(parser.parse_args(options.rest))


def _report(summary: Summary) -> None:
    """Say on standard error what was scored and what was odd."""
    found = summary.findings
    lines = [f"scored {summary.scored:,} of {summary.rows:,} rows of {summary.machines:,} machines"]
    if found.extra:
        lines.append(f"columns not used: {', '.join(found.extra)}")
    if summary.waveforms:
        lines.append(f"waveforms, which score does not read: {', '.join(summary.waveforms)}")
    counts = {
        "duplicates, same asset and time as an earlier row (left empty)": summary.duplicates,
        "rows out of the order of time (sorted before scoring)": summary.out_of_order,
        "rows with an unusable time (left empty)": summary.unusable_times,
        "rows whose asset id is not 1 to 64 letters, digits, '_' or '-' (left empty)": summary.unusable_assets,
        "rows with too few or too many cells (filled or cut)": found.ragged,
    }
    lines += [f"{what}: {count:,}" for what, count in counts.items() if count]
    for name, count in found.not_numbers.items():
        lines.append(f"cells of '{name}' that are no usable number, e.g. {found.examples[name]!r}: {count:,}")
    for name, count in found.outside.items():
        if count:
            share = count / found.received[name]
            hint = "; check its unit" if share > 0.5 else ""
            lines.append(f"values of '{name}' outside its declared range: {count:,} ({share:.2%}{hint})")
    if summary.unfamiliar:
        share = summary.unfamiliar / summary.scored
        hint = "; check units and settings" if share > 0.5 else ""
        lines.append(f"rows unlike all that the twin learned from: {summary.unfamiliar:,} ({share:.2%}{hint})")
    print("\n  ".join(lines), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
