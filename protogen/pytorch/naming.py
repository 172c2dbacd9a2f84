"""Names of an exported model's operators and values after the modules that compute them.

What a module without parts returns has the module's path, such as ``layer1.0.conv1``. Other operators
have the path of the module whose ``forward`` calls the function, and the function: ``layer1.0.add``.
A further call of the same module gets a number: ``layer1.0.relu_2``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from protogen.layers.graph import free_name
from protogen.onnx.arrays import rename
from protogen.onnx.flow import Step, fed_by_inputs, steps
from protogen.pytorch.exporting import Exported, Origin


@dataclass(frozen=True)
class Named:
    """Values of a model that modules return.

    Attributes:
        modules: the values that leave each module, by its path, in the order in which they are computed.
        leaves: of these the values of modules without parts.
        outputs: the outputs of the model.
    """

    modules: Mapping[str, tuple[str, ...]]
    leaves: Mapping[str, tuple[str, ...]]
    outputs: tuple[str, ...]


def name_after_modules(
    exported: Exported, inputs: Sequence[str], outputs: Sequence[str], leaves: set[str]
) -> Named:
    """Rename the values and operators of a model after the module's parts, in place.

    Args:
        exported: the model.
        inputs: the names of its inputs.
        outputs: names of its outputs; an empty name stands for the name after the module.
        leaves: the paths of modules without parts.
    """
    graph = exported.model.model.graph
    # The other operators compute constants, which several modules may share.
    fed, origins = fed_by_inputs(exported.model.model), exported.origins
    nodes = [one for one in steps(exported.model.model) if fed.intersection(one.writes)]
    of_value = {
        name: origin
        for node in nodes
        if (origin := origins.get(node.writes[0])) is not None
        for name in node.writes
    }
    ends = [value.name for value in graph.output]
    readers: dict[str, list[Origin | None]] = defaultdict(list)
    for node in nodes:
        for name in node.reads:
            readers[name].append(origins.get(node.writes[0]))
    for name in ends:
        readers[name].append(None)
    used = {tensor.name for tensor in graph.initializer} | set(inputs) | set(filter(None, outputs))
    olds = [value.name for value in graph.input]
    values = dict(zip(olds, inputs, strict=True))
    for name, new in zip(ends, outputs, strict=True):
        if new and name not in values:
            values[name] = new
    operators: dict[str, str] = {}
    for node in nodes:
        _name_operator(node, of_value, readers, leaves, used, values, operators)
    rename(graph, values, operators)
    leaving = _leaving(of_value, readers, leaves)
    renamed = {
        path: tuple(values.get(name, name) for name in names) for path, names in leaving.items()
    }
    return Named(
        renamed,
        {path: names for path, names in renamed.items() if path in leaves},
        tuple(values.get(name, name) for name in ends),
    )


def _name_operator(
    node: Step,
    of_value: Mapping[str, Origin],
    readers: Mapping[str, Sequence[Origin | None]],
    leaves: set[str],
    used: set[str],
    values: dict[str, str],
    operators: dict[str, str],
) -> None:
    """Add the new names of an operator and its outputs."""
    for index, name in enumerate(node.writes):
        origin = of_value.get(name)
        new = values.get(name)
        if origin is not None and new is None:
            base = f"{origin.module}.{origin.function}".strip(".")
            if origin.module in leaves and _leaves_call(origin, readers[name]):
                base = origin.module
            elif all(one is not None and one.call == origin.call for one in readers[name]):
                base += f".{node.op_type.lower()}"  # an inner step of the function
            new = values[name] = free_name(base, used, "_")
        if index == 0 and origin is not None:
            operators[name] = new or name


def _leaves_call(origin: Origin, readers: Iterable[Origin | None]) -> bool:
    """Return whether a value is read outside of the call of the module that computes it."""
    return any(one is None or one.instance != origin.instance for one in readers)


def _leaves_module(path: str, readers: Iterable[Origin | None]) -> bool:
    """Return whether a value that a module computes is read outside of it."""
    inner = f"{path}." if path else ""
    return any(
        one is None or not (one.module == path or one.module.startswith(inner)) for one in readers
    )


def _leaving(
    of_value: Mapping[str, Origin],
    readers: Mapping[str, Sequence[Origin | None]],
    leaves: set[str],
) -> dict[str, list[str]]:
    """Return the values that leave each module, by its path."""
    leaving: dict[str, list[str]] = defaultdict(list)
    for name, origin in of_value.items():
        parts = origin.module.split(".") if origin.module else []
        if origin.module in leaves and _leaves_call(origin, readers[name]):
            leaving[origin.module].append(name)
            parts.pop()
        for end in range(len(parts), 0, -1):
            path = ".".join(parts[:end])
            if not _leaves_module(path, readers[name]):
                break
            leaving[path].append(name)
    return leaving
