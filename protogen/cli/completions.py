"""What the shell completes: targets, dialects, rules, types, blobs of the net on the command line."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

from protogen.errors import ProtogenError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Complete = Callable[[click.Context, click.Parameter, str], list["CompletionItem"]]


def _items(words: Iterable[str], incomplete: str, before: str = "") -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(before + one) for one in sorted(words) if one.startswith(incomplete)]


def _completes(words: Callable[[], Iterable[str]], *, several: bool = False) -> Complete:
    """Return a completion of names; with ``several`` of the last one in a list with commas."""

    def complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
        before, comma, last = incomplete.rpartition(",") if several else ("", "", incomplete)
        return _items(words(), last, before + comma)

    return complete


def _targets() -> Iterable[str]:
    from protogen.toolchains.toolchain import names

    return names()


def _dialects() -> Iterable[str]:
    from protogen.formats.schema.dialect import dialects

    return dialects()


def _rules() -> Iterable[str]:
    from protogen.lint.rules import all_rules

    return [*all_rules(), *(rule.name for rule in all_rules().values())]


def _types() -> Iterable[str]:
    from protogen.layers import LayerType

    return LayerType.registry


def _templates() -> Iterable[str]:
    from protogen.formats.render import own_templates

    return [path.name.partition(".")[0] for path in own_templates().iterdir()]


def _functions() -> Iterable[str]:
    from protogen.layers.functions import ALSO, FORMS

    return [*FORMS, *ALSO]


targets = _completes(_targets)
toolchains = _completes(_targets, several=True)
dialects = _completes(_dialects)
rules = _completes(_rules)
several_rules = _completes(_rules, several=True)
types = _completes(_types)
templates = _completes(_templates)
functions = _completes(_functions)


def blobs(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the names of the blobs of the net, or the values of the model, that is on the command line
    already."""
    before, equals, last = incomplete.rpartition("=")
    return _items(_blobs_of(ctx), last, before + equals)


def inputs(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the inputs of the net as ``BLOB=``, and then the file."""
    from click.shell_completion import CompletionItem

    if "=" in incomplete:
        return [CompletionItem(incomplete, type="file")]
    names = [f"{name}=" for name in _inputs_of(ctx)]
    return [*_items(names, incomplete), CompletionItem(incomplete, type="file")]


def inputs_alone(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the inputs of the net."""
    return _items(_inputs_of(ctx), incomplete)


def shapes(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the inputs of the net, as ``BLOB=``."""
    return _items((f"{name}=" for name in _inputs_of(ctx)), incomplete)


def _paths(ctx: click.Context) -> list[str]:
    """Return the existing files among the values of the arguments."""
    words = [*ctx.args]  # click stops reading the line at an option without its value
    for param in ctx.command.params:
        value: Any = ctx.params.get(param.name or "")
        if isinstance(param, click.Argument) and value:
            words += value if isinstance(value, (tuple, list)) else [value]
    return [path for path in words if os.path.isfile(path)]


def _blobs_of(ctx: click.Context) -> set[str]:
    names: set[str] = set()
    for path in _paths(ctx):
        try:
            names |= _names_in(path)
        except ProtogenError:  # it is not a net, or has a mistake: nothing can be completed
            continue
    return names


def _names_in(path: str) -> set[str]:
    from protogen.formats import contents

    kind = contents.kind_of(path)
    if kind == "onnx":
        from protogen.onnx import load_model

        graph = load_model(path).graph
        return {
            name
            for node in graph.node
            for name in (*node.input, *node.output)
            if name and name not in {tensor.name for tensor in graph.initializer}
        }
    if kind not in ("net", "text"):
        return set()
    from protogen.net.net import load, unassuming

    with unassuming():
        net = load(path, tolerant=True)
    return {*net.inputs, *(name for layer in net.layers for name in (*layer.bottoms, *layer.tops))}


def _inputs_of(ctx: click.Context) -> list[str]:
    from protogen.net.net import load, unassuming

    for path in _paths(ctx):
        try:
            with unassuming():
                return list(load(path, tolerant=True).inputs)
        except ProtogenError:  # not a net: the next file
            continue
    return []
