"""A bundle carries how readings and prognoses were distributed on the machines it learned from, and on no others."""

import numpy as np
import pytest

from data import reference
from data.observations import Observations
from data.resolve import AssetClass
from tests.pipeline import plant


@pytest.mark.parametrize("fleet", list(plant.CLASSES))
def test_the_reference_is_of_training_machines(made, fleet):
    fleet = made(fleet)
    bundle = fleet.bundle
    assert reference.FILE in bundle.manifest.files
    known = reference.load((bundle.folder / reference.FILE).read_bytes())
    split = fleet.json("splits.json")["machines"]
    assert set(known.machines) == {asset for asset, part in split.items() if part != "test"}
    names = [channel.name for channel in bundle.contract.channels]
    said = [variable.name for variable in known.variables if variable.kind == "prognosis"]
    assert [variable.name for variable in known.variables if variable.kind == "reading"] == names
    assert set(said) == set(reference.OUTPUTS)
    assert known.window == 42 * bundle.contract.time.tick

    cls = AssetClass.model_validate_json(fleet.artifact("class.json").read_text())
    observations = Observations(fleet.observations, cls)
    for i, asset in enumerate(known.machines):
        time = observations.timeline(asset).time
        for name in names:
            received = known.counts[f"{name} {reference.RECEIVED}"][i]
            assert received[:, 0].tolist() == known.counts[name][i].sum(axis=1).tolist()
            assert received.sum() <= len(time)  # no observation is counted twice
            assert (received.sum(axis=1) > 0).sum() == np.clip((time[-1] + 1 - time[0]) // (known.window * 1e9), 1, 4)
        assert known.counts["health"][i].any()
