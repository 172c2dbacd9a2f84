"""OpenCV's Caffe reader (OpenCV 4; version 5 has none) as an independent cross-check.

The data file of the toolchain opencv4, which was measured, says which layers it computes correctly. It is
used only for these.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protogen.formats import files
from protogen.formats.message import Message
from protogen.formats.schema import message_type
from protogen.layers.graph import Graph, Layer
from protogen.layers.normalization import uses_batch_statistics
from protogen.toolchains.toolchain import load_toolchain
from protogen.toolchains.verdicts import verdicts

if TYPE_CHECKING:
    from numpy.typing import NDArray


def unreliable_layers(graph: Graph) -> list[Layer]:
    """Return the layers that OpenCV's reader does not support or computes incorrectly, or of which
    that is not known."""
    opencv = load_toolchain("opencv4")
    _, *of_layers = verdicts(opencv, graph, Message(message_type("NetParameter")))
    return [
        layer
        for layer, one in zip(graph.layers, of_layers, strict=True)
        if one.verdict not in ("taken", "ignored") or _in_training(layer)
    ]


def _in_training(layer: Layer) -> bool:
    """Return whether the layer uses statistics of the batch; OpenCV takes them of each sample."""
    return layer.type == "BatchNorm" and uses_batch_statistics(layer)


def outputs(
    prototxt: str | Path,
    caffemodel: str | Path | None,
    graph: Graph,
    feeds: Mapping[str, NDArray[Any]],
) -> dict[str, NDArray[Any]] | str:
    """Compute the graph's outputs with OpenCV; return a reason instead if it cannot be used.

    ``graph`` is that of the whole net, or of the part that ends at these outputs.
    """
    try:
        import cv2
    except ImportError:
        return "not installed (run: pip install 'protogen[opencv]')"
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        return f"version {cv2.__version__} has no Caffe reader"
    unreliable = unreliable_layers(graph)
    if unreliable:
        return f"not run: OpenCV does not compute {unreliable[0].subject} reliably"
    producers = {write: layer.name for layer in graph.layers for write in layer.writes}
    names = [name for name in graph.outputs if name not in graph.inputs]
    try:
        net = cv2.dnn.readNetFromCaffe(
            files.regular(prototxt),
            *([files.regular(caffemodel)] if caffemodel is not None else []),
        )
        for name, array in feeds.items():
            net.setInput(array, name)
        arrays = net.forward([producers[name] for name in names])
    except cv2.error as error:
        return f"failed: {' '.join(str(error).split())}"
    return dict(zip(names, arrays, strict=True))
