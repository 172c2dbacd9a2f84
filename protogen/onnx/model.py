"""Conversion of a Program to ``onnx`` objects, and the checks of the onnx package."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import onnx
from onnx import ModelProto, TensorProto, ValueInfoProto, helper

from protogen._version import __version__
from protogen.errors import UnsupportedError
from protogen.onnx.program import TYPES, Node, Program, Tensor, Value, free_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

INLINE = 1024  # bytes: smaller constants may be shapes or axes, which shape inference reads
LIMIT = 2**31 - 1  # bytes: the largest protobuf message


def to_model(program: Program) -> ModelProto:
    """Convert the program to a model in memory.

    Raises:
        UnsupportedError: the weights take more than protobuf's limit of 2 GiB.
    """
    total = program.weight_bytes
    if total > LIMIT - 2**20:
        raise UnsupportedError(
            f"the weights take {total / 2**30:.1f} GiB, but a model in memory can hold at most 2 GiB",
            subject=f'net "{program.name}"',
            advice="Write it to a file with pg.convert, which stores the weights in a separate file.",
        )
    model = model_without_tensors(program, program.inputs)
    model.graph.initializer.extend(proto(name, t) for name, t in program.tensors.items())
    return model


def to_external_model(
    program: Program, *, as_inputs: bool = False
) -> tuple[ModelProto, dict[str, NDArray[Any]]]:
    """Convert the program to a model whose large constants are not in the model.

    Args:
        as_inputs: make the large constants inputs of the model. onnxruntime copies constants at least
            once; inputs it reads where they are, but it cannot prepare them for many runs.

    Returns:
        The model and the arrays of the large constants by name: external initializers, which onnxruntime
        takes with ``SessionOptions.add_external_initializers``, or inputs.
    """
    large = {name: one for name, one in program.tensors.items() if _is_large(one)}
    added = [Value(name, one.shape, TYPES[one.dtype]) for name, one in large.items()]
    model = model_without_tensors(
        program, [*program.inputs, *added] if as_inputs else program.inputs
    )
    arrays: dict[str, NDArray[Any]] = {}
    for name, tensor in program.tensors.items():
        if name not in large:
            model.graph.initializer.append(proto(name, tensor))
            continue
        arrays[name] = tensor.array()
        if not as_inputs:
            initializer = header(name, tensor)
            initializer.data_location = TensorProto.EXTERNAL
            initializer.external_data.add(key="location", value="weights")
            model.graph.initializer.append(initializer)
    return model, arrays


def model_without_tensors(program: Program, inputs: Iterable[Value]) -> ModelProto:
    """Build the model without its constants (initializers)."""
    used_names: set[str] = set()
    blobs = set(program.shapes)
    imports = [helper.make_opsetid("", program.opset)]
    graph = helper.make_graph(
        [node.proto(free_name(_node_name(node, blobs), used_names)) for node in program.nodes],
        program.name,
        [_info(value) for value in inputs],
        [_info(value) for value in program.outputs],
    )
    model: ModelProto = helper.make_model(
        graph,
        opset_imports=imports,
        ir_version=helper.find_min_ir_version_for(imports),
        producer_name="protogen",
        producer_version=__version__,
    )
    helper.set_model_props(model, dict(program.metadata))
    return model


def check(program: Program) -> None:
    """Run ONNX's full check and strict shape inference without loading the weights.

    Large constants are replaced by inputs of the same shape.

    Raises:
        onnx.checker.ValidationError, onnx.shape_inference.InferenceError: protogen built an
            invalid model, which is a bug in protogen.
    """
    large = {name: t for name, t in program.tensors.items() if _is_large(t)}
    stand_ins = [Value(name, t.shape, TYPES[t.dtype]) for name, t in large.items()]
    model = model_without_tensors(program, [*program.inputs, *stand_ins])
    small = ((name, t) for name, t in program.tensors.items() if name not in large)
    model.graph.initializer.extend(proto(name, t) for name, t in small)
    check_model(model)


def _is_large(tensor: Tensor) -> bool:
    """Whether a constant is kept apart from the model. Integers are shapes, axes and lengths, which shape
    inference and onnxruntime read while they load the model."""
    return tensor.size > INLINE and tensor.dtype.startswith("float")


def check_model(model: ModelProto) -> None:
    """Run ONNX's full check and strict shape inference on a whole model."""
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)


def encode(model: ModelProto) -> bytes:
    """Serialize a model after ONNX's full check and strict shape inference.

    Raises:
        onnx.checker.ValidationError, onnx.shape_inference.InferenceError: protogen built an
            invalid model, which is a bug in protogen.
    """
    check_model(model)
    raw: bytes = model.SerializeToString(deterministic=True)
    return raw


def proto(name: str, tensor: Tensor) -> TensorProto:
    """Return the constant as a TensorProto with its values."""
    tensor_proto = header(name, tensor)
    tensor_proto.raw_data = tensor.array().tobytes()
    return tensor_proto


def header(name: str, tensor: Tensor) -> TensorProto:
    """Return the constant as a TensorProto without its values."""
    return TensorProto(name=name, dims=tensor.shape, data_type=TYPES[tensor.dtype])


def exposing(program: Program, names: Iterable[str]) -> Program:
    """Return the program with these inner blobs as additional outputs.

    Blobs that folding has removed are skipped.
    """
    fixed = program.interface
    computed = {write for node in program.nodes for write in node.writes}
    added = [Value(n, program.shapes[n]) for n in names if n not in fixed and n in computed]
    return replace(program, outputs=[*program.outputs, *added])


def _node_name(node: Node, blobs: set[str]) -> str:
    """Return the Caffe layer's name if the operator produces a blob of the net.

    Any other operator gets the name of its first output, which contains the layer's name.
    """
    return node.layer if node.layer and blobs.intersection(node.writes) else node.writes[0]


def _info(value: Value) -> ValueInfoProto:
    info: ValueInfoProto = helper.make_tensor_value_info(value.name, value.elem_type, value.shape)
    return info
