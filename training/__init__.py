"""From observations to a proven bundle: models, calibration, evaluation, export, tracking.

What flows: `feature_table` fits the constants of the step function and runs the traced graph over history, once for
each fold and once for all training machines; `train_*` fit a model family on each of these tables and keep
out-of-fold predictions; `calibrate` learns the blend, the intervals, the failure probability and the anomaly scale
from out-of-fold predictions only; `evaluate` looks once at the test machines; `export` composes one ONNX graph,
streams the test machines through it, and writes the bundle only if the graph says what the models said.

Rules: everything fitted is refitted per fold on that fold's machines. The shipped model is the refit on all training
machines. Nothing here is imported by any other package.
"""
