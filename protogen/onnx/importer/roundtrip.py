"""Import of Caffe layers that the model's round-trip metadata holds (see ``onnx.metadata``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from protogen.formats import prototxt
from protogen.layers import LayerType
from protogen.onnx.importer.forms import reshaped

if TYPE_CHECKING:
    from protogen.onnx.importer.context import ImportContext


def restore_layer(ctx: ImportContext, *bottoms: str, layer: str, shapes: Sequence[int]) -> None:
    """Add the Caffe layer whose prototxt is ``layer``.

    Args:
        ctx: the import.
        bottoms: values that the layer reads. Each is reshaped to its original shape.
        layer: the prototxt of the layer.
        shapes: the original shapes, one after the other: rank, then lengths.
    """
    (message,) = prototxt.parse(layer, "the model's metadata").layer
    kind = LayerType.registry.get(message.type)
    if kind is None or not (kind.stock or message.type in ctx.forks):
        raise ctx.unsupported(
            f"{message.type} is a layer of Caffe forks", "Choose the fork with --dialect."
        )
    numbers = list(shapes)
    reads = []
    for i, bottom in enumerate(bottoms):
        rank = numbers.pop(0)
        shape = tuple(numbers[:rank])
        del numbers[:rank]
        reads.append(reshaped(ctx, bottom, shape, f"bottom{i}"))
    params = {item.name: item.value for item in message.fields if item.name not in ("name", "type")}
    ctx.add(message.type, reads, params)
