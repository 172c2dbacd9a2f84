"""Replaces CastLike by Cast where the type is known, so that constants can be folded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from onnx import NodeProto, TensorProto, helper

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from protogen.geometry import Shape


def cast_explicitly(
    nodes: Sequence[NodeProto],
    constants: Mapping[str, NDArray[Any]],
    shapes: Mapping[str, Shape],
    kinds: Mapping[str, str],
) -> list[NodeProto]:
    """Return the operators with a Cast in place of each CastLike whose type is known.

    Args:
        constants: arrays by value.
        shapes: shapes by value, where known.
        kinds: names of element types by value; a value with a shape but without a type is float.
    """

    def element_type(name: str) -> int | None:
        if name in constants:
            return int(helper.np_dtype_to_tensor_dtype(constants[name].dtype))
        if name in kinds:
            return int(TensorProto.DataType.Value(kinds[name]))
        return int(TensorProto.FLOAT) if name in shapes else None

    result = []
    for node in nodes:
        own = node.op_type == "CastLike" and node.domain in ("", "ai.onnx")
        kind = element_type(node.input[1]) if own else None
        if kind is not None:
            cast = NodeProto()
            cast.CopyFrom(node)
            cast.op_type = "Cast"
            del cast.input[1:]
            cast.attribute.append(helper.make_attribute("to", kind))
            node = cast
        result.append(node)
    return result
