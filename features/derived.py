"""Derived channels: formulas of the asset class, e.g. an efficiency, as array code."""

from __future__ import annotations

import ast
import operator
from collections.abc import Mapping

from features.array import Array, constant, namespace

_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
_FUNCTIONS = {"sqrt", "log", "exp", "abs"}


def evaluate(formula: str, values: Mapping[str, Array]) -> Array:
    """The value of an arithmetic expression over named arrays: + − * / ** numbers, sqrt, log, exp, abs.

    What cannot be computed (0/0, the root of a negative number) is NaN, that is, missing.

    >>> import numpy as np
    >>> evaluate("flow * head / 600", {"flow": np.float32([300.0]), "head": np.float32([4.0])})
    array([2.], dtype=float32)
    """
    some = next(iter(values.values()))

    def visit(node: ast.expr) -> Array:
        match node:
            case ast.Name(id=name):
                return values[name]
            case ast.Constant(value=int() | float() as number):
                return constant(some, number)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return _OPERATORS[type(op)](visit(left), visit(right))
            case ast.BinOp(left=left, op=ast.Pow(), right=right):
                return visit(left) ** visit(right)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -visit(operand)
            case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in _FUNCTIONS:
                x = visit(argument)
                return getattr(namespace(x), name)(x)
        raise ValueError(
            f"formula {formula!r}: '{ast.unparse(node)}' is not arithmetic (+ - * / **, sqrt, log, exp, abs)"
        )

    return visit(ast.parse(formula, mode="eval").body)


def names_in(formula: str) -> set[str]:
    """Names of the channels and settings that a formula uses.

    >>> sorted(names_in("flow * (outlet - inlet) / 600"))
    ['flow', 'inlet', 'outlet']
    """
    return {n.id for n in ast.walk(ast.parse(formula, mode="eval")) if isinstance(n, ast.Name)} - _FUNCTIONS
