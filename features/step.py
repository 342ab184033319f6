"""The step function up to the feature vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from data.asset_class import AssetClass
from edge_runtime.contract.event import Event
from edge_runtime.contract.quality import Quality
from features import derived, waveform
from features.array import (
    Array,
    Float32,
    clip,
    constant,
    matmul,
    namespace,
    reshape,
    row_max,
    scatter_rows,
    split,
    take,
)
from features.cleaning import Cleaning, Found, quality
from features.clock import Clock, Signals
from features.filters import FilterBank
from features.normalisation import Normalisation
from features.parameters import Parameters
from features.state import Slice, StateLayout


def sensor_names(asset_class: AssetClass) -> tuple[str, ...]:
    """All that can be normalised: scalar sensors, derived channels, waveform features."""
    waveforms = [name for w in asset_class.waveforms for name in waveform.names(w, asset_class.channels[w])]
    return (*asset_class.sensors, *asset_class.derived, *waveforms)


@dataclass(frozen=True)
class Observation:
    """The graph's inputs but for the state; shapes as in `FeatureStep`."""

    readings: Array
    dt: Array
    event: Array
    age: Array
    settings: Array
    waveforms: Mapping[str, tuple[Array, Array]]  # samples f32[K,axes,N], row int64[K]


@dataclass(frozen=True)
class Features:
    """What the features say of one observation."""

    vector: Array  # f32[B,F], columns `FeatureStep.names`
    values: Array  # f32[B,S] cleaned values of the sensors in use, NaN where unusable
    conditions: Array | None  # f32[B,K] cleaned operating conditions
    quality: Array  # f32[B,C]
    health: Array  # f32[B,1]
    contribution: Array  # f32[B,C]
    novelty: Array  # f32[B,1] how far out conditions and smoothed sensors are: 1 = at the edge of what training saw
    clock: Signals
    waveforms: dict[str, Array]  # f32[K,Fw] features of the snapshots of this observation


@dataclass(frozen=True)
class FeatureStep:
    """(observation, settings, state) → (features, state′) for one asset class and one set of fitted parameters.

    Shapes: batch B, scalar channels C, settings P, state S. Call it with NumPy arrays, or trace it.
    """

    asset_class: AssetClass
    parameters: Parameters

    @cached_property
    def cleaning(self) -> Cleaning:
        return Cleaning(self.asset_class)

    @cached_property
    def clock(self) -> Clock:
        return Clock(self.asset_class)

    @cached_property
    def filters(self) -> FilterBank:
        return FilterBank(self.asset_class, len(self.parameters.sensors))

    @cached_property
    def slices(self) -> list[Slice]:
        return [*self.clock.slices, *self.cleaning.slices, *self.filters.slices]

    @cached_property
    def layout(self) -> StateLayout:
        return StateLayout(tuple(self.slices))

    @cached_property
    def names(self) -> list[str]:
        """Feature names: those free of age first, then those that need it."""
        bank = self.filters
        free = [*self._row_names(bank.rows[: bank.free_rows]), "clock.log_step"]
        return free + ([*self._row_names(bank.rows[bank.free_rows :]), "clock.age"] if self._with_age else [])

    @property
    def _with_age(self) -> bool:
        return self.asset_class.life.age != "none"

    @cached_property
    def free_of_age(self) -> int:
        """How many leading features are free of age and of since-new statistics."""
        return self.filters.free_rows * (len(self.parameters.sensors) + len(self.parameters.projections)) + 1

    def _row_names(self, rows: list[str]) -> list[str]:
        sensors = [f"{sensor}.{row}" for row in rows for sensor in self.parameters.sensors]
        return sensors + [f"health_index.{p}.{row}" for row in rows for p in self.parameters.projections]

    def __call__(self, seen: Observation, state: dict[str, Array]) -> tuple[Features, dict[str, Array]]:
        """Features of `seen` and the new slices, from the slices of `state` as `StateLayout.enter` gives them."""
        xp, cls = namespace(seen.readings), self.asset_class
        dt, event, age = seen.dt[:, None], seen.event[:, None], seen.age[:, None]
        clean, found, new = self.cleaning(seen.readings, dt, state)
        begins = event == constant(event, Event.NEW_LIFE)
        dt = xp.where(begins, constant(dt, 0), dt)  # the time before a life is no part of it
        conditions = self._conditions(clean)
        values, snapshots = self._values(clean, seen)
        z, outside = Normalisation(self.parameters)(values, conditions)
        unusable = xp.isnan(z)
        if cls.features.spike is not None:
            spike = self._spike(z, state)
            unusable = unusable | spike
            found.append(self._spikes(spike))
        rows, accepted, new_filters = self.filters(z, unusable, dt / constant(dt, cls.time.tick), state)
        signals, new_clock = self.clock(dt, begins, age, row_max(accepted), state)
        smooth = take(rows, self.filters.health_row)
        health, contribution = self._health(smooth)
        features = Features(
            vector=self._vector(rows, signals),
            values=values,
            conditions=conditions,
            quality=quality(found),
            health=health,
            contribution=contribution,
            novelty=self._novelty(smooth, outside),
            clock=signals,
            waveforms=snapshots,
        )
        return features, new | new_filters | new_clock

    def _conditions(self, clean: Array) -> Array | None:
        index = [self.asset_class.scalars.index(name) for name in self.asset_class.conditions]
        xp = namespace(clean)
        return xp.take(clean, xp.asarray(np.array(index)), axis=1) if index else None

    def _values(self, clean: Array, seen: Observation) -> tuple[Array, dict[str, Array]]:
        """Cleaned values [B,S] of the sensors in use, and the features of each waveform's snapshots."""
        xp, cls = namespace(clean), self.asset_class
        columns, names = [clean], list(cls.scalars)
        if cls.derived:
            columns.append(self._derived(clean, seen.settings))
            names += cls.derived
        snapshots: dict[str, Array] = {}
        for name, (samples, rows) in seen.waveforms.items():
            channel = cls.channels[name]
            snapshots[name] = waveform.statistics(samples, channel)
            features = waveform.names(name, channel)
            if set(features) & set(self.parameters.sensors):
                columns.append(scatter_rows(seen.dt, rows, snapshots[name], len(features)))
                names += features
        everything = xp.concat(columns, axis=1) if len(columns) > 1 else clean
        index = np.array([names.index(sensor) for sensor in self.parameters.sensors])
        return xp.take(everything, xp.asarray(index), axis=1), snapshots

    def _derived(self, clean: Array, settings: Array) -> Array:
        """Derived channels [B,D], NaN where they cannot be computed or be."""
        xp, cls = namespace(clean), self.asset_class
        known = dict(zip(cls.scalars, split(clean, [1] * len(cls.scalars)), strict=True)) | self._settings(settings)
        made = [derived.evaluate(spec.formula, known) for spec in cls.derived.values()]
        x = xp.concat(made, axis=1) if len(made) > 1 else made[0]
        limits = np.array([spec.range for spec in cls.derived.values()], np.float32)
        inside = (x >= constant(x, limits[:, 0])) & (x <= constant(x, limits[:, 1]))
        return xp.where(inside, x, constant(x, np.nan))

    def _settings(self, settings: Array) -> dict[str, Array]:
        """The class's own settings [B,1] by name, defaults filled in; those of alarms follow and are not read here."""
        xp, specs = namespace(settings), self.asset_class.settings
        if not specs:
            return {}
        own = settings[:, : len(specs)]
        defaults = constant(settings, np.array([[s.default for s in specs.values()]]))
        filled = xp.where(xp.isnan(own), defaults, own)
        return dict(zip(specs, split(filled, [1] * len(specs)), strict=True))

    def _spike(self, z: Array, state: dict[str, Array]) -> Array:
        """bool[B,S]: a lone jump is set aside; a second one in a row, or one after a pause, is believed."""
        xp = namespace(z)
        zero = constant(z, 0)
        jump = xp.abs(z - state["filters.last"]) > constant(z, float(self.asset_class.features.spike or 0))
        unbroken = (state["filters.observed"] > zero) & (state["filters.unseen_for"] == zero)
        return jump & unbroken

    @cached_property
    def _inputs_of(self) -> Float32:
        """[S,C] 1 where a sensor in use is, or is computed from, a scalar channel."""
        cls = self.asset_class
        matrix = np.zeros((len(self.parameters.sensors), len(cls.scalars)), np.float32)
        for i, sensor in enumerate(self.parameters.sensors):
            used = derived.names_in(cls.derived[sensor].formula) if sensor in cls.derived else {sensor}
            for channel in used & set(cls.scalars):
                matrix[i, cls.scalars.index(channel)] = 1
        return matrix

    def _spikes(self, spike: Array) -> Found:
        """Which sensors jump, bool[B,S], as a flag of channels; derived sensors and waveforms have none."""
        measured = np.array([[sensor in self.asset_class.scalars] for sensor in self.parameters.sensors])
        return Found(spike, (self._inputs_of * measured * Quality.SPIKE).astype(np.float32))

    def _health(self, smooth: Array) -> tuple[Array, Array]:
        """`health` [B,1], and each channel's share [B,C] of the health lost, from the smoothed sensors [B,S].

        health = (h − failed)/(healthy − failed), clipped to 0…1, h the projection of the middle moving average. The
        shares sum to the health lost against the mean healthy machine; a derived channel's is split among its inputs,
        and what belongs to waveforms is left out.
        """
        p = self.parameters
        channels = len(self.asset_class.scalars)
        if not p.projections:
            zero = smooth[:, :1] * constant(smooth, 0)
            return zero, zero + constant(smooth, np.zeros((1, channels)))
        scale = np.float32(p.healthy - p.failed)
        weight = p.weights[:, :1] / scale
        split_among = self._inputs_of / np.maximum(self._inputs_of.sum(axis=1, keepdims=True), 1)
        health = matmul(smooth, weight) - constant(smooth, p.failed / scale)
        return clip(health, 0.0, 1.0), matmul(smooth, -weight * split_among)

    def _novelty(self, smooth: Array, outside: Array | None) -> Array:
        """The farthest of the operating conditions (`outside` [B,1]) and of the smoothed sensors [B,S]: [B,1]."""
        p, xp = self.parameters, namespace(smooth)
        sensors = row_max(xp.abs(smooth - constant(smooth, p.middle)) / constant(smooth, p.reach))
        return sensors if outside is None else xp.maximum(sensors, outside)

    def _vector(self, rows: Array, signals: Signals) -> Array:
        """Columns in the order of `names`."""
        xp, bank, p = namespace(rows), self.filters, self.parameters
        sensors, projections, free = len(p.sensors), len(p.projections), bank.free_rows
        aged = len(bank.rows) - free
        flat = reshape(rows, (-1, len(bank.rows) * sensors))
        index = reshape(matmul(rows, p.weights), (-1, len(bank.rows) * projections)) if projections else None
        parts = [flat[:, : free * sensors] if aged else flat]
        if index is not None:
            parts.append(index[:, : free * projections] if aged else index)
        parts.append(xp.log(xp.maximum(signals.step, constant(rows, 1e-6))))
        if self._with_age:
            if aged:
                parts.append(flat[:, free * sensors :])
            if aged and index is not None:
                parts.append(index[:, free * projections :])
            parts.append(signals.age)
        return xp.concat(parts, axis=1)
