"""ONNX models in memory whose large constants are arrays, which are never copied into the model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnx import GraphProto, TensorProto, helper

from protogen.onnx.passes.sorting import inner_graphs, reads
from protogen.onnx.soundness import parsed

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto


@dataclass(frozen=True, eq=False)
class ArrayModel:
    """A model whose large constants are arrays.

    Attributes:
        model: the model. The initializers of the arrays are there without values.
        arrays: the values of these initializers by name.
        name: the name of the model in messages.
    """

    model: ModelProto
    arrays: Mapping[str, NDArray[Any]]
    name: str


def array_model(raw: bytes, arrays: Mapping[str, NDArray[Any]], name: str) -> ArrayModel:
    """Return the model of these bytes, which lacks some of its constants, together with their arrays.

    Documentation and metadata of operators are dropped: they can be larger than the rest.

    Args:
        raw: an encoded model. The constants of ``arrays`` are inputs of its graph, or nothing.
        arrays: values by the names of constants. Those that no operator reads are left out.
        name: the name of the model and of its graph.

    Raises:
        InputError: the bytes are not an ONNX model.
    """
    model = parsed(raw, name)
    graph = model.graph
    graph.name = name
    inputs = [value for value in graph.input if value.name not in arrays]
    del graph.input[:]
    graph.input.extend(inputs)
    for node in graph.node:
        node.ClearField("doc_string")
        del node.metadata_props[:]
    read = {name for node in graph.node for name in reads(node)} | {
        one.name for one in graph.output
    }
    arrays = {key: array for key, array in arrays.items() if key in read}
    for key, array in arrays.items():
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        graph.initializer.append(TensorProto(name=key, dims=array.shape, data_type=kind))
    return ArrayModel(model, arrays, name)


def name_of(model: str | Path | ModelProto | ArrayModel) -> str:
    """Return the name of a model in messages: its path; empty for a model in memory without a name."""
    if isinstance(model, ArrayModel):
        return model.name
    return str(model) if isinstance(model, (str, Path)) else ""


def rename(graph: GraphProto, values: Mapping[str, str], operators: Mapping[str, str]) -> None:
    """Rename values and operators of a graph, in place; inner graphs read the values by their new names.

    Args:
        values: new names of values by the old ones.
        operators: new names of operators, by the old name of their first output.
    """
    for node in graph.node:
        node.name = operators.get(next(iter(node.output), ""), node.name)
    _rename_values(graph.node, values)
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.name = values.get(value.name, value.name)


def _rename_values(nodes: Iterable[NodeProto], values: Mapping[str, str]) -> None:
    for node in nodes:
        for names in (node.input, node.output):
            names[:] = [values.get(name, name) for name in names]
        for inner in inner_graphs(node):
            _rename_values(inner.node, values)
            for value in inner.output:
                value.name = values.get(value.name, value.name)


def remove_outputs(graph: GraphProto, count: int) -> list[str]:
    """Remove the outputs after the first ones, in place, and the operators that only copy values to them;
    returns the values that were copied.

    Args:
        graph: the graph.
        count: the number of outputs that stay.
    """
    removed = [value.name for value in graph.output[count:]]
    del graph.output[count:]
    copied = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Identity"}
    sources = []
    for name in removed:
        while name in copied:
            name = copied[name]
        sources.append(name)
    read = {name for node in graph.node for name in reads(node)}
    read.update(value.name for value in graph.output)
    unread = {name for name in removed if name in copied and name not in read}
    nodes = [node for node in graph.node if not unread.intersection(node.output)]
    del graph.node[:]
    graph.node.extend(nodes)
    return sources


def separate_outputs(graph: GraphProto) -> list[str]:
    """Give a value of its own, in place, to each output that is an input or the same as an output before it;
    returns the new values."""
    copies = []
    known = {value.name for value in graph.input}
    for index, value in enumerate(graph.output):
        if value.name in known:
            copies.append(f"{value.name}/output{index}")
            graph.node.add(
                op_type="Identity", name=copies[-1], input=[value.name], output=copies[-1:]
            )
            value.name = copies[-1]
        known.add(value.name)
    return copies
