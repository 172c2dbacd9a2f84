"""Whether a net uses layer types, fields or values of forks, and the dialects that it can then be of."""

from __future__ import annotations

from protogen.formats.message import Message
from protogen.formats.prototxt import Document
from protogen.formats.schema.dialect import BVLC, in_words
from protogen.layers import LayerType
from protogen.toolchains.detection import Detection, detect


def of_forks(net: Message) -> Detection | None:
    """Return the dialects of a net that uses a layer type, a field or a value of forks; None for a net
    of BVLC Caffe. What no dialect has, such as a misspelt name, is left out."""
    own = original(net)
    if not any(_is_of_forks(item.value) for name in ("layer", "layers") for item in own.all(name)):
        return None
    detection = detect(own, skip_unknown=True)
    return None if BVLC in detection.possible else detection


def _is_of_forks(layer: Message) -> bool:
    """Return whether a layer has a type that BVLC Caffe lacks, or sets a field that it lacks."""
    kind = LayerType.registry.get(str(layer.type)) if layer.has("type") else None
    modern = layer.kind is not None and layer.kind.name == "LayerParameter"
    if modern and (kind is None or not kind.stock):
        return True
    return _has_fields_of_forks(layer)


def _has_fields_of_forks(message: Message) -> bool:
    """Return whether a field at any depth, or its value, is not of BVLC Caffe."""
    inner = [message]
    while inner:
        for item in inner.pop().fields:
            known, value = item.type, item.value
            if known is None or known.dialects:
                return True
            if isinstance(value, Message):
                inner.append(value)
            elif (enum := known.enum) is not None and (
                value not in enum.values or value in enum.dialects
            ):
                return True
    return False


def original(net: Message) -> Message:
    """Return the net as its file has it, before the upgrade to the current format."""
    return net.original if isinstance(net, Document) and net.original is not None else net


def in_a_sentence(detection: Detection) -> str:
    """Return which dialects a net can be of, for a note."""
    if detection.possible:
        return f"by its layer types and fields, the net can be of {in_words(detection.possible)}"
    lacks = ", ".join(one.text for one in detection.lacks[detection.closest][:2])
    return (
        f"no known Caffe has all of its layer types and fields; {detection.closest} lacks {lacks}"
    )
