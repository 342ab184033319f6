import numpy as np
import pytest

from twins import instruments
from twins.instruments import Instrument, measure

DAYS = 1 / 72
FLOW = Instrument(0.0, 4000.0, noise=2.0, relative=0.01)
TRUTH = np.full(20_000, 1000.0)


@pytest.fixture
def sound(monkeypatch):
    """Instruments without faults and losses, to be switched on one at a time."""
    for name in ("LOST", "LOST_RUNS", "SPIKES", "FAULTS"):
        monkeypatch.setattr(instruments, name, 0.0)
    return monkeypatch


@pytest.mark.usefixtures("sound")
def test_noise_is_as_declared():
    shown = measure(np.random.default_rng(0), FLOW, TRUTH, DAYS)
    assert shown.dtype == np.float32
    assert shown.mean() == pytest.approx(1000, abs=0.5)
    assert shown.std() == pytest.approx(np.hypot(2, 10), rel=0.03)


def test_lone_losses_and_runs(sound):
    sound.setattr(instruments, "LOST", 0.01)
    lost = np.isnan(measure(np.random.default_rng(0), FLOW, TRUTH, DAYS))
    assert lost.mean() == pytest.approx(0.01, rel=0.3)
    sound.setattr(instruments, "LOST", 0.0)
    sound.setattr(instruments, "LOST_RUNS", 0.1)
    lost = np.isnan(measure(np.random.default_rng(0), FLOW, TRUTH, DAYS))
    followed = lost[1:][lost[:-1]].mean()
    assert 0 < lost.mean() < 0.1
    assert followed > 0.8  # a lost sample is mostly followed by another


def test_spikes_stand_alone(sound):
    sound.setattr(instruments, "SPIKES", 0.001)
    off = np.abs(measure(np.random.default_rng(0), FLOW, TRUTH, DAYS) - 1000) > 0.25 * FLOW.span
    assert off.mean() == pytest.approx(0.001, rel=0.6)
    assert not np.any(off[1:] & off[:-1])


@pytest.mark.parametrize("kind", ["stuck", "drift", "offset", "beyond range"])
@pytest.mark.usefixtures("sound")
def test_a_fault_of_each_kind(kind):
    class Chosen:
        """A generator whose faults are of one kind."""

        def __init__(self):
            self.rng = np.random.default_rng(4)

        def choice(self, options):
            return kind if kind in options else 1.0

        def __getattr__(self, name):
            return getattr(self.rng, name)

    clean = measure(np.random.default_rng(4), FLOW, TRUTH, DAYS)
    shown = clean.copy()
    instruments._break(Chosen(), FLOW, shown, DAYS)
    changed = np.flatnonzero(shown != clean)
    first, last = changed[0], changed[-1] + 1
    assert 0 < last - first <= 8 / DAYS + 2  # it passes
    part = shown[first:last]
    if kind == "stuck":
        assert np.ptp(part) == 0
    elif kind == "drift":
        assert part[-20:].mean() - part[:20].mean() > 0.01 * FLOW.span
    elif kind == "offset":
        assert (part - clean[first:last]).mean() > 0.01 * FLOW.span
    else:
        assert np.all(part < FLOW.low)


def test_faults_come_at_their_rate(sound):
    sound.setattr(instruments, "FAULTS", 0.05)
    few = sum(
        np.any(np.abs(measure(np.random.default_rng(seed), FLOW, TRUTH[:7200], DAYS) - 1000) > 60) for seed in range(20)
    )
    assert few > 15  # five faults expected in each
