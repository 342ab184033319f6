import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.bundle import Bundle
from edge_runtime.errors import ConfigError
from edge_runtime.gateway.machines import Machines, read_machines
from tests.edge_runtime.tiny import tiny_bundle


@pytest.fixture(scope="module")
def contracts(tmp_path_factory):
    """Two classes; the second one's setting is called otherwise."""
    folder = tmp_path_factory.mktemp("bundles")
    other = [{"name": "shift", "unit": "1", "range": [0, 5], "default": 0}]
    return {
        "tiny": Bundle.load(tiny_bundle(folder / "tiny")).contract,
        "other": Bundle.load(tiny_bundle(folder / "other", asset_class="other", settings=other)).contract,
    }


@pytest.fixture
def read(tmp_path, contracts):
    def read(text):
        (tmp_path / "machines.csv").write_text(text)
        return read_machines(tmp_path / "machines.csv", contracts)

    return read


def test_each_class_gets_its_machines_with_their_settings(read):
    got = read("asset,class,term,offset,shift\nb,tiny,3,2.5,\na,tiny,,,\nx,other,1,,4\n")
    assert got["tiny"].assets == ("b", "a")
    assert got["tiny"].term.tolist() == [3, 0]
    assert np.array_equal(got["tiny"].settings, np.array([[2.5], [np.nan]]), equal_nan=True)
    assert got["other"].assets == ("x",)
    assert got["other"].settings.tolist() == [[4]]


def test_a_class_may_have_no_machine(read):
    got = read("asset,class\na,tiny\n")
    assert got["other"].assets == ()
    assert got["other"].settings.shape == (0, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no machine"),
        ("asset,class\n", "names no machine"),
        (
            "machine,class\na,tiny\n",
            "line 1: there is no column 'asset': expected 'asset,class', found 'machine', 'class'",
        ),
        ("asset\na\n", "line 1: there is no column 'class'"),
        ("asset,class\na b,tiny\n", "line 2: asset 'a b': an id has"),
        ("asset,class\na,tiny\na,tiny\n", "line 3: asset 'a' stands in line 2 too"),
        ("asset,class\na,tinny\n", "class 'tinny' of 'a' has no bundle under .bundles.: did you mean 'tiny'"),
        ("asset,class,term\na,tiny,-1\n", "term '-1' of 'a': expected a whole number"),
        ("asset,class,term\na,tiny,99999999999\n", "term '99999999999'"),
        ("asset,class,ofset\na,tiny,1\n", "'ofset' is no setting of class 'tiny': did you mean 'offset'"),
        ("asset,class,shift\na,tiny,1\n", "'shift' is no setting of class 'tiny'"),
        ("asset,class,offset\na,tiny,99\n", "line 2: setting 'offset' is '99': expected a number -10 … 10"),
        ("asset,class,class\na,tiny,other\n", "column 'class' is there twice"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(read, text, message):
    with pytest.raises(ConfigError, match=message):
        read(text)


def test_all_that_is_wrong_is_told_at_once(read, tmp_path):
    with pytest.raises(ConfigError) as told:
        read("asset;class;term;offset\na b;tiny;;\nc;tinny;;\nd;tiny;x;\ne;tiny;;2,5\nf;tiny;1;2\nf;tiny;1;2\n")
    first, *problems = str(told.value).splitlines()
    assert first == f"{tmp_path / 'machines.csv'}: 5 problems"
    assert [problem.split(":")[0].strip() for problem in problems] == ["line 2", "line 3", "line 4", "line 7", "line 5"]


def test_of_very_many_problems_some_are_told(read):
    with pytest.raises(ConfigError) as told:
        read("asset,class\n" + "".join(f"m{i},tinny\n" for i in range(1000)))
    assert "1,000 problems" in str(told.value)
    assert str(told.value).endswith("\n  and 980 more")


def test_a_bundle_under_the_name_of_another_class_is_refused(contracts, tmp_path):
    with pytest.raises(ConfigError, match=r"bundles\.pump is of class 'tiny': write tiny = … under"):
        read_machines(tmp_path / "machines.csv", {"pump": contracts["tiny"]})


def test_a_missing_file_is_named(contracts, tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.csv cannot be read"):
        read_machines(tmp_path / "nowhere.csv", contracts)


_cell = st.sampled_from(
    ["a", "b", "tiny", "other", "1", "", "asset", "class", "term", "offset", '"', "\0", "é"]
) | st.text(max_size=4)
_table = st.lists(st.lists(_cell, max_size=5).map(",".join), max_size=5).map("\n".join)


@given(_table | st.builds("asset,class,offset\n{}".format, _table), st.binary(max_size=20))
def test_any_table_is_read_or_told(contracts, tmp_path_factory, table, noise):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    for content in (table.encode("utf-8", "surrogatepass"), noise):
        path.write_bytes(content)
        try:
            got = read_machines(path, contracts)
        except ConfigError as error:
            told = str(error)
        else:
            told = f"{path}: {len(got)}" if all(isinstance(m, Machines) for m in got.values()) else ""
        assert str(path) in told
