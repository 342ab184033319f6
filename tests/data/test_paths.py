import pytest

from data import paths


@pytest.mark.parametrize("fleet", ["../pump", "a/b", "", "x" * 65, "pump\n"])
def test_no_path_is_made_of_what_is_no_identifier(fleet):
    for place in (paths.raw, paths.observations, lambda name: paths.artifact(name, "lives.csv")):
        with pytest.raises(ValueError, match="identifier"):
            place(fleet)
