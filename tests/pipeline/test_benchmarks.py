"""The benchmarks run and say what they promise; how fast anything is, no test asks."""

import json

import numpy as np
import pytest

import benchmarks.history
import benchmarks.intake
import benchmarks.measure
import benchmarks.trees
import benchmarks.twin
from benchmarks.measure import Timing, duration, table, timed
from benchmarks.usual import Usual
from data.observations import Observations
from features.history import History
from features.history import run as run_history
from features.trace import feature_graph
from tests.pipeline import plant


@pytest.fixture(autouse=True)
def unchanged_environment(monkeypatch):
    """The benchmarks set the number of threads for all that is imported after them."""
    monkeypatch.setattr(benchmarks.measure.os, "environ", dict(benchmarks.measure.os.environ))


@pytest.mark.parametrize("fleet", ["fan", "kiln", "drum"])
def test_twin(made, fleet, tmp_path, capsys):
    result = tmp_path / "result.json"
    with plant.inside(made(fleet).folder):
        arguments = ["--machines", "1", "7", "--budget", "0", "--json", str(result)]
        benchmarks.twin.main([f"artifacts/{fleet}/bundle", *arguments])
    told, text = json.loads(result.read_text()), capsys.readouterr().out
    assert set(told["timings"]) == {"1", "7"}
    parts = told["timings"]["7"]
    assert parts[benchmarks.twin.TWIN]["ratio"] == 1
    together = sum(parts[name]["p50_us"] for name in benchmarks.twin.PARTS)
    assert parts[benchmarks.twin.USUAL]["p50_us"] == pytest.approx(together)
    assert parts["pandas features"]["extrapolated"]
    assert not parts["Keras model(x)"]["extrapolated"]
    assert "7 machines" in text
    assert "~" in text


def test_pandas_makes_the_features_of_the_graph(made):
    """On complete rows: after a long history the averages agree, whatever their first steps."""
    fleet = made("drum")
    with plant.inside(fleet.folder):
        usual = Usual.of("drum", 1000)
        recorded = Observations(fleet.observations, usual.features.step.asset_class)
        asset = max(recorded.assets, key=recorded.rows)
        rows = recorded.rows(asset)
        whole = History([asset], {asset: rows}, {asset: list(recorded.series(asset))}, np.zeros((1, 0), np.float32))
        graph = feature_graph(usual.features.step).SerializeToString()
        expected = run_history(graph, whole, ["features"]).columns["features"][-1]
    names = usual.features.step.names
    # two lives of one machine are one history to pandas: look at what forgets
    alike = [i for i, name in enumerate(names) if "_9" not in name and name != "clock.log_step"]
    np.testing.assert_allclose(usual.features.last_row(usual.history)[alike], expected[alike], rtol=0.05, atol=0.05)


def test_trees(tmp_path, capsys):
    result = tmp_path / "result.json"
    arguments = ["--rows", "1", "5", "--trees", "3", "--features", "4", "--budget", "0", "--json", str(result)]
    benchmarks.trees.main(arguments)
    assert set(json.loads(result.read_text())["p50_us"]) == {"1", "5"}
    assert benchmarks.trees.SEPARATE in capsys.readouterr().out


def test_history_says_first_what_it_will_cost(tmp_path, capsys):
    result = tmp_path / "result.json"
    benchmarks.history.main(["--machines", "2", "--days", "0.005", "--sensors", "2", "--json", str(result)])
    told, text = json.loads(result.read_text()), capsys.readouterr().out
    assert told["observations"] == 864
    assert told["rows"] == 2 * (1 + 431 // 60)
    assert told["extrapolated_month"]["observations"] == 77_760_000
    assert text.startswith("2 machines at 1 Hz for 0.005 days: 864 observations of 2 sensors, about ")
    assert text.count("EXTRAPOLATED") == 2


def test_intake_and_pandas_give_as_many_observations(tmp_path, capsys):
    result = tmp_path / "result.json"
    benchmarks.intake.main(["--machines", "3", "--messages", "100", "--json", str(result)])
    plain, *windows = json.loads(result.read_text())["cases"]
    ours, theirs = benchmarks.intake.INTAKE, benchmarks.intake.PANDAS
    assert plain[ours]["observations"] == plain[theirs]["observations"] == 33 * 3
    for case in windows:  # the intake waits a moment longer than until the last window's end
        pending = 3 if max(33, 2 * case["per_window"] + 1) % case["per_window"] == 0 else 0
        assert case[ours]["observations"] == case[theirs]["observations"] - pending > 0
    assert "8 channels, 10 in a window" in capsys.readouterr().out


def test_without_a_bundle_the_way_out_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="dvc repro"):
        benchmarks.twin.first_bundle()


def test_timings_and_tables():
    calls = []
    assert timed(lambda: calls.append(1), 0).calls == len(calls) - 1 == benchmarks.measure.LEAST_CALLS
    assert Timing(2.0, 3.0, 5).times(4) == Timing(8.0, 12.0, 5, extrapolated=True)
    assert [duration(x) for x in (46.04, 135_000, 2.5e6)] == ["46 µs", "135 ms", "2.5 s"]
    assert table(["a", "b"], [["x", "1"], ["yy", "22"]]) == "a    b\n--  --\nx    1\nyy  22"
