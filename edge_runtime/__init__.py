"""What runs beside the machine: loads a bundle and advances the twins of a fleet.

A twin is a step function in ONNX, (observation, settings, state) → (prognosis, state′). This package promises that a
bundle which does not reproduce its own recorded outputs is refused, that the elapsed time `dt` is computed in one
place, and that whatever arrives (duplicates, gaps, garbage) is counted and never corrupts a state.

    bytes → Bundle → StepFunction → Fleet            a proven graph, and the states of many machines
    arrivals → Intake → observations → Fleet          as they arrive, message by message
    tables → replay → prognoses                      history, all machines at once

It needs numpy, onnxruntime and paho-mqtt, and imports nothing else of this project.
"""

import os

# The one thing that importing does. Importing onnxruntime (1.32, not yet 1.20) begins telemetry to its maker: files in
# the user's home, and an upload; its disable_telemetry_events() comes too late. Nobody is called who was not named.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
