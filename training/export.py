"""Stage `export`: one ONNX graph, proven against the trained models, in a bundle.

python -m training.export <fleet>

Composes the twin, streams the held-out machines through it observation by observation, and fails (`ParityError`) when
it does not reproduce what the models said. Writes artifacts/<fleet>/bundle and metrics.json, and registers the
bundle.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pandas as pd

from data import command, paths
from data.asset_class import AssetClass
from data.reference import FILE as REFERENCE
from edge_runtime.bundle import Bundle, write_bundle
from edge_runtime.manifest import PROTOCOL
from features.history import History
from training import machine_errors, parity, reference, tracking, unknown_age
from training.calibrate import out_of_fold
from training.calibration import RUL_MODELS, Calibration
from training.dataset import FINAL, Dataset
from training.feature_table import read_history
from training.fingerprint import fingerprints
from training.golden import record
from training.leaks import canary
from training.machine_errors import MachineErrors
from training.parity import Parity
from training.register import register
from training.twin import Twin

HEALTH = (
    "Projection of the normalised sensors (their moving average of time constant {tau:g} ticks) on remaining life by "
    "ridge regression, scaled so that the median healthy training machine is 1 and the median at failure is 0; "
    "clipped to 0…1."
)
BATCHES = (1, 7, 1000)
BATCH_OBSERVATIONS = 200_000  # that each of them streams at most


def contract(twin: Twin, fleet: str, slices: dict[str, str], outputs: list[str]) -> dict[str, Any]:
    """All that a user of the graph must know; see `edge_runtime.manifest.Contract`."""
    cls = twin.asset_class
    start, state = 0, []
    for s in twin.layout.slices:
        state.append({"name": s.name, "scope": s.scope, "start": start, "size": s.size, "fingerprint": slices[s.name]})
        start += s.size
    channel_keys = ("quantity", "unit", "range", "role", "aggregate", "interval", "max_age", "late")
    return {
        "protocol": PROTOCOL,
        "fleet": fleet,
        "asset_class": cls.name,
        "title": cls.title,
        "simulated": cls.simulated,
        "time": cls.time.model_dump(include={"unit", "interval", "tick", "max_gap"})
        | {"assemble": cls.time.assemble and cls.time.unit == "s"},  # as ingest does it, see data.arrange
        "life": {"unit": cls.life.unit, "time_units": cls.time_units_per_life_unit, "age": cls.life.age},
        "labels": {"cap": cls.labels.cap, "horizon": cls.labels.horizon},
        "channels": [{"name": n, **{k: getattr(cls.channels[n], k) for k in channel_keys}} for n in cls.scalars],
        "derived": [
            {"name": n, **d.model_dump(include={"quantity", "unit", "formula", "range"})}
            for n, d in cls.derived.items()
        ],
        "waveforms": [_waveform(cls, name) for name in cls.waveforms],
        "settings": _settings(cls),
        "state": {"size": twin.layout.size, "slices": state},
        "outputs": outputs,
        "rul_models": list(RUL_MODELS),
        "alarms": [{"name": name, **alarm.model_dump()} for name, alarm in cls.alarms.items()],
        "health": HEALTH.format(tau=twin.step.filters.time_constants[twin.step.filters.health_row - 1]),
        "tolerance": {"CPUExecutionProvider": tolerances(twin.calibration, outputs)},
    }


def _waveform(cls: AssetClass, name: str) -> dict[str, Any]:
    channel = cls.channels[name]
    assert channel.waveform is not None
    return {"name": name, "unit": channel.unit, **channel.waveform.model_dump()}


def _settings(cls: AssetClass) -> list[dict[str, Any]]:
    """The class's own settings, then what every alarm brings along."""
    own = [{"name": n, **s.model_dump(include={"unit", "range", "default"})} for n, s in cls.settings.items()]
    units = {name: channel.unit for name, channel in cls.channels.items()}
    units |= dict.fromkeys(("rul", "rul_lower"), cls.life.unit)
    alarms = []
    for name, value in cls.alarm_settings.items():
        alarm = cls.alarms[name.partition(".")[0]]
        delay = name.endswith("_delay")
        unit = cls.time.unit if delay else units.get(alarm.signal, "1")
        limits = (0.0, 1e9) if not name.endswith(".limit") else (-1e9, 1e9)
        alarms.append({"name": name, "unit": unit, "range": limits, "default": value})
    return own + alarms


def tolerances(calibration: Calibration, outputs: list[str]) -> dict[str, float]:
    """Largest difference in the self-test, by output: what another onnxruntime or processor may round otherwise."""
    by_name = parity.tolerances(calibration) | {"rul_model": parity.life_tolerance(calibration.cap)}
    by_name |= {"alarm": 0.0, "tick": 0.0, "with_age": 0.0, "quality": 0.0, "contribution": 1e-4, "state_out": 1e-4}
    by_name |= {name: 1e-3 for name in outputs if name.endswith(".features")}
    return {name: by_name.get(name, parity.SCORE_TOLERANCE) for name in [*outputs, "state_out"]}


def prove(graph: bytes, twin: Twin, dataset: Dataset, whole: History) -> Parity:
    """Parity on all held-out machines together; then one alone, 7, and 1,000 (repeated under other names), shuffled.

    Where a class has a head for machines of unknown age, also as if nobody knew the ages.
    """
    native = pd.read_parquet(paths.artifact(dataset.fleet, "predictions.parquet"))
    features = dataset.part(FINAL).table[dataset.test.index]
    calibration = twin.calibration
    made = parity.compare(parity.stream(graph, whole), native, twin.trees, features, calibration)
    place = {key: i for i, key in enumerate(zip(native.asset, native.row, strict=True))}
    rng = np.random.default_rng(0)
    for batch in BATCHES:
        order = rng.permutation(len(whole.assets))
        streamed = parity.stream(graph, repeated(whole, [whole.assets[order[i % len(order)]] for i in range(batch)]))
        streamed["asset"] = streamed.asset.str.rpartition("--")[0]
        rows = [place[key] for key in zip(streamed.asset, streamed.row, strict=True)]
        parity.compare(streamed, native.iloc[rows].reset_index(drop=True), twin.trees, features[rows], calibration)
    if len(twin.heads) == 1:
        return made
    said = unknown_age.of_first_lives(native)
    streamed = parity.stream(graph, unknown_age.stripped(whole))
    without = parity.compare(streamed, said.reset_index(drop=True), twin.trees, features[said.index], calibration)
    return made.worst(without)


def repeated(whole: History, assets: Sequence[str]) -> History:
    """The beginning of the histories of `assets`, which may repeat, each under a name of its own `<asset>--<n>`."""
    names = [f"{asset}--{i}" for i, asset in enumerate(assets)]
    most = max(BATCH_OBSERVATIONS // len(assets), 1)
    series = {asset: [next(iter(whole.series[asset]))] for asset in set(assets)}
    series = {asset: [part.part(0, min(most, len(part.time)))] for asset, (part,) in series.items()}
    index = [list(whole.assets).index(asset) for asset in assets]
    return History(
        assets=names,
        rows={name: len(series[asset][0].time) for name, asset in zip(names, assets, strict=True)},
        series={name: series[asset] for name, asset in zip(names, assets, strict=True)},
        settings=whole.settings[index],
    )


def models(twin: Twin, dataset: Dataset) -> dict[str, dict[str, Any]]:
    """What each family is and its weight in the blend, by head."""
    counts = np.bincount(twin.trees.target, minlength=twin.trees.n_targets).tolist()
    notes = list(twin.parameters.notes)
    return {
        "lstm": {"units": twin.lstm.units, "inputs": twin.lstm.features, **_weights(twin, "lstm")},
        "xgboost": {"trees": sum(counts[:-1]), "heads": twin.heads, **_weights(twin, "xgboost")},
        "isolation_forest": {"trees": counts[-1], "gives": "anomaly_score"},
        "features": {
            "sensors": list(twin.parameters.sensors),
            "regimes": len(twin.parameters.centres),
            "count": len(twin.step.names),
            "trained_on": "all training machines (the refit)",
            "machines": int(dataset.training.asset.nunique()),
            "notes": notes,
        },
    }


def _weights(twin: Twin, family: str) -> dict[str, float]:
    """Weight in the blend: `weight` of the first head, and of the head without age where there are two."""
    weights = [round(of.weights[family], 4) for of in twin.calibration.heads.values()]
    return dict(zip(("weight", "weight_without_age"), weights, strict=False))


def export(fleet: str, run_id: str | None, created: str) -> dict[str, Any]:
    """Compose, prove and write the bundle; returns the metrics. Raises `ParityError` before anything is written."""
    dataset = Dataset.of(fleet)
    twin = Twin.of(fleet, paths.artifact(fleet, "features").parent)
    model = twin.graph()
    graph = model.SerializeToString(deterministic=True)
    test = list(dict.fromkeys(dataset.test.asset))
    whole = read_history(dataset.asset_class, paths.observations(fleet), paths.artifact(fleet, "machines.csv"), test)
    proven = prove(graph, twin, dataset, whole)
    figures = json.loads(paths.artifact(fleet, "evaluation.json").read_text()) | {"parity": asdict(proven)}
    figures = canary.with_canaries(figures, fleet)
    alarms = {"alarms": {name: alarm.model_dump() for name, alarm in dataset.asset_class.alarms.items()}}
    slices = fingerprints(model, twin.layout, dataset.asset_class, {"alarm.active": alarms, "alarm.timer": alarms})
    outputs = [o.name for o in model.graph.output if o.name != "state_out"]
    folder = paths.artifact(fleet, "bundle")
    write_bundle(
        folder,
        graph,
        record(graph, twin, whole),
        contract(twin, fleet, slices, outputs),
        models=models(twin, dataset),
        quality=figures,
        provenance={
            "run_id": run_id,
            "commit": tracking.commit(),
            "data_hash": tracking.data_hash(fleet),
            "created": created,
        },
        more={
            REFERENCE: reference.make(graph, dataset).dump(),
            machine_errors.FILE: MachineErrors.of(out_of_fold(dataset), twin.calibration).dump(),
        },
    )
    Bundle.load(folder)
    paths.artifact(fleet, "metrics.json").write_text(json.dumps(figures, indent=1) + "\n")
    return figures


def run(fleet: str) -> None:
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    with tracking.run(fleet, "bundle", {}) as mlflow:
        figures = export(fleet, mlflow.active_run().info.run_id, created)
        mlflow.log_metrics(flat(figures))
        version = register(fleet, paths.artifact(fleet, "bundle"))
    parity_of = figures["parity"]
    print(
        f"{fleet}: parity on {parity_of['rows']:,} rows, largest error {parity_of['max_abs_error']:.2g}; "
        f"bundle {paths.artifact(fleet, 'bundle')}, version {version} in the registry"
    )


def flat(figures: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """Nested numbers by dotted name."""
    found = {}
    for name, value in figures.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}.")
        elif isinstance(value, int | float):
            found[prefix + name] = float(value)
    return found


def main(args: argparse.Namespace) -> None:
    run(args.fleet)


if __name__ == "__main__":
    command.run(__doc__, main)
