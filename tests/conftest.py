"""What all tests share."""

import os

import pytest
from xdist.scheduler import LoadFileScheduling

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # some tests import onnxruntime before `edge_runtime` does it

from hypothesis import settings

# CI always draws the same examples, so that a change is judged by itself; everywhere else new ones are drawn.
# Nobody is judged by the clock: the computer may be busy.
settings.register_profile("default", max_examples=50, deadline=None)
settings.register_profile("ci", max_examples=50, derandomize=True, deadline=None)
settings.register_profile("thorough", max_examples=3000, deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else os.environ.get("HYPOTHESIS_PROFILE", "default"))

# Folders whose files share what takes minutes to make.
TOGETHER = ("tests/pipeline", "tests/training/leaks")


class Scheduling(LoadFileScheduling):
    """Tests that share fixtures run in one process, one after another: those of a file, or of a folder `TOGETHER`."""

    def _split_scope(self, nodeid: str) -> str:
        folder = next((folder for folder in TOGETHER if nodeid.startswith(f"{folder}/")), None)
        return folder or super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)  # not there without xdist's plugin
def pytest_xdist_make_scheduler(config, log):
    return Scheduling(config, log)
