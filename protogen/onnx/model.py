"""Conversion of a Program to ``onnx`` objects, and the checks of the onnx package."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import onnx
from onnx import ModelProto, TensorProto, ValueInfoProto, helper

from protogen._version import __version__
from protogen.errors import UnsupportedError
from protogen.formats.mapped import release_arrays
from protogen.onnx.program import TYPES, Node, Program, Tensor, Value, free_name

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx.model_container import ModelContainer

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
            advice="Write it to a file with pg.convert, which stores the weights in a separate file, or use "
            "pg.to_onnx(net, mapped=True).",
        )
    model = model_without_tensors(program, program.inputs)
    constants = {name: model.graph.initializer.add() for name in program.tensors}
    # protobuf copies the bytes of a constant: the largest is copied first, while the rest of the model takes
    # no memory.
    for name, tensor in sorted(program.tensors.items(), key=lambda item: -item[1].size):
        array = tensor.array()
        raw = array.tobytes()
        release_arrays([array])
        constants[name].MergeFrom(header(name, tensor))
        constants[name].raw_data = raw
        del array, raw
    return model


def to_container(program: Program) -> ModelContainer:
    """Convert the program to a model whose large constants stay where they are: views of the mapped
    caffemodel, or arrays in memory.

    Returns:
        The onnx package's class for such models. Its ``save`` writes the model and its external data, its
        ``large_initializers`` are the arrays.
    """
    from onnx.model_container import ModelContainer

    large = {name: one for name, one in program.tensors.items() if _is_large(one)}
    model = model_without_tensors(program, program.inputs)
    for name, tensor in program.tensors.items():
        constant = header(name, tensor) if name in large else proto(name, tensor)
        if name in large:
            constant.data_location = TensorProto.EXTERNAL
            constant.external_data.add(key="location", value=_location(name))
        model.graph.initializer.append(constant)
    container = ModelContainer()
    container.model_proto = model
    container.set_large_initializers({_location(n): one.array() for n, one in large.items()})
    return container


def _location(name: str) -> str:
    """Return the location of external data that is an array in memory, as the onnx package marks it."""
    return f"#{name}"


def to_model_with_inputs(program: Program) -> tuple[ModelProto, dict[str, NDArray[Any]]]:
    """Convert the program to a model whose large constants are inputs, and return the arrays of these.

    onnxruntime copies constants at least once; inputs it reads where they are, but it cannot prepare
    them for many runs.
    """
    model, large = _large_as_inputs(program)
    return model, {name: one.array() for name, one in large.items()}


def _large_as_inputs(program: Program) -> tuple[ModelProto, dict[str, Tensor]]:
    """Return a model whose large constants are inputs of the same shape, and these constants."""
    large = {name: one for name, one in program.tensors.items() if _is_large(one)}
    added = [Value(name, one.shape, TYPES[one.dtype]) for name, one in large.items()]
    model = model_without_tensors(program, [*program.inputs, *added])
    small = ((name, one) for name, one in program.tensors.items() if name not in large)
    model.graph.initializer.extend(proto(name, one) for name, one in small)
    return model, large


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
    check_model(_large_as_inputs(program)[0])


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
