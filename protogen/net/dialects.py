"""Finds which dialects of Caffe a net can be of, from a file or a net in memory."""

from __future__ import annotations

import warnings
from pathlib import Path

from protogen.errors import InputError, ProtogenWarning
from protogen.formats import contents, files, prototxt, wire
from protogen.formats.mapped import map_file
from protogen.formats.message import Message
from protogen.net.forks import original
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
    contents.check_file(net, "a net in any form")
    if is_binary(net):
        from protogen.toolchains.binary_detection import detect_binary

        return detect_binary(wire.Bytes(map_file(net), str(net)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ProtogenWarning)  # the detection says what is unknown
        document = prototxt.read(net)
    if not (document.has("layer") or document.has("layers")):
        raise InputError("the net has no layers", where=str(net))
    return detect(document)


def is_binary(path: str | Path) -> bool:
    """Return whether a file holds a net in binary form: by its first bytes, because a text begins with
    the name of a field."""
    try:
        with files.opened(path) as file:
            start = file.read(4096)
    except OSError:
        return False  # the reader says why it cannot be read
    return b"\0" in start or any(byte < 9 for byte in start[:64])
