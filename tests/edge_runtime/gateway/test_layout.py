import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.batch import Batch, Samples
from edge_runtime.gateway.layout import Layout, Translation, pack_layouts, unpack_layouts
from edge_runtime.gateway.narrow import narrow

_names = st.lists(st.sampled_from("abcdef"), unique=True, min_size=1).map(tuple)
_shapes = st.dictionaries(st.sampled_from(["shake", "sound"]), st.sampled_from([(1, 4), (3, 2)]))


@st.composite
def layouts(draw):
    return Layout(draw(st.integers(1, 99)), draw(_names), draw(_names), draw(_shapes))


def batch_of(layout, rows):
    """Each reading says whose it is and of which channel; each waveform whose."""
    rows = np.array(rows, np.int64)
    names = np.array([ord(layout.assets[row]) for row in rows], np.float32).reshape(-1, 1)
    channels = np.array([ord(channel) / 1000 for channel in layout.channels], np.float32)
    waveforms = {
        name: (np.repeat(names, axes * samples, axis=1).reshape(-1, axes, samples), np.arange(len(rows)))
        for name, (axes, samples) in layout.waveforms.items()
    }
    nothing = np.zeros(len(rows), np.float32)
    return Batch(rows, rows * 10, names + channels, nothing, nothing, waveforms, rows * 10 + 1)


@given(layouts(), layouts(), st.data())
def test_each_value_finds_its_machine_and_channel(old, new, data):
    rows = data.draw(st.lists(st.integers(0, len(old.assets) - 1), unique=True, min_size=1))
    batch = batch_of(old, rows)
    kept = [old.assets[row] for row in rows if old.assets[row] in new.assets]
    found = Translation(old, new).batch(batch)
    if not kept:
        assert found is None
        return
    assert [new.assets[row] for row in found.rows] == kept
    assert found.time.tolist() == [old.assets.index(asset) * 10 for asset in kept]
    want = batch_of(new, found.rows.tolist())
    common = [channel in old.channels for channel in new.channels]
    assert np.array_equal(found.readings[:, common], want.readings[:, common])
    assert np.isnan(found.readings[:, ~np.array(common)]).all()
    for name, (samples, position) in found.waveforms.items():
        assert old.waveforms[name] == new.waveforms[name]
        assert [chr(int(samples[k, 0, 0])) for k in range(len(samples))] == [kept[i] for i in position]


@given(layouts(), layouts(), st.data())
def test_samples_find_theirs_too(old, new, data):
    rows = np.array(data.draw(st.lists(st.integers(0, len(old.assets) - 1), min_size=1)), np.int64)
    batch = batch_of(old, rows)
    values = np.concatenate([batch.readings, np.full((len(rows), 2), 7, np.float32)], axis=1)
    found = Translation(old, new).samples(Samples(rows, rows * 10, rows, values))
    kept = [row for row in rows.tolist() if old.assets[row] in new.assets]
    if not kept:
        assert found is None
        return
    assert [new.assets[row] for row in found.rows] == [old.assets[row] for row in kept]
    assert (found.values[:, -2:] == 7).all()
    assert found.values.shape == (len(kept), len(new.channels) + 2)


@given(st.lists(layouts(), min_size=1))
def test_layouts_are_kept_as_they_are(several):
    assert unpack_layouts(pack_layouts(several)) == several
    assert several[0].same(unpack_layouts(pack_layouts(several))[0])


def test_the_same_layout_changes_nothing():
    layout = Layout(1, ("a", "b"), ("x", "y"), {"shake": (1, 4)})
    batch = batch_of(layout, [1, 0])
    assert Translation(layout, Layout(9, *list(vars(layout).values())[1:])).batch(batch) is batch


def test_narrowing_keeps_waveforms_with_their_observations():
    batch = batch_of(Layout(1, ("a", "b", "c"), ("x",), {"shake": (1, 4)}), [2, 0, 1])
    left = narrow(batch, np.array([False, True, True]))
    assert left.rows.tolist() == [0, 1]
    samples, position = left.waveforms["shake"]
    assert position.tolist() == [0, 1]
    assert samples[:, 0, 0].tolist() == [ord("a"), ord("b")]
