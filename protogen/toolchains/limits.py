"""What a target takes: rules over layers, from data files or from the command line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from protogen.errors import InputError, did_you_mean
from protogen.formats import tomlfiles
from protogen.formats.render import condition
from protogen.geometry import Shape

FOLDER = Path(__file__).parent / "targets"
WORDS = {
    "kernel": "kernel_size along an axis (a rule holds for height and for width)",
    "stride": "stride along an axis",
    "pad": "pad along an axis",
    "kernel_h": "kernel height", "kernel_w": "kernel width",
    "stride_h": "stride along the height", "stride_w": "stride along the width",
    "pad_h": "pad of the height", "pad_w": "pad of the width",
    "group": "groups", "channels": "channels of the bottom", "num_output": "channels of the top",
    "height": "height of the bottom", "width": "width of the bottom",
    "out_height": "height of the top", "out_width": "width of the top",
    "tops": "how many tops the layer has",
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
    """What a rule looks at, such as a ``Step`` of ``resampling.steps``."""

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
class LimitRule:
    """A condition that layers of some types must meet. ``feature`` instead: what may not be used.

    Raises:
        InputError: the condition is none, or the feature is not known.
    """

    must: str = ""
    layers: tuple[str, ...] = ()
    feature: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if self.feature and self.feature not in FEATURES:
            raise InputError(
                f"{self.feature!r} is nothing that a layer can be without",
                advice=did_you_mean(self.feature, FEATURES) or f"Known are {', '.join(FEATURES)}.",
            )
        if self.must:
            self._holds(dict.fromkeys(WORDS, 1))

    @cached_property
    def _holds(self) -> Callable[[Mapping[str, Any]], bool]:
        return condition(self.must)

    def broken(self, step: Layer) -> str:
        """What of the step breaks the rule; empty where nothing does."""
        if self.feature:
            used = self.feature in step.features or self.feature == step.type.lower()
            return f"uses {FEATURES[self.feature]}" if used else ""
        if self.layers and step.type not in self.layers:
            return ""
        for words in _words(step):
            if not self._holds(words):
                named = [w for w in WORDS if re.search(rf"\b{w}\b", self.must)]
                found = ", ".join(f"{w} {words[w]}" for w in named)
                return f"{step.type} has {found}, but must be {self.must}"
        return ""


@dataclass(frozen=True)
class Limits:
    """Rules of a target, with where they are from."""

    name: str = ""
    rules: tuple[LimitRule, ...] = ()
    title: str = ""
    notes: tuple[str, ...] = field(default=())

    def broken(self, steps: Sequence[Layer]) -> str:
        """The first broken rule; empty where all hold."""
        for rule in self.rules:
            for step in steps:
                if text := rule.broken(step):
                    source = f" ({self.name}: {rule.source})" if rule.source else ""
                    return text + source
        return ""

    def __or__(self, other: Limits) -> Limits:
        names = ", ".join(name for name in (self.name, other.name) if name)
        return Limits(names, self.rules + other.rules, self.title, self.notes + other.notes)


UNLIMITED = Limits()


def targets() -> Iterator[Limits]:
    """The targets that protogen knows, by name."""
    for path in sorted(FOLDER.glob("*.toml")):
        yield load_target(path)


def load_target(name: str | Path) -> Limits:
    """A target's limits by its name, or from a file of the user's own.

    Raises:
        InputError: it is not known, or its file is wrong.
    """
    path = Path(name)
    if path.suffix != ".toml":
        path = FOLDER / f"{name}.toml"
        if not path.exists():
            known = [p.stem for p in sorted(FOLDER.glob("*.toml"))]
            advice = did_you_mean(str(name), known) or f"Known are {', '.join(known)}."
            raise InputError(
                "is not known",
                subject=f"target {str(name)!r}",
                advice=f"{advice} A file of your own ends in .toml.",
            )
    return _target(path, tomlfiles.read(path))


def _target(path: Path, data: Mapping[str, Any]) -> Limits:
    for key, value in data.items():
        if key not in ("title", "notes", "rule"):
            advice = did_you_mean(key, ("title", "notes", "rule"))
            raise InputError(f"the key {key!r} is not known", where=str(path), advice=advice)
        if not isinstance(value, str if key == "title" else list):
            raise InputError(f"the key {key!r} is of the wrong kind", where=str(path))
    rules = []
    for number, item in enumerate(data.get("rule", ()), 1):
        texts = {k: v for k, v in item.items() if k in ("must", "without", "source")}
        layers = item.get("layers", [])
        unknown = set(item) - {"must", "without", "source", "layers"}
        wrong = [v for v in (*texts.values(), *layers) if not isinstance(v, str)]
        if unknown or wrong or ("must" in item) == ("without" in item):
            raise InputError(
                f"rule {number} must have must or without, and may have layers and source",
                where=str(path),
            )
        try:
            rules.append(
                LimitRule(
                    item.get("must", ""),
                    tuple(layers),
                    item.get("without", ""),
                    item.get("source", ""),
                )
            )
        except InputError as error:
            raise InputError(f"rule {number}: {error}", where=str(path)) from None
    return Limits(path.stem, tuple(rules), data.get("title", ""), tuple(data.get("notes", ())))


def parse_limits(text: str) -> Limits:
    """Limits such as ``kernel<=7,stride<=4,no-group,no-reshape``.

    Raises:
        InputError: a part is no limit.
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
                f"{part!r} is no limit",
                subject="limit",
                advice=near or f"Write kernel<=7 or no-group; words are {known}.",
            )
        operator = "==" if match[2] == "=" else match[2]
        sizes = ("height", "width", "out_height", "out_width", "tops")
        windowed = match[1] not in sizes
        rules.append(LimitRule(f"{match[1]} {operator} {match[3]}", _WINDOWED if windowed else ()))
    return Limits("", tuple(rules))


def _words(step: Layer) -> Iterator[dict[str, int]]:
    """The words of a rule for a layer, once for each axis where its window differs."""
    given: Mapping[str, Any] = next(
        (p for key, p in step.params.items() if key.endswith("_param")), {}
    )

    def pair(one: str, key: str, default: int) -> tuple[int, int]:
        both = given.get(one, default)
        return int(given.get(f"{key}_h", both)), int(given.get(f"{key}_w", both))

    kernel = pair("kernel_size", "kernel", 1)
    stride, pad = pair("stride", "stride", 1), pair("pad", "pad", 0)
    shape = (*step.before, *(1,) * (4 - len(step.before)))
    after = (*step.after, *(1,) * (4 - len(step.after)))
    words = {
        "kernel_h": kernel[0],
        "kernel_w": kernel[1],
        "stride_h": stride[0],
        "stride_w": stride[1],
        "pad_h": pad[0],
        "pad_w": pad[1],
        "group": int(given.get("group", 1)),
        "channels": shape[1],
        "num_output": after[1],
        "height": shape[2],
        "width": shape[3],
        "out_height": after[2],
        "out_width": after[3],
        "tops": len(step.tops),
    }
    for k, s, p in dict.fromkeys(zip(kernel, stride, pad, strict=True)):
        yield words | {"kernel": k, "stride": s, "pad": p}
