"""The benchmark of receiving runs and loses nothing; how fast anything is, no test asks."""

import json

import benchmarks.mqtt_source


def test_a_short_run(tmp_path, capsys):
    result = tmp_path / "result.json"
    arguments = ["--plain", "--rate", "500", "--seconds", "0.4", "--runs", "1", "--json", str(result)]
    benchmarks.mqtt_source.main(arguments)
    [row] = json.loads(result.read_text())["rows"]
    assert row["connection"] == "plain"
    assert row["paho"] > 0 < row["source"]
    assert row["paho_lost"] + row["source_lost"] == 0
    assert "CPU time of one message" in capsys.readouterr().out
