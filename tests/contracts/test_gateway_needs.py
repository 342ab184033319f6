"""A gateway installs numpy, onnxruntime and paho-mqtt: the package must import with nothing else."""

import subprocess
import sys

HEAVY = (
    "tensorflow",
    "keras",
    "pandas",
    "sklearn",
    "scipy",
    "xgboost",
    "mlflow",
    "pyarrow",
    "onnx",
    "ndonnx",
    "pydantic",
    "asyncua",
    "cryptography",
    "pymodbus",
)
OURS = ("data", "features", "training", "twins")

_IMPORT_ALL = """
import importlib, pkgutil, sys
import edge_runtime
for module in pkgutil.walk_packages(edge_runtime.__path__, "edge_runtime."):
    importlib.import_module(module.name)
print(*{name.split(".")[0] for name in sys.modules})
"""


def modules_after(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_whole_package_imports_with_nothing_heavy():
    loaded = modules_after(_IMPORT_ALL)
    assert "onnxruntime" in loaded
    assert loaded.isdisjoint([*HEAVY, *OURS])


def test_the_command_answers_without_loading_onnxruntime():
    code = "import sys, edge_runtime.cli; print(*{name.split('.')[0] for name in sys.modules})"
    assert modules_after(code).isdisjoint(["onnxruntime", "numpy"])
