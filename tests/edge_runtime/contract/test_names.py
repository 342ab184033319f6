import pytest

from edge_runtime.contract.names import check_identifier, is_identifier


@pytest.mark.parametrize("name", ["a", "pump-07", "A_b-9", "x" * 64])
def test_identifiers(name):
    assert is_identifier(name)
    assert check_identifier("asset", name) == name


@pytest.mark.parametrize("name", ["", "x" * 65, "a b", "a/b", "../a", "ä", "a\n", "a.b", "#", "+", None, 7])
def test_anything_else_is_refused(name):
    with pytest.raises(ValueError, match="asset"):
        check_identifier("asset", name)
