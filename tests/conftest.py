"""What all tests share."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # some tests import onnxruntime before `edge_runtime` does it

from hypothesis import settings

# CI always draws the same examples, so that a change is judged by itself; everywhere else new ones are drawn.
# Nobody is judged by the clock: the computer may be busy.
settings.register_profile("default", max_examples=50, deadline=None)
settings.register_profile("ci", max_examples=50, derandomize=True, deadline=None)
settings.register_profile("thorough", max_examples=3000, deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else os.environ.get("HYPOTHESIS_PROFILE", "default"))
