"""Drift of every class and of every model that its machines run, as one report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection

from data import reference
from data.reference import Reference
from edge_runtime.clock import Clock, SystemClock
from edge_runtime.decode import suggest
from edge_runtime.manifest import Contract
from serving.database import queries
from serving.database.engine import Database
from serving.database.queries import Asset
from serving.drift import window
from serving.drift.judge import FEWEST, FEWEST_MACHINES, Finding, judge
from serving.errors import InvalidError, ServingError
from serving.models.served import Served

Verdict = Literal["ok", "drifted", "too little data", "no reference"]
_WEEK, _MONTH = 604_800_000_000_000, 2_592_000_000_000_000  # nanos


@dataclass(frozen=True)
class ModelReport:
    """`window` in the time unit of the class; `machines` that counted; `reason`: why there is no more to say."""

    model_id: str
    fleet: str | None
    verdict: Verdict
    reason: str
    machines: int
    window: float | None
    findings: tuple[Finding, ...] = ()

    @property
    def drifted(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.drifted]


@dataclass(frozen=True)
class ClassReport:
    asset_class: str
    verdict: Verdict
    reason: str
    machines: int  # known here
    models: tuple[ModelReport, ...] = ()


def report(
    database: Database, served: Iterable[Served], asset_class: str | None = None, clock: Clock | None = None
) -> list[ClassReport]:
    """Of one class or of all that have machines; `served`: the bundles at hand, whose references are used.

    `InvalidError` for a class that neither a machine nor a bundle is of.
    """
    by_model = {each.model_id: each for each in served}
    now = (clock or SystemClock()).utc()
    with database.read() as connection:
        machines = queries.list_assets(connection)
        known = {asset.asset_class for asset in machines} | {each.contract.asset_class for each in by_model.values()}
        if asset_class is not None and asset_class not in known:
            raise InvalidError(
                f"no machine or bundle here is of class '{asset_class}': {suggest(asset_class, sorted(known))}"
            )
        names = sorted({asset.asset_class for asset in machines} if asset_class is None else {asset_class})
        own = {name: [machine for machine in machines if machine.asset_class == name] for name in names}
        return [_of_class(connection, name, own[name], by_model, now) for name in names]


def _of_class(
    connection: Connection, name: str, machines: Sequence[Asset], by_model: dict[str, Served], now: int
) -> ClassReport:
    own = [each for each in by_model.values() if each.contract.asset_class == name]
    longest = max(map(_width, own), default=_WEEK)
    cycles = any(each.contract.time.unit == "cycle" for each in own)
    ends = window.window_ends(connection, machines, _MONTH if cycles else longest, now)
    running: dict[str, list[Asset]] = {}
    for asset in machines:
        if asset.id in ends:
            for model_id in window.models_of(connection, asset.id, ends[asset.id] - longest, ends[asset.id]):
                running.setdefault(model_id, []).append(asset)
    models = tuple(
        _of_model(connection, model_id, running[model_id], by_model.get(model_id), ends) for model_id in sorted(running)
    )
    if not models:
        reason = "no observation has come" if machines else "no such machine is known here"
        return ClassReport(name, "too little data", reason, len(machines))
    # Drift of any model counts; else the class is what the model of most machines is.
    main = max(models, key=lambda model: (model.verdict == "drifted", len(running[model.model_id])))
    return ClassReport(name, main.verdict, main.reason, len(machines), models)


def _width(served: Served) -> int:
    """Of the window in nanos; without a reference, ten ticks: enough to see what runs."""
    try:
        return int(read_reference(served).window * 1e9)
    except ServingError:
        return int(10 * served.contract.time.tick * 1e9)


def _of_model(
    connection: Connection, model_id: str, machines: Sequence[Asset], served: Served | None, ends: dict[int, int]
) -> ModelReport:
    if served is None:
        reason = "its bundle is not served here: name its alias or folder in [service.models]"
        return ModelReport(model_id, None, "no reference", reason, 0, None)
    try:
        known = read_reference(served)
    except ServingError as error:
        return ModelReport(model_id, served.name, "no reference", str(error), 0, None)
    contract = served.contract
    counted = {
        asset.name: counts
        for asset in machines
        if (counts := window.count_machine(connection, asset.id, model_id, contract, known, ends[asset.id])) is not None
    }
    if problem := _too_little(known, len(counted), contract):
        return ModelReport(model_id, served.name, "too little data", problem, len(counted), known.window)
    findings = tuple(judge(known, counted))
    drifted = [finding.name for finding in findings if finding.drifted]
    reason = "drift of " + ", ".join(drifted) if drifted else f"{len(findings)} variables as in training"
    verdict: Verdict = "drifted" if drifted else "ok"
    return ModelReport(model_id, served.name, verdict, reason, len(counted), known.window, findings)


def _too_little(known: Reference, machines: int, contract: Contract) -> str:
    if len(known.machines) < FEWEST:
        return (
            f"the model learned from {len(known.machines)} machines: at least {FEWEST} are needed to tell how "
            "machines differ"
        )
    if machines < FEWEST_MACHINES:
        return (
            f"{machines} machines have observations (at least {window.FEWEST_ROWS}) over {window.COVERED:.0%} of "
            f"their last {known.window:g} {contract.time.unit}: {FEWEST_MACHINES} are needed"
        )
    return ""


def read_reference(served: Served) -> Reference:
    """Of a bundle, which was checked when it was loaded. `ServingError` if it has none."""
    if reference.FILE not in served.bundle.manifest.files:
        raise ServingError("its bundle was exported without a reference: run dvc repro, and serve the new one")
    try:
        return reference.load((Path(served.bundle.folder) / reference.FILE).read_bytes())
    except (OSError, ValueError) as error:
        raise ServingError(f"{reference.FILE} of its bundle cannot be read: {error}") from error


def to_json(reports: Iterable[ClassReport]) -> list[dict[str, Any]]:
    return [asdict(each) for each in reports]


def lines(reports: Iterable[ClassReport]) -> Iterable[str]:
    """For a terminal."""
    for each in reports:
        yield f"{each.asset_class}: {each.verdict} ({each.reason})"
        for model in each.models:
            yield f"  model {model.model_id[:12]}, {model.machines} machines: {model.verdict} ({model.reason})"
            for found in model.drifted:
                where = "most of the fleet, most of all " if found.everywhere else ""
                yield (
                    f"    {found.name}: PSI {found.psi:.3f} (limit {found.psi_limit:.3f}), "
                    f"KS {found.ks:.3f} (limit {found.ks_limit:.3f}); {where}{', '.join(found.machines)}"
                )


def metrics(reports: Iterable[ClassReport]) -> str:
    """Prometheus' text format, as the textfile collector of its node exporter reads it."""
    reports = list(reports)
    out = [
        "# HELP overhaul_drift Whether a class has drifted from what its model learned: 1 yes, 0 no, NaN not known.",
        "# TYPE overhaul_drift gauge",
    ]
    for each in reports:
        value = {"drifted": "1", "ok": "0"}.get(each.verdict, "NaN")
        out.append(f'overhaul_drift{{class="{each.asset_class}"}} {value}')
    out.append("# HELP overhaul_drift_ratio PSI or KS of a variable over its limit, the larger: above 1 is drift.")
    out.append("# TYPE overhaul_drift_ratio gauge")
    for each in reports:
        for model in each.models:
            for found in model.findings:
                labels = f'class="{each.asset_class}",model="{model.model_id}",variable="{found.name}"'
                ratio = max(found.psi / found.psi_limit, found.ks / found.ks_limit)
                out.append(f"overhaul_drift_ratio{{{labels}}} {ratio:.6g}")
    return "\n".join(out) + "\n"
