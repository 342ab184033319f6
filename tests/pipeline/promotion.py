"""Tiny bundles with figures of any kind, for promotion."""

from edge_runtime.bundle import write_bundle
from tests.edge_runtime.tiny import tiny_contract, tiny_golden, tiny_twin
from training.machine_errors import FILE, MachineErrors

MACHINES = [f"P-{i}" for i in range(20)]
GOOD = {
    "rul": {"cv": {"rmse": 2.0, "se": 0.1, "interval": {"level": 0.9, "coverage": 0.905}}},
    "alarms": {"level_2": {"cv": {"false_alarms_per_machine_month": 0.05}}},
    "parity": {"within_1e_3": 1.0, "within_tolerance": 1.0, "max_abs_error": 1e-4},
    "canaries": {"shuffled": {"caught": True}, "leak": {"caught": True}},
}
# Machines differ by much more than models do.
ERRORS = MachineErrors(
    {"free": {name: 2.0 + (i % 5) for i, name in enumerate(MACHINES)}}, {"mean": dict.fromkeys(MACHINES, 36.0)}
)


def changed(quality, **figures):
    """`quality` with figures by dotted name (`__` stands for the dot) put in; None takes one away."""
    made = {name: changed(value) if isinstance(value, dict) else value for name, value in quality.items()}
    for name, value in figures.items():
        *sections, last = name.split("__")
        at = made
        for section in sections:
            at = at.setdefault(section, {})
        if value is None:
            del at[last]
        else:
            at[last] = value
    return made


def shifted(errors, by, head="free"):
    """`errors` of one head, off by about `by` more on every machine."""
    own = {name: error + by + 0.1 * by * (i % 2) for i, (name, error) in enumerate(errors.heads[head].items())}
    return MachineErrors({**errors.heads, head: own}, errors.guesses)


def bundle(folder, quality=GOOD, errors=ERRORS, data_hash="d1", golden=None, **contract):
    """Written into `folder`; returns it."""
    write_bundle(
        folder,
        tiny_twin(),
        golden or tiny_golden(),
        tiny_contract(**contract),
        models={},
        quality=quality,
        provenance={"run_id": "r1", "commit": "abc", "data_hash": data_hash, "created": "2026-01-02T03:04:05Z"},
        more={FILE: errors.dump()} if errors else {},
    )
    return folder
