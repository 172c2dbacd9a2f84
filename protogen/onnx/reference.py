"""Models to compare with: ONNX's own Resize."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from onnx import ModelProto, TensorProto, helper


def resize_model(mode: str, factor: Sequence[int]) -> ModelProto:
    """A model of one Resize of ``x`` (N, C, H, W) to ``y`` by whole factors (height, width).

    ``bilinear`` is linear with half_pixel; ``nearest`` is asymmetric with floor.
    """
    options = (
        {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        if mode == "bilinear"
        else {
            "mode": "nearest",
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "floor",
        }
    )
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], **options)
    values = [1.0, 1.0, float(factor[0]), float(factor[1])]
    graph = helper.make_graph(
        [node],
        "resize",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None] * 4)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)],
        [helper.make_tensor("scales", TensorProto.FLOAT, [4], values)],
    )
    imports = [helper.make_opsetid("", 18)]
    return helper.make_model(
        graph, opset_imports=imports, ir_version=helper.find_min_ir_version_for(imports)
    )


def with_outputs(model: ModelProto, blobs: Iterable[str]) -> ModelProto:
    """The model with inner tensors of four axes as outputs too."""
    made = ModelProto()
    made.CopyFrom(model)
    known = {output.name for output in made.graph.output}
    for blob in blobs:
        if blob not in known:
            made.graph.output.append(
                helper.make_tensor_value_info(blob, TensorProto.FLOAT, [None] * 4)
            )
    return made
