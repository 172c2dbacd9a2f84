"""OpenCV's own Caffe reader (OpenCV 4; version 5 has none) as an independent witness.

It was run over small nets with known numbers; it is asked only about layers that it has right.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protogen.layers.graph import Layer
from protogen.toolchains.opencv import reads_right

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from protogen.net.net import Net


def doubtful(net: Net) -> list[Layer]:
    """Layers that OpenCV's reader lacks or is known to get wrong."""
    return [layer for layer in net.layers if not reads_right(layer)]


def outputs(
    prototxt: str | Path,
    caffemodel: str | Path | None,
    net: Net,
    feeds: Mapping[str, NDArray[Any]],
) -> dict[str, NDArray[Any]] | str:
    """What OpenCV computes for the net's outputs, or a sentence on why it was not asked."""
    try:
        import cv2
    except ImportError:
        return "not installed (pip install 'protogen[opencv]' brings it)"
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        return f"version {cv2.__version__} has no Caffe reader"
    layers = doubtful(net)
    if layers:
        return f"not asked: it is not to be trusted with {layers[0].subject}"
    makers = {write: layer.name for layer in net.layers for write in layer.writes}
    names = [name for name in net.outputs if name not in net.inputs]
    try:
        read = cv2.dnn.readNetFromCaffe(
            str(prototxt), *([str(caffemodel)] if caffemodel is not None else [])
        )
        for name, array in feeds.items():
            read.setInput(array, name)
        found = read.forward([makers[name] for name in names])
    except cv2.error as error:
        return f"it failed: {' '.join(str(error).split())}"
    return dict(zip(names, found, strict=True))
