"""Decides what layers compute whose type has a meaning of its own in several forks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from protogen.errors import UnsupportedError
from protogen.formats.message import Message
from protogen.formats.prototxt import Document
from protogen.formats.schema.dialect import in_words
from protogen.layers import LayerType, kind_of
from protogen.layers.graph import Layer


def decided(net: Message, layers: Sequence[Layer]) -> list[Layer]:
    """Return the layers of a net. A layer that forks compute differently, and of which neither the net
    nor the user tells the fork, gets a dialect if all dialects that the net can be of compute it the
    same. Otherwise it gets their names, for the error of ``check_decided``."""
    open_ = [i for i, layer in enumerate(layers) if not layer.dialect and _is_open(layer)]
    result = list(layers)
    if not open_:
        return result
    from protogen.toolchains.detection import detect

    original = net.original if isinstance(net, Document) and net.original else net
    possible = detect(original).possible
    for i in open_:
        result[i] = _decided(layers[i], possible)
    return result


def _is_open(layer: Layer) -> bool:
    """Return whether forks compute a layer differently and nothing tells the fork."""
    kind = kind_of(layer)
    if kind is None or type(kind).decide is LayerType.decide:
        return False
    try:
        kind.decide(layer)
    except UnsupportedError:
        return True
    return False


def _decided(layer: Layer, possible: Sequence[str]) -> Layer:
    kind = kind_of(layer)
    assert kind is not None
    meanings: dict[str, str] = {}
    for name in possible:
        trial = replace(layer, dialect=name)
        if _is_open(trial):
            return replace(layer, candidates=tuple(possible))
        meanings.setdefault(kind.meaning(trial), name)
    if len(meanings) == 1:
        return replace(layer, dialect=next(iter(meanings.values())))
    return replace(layer, candidates=tuple(possible))


def check_decided(layer: Layer) -> None:
    """Check that it is clear what a layer computes; see ``LayerType.decide``.

    Raises:
        UnsupportedError: forks compute different things, and the net can be of several of them.
    """
    kind = kind_of(layer)
    if kind is None:
        return
    try:
        kind.decide(layer)
    except UnsupportedError as error:
        if not layer.candidates:
            raise
        words = in_words(layer.candidates)
        advice = f"{error.diagnostic.advice} By its types and fields the net can be of {words}."
        raise error.with_parts(advice=advice.strip()) from None
