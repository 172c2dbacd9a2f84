"""Reference models for comparisons: ONNX's own Resize operator."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from onnx import ModelProto, TensorProto, helper


def resize_model(mode: str, factor: Sequence[int]) -> ModelProto:
    """Return a model with one Resize of ``x`` (N, C, H, W) to ``y`` by integer factors (height, width).

    ``bilinear`` is linear with half_pixel; ``nearest`` is asymmetric with floor.
    """
    attributes = (
        {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        if mode == "bilinear"
        else {
            "mode": "nearest",
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "floor",
        }
    )
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], **attributes)
    scales = [1.0, 1.0, float(factor[0]), float(factor[1])]
    graph = helper.make_graph(
        [node],
        "resize",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None] * 4)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)],
        [helper.make_tensor("scales", TensorProto.FLOAT, [4], scales)],
    )
    imports = [helper.make_opsetid("", 18)]
    return helper.make_model(
        graph, opset_imports=imports, ir_version=helper.find_min_ir_version_for(imports)
    )


def with_outputs(model: ModelProto, blobs: Iterable[str]) -> ModelProto:
    """Return a copy of the model that also outputs the named inner tensors, of four axes each."""
    extended = ModelProto()
    extended.CopyFrom(model)
    outputs = {output.name for output in extended.graph.output}
    for blob in blobs:
        if blob not in outputs:
            extended.graph.output.append(
                helper.make_tensor_value_info(blob, TensorProto.FLOAT, [None] * 4)
            )
    return extended
