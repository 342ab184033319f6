import numpy as np
import pytest

from edge_runtime.bundle import Bundle
from edge_runtime.errors import DataError
from edge_runtime.settings import read_settings
from tests.edge_runtime.tiny import tiny_bundle


@pytest.fixture(scope="module")
def contract(tmp_path_factory):
    return Bundle.load(tiny_bundle(tmp_path_factory.mktemp("bundle"))).contract


def read(tmp_path, contract, text, assets=("a", "b", "c")):
    path = tmp_path / "settings.csv"
    path.write_text(text)
    return read_settings(path, contract, assets)


def test_what_is_not_given_has_the_class_default(tmp_path, contract):
    got = read(tmp_path, contract, "asset,offset\nb,2.5\nc,\nelsewhere,1\n")
    assert np.array_equal(got, np.array([[np.nan], [2.5], [np.nan]]), equal_nan=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("asset,ofset\na,1\n", "'ofset' is no setting of class 'tiny': did you mean 'offset'"),
        ("asset,offset\na,eleven\n", "line 2: setting 'offset' is 'eleven': expected a number -10 … 10 1"),
        ("asset,offset\na,11\n", "expected a number -10"),
        ("asset,offset\na,nan\n", "expected a number -10"),
        ("machine,offset\na,1\n", "needs a column 'asset'"),
        ("asset,offset\na,1\nb,1\na ,2\n", "asset 'a' is there twice"),
        ("asset,offset\na,1,2\n", "line 2: it has more cells than the header"),
    ],
)
def test_settings_are_checked(tmp_path, contract, text, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, contract, text)


def test_blanks_around_an_id_are_none_of_it(tmp_path, contract):
    assert read(tmp_path, contract, "asset,offset\n b ,2.5\n")[1].tolist() == [2.5]


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators_are_understood(tmp_path, contract, separator):
    got = read(tmp_path, contract, "asset,offset\nb,2.5\n".replace(",", separator))
    assert np.array_equal(got, np.array([[np.nan], [2.5], [np.nan]]), equal_nan=True)


def test_a_missing_file_is_named(tmp_path, contract):
    with pytest.raises(DataError, match=r"^[^ ]*nowhere\.csv cannot be read \(No such file or directory\): name an"):
        read_settings(tmp_path / "nowhere.csv", contract, ["a"])
