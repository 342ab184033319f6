"""The examples in the docstrings of `features` hold."""

import doctest
import importlib
import pkgutil

import pytest

import features

MODULES = [module.name for module in pkgutil.walk_packages(features.__path__, "features.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
