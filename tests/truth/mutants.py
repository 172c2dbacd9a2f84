"""Puts single mistakes into the ONNX forms of layers, and asks whether real Caffe shows each.

    python tests/truth/mutants.py [TYPE...]

A mutant is one change in a ``lower`` or in a function that it calls: another operator, another number,
a condition the other way round. It is found where one of the examples of a type that uses the function
disagrees with Caffe. Those that no example finds are printed: each must be shown to make no difference.
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
    """Changes the ``index``-th place of a function that can be changed."""

    def __init__(self, index: int) -> None:
        self.left = index
        self.said = ""

    def at(self, node: ast.AST, said: str) -> bool:
        self.left -= 1
        if self.left == -1:
            self.said = f"line {node.lineno}: {said}"
            return True
        return False

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        value = node.value
        if isinstance(value, bool):
            if self.at(node, f"{value} to {not value}"):
                return ast.copy_location(ast.Constant(not value), node)
        elif isinstance(value, (int, float)):
            if self.at(node, f"{value} to {value + 1}"):
                return ast.copy_location(ast.Constant(value + 1), node)
        elif (
            isinstance(value, str)
            and value in OTHERS
            and self.at(node, f"{value} to {OTHERS[value]}")
        ):
            return ast.copy_location(ast.Constant(OTHERS[value]), node)
        return node

    def visit_If(self, node: ast.If) -> ast.AST:
        if not any(isinstance(inner, ast.Raise) for inner in node.body) and self.at(
            node, "if to if not"
        ):
            node.test = ast.copy_location(ast.UnaryOp(ast.Not(), node.test), node.test)
            return ast.fix_missing_locations(node)
        self.generic_visit(node)
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        if self.at(node, "if to if not"):
            node.test = ast.copy_location(ast.UnaryOp(ast.Not(), node.test), node.test)
            return ast.fix_missing_locations(node)
        self.generic_visit(node)
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        pairs = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
                 ast.FloorDiv: ast.Mult}  # fmt: skip
        other = pairs.get(type(node.op))
        if other is not None and self.at(node, f"{type(node.op).__name__} to {other.__name__}"):
            node.op = other()
            return node
        self.generic_visit(node)
        return node

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        if node.arg != "strict":  # of zip: it changes nothing where lengths are equal
            self.generic_visit(node)
        return node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return node  # words of a refusal


def mutants(function: FunctionType) -> Iterator[tuple[str, FunctionType]]:
    """Every mutant of a function, and what was changed."""
    source = textwrap.dedent(inspect.getsource(function))
    tree = ast.parse(source)
    ast.increment_lineno(tree, function.__code__.co_firstlineno - 1)
    index = 0
    while True:
        mutation = Mutation(index)
        made = copy.deepcopy(tree)
        body = made.body[0]
        assert isinstance(body, ast.FunctionDef)
        rest = body.body[1:] if ast.get_docstring(body) is not None else body.body
        body.body = [mutation.visit(one) for one in rest] or [ast.Pass()]
        if not mutation.said:
            return
        ast.fix_missing_locations(made)
        space: dict[str, Any] = {}
        exec(compile(made, function.__code__.co_filename, "exec"), function.__globals__, space)
        yield mutation.said, space[body.name]
        index += 1


def used(function: FunctionType) -> dict[str, FunctionType]:
    """The functions of protogen/layers that a function calls, and those that they call."""
    found: dict[str, FunctionType] = {}
    waiting = [function]
    while waiting:
        for name in waiting.pop().__code__.co_names:
            inner = function.__globals__.get(name) or getattr(LayerType, name, None)
            for module in layer_modules():
                inner = inner if isinstance(inner, FunctionType) else getattr(module, name, None)
            if (
                isinstance(inner, FunctionType)
                and "layers" in inner.__module__
                and name not in found
            ):
                found[name] = inner
                waiting.append(inner)
    return found


def layer_modules() -> list[ModuleType]:
    return [m for name, m in sys.modules.items() if name.startswith("protogen.layers.")]


def noticed(type_: str) -> bool:
    """Whether an example of a type disagrees with Caffe."""
    found = []

    @settings(max_examples=EXAMPLES, database=None, deadline=None, derandomize=True,
              phases=[Phase.generate], suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(one_layer(type_))
    def run(drawn: Drawn) -> None:
        if found:
            return
        judge = judge_of(drawn)
        assert judge is not None
        try:
            agrees = compare(drawn, judge).agrees
        except Exception:  # a mutant may break anything
            agrees = False
        if not agrees:
            found.append(drawn)

    run()
    return bool(found)


def places(
    types: list[str],
) -> Iterator[tuple[str, FunctionType, Callable[[FunctionType], None], list[str]]]:
    """Functions to change: their name, how to put another in their place, and whose they are."""
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
    for function, of in helpers.items():

        def replace(other: FunctionType, first: FunctionType = function) -> None:
            for module in layer_modules():
                if getattr(module, first.__name__, None) in (first, replace.now):
                    setattr(module, first.__name__, other)
            replace.now = other

        replace.now = function
        yield function.__name__, function, replace, of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("types", nargs="*")
    options = parser.parse_args()
    types = options.types or [t for t in SPECS if LayerType.registry[t].has_form]
    total = live = 0
    for name, function, put, of in places(types):
        own, missed = 0, []
        for said, mutant in mutants(function):
            own += 1
            put(mutant)
            if not any(noticed(type_) for type_ in of):
                missed.append(said)
            put(function)
        total, live = total + own, live + len(missed)
        print(f"{name}: {own} mutants, {len(missed)} live", *missed, sep="\n    ", flush=True)
    print(f"all: {total} mutants, {live} live")


if __name__ == "__main__":
    main()
