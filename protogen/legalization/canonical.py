"""The canonical form of a net for a toolchain: one way to write what can be written in several."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from protogen.errors import InputError
from protogen.formats.message import Message, Name
from protogen.geometry import Shape
from protogen.layers import kind_of
from protogen.layers.forms.blocks import window as window_params
from protogen.layers.graph import Layer
from protogen.layers.reading import is_filler
from protogen.legalization.draft import Draft, Item, params_message, without

if TYPE_CHECKING:
    from protogen.layers.base import LayerType

Canonical = Callable[[Item, Layer, "LayerType", Sequence[Shape]], "Item | None"]
_TYPES: dict[str, Canonical] = {}


def canonical(draft: Draft) -> None:
    """Bring a draft into its canonical form: layers that do nothing are removed, parameters have one
    spelling, fields without effect are left out, and each input has a layer of its own."""
    renamed: dict[str, str] = {}
    items: list[Item] = []
    outputs = set(draft.outputs)
    for item in draft.items:
        item = replace(item, reads=tuple(renamed.get(value, value) for value in item.reads))
        if item.type == "Input":
            items += _inputs(item, draft)
            continue
        item = _canonical_item(item, draft)
        if _does_nothing(item, draft) and not (outputs & set(item.writes)):
            renamed.update((value, item.reads[0]) for value in item.writes)
            continue
        items.append(item)
    draft.items = items
    drop_unread(draft, outputs)


def merge_reshapes(draft: Draft) -> None:
    """Let a Reshape read the bottom of a Reshape before it, and remove one that keeps the shape."""
    readers = Counter(value for item in draft.items for value in item.reads)
    producers: dict[str, Item] = {}
    renamed: dict[str, str] = {}
    items = []
    for item in draft.items:
        item = replace(item, reads=tuple(renamed.get(value, value) for value in item.reads))
        before = producers.get(item.reads[0]) if item.type == "Reshape" else None
        if before is not None and item.writes[0] not in draft.outputs:
            source = before.reads[0]
            shapes = draft.shapes.get(source), draft.shapes.get(item.writes[0])
            if shapes[0] is not None and shapes[0] == shapes[1]:
                renamed[item.writes[0]] = source
                continue
        if before is not None and readers[before.writes[0]] == 1:
            item = _reshaped(replace(item, reads=before.reads), draft)
        if item.type == "Reshape":
            producers[item.writes[0]] = item
        items.append(item)
    draft.items = items
    drop_unread(draft, set(draft.outputs))


def _reshaped(item: Item, draft: Draft) -> Item:
    """Return a Reshape whose lengths are all written, except an unchanged batch."""
    top, bottom = draft.shapes.get(item.writes[0]), draft.shapes.get(item.reads[0])
    if top is None or bottom is None:
        return item
    dims = list(top)
    if top[:1] == bottom[:1]:
        dims[0] = 0
    return _with(item, "reshape_param", {"shape": {"dim": dims}})


def drop_unread(draft: Draft, outputs: set[str]) -> None:
    """Remove layers whose tops nobody reads, unless they are outputs of the net. A Silence does not
    count as a reader: it keeps only blobs whose layer has another top that is read."""
    read = set(outputs)
    left = []
    for item in reversed(draft.items):
        if item.type == "Silence" or item.type == "Input" or read & set(item.writes):
            read.update(() if item.type == "Silence" else item.reads)
            left.append(item)
    written = {value for item in left for value in item.writes}
    draft.items = []
    for item in reversed(left):
        if item.type == "Silence":
            item = replace(item, reads=tuple(v for v in item.reads if v in written))
        if item.reads or item.type != "Silence":
            draft.items.append(item)


def _inputs(item: Item, draft: Draft) -> list[Item]:
    """Return an Input layer for each top, with the name of the top."""
    return [
        replace(
            item,
            name=value,
            writes=(value,),
            params=params_message(
                {"input_param": {"shape": [{"dim": list(draft.shapes.get(value) or ())}]}}
            ),
        )
        for value in item.writes
    ]


def _does_nothing(item: Item, draft: Draft) -> bool:
    """Whether the tops of a layer are its first bottom, in phase TEST."""
    layer = item.layer()
    kind = kind_of(layer)
    if kind is None or not item.reads:
        return False
    if item.type == "Dropout":
        return bool(layer.params.dropout_param.scale_train)
    if item.type == "Split":
        return True
    shape = draft.shapes.get(item.reads[0])
    same_shape = shape is not None and all(draft.shapes.get(v) == shape for v in item.writes)
    return same_shape and (kind.does_nothing(layer.params) or _is_view(item, layer, kind))


def _is_view(item: Item, layer: Layer, kind: LayerType) -> bool:
    return item.type in ("Reshape", "Flatten") or (len(item.reads) == 1 and kind.is_view(layer))


def _canonical_item(item: Item, draft: Draft) -> Item:
    layer = item.layer()
    kind = kind_of(layer)
    if kind is None:
        return item
    item = replace(item, params=_plain(item, kind))
    shapes = [draft.shapes.get(value) for value in item.reads]
    known = [shape for shape in shapes if shape is not None]
    write = _TYPES.get(item.type)
    if write is None or len(known) < len(shapes):
        return item
    try:
        return write(item, layer, kind, known) or item
    except InputError:  # the layer is invalid: the toolchain's verdict says so
        return item


def _plain(item: Item, kind: LayerType) -> Message:
    """Return the parameters without the fields that have no effect: the fillers of layers that have
    weights, and the blocks of other layer types. A default that is written stays, because some
    fields mean another thing where they are not set (use_global_stats)."""
    plain = Message(item.params.kind)
    for block in item.params.fields:
        if block.name not in kind.reads and block.type is not None:
            continue
        if not isinstance(block.value, Message):
            plain.append(block)
            continue
        inner = Message(block.value.kind)
        for one in block.value.fields:
            if one.name == "engine" or (is_filler(one) and item.weights is not None):
                continue
            inner.append(one)
        if inner.fields:
            plain.append(_with_value(block, inner))
    return plain


def _with_value(block: Any, inner: Message) -> Any:
    from protogen.formats.message import Field

    return Field(block.name, inner, block.type)


def writes(*types: str) -> Callable[[Canonical], Canonical]:
    """Register the canonical form of layer types."""

    def register(function: Canonical) -> Canonical:
        for type_ in types:
            _TYPES[type_] = function
        return function

    return register


def _with(item: Item, block: str, values: dict[str, Any]) -> Item:
    """Return the item with this block of parameters, without None and without an empty block."""
    values = {key: value for key, value in values.items() if value is not None}
    params = without(item.params, [block])
    if values:
        params.append(params_message({block: values}).fields[0])
    return replace(item, params=params)


@writes("Convolution", "Deconvolution", "ConvolutionDepthwise", "DepthwiseConvolution")
def _convolution(item: Item, layer: Layer, kind: LayerType, shapes: Sequence[Shape]) -> Item | None:
    p = layer.params.convolution_param
    w = kind.window(layer, shapes)
    if w is None or len(w.kernel) != 2 or w.end or p.relu or p.pad_type:
        return None
    axis = p.axis + len(shapes[0]) if p.axis < 0 else p.axis
    fillers = {name: getattr(p, name) for name in ("weight_filler", "bias_filler")}
    dilation = list(w.dilation) if w.dilation[0] != w.dilation[1] else [w.dilation[0]]
    values = {
        "num_output": p.num_output,
        "bias_term": None if p.bias_term else False,
        **window_params(w.kernel, w.stride, w.pad),
        **({"stride": 1} if item.type == "Deconvolution" and set(w.stride) == {1} else {}),
        "dilation": None if dilation == [1] else dilation,
        "group": p.group if p.group != 1 and "epthwise" not in item.type else None,
        "axis": axis if axis != 1 else None,
        **{k: v for k, v in fillers.items() if item.weights is None and v.fields},
    }
    return _with(item, "convolution_param", values)


@writes("Dropout")
def _dropout(item: Item, layer: Layer, kind: LayerType, shapes: Sequence[Shape]) -> Item | None:
    """A Dropout of a fork that scales in phase TEST is a Power: few toolchains read its fields."""
    p = layer.params.dropout_param
    if p.scale_train or p.sample_weights_test:
        return None
    scale = {"power_param": {"scale": 1.0 - float(p.dropout_ratio)}}
    return replace(item, type="Power", params=params_message(scale))


@writes("InnerProduct")
def _inner_product(
    item: Item, layer: Layer, kind: LayerType, shapes: Sequence[Shape]
) -> Item | None:
    import numpy as np

    p = layer.params.inner_product_param
    if p.relu:
        return None
    axis = p.axis + len(shapes[0]) if p.axis < 0 else p.axis
    transpose = bool(p.transpose)
    if transpose and item.weights is not None:
        weight = np.ascontiguousarray(np.asarray(item.weights[0]).T)
        item = replace(item, weights=[weight, *list(item.weights)[1:]])
        transpose = False
    fillers = {name: getattr(p, name) for name in ("weight_filler", "bias_filler")}
    values = {
        "num_output": p.num_output,
        "bias_term": None if p.bias_term else False,
        "axis": axis if axis != 1 else None,
        "transpose": True if transpose else None,
        **{k: v for k, v in fillers.items() if item.weights is None and v.fields},
    }
    return _with(item, "inner_product_param", values)


@writes("Pooling")
def _pooling(item: Item, layer: Layer, kind: LayerType, shapes: Sequence[Shape]) -> Item | None:
    from protogen import geometry

    p = layer.params.pooling_param
    w = kind.window(layer, shapes)
    pool = str(p.pool) if str(p.pool) != "MAX" else None
    if p.global_pooling:
        values = {"pool": Name(pool or "MAX"), "global_pooling": True}
        return _with(item, "pooling_param", values)
    top = kind.shapes(layer, shapes)[0]
    if w is None or len(w.kernel) != 2 or top is None or len(shapes[0]) != 4 or p.has("ceil_mode"):
        return None
    if w.end or p.pad_type:
        return None
    up = geometry.pool_windows(shapes[0][2:], w.kernel, w.stride, w.pad, True)
    floor = tuple(up) != tuple(top[2:])
    values = {
        "pool": Name(pool or "MAX"),
        **window_params(w.kernel, w.stride, w.pad),
        "round_mode": Name("FLOOR") if floor else None,
    }
    return _with(item, "pooling_param", values)


@writes("Concat")
def _concat(item: Item, layer: Layer, kind: LayerType, shapes: Sequence[Shape]) -> Item | None:
    p = layer.params.concat_param
    if p.per_fla_fuse:
        return None
    axis = p.concat_dim if p.has("concat_dim") else p.axis
    return _with(item, "concat_param", {"axis": axis + len(shapes[0]) if axis < 0 else axis})


@writes("Slice")
def _slice(item: Item, layer: Layer, kind: LayerType, shapes: Sequence[Shape]) -> Item | None:
    p = layer.params.slice_param
    axis = p.slice_dim if p.has("slice_dim") else p.axis
    axis = axis + len(shapes[0]) if axis < 0 else axis
    points, end = [], 0
    for top in list(kind.shapes(layer, shapes))[:-1]:
        assert top is not None
        end += top[axis]
        points.append(end)
    return _with(item, "slice_param", {"axis": axis, "slice_point": points})


@writes("Reshape")
def _reshape(item: Item, layer: Layer, kind: LayerType, shapes: Sequence[Shape]) -> Item | None:
    top = kind.shapes(layer, shapes)[0]
    if top is None:
        return None
    dims = list(top)
    if top[:1] == shapes[0][:1]:
        dims[0] = 0
    return _with(item, "reshape_param", {"shape": {"dim": dims}})


@writes("Permute")
def _permute(item: Item, layer: Layer, kind: LayerType, shapes: Sequence[Shape]) -> Item | None:
    order = list(layer.params.permute_param.order)
    order += [axis for axis in range(len(shapes[0])) if axis not in order]
    return _with(item, "permute_param", {"order": order})


@writes("Crop")
def _crop(item: Item, layer: Layer, kind: LayerType, shapes: Sequence[Shape]) -> Item | None:
    from protogen.layers.shaping import crop_offsets

    p = layer.params.crop_param
    axis = p.axis + len(shapes[0]) if p.axis < 0 else p.axis
    offsets = crop_offsets(layer, shapes[0])[axis:]
    return _with(item, "crop_param", {"axis": axis, "offset": list(offsets)})


@writes("Eltwise")
def _eltwise(item: Item, layer: Layer, kind: LayerType, shapes: Sequence[Shape]) -> Item | None:
    p = layer.params.eltwise_param
    coeff = list(p.coeff) if any(c != 1 for c in p.coeff) else None
    operation = Name(p.operation) if p.operation != "SUM" else None
    return _with(item, "eltwise_param", {"operation": operation, "coeff": coeff})


@writes("Scale", "Bias")
def _scale(item: Item, layer: Layer, kind: LayerType, shapes: Sequence[Shape]) -> Item | None:
    """Axes are counted from the front; num_axes is that of the blob."""
    block = "scale_param" if item.type == "Scale" else "bias_param"
    p = getattr(layer.params, block)
    if p.has("min_value") or p.has("max_value"):
        return None
    axis = p.axis + len(shapes[0]) if p.axis < 0 else p.axis
    axes = p.num_axes
    if axes == -1:
        axes = len(shapes[0]) - axis
    values: dict[str, Any] = {"axis": axis if axis != 1 else None}
    if len(item.reads) == 1:
        values["num_axes"] = axes if axes != 1 else None
    if item.type == "Scale":
        values["bias_term"] = True if p.bias_term else None
    if item.weights is None:
        for name in ("filler", "bias_filler"):
            if p.has(name):
                values[name] = getattr(p, name)
    return _with(item, block, values)


@writes("BatchNorm")
def _batch_norm(item: Item, layer: Layer, kind: LayerType, shapes: Sequence[Shape]) -> Item | None:
    """The third blob becomes 1, and the statistics are divided by it, as Caffe does."""
    import numpy as np

    p = layer.params.batch_norm_param
    if p.has("use_global_stats") and not p.use_global_stats:
        return None
    if any(
        one.name not in ("eps", "use_global_stats", "moving_average_fraction") for one in p.fields
    ):
        return None
    values = {"eps": p.eps if not math.isclose(p.eps, 1e-5) else None}
    item = _with(item, "batch_norm_param", values)
    if item.weights is None or len(item.weights) != 3:
        return item
    mean, variance, factor = (np.asarray(blob, np.float32) for blob in item.weights)
    if factor.reshape(-1)[0] == 1:
        return item
    share = np.float32(0 if factor.reshape(-1)[0] == 0 else 1 / factor.reshape(-1)[0])
    return replace(item, weights=[mean * share, variance * share, np.ones(1, np.float32)])


@writes("Interp")
def _interp(item: Item, layer: Layer, kind: LayerType, shapes: Sequence[Shape]) -> Item | None:
    p = layer.params.interp_param
    top = kind.shapes(layer, shapes)[0]
    if p.pad_beg or p.pad_end or top is None:
        return None
    return _with(
        replace(item, reads=item.reads[:1]), "interp_param", {"height": top[2], "width": top[3]}
    )
