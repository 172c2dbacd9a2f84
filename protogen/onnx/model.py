"""Programs as ONNX's own objects, and ONNX's checks of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import onnx
from onnx import ModelProto, TensorProto, ValueInfoProto, helper

from protogen._version import __version__
from protogen.errors import UnsupportedError
from protogen.onnx.program import TYPES, Node, Program, Tensor, Value, free_name

INLINE = 1024  # bytes: smaller constants may be shapes or axes, which inference has to see
LIMIT = 2**31 - 1  # protobuf's largest message


def to_model(program: Program) -> ModelProto:
    """The program as a model in memory.

    Raises:
        UnsupportedError: it would pass 2 GiB.
    """
    total = program.weight_bytes
    if total > LIMIT - 2**20:
        raise UnsupportedError(
            f"its weights take {total / 2**30:.1f} GiB, but a model in memory 2 GiB at most",
            subject=f'net "{program.name}"',
            advice="Write it to a file with pg.convert: weights then stand beside it.",
        )
    model = hollow(program, program.inputs)
    model.graph.initializer.extend(proto(name, t) for name, t in program.tensors.items())
    return model


def hollow(program: Program, inputs: Iterable[Value]) -> ModelProto:
    """The model without any constants."""
    taken: set[str] = set()
    blobs = set(program.shapes)
    imports = [helper.make_opsetid("", program.opset)]
    graph = helper.make_graph(
        [node.proto(free_name(_node_name(node, blobs), taken)) for node in program.nodes],
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
    """ONNX's full check and strict shape inference, without the memory that weights take: large
    constants stand in as inputs of their shape.

    Raises:
        onnx.checker.ValidationError, onnx.shape_inference.InferenceError: protogen's own fault.
    """
    large = {name: t for name, t in program.tensors.items() if t.size > INLINE}
    stand_ins = [Value(name, t.shape, TYPES[t.dtype]) for name, t in large.items()]
    model = hollow(program, [*program.inputs, *stand_ins])
    small = (item for item in program.tensors.items() if item[0] not in large)
    model.graph.initializer.extend(proto(name, t) for name, t in small)
    check_model(model)


def check_model(model: ModelProto) -> None:
    """ONNX's full check and strict shape inference of a whole model."""
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)


def encode(model: ModelProto) -> bytes:
    """The bytes of a model after ONNX's full check and strict shape inference.

    Raises:
        onnx.checker.ValidationError, onnx.shape_inference.InferenceError: protogen's own fault.
    """
    check_model(model)
    raw: bytes = model.SerializeToString(deterministic=True)
    return raw


def proto(name: str, tensor: Tensor) -> TensorProto:
    made = header(name, tensor)
    made.raw_data = tensor.array().tobytes()
    return made


def header(name: str, tensor: Tensor) -> TensorProto:
    """A TensorProto without its values."""
    return TensorProto(name=name, dims=tensor.shape, data_type=TYPES[tensor.dtype])


def exposing(program: Program, names: Iterable[str]) -> Program:
    """The program with inner blobs as outputs too, those that folding has left."""
    known = program.kept
    made = {write for node in program.nodes for write in node.writes}
    more = [Value(n, program.shapes[n]) for n in names if n not in known and n in made]
    return replace(program, outputs=[*program.outputs, *more])


def _node_name(node: Node, writes: set[str]) -> str:
    """The Caffe layer's name where the operator makes one of the net's blobs; else that of the
    value, which bears the layer's name too."""
    return node.layer if node.layer and writes.intersection(node.writes) else node.writes[0]


def _info(value: Value) -> ValueInfoProto:
    info: ValueInfoProto = helper.make_tensor_value_info(value.name, value.elem_type, value.shape)
    return info
