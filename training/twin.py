"""The whole twin as one ONNX graph: features, LSTM, trees, blend, intervals, alarms."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import ndonnx as ndx
import numpy as np
import onnx
import spox.opset.ai.onnx.ml.v3 as ml

from data.asset_class import AssetClass
from features import trace
from features.array import Array, constant, namespace, split, squeeze
from features.parameters import Parameters
from features.state import Slice, StateLayout, join
from features.step import Features, FeatureStep
from training import columns, xgboost_model
from training.alarms import Alarms
from training.calibration import Calibration
from training.dataset import FINAL, Dataset
from training.lstm_weights import LstmWeights
from training.prognosis import Prognosis, Said, prognose
from training.trees import Trees

HEADS = ("aged", "free")


@dataclass(frozen=True)
class Twin:
    """All trained parts of a twin. `trees` has one target a head and, last, the isolation forest's path length."""

    asset_class: AssetClass
    parameters: Parameters
    lstm: LstmWeights
    lstm_columns: tuple[int, ...]
    trees: Trees
    calibration: Calibration

    @classmethod
    def of(cls, fleet: str, folder: Path) -> Twin:
        """The parts that the stages left in `folder` (artifacts/<fleet>)."""
        dataset = Dataset(fleet, folder / "features")
        part = dataset.part(FINAL)
        boosters = [
            Trees.from_xgboost(xgboost_model.load(folder / "xgboost" / f"{head}.ubj"), part.columns(head))
            for head in dataset.heads
        ]
        return cls(
            asset_class=dataset.asset_class,
            parameters=part.parameters,
            lstm=LstmWeights.load(folder / "lstm" / "weights.npz"),
            lstm_columns=tuple(columns.lstm(part)),
            trees=Trees.join([*boosters, Trees.load(folder / "isolation_forest" / "trees.npz")]),
            calibration=Calibration.load(folder / "calibration.json"),
        )

    @cached_property
    def step(self) -> FeatureStep:
        return FeatureStep(self.asset_class, self.parameters)

    @property
    def heads(self) -> list[str]:
        return list(self.calibration.heads)

    @cached_property
    def alarms(self) -> Alarms:
        return Alarms(self.asset_class)

    @cached_property
    def layout(self) -> StateLayout:
        """The feature slices, the recurrent cell, what the models said at the last tick, and the alarm timers."""
        units = self.lstm.units
        models = [
            Slice("lstm.hidden", "life", units),
            Slice("lstm.cell", "life", units),
            Slice("models.said", "life", 1 + self.trees.n_targets),
        ]
        return join(self.step.slices, models, self.alarms.slices)

    def graph(self) -> onnx.ModelProto:
        """The graph of the contract; see `features.trace` for its inputs."""
        arguments = trace.inputs(self.asset_class, self.layout.size)
        state = self.layout.enter(arguments["state"], arguments["event"])
        features, new = self.step(trace.observation(self.asset_class, arguments), state)
        said, new_models = self._models(features, state)
        since_new, warming_up = features.clock.since_new, features.clock.warming_up
        prognosis = prognose(self.asset_class, self.calibration, said, since_new, warming_up, features.novelty)
        signals = self._signals(arguments["readings"], features, prognosis)
        dt = arguments["dt"][:, None]
        alarm, new_alarms = self.alarms(signals, arguments["settings"], dt, state)
        columns = {
            "health": features.health,
            "anomaly_score": prognosis.anomaly_score,
            "failure_probability": prognosis.failure_probability,
            "rul": prognosis.rul,
            "rul_lower": prognosis.lower,
            "rul_upper": prognosis.upper,
            "alarm": alarm,
            "warming_up": prognosis.warming_up,
            "unfamiliar": prognosis.unfamiliar,
            "with_age": prognosis.with_age,
            "tick": features.clock.ticked,
        }
        outputs = {
            **{name: squeeze(column) for name, column in columns.items()},
            "quality": features.quality,
            "contribution": features.contribution,
            "rul_model": prognosis.rul_model,
            **{f"{name}.features": snapshot for name, snapshot in features.waveforms.items()},
            "state_out": self.layout.leave(new | new_models | new_alarms),
        }
        return trace.build(arguments, outputs)

    def _models(self, features: Features, state: dict[str, Array]) -> tuple[Said, dict[str, Array]]:
        """What the models say; between ticks they hold."""
        xp, vector, ticks = namespace(features.vector), features.vector, features.clock.ticks
        x = xp.take(vector, xp.asarray(np.array(self.lstm_columns)), axis=1)
        remaining, hidden, cell = self.lstm.step(x, state["lstm.hidden"], state["lstm.cell"])
        # one operator a target: a sixth faster than one with several targets (see benchmarks.trees)
        trees = [
            ndx.asarray(ml.tree_ensemble_regressor(vector.unwrap_spox(), **each.attributes()))
            for each in self.trees.separate()
        ]
        said = xp.where(ticks, xp.concat([remaining, *trees], axis=1), state["models.said"])
        new = {
            "lstm.hidden": xp.where(ticks, hidden, state["lstm.hidden"]),
            "lstm.cell": xp.where(ticks, cell, state["lstm.cell"]),
            "models.said": said,
        }
        in_units = said * constant(said, [[self.calibration.cap] * (1 + len(self.heads)) + [1.0]])
        remaining, *heads, path = split(in_units, [1] * (2 + len(self.heads)))
        by_head = dict(zip(self.heads, heads, strict=True))
        only = heads[0]
        return Said(remaining, by_head.get("aged", only), by_head.get("free", only), path), new

    def _signals(self, readings: Array, features: Features, prognosis: Prognosis) -> dict[str, Array]:
        """What alarms may watch, [B,1]: outputs, and channels with NaN where a reading cannot be used."""
        signals = {
            "health": features.health,
            "anomaly_score": prognosis.anomaly_score,
            "failure_probability": prognosis.failure_probability,
            "rul": prognosis.rul,
            "rul_lower": prognosis.lower,
            "unfamiliar": prognosis.unfamiliar,
        }
        scalars = self.asset_class.scalars
        watched = sorted({a.signal for a in self.asset_class.alarms.values() if a.signal in scalars}, key=scalars.index)
        if watched:
            good = features.quality == constant(readings, 0)
            usable = namespace(readings).where(good, readings, constant(readings, np.nan))
            signals |= {name: usable[:, scalars.index(name) : scalars.index(name) + 1] for name in watched}
        return signals
