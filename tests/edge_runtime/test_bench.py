from types import SimpleNamespace

import numpy as np

from edge_runtime.bench import bench


def test_a_twin_that_observes_waveforms_alone_can_be_timed():
    shapes = []
    fleet = SimpleNamespace(advance=lambda _which, _now, readings: shapes.append(readings.shape))
    contract = SimpleNamespace(channels=[], time=SimpleNamespace(tick=1.0), fleet="wave")
    bundle = SimpleNamespace(
        contract=contract,
        fleet=lambda _assets: fleet,
        model_id="m",
        step=SimpleNamespace(threads=1, provider="CPUExecutionProvider"),
    )
    assert bench(bundle, machines=3, steps=20)["steps"] == 20
    assert np.unique(shapes, axis=0).tolist() == [[3, 0]]
