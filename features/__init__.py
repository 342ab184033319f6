"""The twin's step function up to the feature vector, written once in Array API code.

In: one observation of every machine of a batch, their settings and states (`contracts`: readings, dt, event, age,
settings, waveforms, state). Out: the feature vector, quality flags, clock signals, health with its contributions, and
the next state.

`FeatureStep` is plain array code on the Python Array API standard. NumPy runs it for reading and testing; `trace` has
`ndonnx` record the very same code as an ONNX graph; `history` runs that graph over recorded history, which is where the
pipeline's feature table comes from. So there is one definition of a feature.

All arithmetic is float32, as in the graph. Zeros are a valid state. Values that are unknown are NaN on the way in and
never NaN on the way out.
"""
