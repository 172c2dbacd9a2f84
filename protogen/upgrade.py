"""Older forms of a net to today's. Nothing else in protogen knows that they exist."""

from __future__ import annotations

from protogen.errors import layout
from protogen.message import Field, Message
from protogen.prototxt import Document
from protogen.schema import message_type


def upgrade(net: Document) -> Document:
    """The net with an Input layer for its legacy ``input`` fields (Caffe: UpgradeNetInput).

    Raises:
        InputError: the net is of Caffe's V0 or V1 form (``layers``).
    """
    old = net.all("layers")
    if old:
        raise net.source.error(
            old[0].start, "the net is of the old form with `layers`", "Bring it to `layer` first."
        )
    if not net.has("input"):
        return net
    made = Document(net.kind or message_type("NetParameter"), net.source)
    kept = [f for f in net.fields if f.name not in ("input", "input_dim", "input_shape")]
    layer = Message.make("LayerParameter", name="input", type="Input", top=net.input)
    layer.add("input_param", _shapes(net))
    first = next((i for i, f in enumerate(kept) if f.name == "layer"), len(kept))
    start = net.all("input")[0].start
    kept.insert(first, Field("layer", layer, message_type("NetParameter").fields["layer"], start))
    made.fields = kept
    return made


def _shapes(net: Document) -> Message:
    count = len(net.input)
    dims = [list(shape.dim) for shape in net.input_shape]
    if not dims:
        flat = net.input_dim
        dims = [flat[i : i + 4] for i in range(0, len(flat), 4)]
    if len(dims) != count or any(not d for d in dims):
        raise net.source.error(
            net.all("input")[0].start,
            layout(f"{count} inputs are given {len(dims)} shapes").rstrip("."),
            "Give four input_dim or one input_shape for each input.",
        )
    shapes = [{"dim": shape} for shape in dims]
    return Message.make("InputParameter", shape=shapes)
