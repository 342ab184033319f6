"""Export fails, and writes no bundle, when anything changed between training and export."""

import json

import numpy as np
import pandas as pd
import pytest
import xgboost

from tests.pipeline import plant
from training import export
from training.parity import ParityError


def change_array(path, name, change):
    with np.load(path, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    arrays[name] = change(arrays[name])
    np.savez(path, **arrays)


def change_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def lstm_weight(fleet):
    change_array(fleet.artifact("lstm") / "weights.npz", "kernel", lambda w: w * np.float32(1.02))


def lstm_bias(fleet):
    change_array(fleet.artifact("lstm") / "weights.npz", "head_bias", lambda b: b + np.float32(0.001))


def expected_value(fleet):
    path = fleet.artifact("features") / "final" / "parameters.npz"
    change_array(path, "expected", lambda e: e * np.float32(1.01))


def spread(fleet):
    change_array(fleet.artifact("features") / "final" / "parameters.npz", "spread", lambda s: s * np.float32(1.01))


def projection(fleet):
    change_array(fleet.artifact("features") / "final" / "parameters.npz", "weights", lambda w: w * np.float32(1.01))


def time_constant(fleet):
    def change(content):
        content["features"]["time_constants"][0] *= 1.05

    change_json(fleet.artifact("class.json"), change)


def valid_range(fleet):
    def change(content):
        content["channels"]["temperature"]["range"] = [-40, 60]

    change_json(fleet.artifact("class.json"), change)


def boosted_leaf(fleet):
    """The leaf of the first tree that most rows fall into."""
    path = fleet.artifact("xgboost") / "free.ubj"
    booster = xgboost.Booster(model_file=path)
    content = json.loads(bytes(booster.save_raw("json")))
    tree = content["learner"]["gradient_booster"]["model"]["trees"][0]
    leaf = max((i for i, left in enumerate(tree["left_children"]) if left < 0), key=lambda i: tree["sum_hessian"][i])
    tree["split_conditions"][leaf] += 0.01
    booster.load_model(bytearray(json.dumps(content).encode()))
    booster.save_model(path)


def isolation_leaf(fleet):
    """All leaves of one tree: a test row falls into one of them."""

    def change(values):
        values[: len(values) // 8] += np.float32(0.02)
        return values

    change_array(fleet.artifact("isolation_forest") / "trees.npz", "value", change)


def blend_weight(fleet):
    def change(content):
        weights = content["heads"]["aged"]["weights"]
        weights["lstm"] += 0.01
        weights["xgboost"] -= 0.01

    change_json(fleet.artifact("calibration.json"), change)


def interval(fleet):
    def change(content):
        content["heads"]["free"]["lower"] = [end - 0.05 for end in content["heads"]["free"]["lower"]]

    change_json(fleet.artifact("calibration.json"), change)


def failure_curve(fleet):
    def change(content):
        content["heads"]["aged"]["failure"] = [0.999 * p for p in content["heads"]["aged"]["failure"]]

    change_json(fleet.artifact("calibration.json"), change)


def anomaly_scale(fleet):
    def change(content):
        content["anomaly_rank"] = [0.999 * rank for rank in content["anomaly_rank"]]

    change_json(fleet.artifact("calibration.json"), change)


def what_the_models_said(fleet):
    path = fleet.artifact("predictions.parquet")
    table = pd.read_parquet(path)
    table["rul_xgboost"] += np.float32(0.01)
    table.to_parquet(path, index=False)


def a_row_less(fleet):
    path = fleet.artifact("predictions.parquet")
    pd.read_parquet(path)[:-1].to_parquet(path, index=False)


TAMPERED = [
    lstm_weight, lstm_bias, expected_value, spread, projection, time_constant, valid_range, boosted_leaf,
    isolation_leaf, blend_weight, interval, failure_curve, anomaly_scale, what_the_models_said, a_row_less,
]  # fmt: skip


def test_what_was_not_touched_is_exported(copied, made):
    """So the copies themselves are not what fails below; and the model is the same one."""
    fleet = copied("fan")
    with plant.inside(fleet.folder):
        export.export("fan", None, "2026-01-03T10:00:00+00:00")
    assert fleet.bundle.model_id == made("fan").bundle.model_id


@pytest.mark.parametrize("tamper", TAMPERED, ids=lambda tamper: tamper.__name__)
def test_export_fails_and_writes_nothing(copied, tamper):
    fleet = copied("fan")
    tamper(fleet)
    fleet.artifact("metrics.json").unlink()
    with plant.inside(fleet.folder), pytest.raises(ParityError, match=r"does not reproduce|run `dvc repro`"):
        export.export("fan", None, "2026-01-03T10:00:00+00:00")
    assert not fleet.artifact("bundle").exists()
    assert not fleet.artifact("metrics.json").exists()
