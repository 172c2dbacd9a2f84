"""Which layers of a Caffe net convert to ONNX, without writing a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from protogen.errors import UnsupportedError
from protogen.layers.graph import cut
from protogen.net.cutting import begin
from protogen.net.net import Net, load
from protogen.onnx.exporter.export import check_views, default_outputs, emitted, meaning_errors
from protogen.onnx.verdict import Verdict

if TYPE_CHECKING:
    from protogen.geometry import Shape
    from protogen.net.build import Reading


def check_caffe(
    prototxt: str | Path,
    caffemodel: str | Path | None = None,
    *,
    opset: int = 18,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    input_shapes: Mapping[str, Shape] | None = None,
    **reading: Unpack[Reading],
) -> list[Verdict]:
    """One verdict for each layer of a net: the ONNX operators that it becomes, or the reason why it
    does not convert.

    Args:
        prototxt: the net, in any of Caffe's formats.
        caffemodel: its weights; None checks the layers without their values.
        opset: ONNX operator set.
        inputs: blobs that become inputs; only the layers after them are checked.
        outputs: blobs; only the layers that they depend on are checked.
        input_shapes: see ``pg.convert``.
        reading: see ``pg.convert``.

    Raises:
        InputError: a file or an option is wrong.
    """
    net = load(prototxt, caffemodel, input_shapes=input_shapes, **reading)
    net = begin(net, inputs, outputs)
    if caffemodel is None:
        use_blank_weights(net)
    graph = cut(net.graph, outputs or default_outputs(net.graph))
    emitter, unsupported = emitted(net, graph, opset)
    errors = [*meaning_errors(graph), *unsupported]
    try:
        check_views(net, graph)
    except UnsupportedError as error:
        errors.append(error)
    reasons: dict[str, str] = {}
    for one in (diagnostic for error in errors for diagnostic in error.diagnostics):
        reasons.setdefault(one.layer, one.message.rstrip("."))
    operators: dict[str, dict[str, int]] = {}
    for node in emitter.nodes:
        counts = operators.setdefault(node.layer, {})
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return [
        Verdict(
            layer.type,
            layer.name,
            (layer.tops or ("",))[0],
            "refused" if layer.name in reasons else "converts",
            reasons.get(layer.name) or _text(operators.get(layer.name, {})),
        )
        for layer in graph.layers
    ]


def _text(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {name}" if n > 1 else name for name, n in counts.items())


def use_blank_weights(net: Net) -> None:
    """Give a net weights of ones that take no memory, to look at its layers only."""
    import numpy as np

    one: Any = np.float32(1)
    for layer, shapes in net.parameter_shapes.items():
        if shapes:
            net.weights[layer] = [np.broadcast_to(one, shape) for shape in shapes]
