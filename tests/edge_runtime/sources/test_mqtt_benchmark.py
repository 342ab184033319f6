"""The benchmark of receiving runs and loses nothing; how fast anything is, no test asks."""

import json

import benchmarks.mqtt_source


def test_a_short_run(tmp_path, capsys):
    result = tmp_path / "result.json"
    benchmarks.mqtt_source.main(["--rate", "500", "--seconds", "0.4", "--runs", "1", "--json", str(result)])
    rows = json.loads(result.read_text())["rows"]
    assert [row["connection"] for row in rows] == ["plain", "TLS"]
    assert all(row["paho"] > 0 < row["source"] for row in rows)
    assert [row["paho_lost"] + row["source_lost"] for row in rows] == [0, 0]
    assert "CPU time of one message" in capsys.readouterr().out
