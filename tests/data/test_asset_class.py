import pytest
import yaml

from data.class_file import load
from data.errors import AssetClassError
from data.resolve import read_class, resolve


def write(folder, text):
    (folder / "fan.yaml").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def text(fan, workspace):
    fan()
    return (workspace / "classes" / "fan.yaml").read_text()


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("unit: mm/s", "unti: mm/s", "did you mean 'unit'"),
        ("interval: 60", "intervall: 60", "did you mean 'interval'"),
        ("horizon: 10", "horizont: 10", "did you mean 'horizon'"),
        ("role: condition", "role: conditon", "got 'conditon'"),
        ("cap: 60", "cap: many", "got 'many'"),
        ("horizon: 10", "horizon: 100", "must lie below cap"),
    ],
)
def test_a_typo_is_named_with_its_line_and_the_fix(text, tmp_path, right, wrong, said):
    assert right in text
    with pytest.raises(AssetClassError) as error:
        load("fan", write(tmp_path, text.replace(right, wrong)))
    assert said in str(error.value)
    line = 1 + text.replace(right, wrong).splitlines().index(
        next(line for line in text.replace(right, wrong).splitlines() if wrong in line)
    )
    allowed = range(line - 2, line + 1)  # a rule about a section names the section's line
    assert any(f"fan.yaml:{number}:" in str(error.value) for number in allowed)


SHAKE = {"quantity": "acceleration", "unit": "m/s2", "waveform": {"axes": ["x"], "samples": 64, "rate": 1000}}


@pytest.mark.parametrize(
    ("section", "change", "said"),
    [
        ("channels", {"heat": {"quantity": "temperature", "unit": "K", "range": [0, 1e300]}}, "physically possible"),
        ("channels", {"shake": SHAKE | {"range": [-1e12, 1e12]}}, "of a waveform: write at most"),
        ("time", {"max_gap": 1e12}, "less than 2000000000"),
        ("time", {"interval": 1e-12}, "greater than or equal to 0.000000001"),
    ],
)
def test_numbers_that_would_become_infinite_or_wrap_around_are_refused(text, tmp_path, section, change, said):
    content = yaml.safe_load(text)
    content[section] |= change
    with pytest.raises(AssetClassError) as error:
        load("fan", write(tmp_path, yaml.safe_dump(content)))
    assert said in str(error.value)


def test_broken_yaml_names_the_file(tmp_path):
    with pytest.raises(AssetClassError, match=r"fan\.yaml: not valid YAML"):
        load("fan", write(tmp_path, "name: [fan"))


def test_a_missing_section_is_named(text, tmp_path):
    content = yaml.safe_load(text)
    del content["labels"]
    with pytest.raises(AssetClassError, match="required key 'labels' is missing"):
        load("fan", write(tmp_path, yaml.safe_dump(content)))


def test_an_unknown_fleet_names_the_closest(text, tmp_path):
    with pytest.raises(AssetClassError, match="did you mean 'fan'"):
        load("fann", write(tmp_path, text))


def test_a_subset_is_resolved():
    cls = load("turbofan-FD003")
    assert cls.source.train.name == "train_FD003.txt"
    assert cls.source.train.sha256 == "2abbe9968cc5e8eb091980f51b20f62bb4127336d3482cb52071d53bf23329e2"


@pytest.mark.parametrize("fleet", ["turbofan", "turbofan-FD009"])
def test_a_wrong_subset_lists_the_right_ones(fleet):
    with pytest.raises(AssetClassError, match="turbofan-FD001"):
        load(fleet)


@pytest.mark.usefixtures("workspace")
def test_the_resolved_class_reads_back_equal():
    assert resolve("turbofan-FD001") == read_class("turbofan-FD001") == load("turbofan-FD001")


@pytest.mark.usefixtures("workspace")
def test_reading_an_unresolved_class_says_what_to_run():
    with pytest.raises(AssetClassError, match=r"python -m data\.resolve turbofan-FD001"):
        read_class("turbofan-FD001")
