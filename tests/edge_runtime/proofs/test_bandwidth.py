"""What goes up is a small part of what came in, and nothing that was promised is missing from it."""

from benchmarks.bandwidth import play


def test_an_hour_of_a_machine_with_a_waveform_and_a_fault(tmp_path):
    hour = play(tmp_path, interval=1200, hours=1.0)
    assert hour.saved >= 0.9, "of all samples and snapshots, as they came"
    assert hour.up["observation"].messages > 0
    assert hour.alarms >= 1
    assert 0 < hour.snapshots_sent < hour.raw["vibration_waveform"].messages
