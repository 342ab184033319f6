"""Prognoses of histories: the same as the fleet's own, whoever else asks at the same time."""

import json
import math

import numpy as np
import pytest

from edge_runtime.bundle import Bundle
from serving.predict.forms import PredictAnswer
from tests.serving.service import NANOS, T0, Client, seen


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    return Client(tmp_path_factory.mktemp("bundles"))


def by_fleet(client, seconds, flow=100.0, speed=1500.0):
    """What the bundle itself says after these observations."""
    fleet = Bundle.load(client.folder / "tiny/bundle").fleet(["m"])
    for at in seconds:
        time = np.array([(T0 + at) * NANOS])
        outputs, _ = fleet.advance(slice(None), time, np.array([[flow, speed]], np.float32))
    return {name: value[0] for name, value in outputs.items() if len(value)}


def test_a_history_says_what_the_fleet_says(client):
    status, answer = client.predict(observations=seen(0, 60, 180), asset="p1")
    assert status == 200
    PredictAnswer.model_validate_json(json.dumps(answer))
    expected, (told,) = by_fleet(client, (0, 60, 180)), answer["prognoses"]
    for name in ("health", "anomaly_score", "failure_probability", "rul", "rul_lower", "rul_upper"):
        assert np.float32(told[name]) == expected[name]
    assert (told["asset"], told["number"], told["time"]) == ("p1", 3, "2026-01-03T10:03:00Z")
    assert told["contributions"] == []  # settings are NaN
    assert answer["stored"] is False


def test_each_answer_names_its_model(client):
    _, answer = client.predict(observations=seen(0))
    model = answer["model"]
    assert model["model_id"] == Bundle.load(client.folder / "tiny/bundle").model_id
    assert (model["mlflow_run"], model["data_hash"], model["simulated"]) == ("r1", "d1", True)


def test_what_reaches_beyond_the_cap_is_null_and_open(client):
    """The tiny twin's upper bound divides by the time since the first observation: infinite on the first."""
    _, answer = client.predict(observations=seen(0))
    (told,) = answer["prognoses"]
    assert told["rul_upper"] is None
    assert told["open"] == ["rul_upper"]
    _, answer = client.predict(columns={"asset": ["a"], "time": [T0], "readings": {"flow": [1]}})
    assert answer["columns"]["rul_upper"] == [None]
    assert answer["columns"]["open"] == {"rul": [False], "rul_lower": [False], "rul_upper": [True]}


def test_every_observation_on_request(client):
    _, answer = client.predict(observations=seen(0, 60, 120), every=True, detail=True)
    assert [row["number"] for row in answer["prognoses"]] == [1, 2, 3]
    assert [row["rul"] for row in answer["prognoses"]] == [99.0, 98.0, 97.0]
    assert answer["prognoses"][2]["rul_model"] == {"lstm": 97.0, "xgboost": 97.0}


def test_columns_are_answered_in_the_order_of_their_rows(client):
    columns = {
        "asset": ["b", "a", "b", "c", "b"],
        "time": [T0, T0, T0 + 60, T0, T0 + 120],
        "readings": {"flow": [1, 2, 3, None, 5], "speed": [0, 0, 0, 0, 0]},
    }
    _, answer = client.predict(columns=columns, every=True)
    told = answer["columns"]
    assert told["asset"] == columns["asset"]
    assert told["number"] == [1, 1, 2, 1, 3]
    assert told["health"] == [0.5, 1.0, 1.5, 0.0, 2.5]
    _, answer = client.predict(columns=columns)
    assert answer["columns"]["asset"] == ["a", "c", "b"]
    assert answer["columns"]["number"] == [1, 1, 3]
    PredictAnswer.model_validate_json(json.dumps(answer))


def test_requests_at_once_go_through_the_graph_together(client, monkeypatch):
    bodies = [{"observations": seen(*range(0, 60 * n, 60), flow=float(n))} for n in range(1, 9)]
    groups = []
    monkeypatch.setattr(client.centre.newest, "_grouped", groups.append)
    answers = client.together(*bodies)
    for n, (status, answer) in enumerate(answers, start=1):
        assert status == 200
        assert answer["prognoses"][0]["health"] == pytest.approx((n + 1500) / 2)
        assert answer["prognoses"][0]["rul"] == 100 - n
    assert max(groups) > 1


def test_a_waveform_goes_in(client):
    with_wave = seen(0)
    with_wave[0]["waveforms"] = {"shake": [[1, 7, 3, 0]]}
    _, answer = client.predict(observations=with_wave)
    assert answer["prognoses"][0]["rul_lower"] == 99 - 7
    _, answer = client.predict(observations=with_wave + seen(60))
    assert answer["prognoses"][0]["rul_lower"] == 98 - 7


def test_readings_out_of_range_are_told_and_flagged_not_dropped(client):
    status, answer = client.predict(observations=seen(0, flow=7000.0))
    assert status == 200
    assert answer["notes"] == [
        "channel 'flow' is declared in L/min (0 … 400); got 7,000 in row 0: check the unit; it is flagged and not used"
    ]
    assert answer["prognoses"][0]["health"] == 4250  # as the tiny twin, which knows no range, computes it


def test_settings_and_age(client):
    _, answer = client.predict(observations=[*seen(0, age=5.0)], settings={"offset": 2.0})
    told = answer["prognoses"][0]
    assert told["warming_up"] == 0
    assert told["contributions"] == [{"channel": "speed", "value": 1498.0}, {"channel": "flow", "value": 98.0}]


def test_an_event_renews_the_life(client):
    _, answer = client.predict(observations=[*seen(0, 60), *seen(120, event="new_life")])
    assert answer["prognoses"][0]["rul"] == 99


REFUSED = {
    "no fleet of that name": ({"fleet": "tinny"}, 404, "unknown_fleet", "did you mean 'tiny'?"),
    "no such version": ({"version": "9"}, 404, "unknown_version", "has no version '9'"),
    "no such channel": (
        {"observations": [{"time": T0, "readings": {"flw": 1}}]},
        422,
        "unknown_channel",
        "did you mean 'flow'?",
    ),
    "no such setting": ({"settings": {"ofset": 1}}, 422, "unknown_setting", "did you mean 'offset'?"),
    "setting out of range": ({"settings": {"offset": 11}}, 422, "range", "expected -10 … 10 1"),
    "another unit": ({"units": {"flow": "m3/h"}}, 422, "unit", "is declared in L/min, not in 'm3/h'"),
    "a unit spelt otherwise": ({"units": {"flow": "l / min"}}, 422, "unit", "only another spelling, write 'L/min'"),
    "milliseconds": (
        {"observations": [{"time": T0 * 1000, "readings": {}}]},
        422,
        "time",
        "milliseconds. divide by 1,000",
    ),
    "a unit of nothing": ({"units": {"flo": "m3/h"}}, 422, "unknown_channel", "did you mean 'flow'?"),
    "out of range, refused": (
        {"observations": seen(0, flow=401.0), "out_of_range": "refuse"},
        422,
        "range",
        r"L/min \(0 … 400\); got 401 in row 0: check the unit",
    ),
    "in the future": ({"observations": seen(0, 3661)}, 422, "future", "11:01:01Z is 61 s in the future"),
    "out of order": ({"observations": seen(60, 0)}, 422, "order", "is not after .* of row 0"),
    "twice": ({"observations": seen(60, 60)}, 422, "order", "each once"),
    "no time": ({"observations": [{"time": "soon", "readings": {}}]}, 422, "time", "'soon' is no time"),
    "no such day": ({"observations": [{"time": "2026-02-30", "readings": {}}]}, 422, "time", "is no time"),
    "times of two kinds": (
        {"observations": [*seen(0), {"time": "2026-01-03", "readings": {}}]},
        422,
        "time",
        "one form",
    ),
    "negative age": ({"observations": seen(0, age=-1.0)}, 422, "age", "0 or more"),
    "nothing": ({"observations": None}, 422, "form", "either observations"),
    "both": ({"columns": {"asset": [], "time": [], "readings": {}}}, 422, "form", "either observations"),
    "empty": (
        {"observations": None, "columns": {"asset": [], "time": [], "readings": {}}},
        422,
        "form",
        "at least one",
    ),
    "uneven": (
        {"observations": None, "columns": {"asset": ["a"], "time": [T0], "readings": {"flow": [1, 2]}}},
        422,
        "form",
        "readings.flow has 2 rows, asset 1",
    ),
    "unknown field": ({"obs": 1}, 422, "form", "obs: there is no such member: there are fleet"),
    "text for a number": (
        {"observations": [{"time": T0, "readings": {"flow": "1"}}]},
        422,
        "form",
        "without quotes: 1",
    ),
    "bad id": ({"asset": "a b"}, 422, "form", "asset: 'a b': expected 1 to 64 letters"),
    "a waveform of another length": (
        {"observations": seen(0, waveforms={"shake": [[1, 2]]})},
        422,
        "form",
        "expected 1 of 4",
    ),
    "no such waveform": ({"observations": seen(0, waveforms={"shak": [[1]]})}, 422, "unknown_channel", "'shake'"),
    "store without continue": ({"store": True}, 422, "form", '"continue": true'),
    "continue without database": ({"continue": True, "asset": "a"}, 422, "form", "no database here"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_answered_says_what_to_do(client, name):
    changes, status, code, message = REFUSED[name]
    got, answer = client.predict(**{"observations": seen(0), **changes})
    assert (got, answer["error"]["code"]) == (status, code)
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(answer["error"]["message"])


def test_one_that_fails_takes_nobody_with_it(client, monkeypatch):
    from serving.predict import predictor

    real = predictor.run

    def run(served, asks, starts):
        if any(ask.assets == ("bad",) for ask in asks):
            raise ArithmeticError
        return real(served, asks, starts)

    monkeypatch.setattr(predictor, "run", run)
    answers = client.together({"observations": seen(0), "asset": "bad"}, {"observations": seen(0), "asset": "good"})
    assert [status for status, _ in answers] == [500, 200]
    assert "look into the service's log" in answers[0][1]["error"]["message"]


def test_numbers_come_back_bit_by_bit(client):
    value = float(np.float32(1) / np.float32(3))
    _, answer = client.predict(observations=seen(0, flow=value, speed=0.0))
    assert np.float32(answer["prognoses"][0]["health"]) == np.float32(value) / 2
    assert math.isfinite(answer["prognoses"][0]["anomaly_score"])
