"""Finds which dialects of Caffe a net can be of, from a file or a net in memory."""

from __future__ import annotations

import warnings
from pathlib import Path

from protogen.errors import InputError, ProtogenWarning
from protogen.formats import prototxt, wire
from protogen.formats.mapped import map_file
from protogen.formats.message import Message
from protogen.formats.prototxt import Document
from protogen.formats.schema.dialect import BVLC, in_words
from protogen.layers import LayerType
from protogen.net.net import Net
from protogen.toolchains.detection import Detection, detect


def dialects_of(net: str | Path | Net | Message) -> Detection:
    """Return the dialects of Caffe that a net can be of: those that register every layer type of it, and
    whose parser has every field and value that it sets.

    Args:
        net: the path of a prototxt or of a caffemodel (or another binary NetParameter), a Net, or a
            NetParameter.

    Raises:
        InputError: the file is missing, damaged or invalid, or has no layers.
    """
    if isinstance(net, Net):
        return detect(original(net.message))
    if isinstance(net, Message):
        return detect(original(net))
    if is_binary(net):
        from protogen.toolchains.binary_detection import detect_binary

        return detect_binary(wire.Bytes(map_file(net), str(net)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ProtogenWarning)  # the detection says what is unknown
        document = prototxt.read(net)
    if not (document.has("layer") or document.has("layers")):
        raise InputError("the net has no layers", where=str(net))
    return detect(document)


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
    return any(
        item.type is None
        or item.type.dialects
        or (item.type.enum is not None and item.value not in item.type.enum.values)
        or (item.type.enum is not None and item.value in item.type.enum.dialects)
        for _, item in layer.walk()
    )


def in_a_sentence(detection: Detection) -> str:
    """Return which dialects a net can be of, for a note."""
    if detection.possible:
        return f"by its layer types and fields, the net can be of {in_words(detection.possible)}"
    lacks = ", ".join(one.text for one in detection.lacks[detection.closest][:2])
    return (
        f"no known Caffe has all of its layer types and fields; {detection.closest} lacks {lacks}"
    )


def original(net: Message) -> Message:
    """Return the net as its file has it, before the upgrade to the current format."""
    return net.original if isinstance(net, Document) and net.original is not None else net


def is_binary(path: str | Path) -> bool:
    """Return whether a file holds a net in binary form: by its first bytes, because a text begins with
    the name of a field."""
    try:
        with Path(path).open("rb") as file:
            start = file.read(4096)
    except OSError:
        return False  # the reader says why it cannot be read
    return b"\0" in start or any(byte < 9 for byte in start[:64])
