"""What the layout promises: which way imports point, what each package brings along, what explains itself."""

import ast
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("edge_runtime", "twins", "data", "features", "training")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
RUNTIME = {"numpy", "onnxruntime", "paho", "edge_runtime"}  # what a gateway installs
# its extras, imported where they are used
OPTIONAL = {"asyncua", "cryptography", "google", "prometheus_client", "pyarrow", "pymodbus", "tomli"}


def name_of(path):
    return str(path.relative_to(ROOT))


def imports(tree):
    """Top-level names that the code of `tree` imports, with the node."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").partition(".")[0], node


def test_imports_point_one_way():
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def for_types_alone(node):
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


@pytest.mark.parametrize("path", [path for path in MODULES if "edge_runtime" in path.parts], ids=name_of)
def test_the_gateway_imports_nothing_it_does_not_install(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    later = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) or for_types_alone(node)]
    inside = {id(node) for part in later for node in ast.walk(part)}
    allowed = RUNTIME | set(sys.stdlib_module_names)
    for name, node in imports(tree):
        # extras are imported by the functions that need them
        assert name in allowed or (name in OPTIONAL and id(node) in inside), f"line {node.lineno}: {name}"


def test_mlflow_is_the_library_and_its_folder_holds_no_python():
    assert list((ROOT / "mlflow").rglob("*.py")) == []
    code = "import importlib.util; print(importlib.util.find_spec('mlflow').origin)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    found = Path(done.stdout.strip())
    assert found == importlib.metadata.distribution("mlflow").locate_file("mlflow/__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_explain_themselves(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not tree.body or ast.get_docstring(tree), "the module does not say what it is"


@pytest.mark.parametrize("path", [p for p in MODULES if {"edge_runtime", "features"} & {*p.parts}], ids=name_of)
def test_what_others_build_on_says_what_it_promises(path):
    """Public functions and classes with methods, of more than a few lines, in the packages that others call."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    public = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and node.end_lineno - node.lineno > 12
        and (isinstance(node, ast.FunctionDef) or any(isinstance(part, ast.FunctionDef) for part in node.body))
    ]
    assert [node.name for node in public if not ast.get_docstring(node)] == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_is_ever_unpickled(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert {"pickle", "joblib", "dill", "cloudpickle", "shelve"}.isdisjoint(name for name, _ in imports(tree))
    loads = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and ast.unparse(node.func) == "np.load"
    ]
    for call in loads:
        assert not any(k.arg == "allow_pickle" and getattr(k.value, "value", True) for k in call.keywords)


def test_code_does_not_know_a_subset_by_name():
    """Nothing but its class file tells one fleet from another."""
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare | ast.Match):
                assert "FD00" not in ast.unparse(node), f"{name_of(path)}, line {node.lineno}"
