"""``from_onnx``: an ONNX model as a Caffe net that reads as a person would write it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from protogen import prototxt
from protogen.errors import InputError, UnsupportedError, layout
from protogen.lifting.core import Lifter
from protogen.message import Message
from protogen.net import Net

if TYPE_CHECKING:
    from protogen.onnx import Model
    from protogen.onnx.source import Source

# Forks' layers that a dialect has besides those of BVLC Caffe.
DIALECTS: dict[str, frozenset[str]] = {
    "bvlc": frozenset(),
    "ssd": frozenset(("Permute", "PixelShuffle", "HardSwish", "Mish")),
}
# Layers that Caffe runs in place, and people write so.
IN_PLACE = frozenset(("BatchNorm", "ELU", "PReLU", "ReLU", "Scale", "Sigmoid", "TanH"))
# Their tops share memory with their bottoms, so nothing may be written over them.
_SHARING = frozenset(("Flatten", "Input", "Parameter", "Reshape", "Split"))


def from_onnx(
    model: str | Path | Model,
    *,
    dialect: str = "bvlc",
    input_shapes: Mapping[str, Sequence[int]] | None = None,
) -> Net:
    """The Caffe net of an ONNX model, with its weights.

    Values keep their names as blobs; where a layer works in place, the name is that of the last
    value. Weights are the model's own arrays where Caffe's blobs have the same layout.

    Args:
        dialect: ``bvlc``, or ``ssd`` for the layers of that fork as well.
        input_shapes: shapes by name that replace what the model says; a free batch is 1 else.

    Raises:
        InputError: the model cannot be read, or an input's shape is not known.
        UnsupportedError: operators have no form in Caffe; all of them are named.
    """
    from protogen.onnx.source import read_source

    if dialect not in DIALECTS:
        raise InputError(
            layout(f"{dialect!r} is not known", subject="dialect",
                   advice=f"Known are {', '.join(DIALECTS)}.")
        )  # fmt: skip
    source = read_source(model, input_shapes)
    to = Lifter(source, DIALECTS[dialect])
    for operator in source.operators:
        to.lift(operator)
    if to.refused:
        raise _refused(source, to)
    layers = _with_inputs(source, to)
    _name_outputs(source, to, layers)
    _silence(source, layers)
    _in_place(layers, {*source.inputs, *source.outputs})
    whole = Message.make("NetParameter", name=source.name or "net", layer=layers)
    text = _headline(source) + prototxt.write(whole)
    net = Net(prototxt.parse(text, source.path or "the model in Caffe's layers"))
    import numpy as np

    net.weights = {
        name: [np.asarray(blob, np.float32) for blob in blobs] for name, blobs in to.weights.items()
    }
    net.check_weights()
    return net


def _refused(source: Source, to: Lifter) -> UnsupportedError:
    """One message for every operator that has no form."""
    if len(to.refused) == 1:
        return UnsupportedError(layout(to.refused[0][1], where=source.path))
    lines = "".join(f"\n  {reason}" for _, reason in to.refused)
    head = layout(f"{len(to.refused)} operators have no form in Caffe", where=source.path)
    return UnsupportedError(head.removesuffix(".") + ":" + lines)


def _headline(source: Source) -> str:
    made = f" made by {source.producer}" if source.producer else ""
    name = Path(source.path).name if source.path else "an ONNX model"
    text = f"{name}{made}, operator set {source.opset}"
    printable = "".join(c if c.isprintable() else "?" for c in text)
    return f"# From {printable}.\n"


def _with_inputs(source: Source, to: Lifter) -> list[Message]:
    inputs = [
        Message.make("LayerParameter", name=name, type="Input", top=[name],
                     input_param={"shape": [{"dim": list(shape)}]})
        for name, shape in source.inputs.items()
    ]  # fmt: skip
    return [*inputs, *to.layers]


def _name_outputs(source: Source, to: Lifter, layers: list[Message]) -> None:
    """An output that is another value under a new name: the value gets the name, or a layer."""
    for output, value in to.finish(source.outputs).items():
        if value in source.inputs or value in source.outputs:
            layers.append(
                Message.make(
                    "LayerParameter", name=output, type="Split", bottom=[value], top=[output]
                )
            )
        else:
            for layer in layers:
                _rename(layer, value, output)


def _silence(source: Source, layers: list[Message]) -> None:
    """What nobody reads would be an output of the net."""
    read = {bottom for layer in layers for bottom in layer.bottom} | set(source.outputs)
    unread = [top for layer in layers for top in layer.top
              if top not in read and layer.type != "Input"]  # fmt: skip
    if unread:
        layers.append(
            Message.make("LayerParameter", name="unread_values", type="Silence", bottom=unread)
        )


def _in_place(layers: list[Message], fixed: set[str]) -> None:
    """Layers that are the only reader of their bottom work in place, under their top's name."""
    readers: dict[str, int] = {}
    maker: dict[str, Message] = {}
    for layer in layers:
        for bottom in layer.bottom:
            readers[bottom] = readers.get(bottom, 0) + 1
        for top in layer.top:
            maker.setdefault(top, layer)
    names: dict[str, str] = {}
    for layer in layers:
        if layer.type not in IN_PLACE or len(layer.bottom) != 1:
            continue
        bottom, top = layer.bottom[0], layer.top[0]
        made = maker.get(bottom)
        if made is None or bottom in fixed or readers[bottom] != 1 or made.type in _SHARING:
            continue
        names[bottom] = top
    for layer in layers:
        for entry in (*layer.all("bottom"), *layer.all("top")):
            while entry.value in names:
                entry.value = names[entry.value]


def _rename(layer: Message, old: str, new: str) -> None:
    for entry in (*layer.all("bottom"), *layer.all("top")):
        if entry.value == old:
            entry.value = new
