"""Replaces a Compress whose condition is a constant by a Gather, so that its shape is known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from onnx import NodeProto, helper

from protogen.layers.graph import free_name

if TYPE_CHECKING:
    from numpy.typing import NDArray


def gather_compressed(
    nodes: Iterable[NodeProto], constants: dict[str, NDArray[Any]]
) -> tuple[list[NodeProto], int]:
    """Return the nodes without each Compress whose condition is known, and the number of these. The
    indices at which the condition is true become constants."""
    import numpy as np

    nodes = list(nodes)
    used = {name for node in nodes for name in (*node.input, *node.output)} | set(constants)
    result: list[NodeProto] = []
    replaced = 0
    for node in nodes:
        is_compress = node.op_type == "Compress" and node.domain in ("", "ai.onnx")
        condition = constants.get(node.input[1]) if is_compress else None
        if condition is None:
            result.append(node)
            continue
        replaced += 1
        x, (output,) = node.input[0], node.output
        indices = free_name(f"{output}_indices", used)
        constants[indices] = np.flatnonzero(condition)
        axis = next((one.i for one in node.attribute if one.name == "axis"), None)
        if axis is None:
            shape = free_name(f"{output}_shape", used)
            flat = free_name(f"{output}_flat", used)
            constants[shape] = np.array([-1])
            result.append(
                helper.make_node(
                    "Reshape", [x, shape], [flat], name=node.name and f"{node.name}_flat"
                )
            )
            x = flat
        gather = helper.make_node("Gather", [x, indices], [output], name=node.name, axis=axis or 0)
        result.append(gather)
    return result, replaced
