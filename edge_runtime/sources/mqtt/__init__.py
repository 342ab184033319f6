"""MQTT 5: readings as JSON or bare numbers, waveforms as blocks of float32; set-points are published."""
