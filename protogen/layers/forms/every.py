"""Forms that every layer has: its own copy of the bottom or top, or all parameters written."""

from __future__ import annotations

from typing import Any

from protogen.formats.message import Message
from protogen.layers.base import kind_of
from protogen.layers.forms.blocks import affine, depthwise, only, reshape
from protogen.layers.forms.registry import EVERY, form
from protogen.layers.graph import Layer
from protogen.layers.writing import Rewriter

# Fields that exclude others, have several spellings, or mean another thing where they are not set.
_SPELLED = (
    "kernel", "stride", "pad", "dilation", "hole", "concat_dim", "slice_dim", "round_mode",
    "use_global_stats", "height", "width", "zoom_factor", "shrink_factor", "full_zoom_factor",
    "upsample_h", "upsample_w", "scale_h", "scale_w", "dst_h", "dst_w", "threshold", "ignore_label",
    "min_value", "max_value",
)  # fmt: skip


@form(EVERY, text="every parameter written")
def written(layer: Layer, r: Rewriter) -> None:
    """Toolchains differ from Caffe in some defaults."""
    kind = kind_of(layer)
    only(layer, kind is not None, "the layer type is unknown")
    assert kind is not None
    changes: dict[str, dict[str, Any]] = {}
    for block, names in kind.reads.items():
        value = getattr(layer.params, block)
        if not isinstance(value, Message) or value.kind is None:
            continue
        for name in names:
            known = value.kind.fields.get(name)
            if known is None or known.repeated or known.message or value.has(name):
                continue
            if name.startswith(_SPELLED) or (name == "axis" and _axis_matters(layer, value)):
                continue
            if known.default not in (None, "") and not known.dialects:
                changes.setdefault(block, {})[name] = getattr(value, name)
    only(layer, bool(changes), "it has every parameter")
    r.retype(layer.type, **changes)


def _axis_matters(layer: Layer, block: Message) -> bool:
    """Whether the layer reads ``axis`` only if it is set, or another field stands for it."""
    return layer.type == "ArgMax" or any(
        one.name in ("concat_dim", "slice_dim") for one in block.fields
    )


def _behind(layer: Layer, r: Rewriter) -> str:
    """Add the layer itself with a top of its own, and return this top."""
    only(layer, len(layer.tops) == 1 and bool(layer.bottoms), "it does not have one top")
    return r.copy(list(layer.bottoms), role="value")


@form(EVERY, text="a Reshape to the same shape before it", weak=True)
def behind_reshape(layer: Layer, r: Rewriter) -> None:
    only(layer, bool(layer.bottoms), "it has no bottom")
    x = layer.bottoms[0]
    r.copy([reshape(r, x, r.shape(x), role="bottom"), *layer.bottoms[1:]])


@form(EVERY, text="a Power copy before it", weak=True)
def behind_power(layer: Layer, r: Rewriter) -> None:
    only(layer, bool(layer.bottoms), "it has no bottom")
    copy = r.add("Power", [layer.bottoms[0]], role="bottom")
    r.copy([copy, *layer.bottoms[1:]])


@form(EVERY, text="a Scale by 1 before it", weak=True)
def behind_scale(layer: Layer, r: Rewriter) -> None:
    only(layer, bool(layer.bottoms), "it has no bottom")
    shape = r.shape(layer.bottoms[0])
    only(layer, len(shape) > 1, "its bottom has no channels")
    r.copy([affine(r, layer.bottoms[0], 1, 0, shape[1], role="bottom"), *layer.bottoms[1:]])


@form(EVERY, text="a depthwise convolution of 1 before it")
def behind_convolution(layer: Layer, r: Rewriter) -> None:
    import numpy as np

    only(layer, bool(layer.bottoms), "it has no bottom")
    shape = r.shape(layer.bottoms[0])
    only(layer, len(shape) == 4, "its bottom does not have 4 axes")
    kernel = np.ones((1, 1), np.float32)
    copy = depthwise(r, layer.bottoms[0], kernel, channels=shape[1], role="bottom")
    r.copy([copy, *layer.bottoms[1:]])


@form(EVERY, text="a Power copy behind it", weak=True)
def before_power(layer: Layer, r: Rewriter) -> None:
    r.add("Power", [_behind(layer, r)])


@form(EVERY, text="a ReLU with slope 1 behind it", weak=True)
def before_relu(layer: Layer, r: Rewriter) -> None:
    r.add("ReLU", [_behind(layer, r)], params={"relu_param": {"negative_slope": 1.0}})


@form(EVERY, text="a top of its own")
def own_top(layer: Layer, r: Rewriter) -> None:
    """The layer does not work in place."""
    r.copy(list(layer.bottoms))


@form(EVERY, text="another layer name")
def renamed(layer: Layer, r: Rewriter) -> None:
    """Some toolchains find blobs by the names of layers."""
    r.copy(list(layer.bottoms), name=f"{layer.name}_layer")
