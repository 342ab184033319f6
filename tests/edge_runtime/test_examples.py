import doctest
import importlib
import pkgutil

import pytest

import edge_runtime

MODULES = [module.name for module in pkgutil.walk_packages(edge_runtime.__path__, "edge_runtime.")]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_are_true(name):
    module = importlib.import_module(name)
    result = doctest.testmod(module, globs={**vars(module)})
    assert result.failed == 0
