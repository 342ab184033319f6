"""The physics of one pump: units, energy, affinity laws, and what each damage does to the sensors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twins.pump import HEALTHY, Damage, Duty, Pump, expected, operating_point

duties = st.builds(
    Duty,
    speed=st.floats(1770, 2950),
    valve_position=st.floats(55, 100),
    ambient_temperature=st.floats(5, 35),
    suction_pressure=st.floats(0.4, 0.6),
)
share = st.floats(0, 1)
damages = st.builds(Damage, impeller=share, bearing=share, seal=share, clogging=share)
RATED = Duty(speed=2950.0)


def test_rated_point_is_on_the_nameplate():
    point = operating_point(Pump(friction=0.0), RATED, HEALTHY)
    assert point.flow == pytest.approx(2000, rel=1e-3)
    assert point.outlet_pressure - point.inlet_pressure == pytest.approx(5.0, rel=1e-3)


def test_litres_a_minute_times_bar_over_600_is_kilowatt():
    point = operating_point(Pump(), RATED, HEALTHY)
    cubic_metres_a_second = point.flow / 1000 / 60
    pascal = (point.outlet_pressure - point.inlet_pressure) * 1e5
    assert point.hydraulic_power == pytest.approx(cubic_metres_a_second * pascal / 1000, rel=1e-12)


@given(duties, damages)
def test_electrical_power_is_all_accounted_for(duty, damage):
    point = operating_point(Pump(), duty, damage)
    parts = (point.hydraulic_power, point.leak_loss, point.hydraulic_loss, point.friction_loss, point.motor_loss)
    assert all(part >= 0 for part in parts)
    assert sum(parts) == pytest.approx(point.power, rel=1e-9)
    assert 0.2 < point.hydraulic_power / point.power < 0.8


@given(duties, damages)
def test_pressures_balance_around_the_circuit(duty, damage):
    """The pressure rise is what the worn, cavitating impeller makes at this flow."""
    pump = Pump()
    point = operating_point(pump, duty, damage)
    s, q = duty.speed / pump.rated_speed, point.impeller_flow / pump.rated_flow
    head = 1.25 * s**2 * (1 - 0.2 * damage.impeller) * (1 - 0.12 * point.cavitation)
    head -= 0.25 * (1 + 0.6 * damage.impeller) * q**2
    assert point.outlet_pressure - point.inlet_pressure == pytest.approx(5 * head, rel=1e-9)


@given(duties, st.floats(0.65, 1.0))
def test_affinity_laws(duty, ratio):
    """At equal flow over speed, pressure goes with the square of speed and hydraulic shaft power with its cube."""
    pump = Pump()
    other = Duty(duty.speed * ratio, duty.valve_position, duty.ambient_temperature, duty.suction_pressure)
    for each in (duty, other):
        point = operating_point(pump, each, HEALTHY)
        s = each.speed / pump.rated_speed
        phi = point.flow / pump.rated_flow / s
        psi = (point.outlet_pressure - point.inlet_pressure) / pump.rated_pressure / s**2
        assert psi == pytest.approx(1.25 - 0.25 * phi**2, rel=2e-3)  # 1e-3 is the last trace of cavitation
        at_wheel = (point.power - point.motor_loss - point.friction_loss) / s**3
        curve = phi * psi * 2000 * 5 / 600 / pump.efficiency / (1 - 0.5 * (phi - 1) ** 2)
        assert at_wheel == pytest.approx(curve, rel=2e-3)


MARKS = {
    "impeller": {"flow": -1, "outlet_pressure": -1, "vibration": 1},
    "bearing": {"vibration": 1, "bearing_temperature": 1, "power": 1, "current": 1},
    "seal": {"flow": -1, "outlet_pressure": -1, "inlet_pressure": -1, "vibration": 1},
    "clogging": {"inlet_pressure": -1, "flow": -1, "outlet_pressure": -1, "vibration": 1},
}


@pytest.mark.parametrize("mode", MARKS)
def test_each_damage_moves_its_sensors_one_way(mode):
    grown = Damage(**{mode: np.linspace(0, 1, 21)})
    shown = expected(Pump(), RATED, grown)
    for channel, sign in MARKS[mode].items():
        assert np.all(np.diff(shown[channel]) * sign > 0), channel
    efficiency = shown["flow"] * (shown["outlet_pressure"] - shown["inlet_pressure"]) / 600 / shown["power"]
    assert np.all(np.diff(efficiency) < 0)


def test_bearing_damage_leaves_the_hydraulics_alone():
    healthy, worn = expected(Pump(), RATED), expected(Pump(), RATED, Damage(bearing=1.0))
    for channel in ("flow", "inlet_pressure", "outlet_pressure"):
        assert worn[channel] == healthy[channel]


def test_clogging_ends_in_cavitation_at_full_speed_only():
    clogged = Damage(clogging=1.0)
    assert operating_point(Pump(), RATED, HEALTHY).cavitation < 0.01
    assert operating_point(Pump(), RATED, clogged).cavitation > 0.5
    assert operating_point(Pump(), Duty(speed=2000.0), clogged).cavitation < 0.01


def test_vibration_lies_in_the_zones_of_iso_20816():
    """Zone A below 2.3 mm/s for a healthy machine, zone D above 7.1 with a failed bearing."""
    assert expected(Pump(), RATED)["vibration"] < 2.3
    assert expected(Pump(), RATED, Damage(bearing=1.0))["vibration"] > 7.1


def test_current_carries_the_power():
    shown = expected(Pump(), RATED)
    apparent = np.sqrt(3) * 400 * shown["current"] / 1000
    assert 0.8 < shown["power"] / apparent < 0.9  # power factor


def test_a_hotter_hall_shifts_temperatures_by_as_much():
    cool, warm = (expected(Pump(), Duty(speed=2950.0, ambient_temperature=t)) for t in (10.0, 30.0))
    for channel in ("motor_temperature", "bearing_temperature"):
        assert warm[channel] - cool[channel] == pytest.approx(20)


def test_sensitivity_scales_what_a_damage_shows():
    blunt = Pump(sensitivity=Damage(0.5, 0.5, 0.5, 0.5))
    assert expected(blunt, RATED, Damage(bearing=0.8)) == expected(Pump(), RATED, Damage(bearing=0.4))


def test_healthy_sensors_are_a_quadratic_of_the_operating_conditions():
    """What the class file promises to the regression on operating conditions."""
    speed, valve, ambient = np.random.default_rng(1).uniform([1900, 60, 8], [2900, 100, 32], (2000, 3)).T
    shown = expected(Pump(), Duty(speed, valve, ambient))
    x = np.stack([(speed - 2400) / 500, (valve - 80) / 20, (ambient - 20) / 12], axis=1)
    basis = np.column_stack([np.ones(len(x)), x, x**2, x[:, :1] * x[:, 1:], x[:, 1] * x[:, 2]])
    for channel, values in shown.items():
        rest = values - basis @ np.linalg.lstsq(basis, values, rcond=None)[0]
        assert 1 - rest.var() / values.var() > 0.99, channel
