"""Figures of the failure probability."""

from __future__ import annotations

import numpy as np
import pandas as pd

from training import metrics
from training.dataset import machine_weights
from training.measures import bootstrap
from training.measures.bootstrap import Resampling
from training.measures.figures import Figures

NAMES = ["pr_auc", "null_pr_auc", "brier", "null_brier"]
UNKNOWN = "no row after warm-up has a known outcome within the horizon"
ALIKE = "all outcomes are the same"


def failure(figures: Figures, prefix: str, rows: pd.DataFrame, prior: float) -> None:
    """`<prefix>.{pr_auc,brier}` and `<prefix>.null_*`: every tick after warm-up whose outcome within the horizon is
    known, machines weighted equally. To beat: ranking at random, and always saying `prior`, the share of training rows
    that fail within the horizon.
    """
    known = rows[rows.failed_within.notna() & rows.warm]
    if known.empty:
        figures.unknown(prefix, NAMES, UNKNOWN)
        figures.unknown(f"ci.{prefix}", ["pr_auc", "brier"], UNKNOWN)
        return
    outcome, weight = known.failed_within.to_numpy(), machine_weights(known)
    probability = known.failure_probability.to_numpy(np.float64)
    figures.set(f"{prefix}.pr_auc", metrics.pr_auc(outcome, probability, weight), ALIKE)
    figures.set(f"{prefix}.null_pr_auc", float(np.average(outcome, weights=weight)))
    figures.set(f"{prefix}.brier", metrics.brier(outcome, probability, weight))
    figures.set(f"{prefix}.null_brier", metrics.brier(outcome, np.full(len(known), prior), weight))
    draws = Resampling.of(known.asset)
    ranked = draws.each(metrics.pr_auc_by_weight(outcome, probability, weight))
    bootstrap.put(figures, f"{prefix}.pr_auc", draws.machines, ranked, ALIKE)
    error = (np.clip(probability, 0, 1) - outcome) ** 2
    bootstrap.put(figures, f"{prefix}.brier", draws.machines, draws.mean(error, weight), UNKNOWN)
