"""Limits of a target: rules for its layers, from data files or from the command line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from protogen.errors import InputError, did_you_mean
from protogen.formats.render import condition
from protogen.geometry import Shape
from protogen.layers import graph
from protogen.toolchains.toolchain import Toolchain, load_toolchain

WORDS = {
    "kernel": "kernel_size along an axis (a rule holds for height and for width)",
    "stride": "stride along an axis",
    "pad": "pad along an axis",
    "kernel_h": "kernel height", "kernel_w": "kernel width",
    "stride_h": "stride along the height", "stride_w": "stride along the width",
    "pad_h": "pad along the height", "pad_w": "pad along the width",
    "dilation": "dilation along an axis",
    "dilation_h": "dilation along the height", "dilation_w": "dilation along the width",
    "group": "groups", "channels": "channels of the bottom", "num_output": "channels of the top",
    "height": "height of the bottom", "width": "width of the bottom",
    "out_height": "height of the top", "out_width": "width of the top",
    "tops": "number of tops",
}  # fmt: skip
FEATURES = {
    "group": "layers with groups",
    "axis": "the axis parameter of Convolution",
    "reshape": "Reshape",
    "slice": "Slice",
    "concat": "Concat",
    "plane": "Scale and Bias over height and width",
    "deconvolution": "Deconvolution", "convolution": "Convolution", "pooling": "Pooling",
    "power": "Power", "eltwise": "Eltwise", "innerproduct": "InnerProduct", "scale": "Scale",
    "bias": "Bias",
}  # fmt: skip
_WINDOWED = ("Convolution", "Deconvolution", "Pooling")


class Layer(Protocol):
    """The layer that a rule checks, such as a ``Step`` of ``resampling.steps``."""

    @property
    def type(self) -> str: ...
    @property
    def tops(self) -> tuple[str, ...]: ...
    @property
    def params(self) -> Mapping[str, Any]: ...
    @property
    def before(self) -> Shape: ...
    @property
    def after(self) -> Shape: ...
    @property
    def features(self) -> frozenset[str]: ...


@dataclass(frozen=True)
class LayerStep:
    """A layer of a net in the form that limits check."""

    type: str
    tops: tuple[str, ...]
    params: Mapping[str, Any]
    before: Shape
    after: Shape
    features: frozenset[str]


def step_of(layer: graph.Layer, before: Shape, after: Shape) -> LayerStep:
    """Return a layer of a net, with the shapes of its first bottom and top, for limits."""
    params = {
        key: {k: v[0] if isinstance(v, list) and v else v for k, v in value.items()}
        for key, value in layer.params.plain().items()
        if key.endswith("_param") and isinstance(value, dict)
    }
    p = layer.params.convolution_param
    features = {"group"} if p.group > 1 else set()
    if p.has("axis") and p.axis != 1:
        features.add("axis")
    return LayerStep(layer.type, layer.tops, params, before, after, frozenset(features))


@dataclass(frozen=True)
class LimitRule:
    """A condition that layers must meet, or a feature that they must not use.

    Attributes:
        must: the condition, an expression over the words of ``WORDS``.
        layers: the layer types that the condition applies to; empty for all.
        feature: a forbidden feature, a key of ``FEATURES``.
        source: the document that states the rule.

    Raises:
        InputError: the condition is invalid, or the feature is unknown.
    """

    must: str = ""
    layers: tuple[str, ...] = ()
    feature: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if self.feature and self.feature not in FEATURES:
            raise InputError(
                f"unknown feature {self.feature!r}",
                advice=did_you_mean(self.feature, FEATURES)
                or f"Known features: {', '.join(FEATURES)}.",
            )
        if self.must:
            self._holds(dict.fromkeys(WORDS, 1))

    @cached_property
    def _holds(self) -> Callable[[Mapping[str, Any]], bool]:
        return condition(self.must)

    def broken(self, step: Layer) -> str:
        """Return how the step violates the rule; empty if it does not."""
        if self.feature:
            is_used = self.feature in step.features or self.feature == step.type.lower()
            return f"uses {FEATURES[self.feature]}" if is_used else ""
        if self.layers and step.type not in self.layers:
            return ""
        for words in _words(step):
            if not self._holds(words):
                used = [word for word in WORDS if re.search(rf"\b{word}\b", self.must)]
                actual = ", ".join(f"{word} {words[word]}" for word in used)
                return f"{step.type} requires {self.must}, got {actual}"
        return ""


@dataclass(frozen=True)
class Limits:
    """The rules of a target, with their sources."""

    name: str = ""
    rules: tuple[LimitRule, ...] = ()
    title: str = ""
    notes: tuple[str, ...] = field(default=())

    @property
    def restricts(self) -> bool:
        """Whether there is any rule."""
        return bool(self.rules)

    def broken(self, steps: Sequence[Layer]) -> str:
        """Return how a step violates the first violated rule; empty if all rules hold."""
        for rule in self.rules:
            for step in steps:
                if text := rule.broken(step):
                    source = f" ({self.name}: {rule.source})" if rule.source else ""
                    return text + source
        return ""

    @classmethod
    def of(cls, toolchain: Toolchain) -> Limits:
        """Return the limits among the statements of a toolchain.

        Raises:
            InputError: a condition is invalid.
        """
        rules = []
        for number, one in enumerate(toolchain.rules, 1):
            if one.must or one.without:
                try:
                    source = toolchain.source(one.source)
                    rules.append(LimitRule(one.must, one.layers, one.without, source))
                except InputError as error:
                    raise InputError(f"rule {number}: {error}", where=str(toolchain.path)) from None
        return cls(toolchain.name, tuple(rules), toolchain.title, toolchain.notes)

    def __or__(self, other: Limits) -> Limits:
        names = ", ".join(name for name in (self.name, other.name) if name)
        return Limits(names, self.rules + other.rules, self.title, self.notes + other.notes)


UNLIMITED = Limits()


def load_target(name: str | Path) -> Limits:
    """Return the limits of a toolchain by its name, or those in a user's .toml file.

    Raises:
        InputError: the name is unknown, or the file is invalid.
    """
    return Limits.of(load_toolchain(name))


def parse_limits(text: str) -> Limits:
    """Parse limits such as ``kernel<=7,stride<=4,no-group,no-reshape``.

    Raises:
        InputError: a part is not a valid limit.
    """
    rules = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        if part.startswith("no-"):
            rules.append(LimitRule(feature=part[3:]))
            continue
        match = re.fullmatch(r"(\w+)\s*(<=|>=|==|=|<|>)\s*(\d+)", part)
        if match is None or match[1] not in WORDS:
            known = ", ".join(WORDS)
            near = did_you_mean(match[1], WORDS) if match else ""
            raise InputError(
                f"{part!r} is not a valid limit",
                subject="limit",
                advice=near or f"Write it like kernel<=7 or no-group. Known words: {known}.",
            )
        operator = "==" if match[2] == "=" else match[2]
        any_layer = match[1] in ("height", "width", "out_height", "out_width", "tops")
        layers = () if any_layer else _WINDOWED
        rules.append(LimitRule(f"{match[1]} {operator} {match[3]}", layers))
    return Limits("", tuple(rules))


def _words(step: Layer) -> Iterator[dict[str, int]]:
    """Yield the values of ``WORDS`` for a layer: once, or once per axis if its window differs
    between height and width."""
    params: Mapping[str, Any] = next(
        (block for key, block in step.params.items() if key.endswith("_param")), {}
    )

    def pair(single: str, key: str, default: int) -> tuple[int, int]:
        both = params.get(single, default)
        return int(params.get(f"{key}_h", both)), int(params.get(f"{key}_w", both))

    kernel = pair("kernel_size", "kernel", 1)
    stride, pad = pair("stride", "stride", 1), pair("pad", "pad", 0)
    dilation = pair("dilation", "dilation", 1)
    shape = (*step.before, *(1,) * (4 - len(step.before)))
    after = (*step.after, *(1,) * (4 - len(step.after)))
    words = {
        "kernel_h": kernel[0],
        "kernel_w": kernel[1],
        "stride_h": stride[0],
        "stride_w": stride[1],
        "pad_h": pad[0],
        "pad_w": pad[1],
        "dilation_h": dilation[0],
        "dilation_w": dilation[1],
        "group": int(params.get("group", 1)),
        "channels": shape[1],
        "num_output": after[1],
        "height": shape[2],
        "width": shape[3],
        "out_height": after[2],
        "out_width": after[3],
        "tops": len(step.tops),
    }
    for k, s, p, d in dict.fromkeys(zip(kernel, stride, pad, dilation, strict=True)):
        yield words | {"kernel": k, "stride": s, "pad": p, "dilation": d}
