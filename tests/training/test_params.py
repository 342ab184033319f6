"""params.yaml: typed, and typing errors are told by name."""

from dataclasses import asdict
from pathlib import Path

import pytest

from data.errors import DataError
from training.params import Params, read_params

ROOT = Path(__file__).parents[2]


@pytest.fixture
def read(tmp_path):
    def read(text):
        path = tmp_path / "params.yaml"
        path.write_text(text)
        return read_params(path)

    return read


def test_the_file_of_the_repository_is_sound():
    params = read_params(ROOT / "params.yaml")
    assert params.fleets == ["pump"]
    assert params.xgboost.trees > 0
    assert set(asdict(params)) == {
        "fleets", "split", "features", "xgboost", "isolation_forest", "lstm", "prognosis",
    }  # fmt: skip


def test_what_is_not_there_has_its_default(read):
    assert read("fleets: [pump]\n") == Params(fleets=["pump"])
    params = read("fleets: [pump]\nxgboost: {trees: 9}\n")
    assert params.xgboost.trees == 9
    assert params.xgboost.depth == Params().xgboost.depth


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("xgboost: {tree: 9}", r"unknown key xgboost\.tree"),
        ("xgbost: {trees: 9}", "unknown key xgbost"),
        ("lstm: {unit: 8}\nprognosis: {level: 0.9}", r"lstm\.unit, prognosis\.level"),
        ("xgboost: {trees: many}", r"xgboost\.trees: .*integer"),
        ("fleets: pump", "fleets: .*list"),
        ("lstm: 8", "lstm"),
    ],
)
def test_mistakes_are_named(read, text, told):
    with pytest.raises(DataError, match=told) as caught:
        read(text)
    assert "params.yaml" in str(caught.value)


@pytest.mark.parametrize("text", ["", "- pump\n", "xgboost: [\n"])
def test_what_is_no_mapping_is_refused(read, text):
    with pytest.raises(DataError, match=r"params\.yaml"):
        read(text)
