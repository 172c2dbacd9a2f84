"""Mutation test of the ONNX export: changes its code, and checks that the comparison with Caffe fails.

    python tests/truth/mutants.py [TYPE...]

A mutant is one change in a ``lower`` or in a function that it calls: another operator, another number, or
an inverted condition. It is found if an example of a type that uses the function disagrees with Caffe.
Mutants that no example finds are printed ("live"): for each there must be a proof that it has no effect.
"""

from __future__ import annotations

import argparse
import ast
import copy
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings

sys.path.insert(0, str(Path(__file__).parent))

from comparing import compare, judge_of
from drawing import SPECS, Drawn, one_layer

from protogen.layers import LayerType

EXAMPLES = 150
OTHERS = {
    "Add": "Sub", "Sub": "Add", "Mul": "Div", "Div": "Mul", "Max": "Min", "Min": "Max", "Abs": "Neg",
    "Relu": "Neg", "Neg": "Abs", "Sigmoid": "Tanh", "Tanh": "Sigmoid", "Exp": "Softplus", "Log": "Exp",
    "Softplus": "Relu", "Sqrt": "Abs", "Identity": "Neg", "ReduceSum": "ReduceMean",
    "ReduceMean": "ReduceSum", "MaxPool": "AveragePool", "Greater": "Less", "Less": "Greater",
    "GreaterOrEqual": "LessOrEqual", "LessOrEqual": "GreaterOrEqual", "Elu": "LeakyRelu",
    "LeakyRelu": "Elu", "Pow": "Mul", "Not": "Identity", "Equal": "Greater",
    "GlobalMaxPool": "GlobalAveragePool", "GlobalAveragePool": "GlobalMaxPool",
}  # fmt: skip


class Mutation(ast.NodeTransformer):
    """Changes the ``index``-th position of a function that can be changed."""

    def __init__(self, index: int) -> None:
        self.remaining = index
        self.change = ""

    def selects(self, node: ast.AST, change: str) -> bool:
        """Return whether this position is to be changed, and store the change."""
        self.remaining -= 1
        if self.remaining == -1:
            self.change = f"line {node.lineno}: {change}"
            return True
        return False

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        value = node.value
        if isinstance(value, bool):
            if self.selects(node, f"{value} to {not value}"):
                return ast.copy_location(ast.Constant(not value), node)
        elif isinstance(value, (int, float)):
            if self.selects(node, f"{value} to {value + 1}"):
                return ast.copy_location(ast.Constant(value + 1), node)
        elif (
            isinstance(value, str)
            and value in OTHERS
            and self.selects(node, f"{value} to {OTHERS[value]}")
        ):
            return ast.copy_location(ast.Constant(OTHERS[value]), node)
        return node

    def visit_If(self, node: ast.If) -> ast.AST:
        if not any(isinstance(inner, ast.Raise) for inner in node.body) and self.selects(
            node, "if to if not"
        ):
            node.test = ast.copy_location(ast.UnaryOp(ast.Not(), node.test), node.test)
            return ast.fix_missing_locations(node)
        self.generic_visit(node)
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        if self.selects(node, "if to if not"):
            node.test = ast.copy_location(ast.UnaryOp(ast.Not(), node.test), node.test)
            return ast.fix_missing_locations(node)
        self.generic_visit(node)
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        pairs = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
                 ast.FloorDiv: ast.Mult}  # fmt: skip
        other = pairs.get(type(node.op))
        if other is not None and self.selects(
            node, f"{type(node.op).__name__} to {other.__name__}"
        ):
            node.op = other()
            return node
        self.generic_visit(node)
        return node

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        if node.arg != "strict":  # argument of zip: no effect for equal lengths
            self.generic_visit(node)
        return node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return node  # only the text of an error


def mutants(function: FunctionType) -> Iterator[tuple[str, FunctionType]]:
    """Yield each mutant of a function, with a description of the change."""
    source = textwrap.dedent(inspect.getsource(function))
    tree = ast.parse(source)
    ast.increment_lineno(tree, function.__code__.co_firstlineno - 1)
    index = 0
    while True:
        mutation = Mutation(index)
        mutated = copy.deepcopy(tree)
        body = mutated.body[0]
        assert isinstance(body, ast.FunctionDef)
        statements = body.body[1:] if ast.get_docstring(body) is not None else body.body
        body.body = [mutation.visit(one) for one in statements] or [ast.Pass()]
        if not mutation.change:
            return
        ast.fix_missing_locations(mutated)
        namespace: dict[str, Any] = {}
        exec(
            compile(mutated, function.__code__.co_filename, "exec"), function.__globals__, namespace
        )
        yield mutation.change, namespace[body.name]
        index += 1


def used(function: FunctionType) -> dict[str, FunctionType]:
    """Return the functions of protogen/layers that a function calls, directly and indirectly."""
    callees: dict[str, FunctionType] = {}
    pending = [function]
    while pending:
        for name in pending.pop().__code__.co_names:
            callee = function.__globals__.get(name) or getattr(LayerType, name, None)
            for module in layer_modules():
                callee = callee if isinstance(callee, FunctionType) else getattr(module, name, None)
            if (
                isinstance(callee, FunctionType)
                and "layers" in callee.__module__
                and name not in callees
            ):
                callees[name] = callee
                pending.append(callee)
    return callees


def layer_modules() -> list[ModuleType]:
    return [m for name, m in sys.modules.items() if name.startswith("protogen.layers.")]


def is_found(type_: str) -> bool:
    """Return whether an example of a type disagrees with Caffe."""
    failed = []

    @settings(max_examples=EXAMPLES, database=None, deadline=None, derandomize=True,
              phases=[Phase.generate], suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(one_layer(type_))
    def run(drawn: Drawn) -> None:
        if failed:
            return
        judge = judge_of(drawn)
        assert judge is not None
        try:
            agrees = compare(drawn, judge).agrees
        except Exception:  # a mutant may raise any exception
            agrees = False
        if not agrees:
            failed.append(drawn)

    run()
    return bool(failed)


def places(
    types: list[str],
) -> Iterator[tuple[str, FunctionType, Callable[[FunctionType], None], list[str]]]:
    """Yield the functions to change: name, function, a setter for a replacement, and the types that use it."""
    methods: dict[FunctionType, list[tuple[type, str]]] = {}
    helpers: dict[FunctionType, list[str]] = {}
    for type_ in types:
        kind = type(LayerType.registry[type_])
        owner = next(one for one in kind.__mro__ if "lower" in vars(one))
        methods.setdefault(vars(owner)["lower"], []).append((owner, type_))
        for base in kind.__mro__:
            for name in ("loss", "operand", "step", "_group", "_pads", "_matrix", "boxes"):
                if name in vars(base):
                    methods.setdefault(vars(base)[name], []).append((base, type_))
        reached: dict[str, FunctionType] = {}
        for member in (m for base in kind.__mro__ for m in vars(base).values()):
            if isinstance(member, FunctionType) and member.__name__ in ("lower", "loss", "step"):
                reached |= used(member)
        for function in reached.values():
            if function.__module__ != "protogen.layers.base":
                helpers.setdefault(function, []).append(type_)
    for function, owners in methods.items():

        def put(
            other: FunctionType, owner: type = owners[0][0], name: str = function.__name__
        ) -> None:
            setattr(owner, name, other)

        yield f"{owners[0][0].__name__}.{function.__name__}", function, put, [t for _, t in owners]
    for function, users in helpers.items():

        def replace(other: FunctionType, first: FunctionType = function) -> None:
            for module in layer_modules():
                if getattr(module, first.__name__, None) in (first, replace.now):
                    setattr(module, first.__name__, other)
            replace.now = other

        replace.now = function
        yield function.__name__, function, replace, users


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("types", nargs="*")
    options = parser.parse_args()
    types = options.types or [t for t in SPECS if LayerType.registry[t].has_form]
    total = undetected = 0
    for name, function, put, users in places(types):
        count, missed = 0, []
        for change, mutant in mutants(function):
            count += 1
            put(mutant)
            if not any(is_found(type_) for type_ in users):
                missed.append(change)
            put(function)
        total, undetected = total + count, undetected + len(missed)
        print(f"{name}: {count} mutants, {len(missed)} live", *missed, sep="\n    ", flush=True)
    print(f"all: {total} mutants, {undetected} live")


if __name__ == "__main__":
    main()
