"""Upgrades V0 nets (2013), ``layers { layer { name: "c" type: "conv" } bottom top }``, to V1."""

from __future__ import annotations

from protogen.errors import ProtogenWarning, warn
from protogen.formats.message import Field, Message, Name, Source
from protogen.formats.schema import MessageType, message_type

_TYPES = {
    "accuracy": "ACCURACY", "bnll": "BNLL", "concat": "CONCAT", "conv": "CONVOLUTION",
    "data": "DATA", "dropout": "DROPOUT", "euclidean_loss": "EUCLIDEAN_LOSS",
    "flatten": "FLATTEN", "hdf5_data": "HDF5_DATA", "hdf5_output": "HDF5_OUTPUT",
    "im2col": "IM2COL", "images": "IMAGE_DATA", "infogain_loss": "INFOGAIN_LOSS",
    "innerproduct": "INNER_PRODUCT", "lrn": "LRN",
    "multinomial_logistic_loss": "MULTINOMIAL_LOGISTIC_LOSS", "pool": "POOLING", "relu": "RELU",
    "sigmoid": "SIGMOID", "softmax": "SOFTMAX", "softmax_loss": "SOFTMAX_LOSS", "split": "SPLIT",
    "tanh": "TANH", "window_data": "WINDOW_DATA",
}  # fmt: skip

_BY_TYPE = {
    "conv": "convolution_param", "innerproduct": "inner_product_param", "pool": "pooling_param",
    "dropout": "dropout_param", "lrn": "lrn_param", "data": "data_param",
    "hdf5_data": "hdf5_data_param", "images": "image_data_param",
    "window_data": "window_data_param", "infogain_loss": "infogain_loss_param",
    "concat": "concat_param",
}  # fmt: skip

# V0 field -> current name of the field, by each V0 layer type that may have it.
_FIELDS: dict[str, dict[str, str]] = {
    "num_output": {"conv": "num_output", "innerproduct": "num_output"},
    "biasterm": {"conv": "bias_term", "innerproduct": "bias_term"},
    "weight_filler": {"conv": "weight_filler", "innerproduct": "weight_filler"},
    "bias_filler": {"conv": "bias_filler", "innerproduct": "bias_filler"},
    "pad": {"conv": "pad", "pool": "pad"},
    "kernelsize": {"conv": "kernel_size", "pool": "kernel_size"},
    "group": {"conv": "group"},
    "stride": {"conv": "stride", "pool": "stride"},
    "pool": {"pool": "pool"},
    "dropout_ratio": {"dropout": "dropout_ratio"},
    "local_size": {"lrn": "local_size"},
    "alpha": {"lrn": "alpha"},
    "beta": {"lrn": "beta"},
    "k": {"lrn": "k"},
    "source": {
        "data": "source", "hdf5_data": "source", "images": "source", "window_data": "source",
        "infogain_loss": "source",
    },
    "batchsize": {
        "data": "batch_size", "hdf5_data": "batch_size", "images": "batch_size",
        "window_data": "batch_size",
    },
    "rand_skip": {"data": "rand_skip", "images": "rand_skip"},
    "shuffle_images": {"images": "shuffle"},
    "new_height": {"images": "new_height"},
    "new_width": {"images": "new_width"},
    "concat_dim": {"concat": "concat_dim"},
    "det_fg_threshold": {"window_data": "fg_threshold"},
    "det_bg_threshold": {"window_data": "bg_threshold"},
    "det_fg_fraction": {"window_data": "fg_fraction"},
    "det_context_pad": {"window_data": "context_pad"},
    "det_crop_mode": {"window_data": "crop_mode"},
}  # fmt: skip

# V0 data fields that any layer may have: they move to transform_param.
_TRANSFORM = {
    "scale": "scale",
    "meanfile": "mean_file",
    "cropsize": "crop_size",
    "mirror": "mirror",
}


def is_v0(layer: Message) -> bool:
    """Return whether a member of ``layers`` has the V0 format."""
    return layer.has("layer")


def v0_layers(layers: list[Field], source: Source, log: list[str]) -> list[Field]:
    """Return V0 layers as V1 layers. A padding layer becomes the pad of the convolution or pooling
    after it.

    Raises:
        InputError: the formats are mixed, a layer type is unknown, or a padding layer is not
            followed by a convolution or pooling.
    """
    for item in layers:
        if not is_v0(item.value):
            raise source.error(
                item.start, "the net mixes V0 and V1 layers", "Convert all to one format."
            )
    folded = _fold_padding(layers, source, log)
    return [_to_v1(item, bottoms, pad, source) for item, bottoms, pad in folded]


def _fold_padding(
    layers: list[Field], source: Source, log: list[str]
) -> list[tuple[Field, list[str], int | None]]:
    """Return the layers without padding layers, each with its bottoms and the folded pad."""
    producer: dict[str, Field] = {}
    folded: list[tuple[Field, list[str], int | None]] = []
    for item in layers:
        inner: Message = item.value.layer
        bottoms: list[str] = list(item.value.bottom)
        pad = None
        padding = [producer[b] for b in bottoms if b in producer and _is_padding(producer[b])]
        if padding:
            if inner.type not in ("conv", "pool") or len(bottoms) != 1:
                raise source.error(
                    item.start,
                    f'layer "{inner.name}" reads a padding layer, but it must be a conv or pool '
                    "layer with one bottom",
                )
            pad = padding[0].value.layer.pad
            bottoms = list(padding[0].value.bottom)
            if len(bottoms) != 1 or len(padding[0].value.top) != 1:
                name = padding[0].value.layer.name
                raise source.error(
                    padding[0].start, f'padding layer "{name}" must have one bottom and one top'
                )
        if not _is_padding(item):
            folded.append((item, bottoms, pad))
        else:
            log.append(f'folded padding layer "{inner.name}" into the pad of the layer after it')
        for top in item.value.top:
            producer[top] = item
    return folded


def _is_padding(item: Field) -> bool:
    return bool(item.value.layer.type == "padding")


def _to_v1(item: Field, bottoms: list[str], pad: int | None, source: Source) -> Field:
    old: Message = item.value
    inner: Message = old.layer
    kind = inner.type
    if kind not in _TYPES:
        raise source.error(
            inner.all("type")[0].start if inner.has("type") else item.start,
            f"unknown V0 layer type {kind!r}",
        )
    layer = Message(message_type("V1LayerParameter"))
    layer.add("name", inner.name)
    layer.add("type", Name(_TYPES[kind]))
    for bottom in bottoms:
        layer.add("bottom", bottom)
    for top in old.top:
        layer.add("top", top)
    for name in ("blobs_lr", "weight_decay", "blobs"):
        for value in getattr(inner, name):
            layer.add(name, value)
    params = Message(_param_type(kind)) if kind in _BY_TYPE else None
    transform = Message(message_type("TransformationParameter"))
    for field in inner.fields:
        if field.name in ("name", "type", "blobs_lr", "weight_decay", "blobs"):
            continue
        if field.name in _TRANSFORM:
            transform.add(_TRANSFORM[field.name], field.value)
        elif field.name == "hdf5_output_param" and kind == "hdf5_output":
            layer.add(field.name, field.value)
        elif params is not None and kind in _FIELDS.get(field.name, {}):
            params.add(_FIELDS[field.name][kind], field.value)
        else:
            warn(_dropped(field, kind, inner.name, source))
    if pad is not None and params is not None:
        params.remove("pad")
        params.add("pad", pad)
    if transform.fields:
        layer.add("transform_param", transform)
    if params is not None and params.fields:
        layer.add(_BY_TYPE[kind], params)
    field = Field("layers", layer, item.type, item.start, item.before, item.blank)
    field.end, field.after = item.end, item.after
    return field


def _param_type(kind: str) -> MessageType:
    message = message_type("V1LayerParameter").fields[_BY_TYPE[kind]].message
    assert message is not None
    return message


def _dropped(field: Field, kind: str, name: str, source: Source) -> ProtogenWarning:
    """Return the warning for a field that the upgrade drops. Caffe warns of it, too."""
    return ProtogenWarning(
        f"{field.name} has no effect in a V0 layer of type {kind!r}; the upgrade drops it",
        where=source.place(field.start),
        subject=f'layer "{name}"',
    )
