"""The examples in the docstrings say what the code does."""

import doctest

import pytest

from twins import pump, pump_fleet


@pytest.mark.parametrize("module", [pump, pump_fleet])
def test_examples(module):
    failed, tried = doctest.testmod(module)
    assert tried > 0
    assert failed == 0
