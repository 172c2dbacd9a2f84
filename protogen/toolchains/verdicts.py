"""What a toolchain does with each layer of a net, by the statements of its data file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from protogen.errors import Place
from protogen.formats.message import Message
from protogen.layers.graph import Graph, Layer
from protogen.layers.reading import NET_FIELDS
from protogen.toolchains.detection import layer_lacks
from protogen.toolchains.facts import Words, net_words
from protogen.toolchains.limits import LimitRule, Limits, step_of
from protogen.toolchains.toolchain import VERDICTS, Statement, Toolchain

if TYPE_CHECKING:
    from protogen.formats.caffemodel import CaffeModel

BAD = ("refused", "wrong")  # the verdicts with which a net cannot be used


@dataclass(frozen=True)
class Reason:
    """One cause of a verdict: what the toolchain does, the field that it concerns (or none), and the
    source that says so."""

    verdict: str
    text: str
    field: str = ""
    source: str = ""

    def __str__(self) -> str:
        return f"{self.text} ({self.source})" if self.source else self.text


@dataclass(frozen=True)
class TargetVerdict:
    """What a toolchain does with a layer, or with the net as a whole (then ``layer`` is empty).

    Attributes:
        verdict: ``taken``: it computes the layer as Caffe does. ``refused``: it refuses the net, or
            fails. ``wrong``: it computes something else without a message. ``ignored``: it does not
            read a field, which does not change the numbers of this net, as far as is known.
            ``unknown``: no source says.
        reasons: the causes, the worst first; they may be empty for ``taken`` and ``unknown``.
        place: the layer's place in the text.
    """

    layer: str
    type: str
    verdict: str
    reasons: tuple[Reason, ...] = ()
    place: Place | str = ""

    @property
    def text(self) -> str:
        """The first cause; empty if there is none."""
        return self.reasons[0].text if self.reasons else ""


def worst(verdicts: Iterator[str] | list[str]) -> str:
    """Return the worst of some verdicts; "taken" for none."""
    return min(verdicts, key=VERDICTS.index, default="taken")


def verdicts(
    toolchain: Toolchain,
    graph: Graph,
    document: Message,
    weights: CaffeModel | None = None,
    invalid: Mapping[str, str] = MappingProxyType({}),
) -> list[TargetVerdict]:
    """Return what a toolchain does with a net: first the net as a whole, then each layer in order.

    Args:
        graph: the net in phase TEST. Layers with unknown shapes are judged without them.
        document: its text, before any upgrade.
        weights: its caffemodel; some toolchains read parameters there.
        invalid: the layers that Caffe refuses, by name, with its reason.
    """
    words = Words(graph, weights)
    whole = _whole(toolchain, net_words(graph, document, weights))
    limits = _limit_rules(toolchain)
    layers = [
        _judge(toolchain, limits, words, layer, invalid.get(layer.name, ""))
        for layer in graph.layers
    ]
    return [whole, *layers]


def _whole(toolchain: Toolchain, words: Mapping[str, Any]) -> TargetVerdict:
    reasons = [_reason(toolchain, one) for one in toolchain.net if one.holds(words)]
    return _verdict("", "", reasons, "taken", "")


def _verdict(
    name: str, type_: str, reasons: list[Reason], otherwise: str, place: Place | str
) -> TargetVerdict:
    reasons = sorted(dict.fromkeys(reasons), key=lambda one: VERDICTS.index(one.verdict))
    verdict = reasons[0].verdict if reasons else otherwise
    return TargetVerdict(name, type_, verdict, tuple(reasons), place)


def _reason(toolchain: Toolchain, statement: Statement, text: str = "") -> Reason:
    text = text or statement.text
    if not text and statement.field:
        text = f"{statement.field} is not read"
    source = toolchain.source(statement.source)
    return Reason(
        statement.verdict, text or "it does not support this form", statement.field, source
    )


def _judge(
    toolchain: Toolchain,
    limits: Mapping[str, list[LimitRule]],
    words: Words,
    layer: Layer,
    invalid: str,
) -> TargetVerdict:
    """Return the verdict of one layer; ``invalid``: why Caffe refuses it."""
    reasons = list(_unknown_fields(toolchain, layer))
    if invalid and toolchain.caffe_checks:
        reasons.append(Reason("refused", f"a check of Caffe fails: {invalid}"))
    rules = [one for one in toolchain.rules_for(layer.type) if one.verdict and not _is_limit(one)]
    facts = words.of(layer)
    if facts is not None:
        alone = [_reason(toolchain, one) for one in rules if one.only and one.holds(facts)]
        if alone:
            return _verdict(layer.name, layer.type, alone, "taken", layer.place)
    accepted = layer.type in toolchain.types
    otherwise = "taken" if accepted else ("refused" if toolchain.types_complete else "unknown")
    if facts is None:
        conditional = any(one.when for one in rules) or limits.get(layer.type)
        reasons += [_reason(toolchain, one) for one in rules if not one.when]
        if otherwise == "taken" and conditional:
            otherwise = "unknown"
            reasons.append(Reason("unknown", "the shapes of the layer are unknown"))
    else:
        reasons += [_reason(toolchain, one) for one in rules if one.holds(facts)]
        reasons += _broken(toolchain, limits, layer, words, facts)
    if otherwise == "refused" and not any(one.verdict in ("refused", "taken") for one in reasons):
        reasons.append(Reason("refused", f"it does not have the type {layer.type}"))
    return _verdict(layer.name, layer.type, reasons, otherwise, layer.place)


def _is_limit(statement: Statement) -> bool:
    return bool(statement.must or statement.without)


def _limit_rules(toolchain: Toolchain) -> dict[str, list[LimitRule]]:
    """Return the limits of a toolchain by layer type; those of every type under ""."""
    by_type: dict[str, list[LimitRule]] = {}
    for rule in Limits.of(toolchain).rules:
        for type_ in rule.layers or ("",):
            by_type.setdefault(type_, []).append(rule)
    return by_type


def _broken(
    toolchain: Toolchain,
    limits: Mapping[str, list[LimitRule]],
    layer: Layer,
    words: Words,
    facts: Mapping[str, Any],
) -> Iterator[Reason]:
    """Yield the limits that a layer breaks."""
    rules = [*limits.get(layer.type, ()), *limits.get("", ())]
    if not rules or not layer.reads:
        return
    step = step_of(layer, tuple(facts["shape"]), tuple(facts["out_shape"]))
    for rule in rules:
        if problem := rule.broken(step):
            yield Reason("refused", problem, source=toolchain.source(rule.source))


def _unknown_fields(toolchain: Toolchain, layer: Layer) -> Iterator[Reason]:
    """Yield the fields of a layer that the toolchain's text parser does not have."""
    schema = toolchain.schema
    if schema.unknown != "refused":
        return
    source = toolchain.source(schema.source)
    if schema.dialect:
        blocks = set()
        for use in layer_lacks(layer.params, schema.dialect):
            if (block := use.text.partition(".")[0]) not in blocks:
                blocks.add(block)
                kind = "field" if use.kind == "field" else "value"
                text = f"its parser has no {kind} {use.text}, and refuses the file"
                yield Reason("refused", text, use.text, source)
        return
    for item in layer.params.fields:
        if item.name in NET_FIELDS:
            continue
        paths = [(item.name, item)]
        if isinstance(item.value, Message):
            paths += [(f"{item.name}.{inner.name}", inner) for inner in item.value.fields]
        for path, one in paths:
            in_bvlc = one.type is not None and not one.type.dialects
            if not schema.has(path, in_bvlc):
                text = f"its parser has no field {path}, and refuses the file"
                yield Reason("refused", text, path, source)
                break
