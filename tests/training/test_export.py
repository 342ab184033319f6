"""What the contract of a bundle says of its settings."""

from tests.training.tables import asset_class
from training.export import _settings


def test_limits_are_in_the_unit_of_what_they_limit():
    watched = {"rul": "cycle", "rul_lower": "cycle", "oil": "°C", "health": "1", "failure_probability": "1"}
    alarms = {signal: {"level": 1, "signal": signal, "below": 0.5, "on_delay": 3} for signal in watched}
    units = {each["name"]: each["unit"] for each in _settings(asset_class(alarms=alarms))}
    assert {signal: units[f"{signal}.limit"] for signal in watched} == watched
    assert {signal: units[f"{signal}.dead_band"] for signal in watched} == watched
    assert {units[f"{signal}.on_delay"] for signal in watched} == {"cycle"}
