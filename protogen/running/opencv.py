"""OpenCV's own Caffe reader (OpenCV 4; version 5 has none) as an independent witness.

It was run over small nets with known numbers; it is asked only about layers that it has right.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protogen.layers.graph import Graph, Layer
from protogen.toolchains.opencv import reads_right

if TYPE_CHECKING:
    from numpy.typing import NDArray


def doubtful(graph: Graph) -> list[Layer]:
    """Layers that OpenCV's reader lacks or is known to get wrong."""
    return [layer for layer in graph.layers if not reads_right(layer)]


def outputs(
    prototxt: str | Path,
    caffemodel: str | Path | None,
    graph: Graph,
    feeds: Mapping[str, NDArray[Any]],
) -> dict[str, NDArray[Any]] | str:
    """What OpenCV computes for the graph's outputs, or a sentence on why it was not asked. The graph
    is the net's, or the part of it that ends at these outputs."""
    try:
        import cv2
    except ImportError:
        return "not installed (pip install 'protogen[opencv]' brings it)"
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        return f"version {cv2.__version__} has no Caffe reader"
    layers = doubtful(graph)
    if layers:
        return f"not asked: it is not to be trusted with {layers[0].subject}"
    makers = {write: layer.name for layer in graph.layers for write in layer.writes}
    names = [name for name in graph.outputs if name not in graph.inputs]
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
