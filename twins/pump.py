"""A motor-driven centrifugal pump in steady state: what its sensors show at a duty, healthy or damaged.

The pump lifts from a tank through a strainer and delivers through a valve into pipework:

    suction_pressure − strainer·Q² + head(Q, speed) = static + pipe(valve)·((1 − leak)·Q)²

Q is the flow through the impeller. Head and power follow the affinity laws (Q ∝ n, head ∝ n², power ∝ n³; Gülich,
"Centrifugal Pumps", ch. 3). Units throughout: L/min, bar (gauge), kW, rpm, °C, mm/s; 1 L/min × 1 bar = 1/600 kW.

What-if is `expected` with another damage:

>>> pump, duty = Pump(), Duty(speed=2950.0)
>>> for damage in (Damage(), Damage(impeller=0.5)):
...     shown = expected(pump, duty, damage)
...     print(f"{shown['flow']:.0f} L/min, {shown['power']:.1f} kW")
2000 L/min, 23.1 kW
1829 L/min, 19.7 kW
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Values = float | np.ndarray

KW = 1 / 600  # kW per L/min × bar
SHUT_OFF = 1.25  # head at closed valve over rated head; the curve falls with Q² from there to 1 at rated flow
STATIC = 0.2  # share of the rated head that the system needs at zero flow
STRAINER = 0.08  # bar lost in the clean suction line at rated flow
SUCTION = 0.5  # bar in front of the suction line, tank at normal level
VALVE_RATED = 80.0  # % open at the rated point
VALVE_SHARE = 0.4  # of the delivery losses at the rated point that the valve makes
FRICTION = 0.015  # bearing and seal friction over hydraulic shaft power, at the rated point
ATMOSPHERE, VAPOUR = 1.013, 0.03  # bar absolute; water at 25 °C
NPSH_REQUIRED = 0.45  # bar, at rated speed and flow
MOTOR_IRON, MOTOR_COPPER = 0.025, 0.04  # losses over rated power: growing with speed, with load²
VOLTAGE = 400.0  # V between phases, supply side of the drive


@dataclass(frozen=True)
class Damage:
    """0 = as new, 1 = failed; floats or arrays of one shape."""

    impeller: Values = 0.0  # wear: less head, less efficient, out of balance
    bearing: Values = 0.0  # wear: vibration, friction, heat
    seal: Values = 0.0  # leak: flow that passes the impeller but is not delivered
    clogging: Values = 0.0  # of the strainer: inlet pressure, then cavitation


HEALTHY = Damage()


@dataclass(frozen=True)
class Pump:
    """One pump: its nameplate, and the manufacturing tolerances nobody knows (1 = as designed)."""

    rated_flow: float = 2000.0  # L/min
    rated_pressure: float = 5.0  # bar, outlet over inlet
    rated_speed: float = 2950.0  # rpm
    rated_power: float = 30.0  # kW, motor shaft
    efficiency: float = 0.78  # of the hydraulics at the rated point
    head: float = 1.0
    friction: float = 1.0
    vibration: float = 1.4  # mm/s RMS at the rated point
    pipe: float = 1.0  # delivery losses
    cooling: float = 1.0  # temperature rise
    sensitivity: Damage = Damage(1.0, 1.0, 1.0, 1.0)  # how strongly each damage shows


@dataclass(frozen=True)
class Duty:
    """What is asked of the pump and its surroundings; floats or arrays of one shape."""

    speed: Values  # rpm
    valve_position: Values = VALVE_RATED  # % open
    ambient_temperature: Values = 20.0  # °C
    suction_pressure: Values = SUCTION  # bar, from the tank's level


@dataclass(frozen=True)
class OperatingPoint:
    """Where pump and system meet, and where the electrical power goes: power is the sum of all that follow it."""

    flow: Values  # L/min delivered
    impeller_flow: Values  # L/min
    inlet_pressure: Values
    outlet_pressure: Values
    cavitation: Values  # 0 none … 1 full
    power: Values  # kW electrical
    hydraulic_power: Values  # kW delivered
    leak_loss: Values
    hydraulic_loss: Values
    friction_loss: Values
    motor_loss: Values


def operating_point(pump: Pump, duty: Duty, damage: Damage) -> OperatingPoint:
    """Solve the balance of heads and follow the power from the liquid back to the supply."""
    damage = _felt(pump, damage)
    s = duty.speed / pump.rated_speed
    flow = _impeller_flow(pump, duty, damage, cavitation=0.0)
    cavitation = _cavitation(pump, s, flow, _inlet(pump, duty, damage, flow))
    flow = _impeller_flow(pump, duty, damage, cavitation)
    inlet = _inlet(pump, duty, damage, flow)
    static, pipe = _system(pump, duty.valve_position)
    delivered = flow * (1 - _leak(damage))
    outlet = static + pipe * delivered**2

    liquid = flow * (outlet - inlet) * KW
    at_wheel = liquid / _hydraulic_efficiency(pump, s, flow, damage, cavitation)
    rated_shaft = pump.rated_flow * pump.rated_pressure * KW / pump.efficiency
    friction = FRICTION * rated_shaft * pump.friction * s**1.7 * (1 + 1.8 * damage.bearing)
    load = (at_wheel + friction) / pump.rated_power
    motor = pump.rated_power * (MOTOR_IRON * s + MOTOR_COPPER * load**2)
    useful = delivered * (outlet - inlet) * KW
    return OperatingPoint(
        flow=delivered,
        impeller_flow=flow,
        inlet_pressure=inlet,
        outlet_pressure=outlet,
        cavitation=cavitation,
        power=at_wheel + friction + motor,
        hydraulic_power=useful,
        leak_loss=liquid - useful,
        hydraulic_loss=at_wheel - liquid,
        friction_loss=friction,
        motor_loss=motor,
    )


def expected(pump: Pump, duty: Duty, damage: Damage = HEALTHY) -> dict[str, Values]:
    """What ideal sensors show once temperatures have settled."""
    point = operating_point(pump, duty, damage)
    motor_rise = 950.0 * pump.cooling * point.motor_loss / pump.rated_power
    friction_rated = FRICTION * pump.rated_flow * pump.rated_pressure * KW / pump.efficiency
    bearing_rise = 25.0 * pump.cooling * point.friction_loss / friction_rated + 0.15 * motor_rise
    return {
        "flow": point.flow,
        "inlet_pressure": point.inlet_pressure,
        "outlet_pressure": point.outlet_pressure,
        "power": point.power,
        "current": _current(pump, point),
        "motor_temperature": duty.ambient_temperature + motor_rise,
        "bearing_temperature": duty.ambient_temperature + bearing_rise,
        "vibration": _vibration(pump, duty, _felt(pump, damage), point),
    }


def _felt(pump: Pump, damage: Damage) -> Damage:
    """Damage as this pump shows it."""
    k = pump.sensitivity
    return Damage(
        impeller=damage.impeller * k.impeller,
        bearing=damage.bearing * k.bearing,
        seal=damage.seal * k.seal,
        clogging=damage.clogging * k.clogging,
    )


def _leak(damage: Damage) -> Values:
    """Share of the impeller flow lost: leak and flow both go with the root of the pressure."""
    return 0.16 * damage.seal


def _system(pump: Pump, valve_position: Values) -> tuple[float, Values]:
    """(static, pipe): the system needs static + pipe·Q² bar at the outlet; sized to meet the rated point."""
    static = STATIC * pump.rated_pressure
    rated_outlet = SUCTION - STRAINER + pump.rated_pressure
    valve = (VALVE_RATED / valve_position) ** 2
    return static, pump.pipe * (rated_outlet - static) / pump.rated_flow**2 * (1 + VALVE_SHARE * (valve - 1))


def _strainer(pump: Pump, damage: Damage) -> Values:
    """bar per (L/min)² lost before the inlet."""
    return STRAINER * (1 + 10 * damage.clogging) / pump.rated_flow**2


def _inlet(pump: Pump, duty: Duty, damage: Damage, flow: Values) -> Values:
    return duty.suction_pressure - _strainer(pump, damage) * flow**2


def _impeller_flow(pump: Pump, duty: Duty, damage: Damage, cavitation: Values) -> Values:
    """The flow at which head and system curve cross. Both are quadratic in flow, so it is a square root."""
    s = duty.speed / pump.rated_speed
    worn = pump.head * (1 - 0.2 * damage.impeller) * (1 - 0.12 * cavitation)
    droop = (SHUT_OFF - 1) * (1 + 0.6 * damage.impeller) * pump.rated_pressure / pump.rated_flow**2
    static, pipe = _system(pump, duty.valve_position)
    lift = SHUT_OFF * pump.rated_pressure * s**2 * worn + duty.suction_pressure - static
    losses = droop + _strainer(pump, damage) + pipe * (1 - _leak(damage)) ** 2
    return np.sqrt(np.maximum(lift, 0.0) / losses)


def _cavitation(pump: Pump, s: Values, flow: Values, inlet: Values) -> Values:
    """0…1 as the margin of available over required NPSH vanishes."""
    available = inlet + ATMOSPHERE - VAPOUR
    required = NPSH_REQUIRED * (0.5 * s**2 + 0.5 * (flow / pump.rated_flow) ** 2)
    return 1 / (1 + np.exp((available - required - 0.35) / 0.08))


def _hydraulic_efficiency(pump: Pump, s: Values, flow: Values, damage: Damage, cavitation: Values) -> Values:
    """Best at the rated flow coefficient, falling with the square of the distance from it."""
    off_design = flow / (pump.rated_flow * s) - 1
    return pump.efficiency * (1 - 0.5 * off_design**2) * (1 - 0.16 * damage.impeller) * (1 - 0.08 * cavitation)


def _current(pump: Pump, point: OperatingPoint) -> Values:
    """A per phase: P = √3·U·I·cos φ, the power factor falling at part load."""
    power_factor = 0.88 * (1 - 0.35 * (1 - point.power / pump.rated_power) ** 2)
    return point.power * 1000 / (np.sqrt(3) * VOLTAGE * power_factor)


def _vibration(pump: Pump, duty: Duty, damage: Damage, point: OperatingPoint) -> Values:
    """mm/s RMS at the bearing housing: independent sources add as squares."""
    s = duty.speed / pump.rated_speed
    off_design = point.impeller_flow / (pump.rated_flow * s) - 1
    own = (pump.vibration * s**2) ** 2 * (1 + 2 * off_design**2)
    unbalance = 2.2 * damage.impeller * s**2
    bearing = 8.0 * damage.bearing * s
    seal = 0.8 * damage.seal * s
    return np.sqrt(own + unbalance**2 + bearing**2 + seal**2 + (5.0 * point.cavitation) ** 2)
