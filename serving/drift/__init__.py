"""Whether the machines of a class still look, and are judged, like those its model learned from.

    python -m serving.drift --config centre.toml [--class pump] [--json] [--metrics drift.prom]

* `window` counts what was measured and foretold of each machine lately, in the bins of the model's reference
  (`data.reference`, a file of its bundle).
* `judge` says what is beyond the difference that machines and times of the training data show among themselves.
* `report` does so for all classes and models.
"""
