"""Names of an exported model's operators and values after the modules that compute them.

What a module without parts returns has the module's path, such as ``layer1.0.conv1``. Other operators
have the path of the module whose ``forward`` calls the function, and the function: ``layer1.0.add``.
A further call of the same module gets a number: ``layer1.0.relu_2``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from protogen.layers.graph import free_name
from protogen.onnx.arrays import rename
from protogen.onnx.flow import fed_by_inputs, steps
from protogen.pytorch.exporting import Exported


@dataclass(frozen=True)
class Named:
    """Values of a model that a module and its parts return.

    Attributes:
        returned: the path of a part and the value that it returns, in the order of the calls.
        outputs: the outputs of the model.
    """

    returned: Sequence[tuple[str, str]]
    outputs: tuple[str, ...]

    @property
    def modules(self) -> dict[str, list[str]]:
        """What each part returns, by its path."""
        modules: dict[str, list[str]] = defaultdict(list)
        for path, name in self.returned:
            modules[path].append(name)
        return modules


def name_after_modules(
    exported: Exported,
    inputs: Sequence[str],
    outputs: Sequence[str],
    first_paths: Mapping[str, str],
) -> Named:
    """Rename the values and operators of a model after the module's parts, in place.

    Args:
        exported: the model.
        inputs: the names of its inputs.
        outputs: names of its outputs; an empty name stands for the name after the module.
        first_paths: the first path of a part, by each of its paths.
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
    calls: dict[str, list[str | None]] = defaultdict(list)
    for node in nodes:
        reader = origins.get(node.writes[0])
        for name in node.reads:
            calls[name].append(reader.call if reader else None)
    for name in ends:
        calls[name].append(None)
    inner_parts = {path.rpartition(".")[0] for path in first_paths}
    leaf_of: dict[str, str] = {}
    returned = {name for _, name in exported.returned}
    for path, name in exported.returned:
        origin = of_value.get(name)
        if path not in inner_parts and origin and first_paths.get(origin.module) == path:
            leaf_of.setdefault(name, path)
    used = {tensor.name for tensor in graph.initializer} | set(inputs) | set(filter(None, outputs))
    olds = [value.name for value in graph.input]
    values = dict(zip(olds, inputs, strict=True))
    for name, new in zip(ends, outputs, strict=True):
        if new and name not in values:
            values[name] = new
    operators: dict[str, str] = {}
    for node in nodes:
        for index, name in enumerate(node.writes):
            origin = of_value.get(name)
            if origin is not None and name not in values:
                base = leaf_of.get(name) or f"{origin.module}.{origin.function}".strip(".")
                inner = calls[name] and all(one == origin.call for one in calls[name])
                if inner and name not in returned:
                    base += f".{node.op_type.lower()}"  # an inner step of the function
                values[name] = free_name(base, used, "_")
            if index == 0 and origin is not None:
                operators[name] = values[name]
    for step in steps(exported.model.model):
        for name in step.writes:
            if name not in values and name in used:  # a constant, or of an unknown origin
                values[name] = free_name(name, used, "_")
    rename(graph, values, operators)
    return Named(
        [(path, values.get(name, name)) for path, name in exported.returned],
        tuple(values.get(name, name) for name in ends),
    )
