"""Older forms of a net to today's, as Caffe's own upgrade does it. Nothing else in protogen knows
that they exist, but for ``downgrade``, which goes the other way.

V0 (2013): ``layers { layer { name type ... } bottom top }``, padding as layers of its own.
V1 (2014): ``layers { type: CONVOLUTION blobs_lr: 1 ... }``.
Today: ``layer { type: "Convolution" param { lr_mult: 1 } ... }``, inputs as layers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from protogen.formats.message import Field, Message, Name
from protogen.formats.prototxt import Document
from protogen.formats.schema import message_type
from protogen.layers import LayerType
from protogen.layers.names import V1_TYPES
from protogen.net.upgrade_v0 import is_v0, v0_layers

# Fields that moved from data layers to transform_param.
_TRANSFORM = ("scale", "mean_file", "crop_size", "mirror")
_MOVED = ("data_param", "image_data_param", "window_data_param")  # from these blocks


def upgrade(net: Document, changes: list[str] | None = None) -> Document:
    """The net in today's form; the net itself where it is that already.

    Args:
        changes: gets a sentence for every kind of change.

    Raises:
        InputError: the net mixes ``layer`` and ``layers``, of which Caffe drops one, or its old
            form is incomplete.
    """
    told = changes if changes is not None else []
    _refuse_mixture(net)
    fields = list(net.fields)
    if net.has("layers"):
        fields = _upgrade_layers(net, fields, told)
    fields = [_upgrade_transform(item, told) for item in fields]
    fields = [_upgrade_batch_norm(item, told) for item in fields]
    if net.has("input"):
        fields = _upgrade_inputs(net, fields, told)
    if not told and all(a is b for a, b in zip(fields, net.fields, strict=False)):
        return net
    made = Document(message_type("NetParameter"), net.source)
    made.fields = fields
    made.tail = net.tail
    return made


def _refuse_mixture(net: Document) -> None:
    new, old = net.all("layer"), net.all("layers")
    if new and old:
        places = " and ".join(str(net.source.place(items[0].start)) for items in (new, old))
        raise net.source.error(
            old[0].start,
            f"the net mixes {len(new)} `layer` and {len(old)} `layers` (first at {places})",
            "Caffe silently drops one kind: bring all to `layer`.",
        )


# V0 and V1


def _upgrade_layers(net: Document, fields: list[Field], told: list[str]) -> list[Field]:
    old = net.all("layers")
    if any(is_v0(item.value) for item in old):
        told.append(f"{len(old)} layers of the V0 form (nested `layer`) became V1 layers")
        old = v0_layers(old, net.source, told)
    told.append(f"{len(old)} `layers` of the V1 form became `layer`, types became strings")
    new = iter([_upgrade_v1(item) for item in old])
    made = []
    for item in fields:
        if item.name != "layers":
            made.append(item)
        elif (first := next(new, None)) is not None:
            made.append(first)
    return made


def _upgrade_v1(item: Field) -> Field:
    old: Message = item.value
    made = Message(message_type("LayerParameter"))
    made.opening, made.tail = old.opening, old.tail
    old_type = str(old.type) if old.has("type") else "NONE"
    for inner in old.fields:
        if inner.name in ("blobs_lr", "weight_decay", "param", "blob_share_mode"):
            continue
        if inner.name == "type":
            made.append(retyped(inner, made, "type", V1_TYPES.get(old_type, old_type)))
        else:
            made.append(retyped(inner, made, inner.name, inner.value))
    _order_type(made)
    for spec in _specs(old):
        made.append(Field("param", spec, message_type("LayerParameter").fields["param"]))
    return like(item, "layer", made, message_type("NetParameter"))


def _order_type(layer: Message) -> None:
    """Name, then type, as everybody writes them today."""
    by_name = {"name": 0, "type": 1, "bottom": 2, "top": 3}
    layer.fields.sort(key=lambda item: by_name.get(item.name, 4))


def _specs(old: Message) -> list[Message]:
    """One ParamSpec for each blob that the old lists speak of."""
    lists: dict[str, list[Any]] = {
        "name": old.param,
        "share_mode": old.blob_share_mode,
        "lr_mult": old.blobs_lr,
        "decay_mult": old.weight_decay,
    }
    count = max(map(len, lists.values()))
    return [
        Message.make(
            "ParamSpec",
            **{name: values[i] for name, values in lists.items() if i < len(values)},
        )
        for i in range(count)
    ]


# Data layers, BatchNorm, inputs


def _upgrade_transform(item: Field, told: list[str]) -> Field:
    """scale, mean_file, crop_size and mirror of data layers moved to transform_param."""
    if item.name != "layer":
        return item
    layer: Message = item.value
    kind = LayerType.registry.get(layer.type)
    own = kind.reads if kind is not None and kind.stock else {}
    name = next((block for block in _MOVED if block in own and layer.has(block)), None)
    if name is None:
        return item
    params: Message = getattr(layer, name)
    moved = [inner for inner in params.fields if inner.name in _TRANSFORM]
    if not moved:
        return item
    told.append(
        f'layer "{layer.name}": {", ".join(inner.name for inner in moved)} moved to transform_param'
    )
    kept = copy(params, (inner for inner in params.fields if inner.name not in _TRANSFORM))
    transform = message_type("TransformationParameter")
    # What data_param says replaces what transform_param said, as in Caffe.
    names = {inner.name for inner in moved}
    before = [f for f in layer.transform_param.fields if f.name not in names]
    after = Message(transform, before)
    for inner in moved:
        after.append(retyped(inner, after, inner.name, inner.value))
    made = copy(layer, (f for f in layer.fields if f.name not in (name, "transform_param")))
    kinds = message_type("LayerParameter").fields
    made.append(Field("transform_param", after, kinds["transform_param"]))
    if kept.fields:
        made.append(Field(name, kept, kinds[name]))
    return like(item, "layer", made, message_type("NetParameter"))


def _upgrade_batch_norm(item: Field, told: list[str]) -> Field:
    """BatchNorm's three param, which once had to hold its rates at 0, go away."""
    if item.name != "layer" or item.value.type != "BatchNorm" or len(item.value.param) != 3:
        return item
    layer: Message = item.value
    told.append(f'layer "{layer.name}": its param were removed, BatchNorm learns nothing by itself')
    made = copy(layer, (inner for inner in layer.fields if inner.name != "param"))
    return like(item, "layer", made, message_type("NetParameter"))


def _upgrade_inputs(net: Document, fields: list[Field], told: list[str]) -> list[Field]:
    """``input`` with ``input_dim`` or ``input_shape`` becomes an Input layer. Without a shape Caffe
    drops it; here a layer without a shape stands for those that no other layer makes."""
    names = net.input
    if not (net.has("input_shape") or net.has("input_dim")):
        made = {top for item in fields if item.name == "layer" for top in item.value.top}
        dropped = [name for name in names if name in made]
        names = [name for name in names if name not in made]
        if dropped:
            told.append(f"input {', '.join(dropped)} without a shape was dropped: a layer makes it")
        if not names:
            return [item for item in fields if item.name != "input"]
    told.append(f"input {', '.join(names)} became an Input layer")
    layer = Message.make("LayerParameter", name="input", type="Input", top=names)
    shapes = _input_shapes(net)
    if shapes:
        layer.add("input_param", Message.make("InputParameter", shape=shapes))
    legacy = ("input", "input_dim", "input_shape")
    removed = [item for item in fields if item.name in legacy]
    kept = [item for item in fields if item.name not in legacy]
    first = next((i for i, item in enumerate(kept) if item.name == "layer"), len(kept))
    field = Field(
        "layer",
        layer,
        message_type("NetParameter").fields["layer"],
        removed[0].start,
        before=tuple(comment for item in removed for comment in item.before),
        blank=removed[0].blank,
    )
    return [*kept[:first], field, *kept[first:]]


def _input_shapes(net: Document) -> list[dict[str, list[int]]]:
    """Caffe takes one shape for each input, or none at all; it does not read those beyond."""
    count = len(net.input)
    dims = [list(shape.dim) for shape in net.input_shape]
    flat = net.input_dim
    if not dims:
        dims = [flat[i : i + 4] for i in range(0, len(flat), 4)]
    if dims and (len(dims) < count or (not net.has("input_shape") and len(flat) % 4)):
        raise net.source.error(
            net.all("input")[0].start,
            f"{count} inputs are given {len(dims)} shapes",
            "Give four input_dim or one input_shape for each input.",
        )
    return [{"dim": shape} for shape in dims[:count]]


# Fields made of other fields: they keep their place, comments and number's spelling


def like(item: Field, name: str, value: Any, holder: Any) -> Field:
    """A field in the place of another."""
    made = Field(name, value, holder.fields.get(name), item.start, item.before, item.blank)
    made.end, made.after = item.end, item.after
    return made


def retyped(item: Field, holder: Message, name: str, value: Any) -> Field:
    """A field as ``holder``'s type has it."""
    made = like(item, name, value, holder.kind)
    made.literal = item.literal if value is item.value else None
    if made.type is None and isinstance(value, (str, Name)):
        made.value = value
    return made


def copy(message: Message, fields: Iterable[Field]) -> Message:
    """A message of the same type with some of its fields."""
    made = Message(message.kind, fields)
    made.opening, made.tail = message.opening, message.tail
    return made
