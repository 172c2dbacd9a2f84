"""Replaces an If whose condition is a constant by the operators of its branch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from onnx import GraphProto, NodeProto, helper

from protogen.onnx.passes.inlining import copied, produced

if TYPE_CHECKING:
    from numpy.typing import NDArray


def take_branches(
    nodes: Iterable[NodeProto], constants: Mapping[str, NDArray[Any]]
) -> tuple[list[NodeProto], int]:
    """Return the nodes without each If whose condition is known, and the number of these. The outputs
    of the branch get the names of the outputs of the If. An If inside of a branch is replaced in the
    next call."""
    result: list[NodeProto] = []
    taken = 0
    for node in nodes:
        condition = constants.get(node.input[0]) if node.op_type == "If" and node.input else None
        if condition is None or condition.size != 1 or node.domain not in ("", "ai.onnx"):
            result.append(node)
            continue
        key = "then_branch" if condition.reshape(-1)[0] else "else_branch"
        branch = next((one.g for one in node.attribute if one.name == key), None)
        result += [node] if branch is None else _inlined(node, branch)
        taken += branch is not None
    return result, taken


def _inlined(node: NodeProto, branch: GraphProto) -> list[NodeProto]:
    inside = produced(branch)
    names = {
        one.name: output
        for one, output in zip(branch.output, node.output, strict=False)
        if one.name in inside
    }
    nodes = copied(branch, names)
    # An output that is a value from outside of the branch, or that has two names.
    for one, output in zip(branch.output, node.output, strict=False):
        name = names.get(one.name, one.name)
        if name != output:
            nodes.append(helper.make_node("Identity", [name], [output]))
    return nodes
