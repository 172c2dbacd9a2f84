"""Upgrades old formats of a net to the current one, as Caffe does. The rest of protogen reads only
the current format; ``downgrade`` converts in the other direction.

V0 (2013): ``layers { layer { name type ... } bottom top }``, padding in separate layers.
V1 (2014): ``layers { type: CONVOLUTION blobs_lr: 1 ... }``.
Current: ``layer { type: "Convolution" param { lr_mult: 1 } ... }``, inputs as layers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from protogen.errors import quantity
from protogen.formats.message import Field, Message, Name
from protogen.formats.prototxt import Document
from protogen.formats.schema import message_type
from protogen.layers import LayerType
from protogen.layers.names import type_of_v1
from protogen.net.upgrade_v0 import is_v0, v0_layers

# Fields that moved from data layers to transform_param.
_TRANSFORM = ("scale", "mean_file", "crop_size", "mirror")
_MOVED = ("data_param", "image_data_param", "window_data_param")  # from these blocks


def upgrade(net: Document, changes: list[str] | None = None) -> Document:
    """Return the net in the current format; the same object if there is nothing to upgrade.

    Args:
        changes: gets a sentence for every kind of change.

    Raises:
        InputError: the net mixes ``layer`` and ``layers`` (Caffe drops one kind), or a part of the
            old format is missing.
    """
    log = changes if changes is not None else []
    _check_mixture(net)
    fields = list(net.fields)
    if net.has("layers"):
        fields = _upgrade_layers(net, fields, log)
    fields = [_upgrade_transform(item, log) for item in fields]
    fields = [_upgrade_batch_norm(item, log) for item in fields]
    if net.has("input"):
        fields = _upgrade_inputs(net, fields, log)
    if not log and all(a is b for a, b in zip(fields, net.fields, strict=False)):
        return net
    upgraded = Document(message_type("NetParameter"), net.source)
    upgraded.fields = fields
    upgraded.original = net
    upgraded.tail = net.tail
    return upgraded


def _check_mixture(net: Document) -> None:
    new, old = net.all("layer"), net.all("layers")
    if new and old:
        places = " and ".join(str(net.source.place(items[0].start)) for items in (new, old))
        raise net.source.error(
            old[0].start,
            f"the net mixes {len(new)} `layer` and {len(old)} `layers` (first at {places})",
            "Caffe silently drops one kind: convert all to `layer`.",
        )


# V0 and V1


def _upgrade_layers(net: Document, fields: list[Field], log: list[str]) -> list[Field]:
    old = net.all("layers")
    if any(is_v0(item.value) for item in old):
        log.append(f"converted {quantity(len(old), 'V0 layer')} (nested `layer`) to V1")
        old = v0_layers(old, net.source, log)
    log.append(f"converted {len(old)} V1 `layers` to `layer`, with types as strings")
    new = iter([_upgrade_v1(item) for item in old])
    upgraded = []
    for item in fields:
        if item.name != "layers":
            upgraded.append(item)
        elif (first := next(new, None)) is not None:
            upgraded.append(first)
    return upgraded


def _upgrade_v1(item: Field) -> Field:
    old: Message = item.value
    layer = Message(message_type("LayerParameter"))
    layer.opening, layer.tail = old.opening, old.tail
    old_type = str(old.type) if old.has("type") else "NONE"
    for inner in old.fields:
        # strict_dim (DeepLab) is about weights of another shape, which Caffe never takes now.
        if inner.name in ("blobs_lr", "weight_decay", "param", "blob_share_mode", "strict_dim"):
            continue
        if inner.name == "type":
            layer.append(retyped(inner, layer, "type", type_of_v1(old_type)))
        else:
            layer.append(retyped(inner, layer, inner.name, inner.value))
    _order_fields(layer)
    for spec in _specs(old):
        layer.append(Field("param", spec, message_type("LayerParameter").fields["param"]))
    return like(item, "layer", layer, message_type("NetParameter"))


def _order_fields(layer: Message) -> None:
    """Put name, type, bottom and top first, in the usual order of current nets."""
    by_name = {"name": 0, "type": 1, "bottom": 2, "top": 3}
    layer.fields.sort(key=lambda item: by_name.get(item.name, 4))


def _specs(old: Message) -> list[Message]:
    """Return one ParamSpec for each blob that has a value in the old lists."""
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


def _upgrade_transform(item: Field, log: list[str]) -> Field:
    """Move scale, mean_file, crop_size and mirror of a data layer to transform_param."""
    if item.name != "layer":
        return item
    layer: Message = item.value
    blocks = [block for block in _MOVED if layer.has(block)]
    if not blocks:
        return item
    kind = LayerType.registry.get(layer.type)
    own = kind.reads if kind is not None and kind.stock else {}
    name = next((block for block in blocks if block in own), None)
    if name is None:
        return item
    params: Message = getattr(layer, name)
    moved = [inner for inner in params.fields if inner.name in _TRANSFORM]
    if not moved:
        return item
    log.append(
        f'layer "{layer.name}": moved {", ".join(inner.name for inner in moved)} to transform_param'
    )
    remaining = copy(params, (inner for inner in params.fields if inner.name not in _TRANSFORM))
    transform = message_type("TransformationParameter")
    # A value in data_param replaces the value in transform_param, as in Caffe.
    names = {inner.name for inner in moved}
    before = [f for f in layer.transform_param.fields if f.name not in names]
    after = Message(transform, before)
    for inner in moved:
        after.append(retyped(inner, after, inner.name, inner.value))
    upgraded = copy(layer, (f for f in layer.fields if f.name not in (name, "transform_param")))
    kinds = message_type("LayerParameter").fields
    upgraded.append(Field("transform_param", after, kinds["transform_param"]))
    if remaining.fields:
        upgraded.append(Field(name, remaining, kinds[name]))
    return like(item, "layer", upgraded, message_type("NetParameter"))


def _upgrade_batch_norm(item: Field, log: list[str]) -> Field:
    """Remove the three param of a BatchNorm, which set its learning rates to 0 in old nets."""
    if item.name != "layer" or len(item.value.all("param")) != 3 or item.value.type != "BatchNorm":
        return item
    layer: Message = item.value
    log.append(f'layer "{layer.name}": removed its param, because BatchNorm has no trained blobs')
    upgraded = copy(layer, (inner for inner in layer.fields if inner.name != "param"))
    return like(item, "layer", upgraded, message_type("NetParameter"))


def _upgrade_inputs(net: Document, fields: list[Field], log: list[str]) -> list[Field]:
    """Convert ``input`` with ``input_dim`` or ``input_shape`` to an Input layer. Caffe drops an
    input without a shape. protogen converts it to an Input layer without a shape, unless another
    layer produces the blob."""
    names = net.input
    if not (net.has("input_shape") or net.has("input_dim")):
        produced = {top for item in fields if item.name == "layer" for top in item.value.top}
        dropped = [name for name in names if name in produced]
        names = [name for name in names if name not in produced]
        if dropped:
            log.append(
                f"removed input {', '.join(dropped)} without a shape: a layer produces this blob"
            )
        if not names:
            return [item for item in fields if item.name != "input"]
    log.append(f"converted input {', '.join(names)} to an Input layer")
    layer = Message.make("LayerParameter", name="input", type="Input", top=names)
    shapes = _input_shapes(net)
    if shapes:
        layer.add("input_param", Message.make("InputParameter", shape=shapes))
    legacy = ("input", "input_dim", "input_shape")
    removed = [item for item in fields if item.name in legacy]
    others = [item for item in fields if item.name not in legacy]
    first = next((i for i, item in enumerate(others) if item.name == "layer"), len(others))
    field = Field(
        "layer",
        layer,
        message_type("NetParameter").fields["layer"],
        removed[0].start,
        before=tuple(comment for item in removed for comment in item.before),
        blank=removed[0].blank,
    )
    return [*others[:first], field, *others[first:]]


def _input_shapes(net: Document) -> list[dict[str, list[int]]]:
    """Return the shapes of the inputs. Caffe needs one shape for each input, or none at all; it
    ignores additional shapes."""
    count = len(net.input)
    dims = [list(shape.dim) for shape in net.input_shape]
    flat = net.input_dim
    if not dims:
        dims = [flat[i : i + 4] for i in range(0, len(flat), 4)]
    if dims and (len(dims) < count or (not net.has("input_shape") and len(flat) % 4)):
        problem = f"expected {count} input_shape (one for each input), got {len(dims)}"
        if not net.has("input_shape"):
            problem = f"expected {4 * count} input_dim (four for each input), got {len(flat)}"
        raise net.source.error(
            net.all("input")[0].start,
            problem,
            "Give four input_dim or one input_shape for each input.",
        )
    return [{"dim": shape} for shape in dims[:count]]


# Converted fields: they keep the place, the comments and the spelling of numbers


def like(item: Field, name: str, value: Any, holder: Any) -> Field:
    """Return a field with a new name and value, and the place and comments of ``item``."""
    field = Field(name, value, holder.fields.get(name), item.start, item.before, item.blank)
    field.end, field.after = item.end, item.after
    return field


def retyped(item: Field, holder: Message, name: str, value: Any) -> Field:
    """Return ``item`` with a new name and value, as a field of the message ``holder``."""
    field = like(item, name, value, holder.kind)
    field.literal = item.literal if value is item.value else None
    if field.type is None and isinstance(value, (str, Name)):
        field.value = value
    return field


def copy(message: Message, fields: Iterable[Field]) -> Message:
    """Return a message of the same type with these fields, and the comments of ``message``."""
    copied = Message(message.kind, fields)
    copied.opening, copied.tail = message.opening, message.tail
    return copied
