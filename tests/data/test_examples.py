"""The examples in the docstrings of `data` hold."""

import doctest
import importlib
import pkgutil

import pytest

import data

MODULES = [module.name for module in pkgutil.walk_packages(data.__path__, "data.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
