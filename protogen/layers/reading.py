"""Finds fields that a net sets and its layers do not read. No such field is silently ignored.

A layer type declares in ``LayerType.reads`` the fields that determine its shapes and numbers. Every
other field that a net sets is either harmless, for one of the reasons below, or refused wherever
numbers are computed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from protogen.errors import UnsupportedError
from protogen.formats.message import Field, Message, Name
from protogen.formats.schema.dialect import in_words
from protogen.layers.base import LayerType
from protogen.layers.graph import Layer

# Fields of LayerParameter that belong to no layer type. ``net/build.py`` reads them.
NET_FIELDS = frozenset(
    ("name", "type", "bottom", "top", "phase", "include", "exclude", "blobs", "param")
)
_TRAINING = "training only"
_SPEED = "implementation choice; the numbers are the same"
_DEBUG = "debug output, printed or written to files"
# Fields that do not change the numbers of a forward pass, in any block.
HARMLESS: Mapping[str, str] = {
    "engine": _SPEED,
    "conv_algorithm": _SPEED,
    "cudnn_convolution_algo_seeker": _SPEED,
    "force_nd_im2col": _SPEED,
    "reshape_every_iter": _SPEED,
    "share_in_parallel": _SPEED,
    "do_all_reduce": _SPEED,
    "loss_weight": _TRAINING,
    "propagate_down": _TRAINING,
    "stable_prod_grad": _TRAINING,
    "moving_average_fraction": _TRAINING,
    "update_global_stats": _TRAINING,
    "stats_batch_size": _TRAINING,
    "momentum": _TRAINING,
    "frozen": _TRAINING,
    "weight_fixed": _TRAINING,
    "dis_mode": _TRAINING,
    "gen_mode": _TRAINING,
    "clipping_threshold": _TRAINING,
    "label_smoothing": "affects only the gradient; the reported loss stays the same",
    "debug_info": _DEBUG,
    "visualize": _DEBUG,
    "visualize_threshold": _DEBUG,
    "save_output_param": _DEBUG,
    "save_file": _DEBUG,
    "file_name": _DEBUG,
}
# Blocks of forks that control storage or distribution of a layer, not what it computes.
HARMLESS_BLOCKS: Mapping[str, str] = {
    # Only the types that round themselves read it: ConvolutionRistretto and its like.
    "quantization_param": "scales for integer inference; protogen computes in float",
    "mn_grad_compress_param": _TRAINING,
    "mn_activation_param": _SPEED,
}


@dataclass(frozen=True, slots=True)
class Unread:
    """A field that is set but not read, or a field that is read but has an unknown value.

    Attributes:
        path: ``block.field``.
        item: the field in the text.
        known: whether a known schema has the field.
        value: the unknown value, if the layer type reads the field; else empty.
    """

    path: str
    item: Field
    known: bool
    value: str = ""

    def problem(self, type_: str) -> str:
        """Return the problem text of a message whose subject is the layer."""
        if self.value:
            return f"{self.path} has the unknown value {self.value}"
        if not self.known:
            return f"{self.path} is set{_shown(self.item)}, but no known caffe.proto defines it"
        forks = self.item.type.dialects if self.item.type else ()
        origin = f" (a field of {in_words(forks)})" if forks else ""
        return f"{self.path} is set{_shown(self.item)}{origin}, but {type_} does not read it"


def _shown(item: Field) -> str:
    """Return `` to VALUE`` for a message; empty for a field that holds a message."""
    if isinstance(item.value, Message):
        return ""
    if isinstance(item.value, bool):
        return f" to {str(item.value).lower()}"
    return f" to {item.literal or item.value}"


def unread(
    params: Message, kind: LayerType | None, ignored: Collection[str] = ()
) -> Iterator[Unread]:
    """Yield each field of a LayerParameter that is set, that its type does not read, and that
    changes the result in BVLC Caffe or a fork.

    Args:
        ignored: paths that the user chose to ignore (--ignore-field).
    """
    if kind is None:  # an unknown type has its own error message
        return
    for item in params.fields:
        if item.name in NET_FIELDS or item.name in HARMLESS or item.name in ignored:
            continue
        read = kind.reads.get(item.name)
        if kind.is_source and item.type is not None:
            continue  # the tops are inputs of the net, so their data source does not matter
        if read is None:
            # A layer of BVLC Caffe ignores the BVLC blocks of other layer types.
            other_stock_block = item.type is not None and not item.type.dialects and kind.stock
            if item.name in HARMLESS_BLOCKS or other_stock_block or is_default(item):
                continue
            if item.type is not None and isinstance(item.value, Message):
                yield from _inside(item.value, item.name, (), ignored)
            else:
                yield _unread_field(item.name, item)
        elif isinstance(item.value, Message):
            yield from _inside(item.value, item.name, read, {*ignored, *kind.harmless})
        else:
            yield _unread_field(item.name, item)


def of_forks(params: Message, kind: LayerType) -> bool:
    """Return whether a LayerParameter sets a field or an enum value that its type reads and that
    only forks define."""
    for block in params.fields:
        if block.name not in kind.reads or not isinstance(block.value, Message):
            continue
        for _, item in block.value.walk():
            known = item.type
            if known is None or item.name in HARMLESS or is_default(item):
                continue
            if known.dialects or (known.enum and known.enum.dialects.get(str(item.value))):
                return True
    return False


def idle_forks(params: Message, kind: LayerType) -> dict[str, dict[str, None]]:
    """Return the fields of a LayerParameter that only forks define and that have no effect, because
    they hold their default or are harmless: by block, with None as what to change them to."""
    idle: dict[str, dict[str, None]] = {}
    for block in params.fields:
        if block.name not in kind.reads or not isinstance(block.value, Message):
            continue
        for item in block.value.fields:
            if item.type is None or not item.type.dialects:
                continue
            path = f"{block.name}.{item.name}"
            if is_default(item) or item.name in HARMLESS or path in kind.harmless:
                idle.setdefault(block.name, {})[item.name] = None
    return idle


def _inside(
    block: Message, path: str, read: Collection[str], ignored: Collection[str], inner: str = ""
) -> Iterator[Unread]:
    """Yield the unread fields of a parameter block; ``inner`` is the path inside of the block."""
    for item in block.fields:
        name = inner + item.name
        full = f"{path}.{item.name}"
        if item.name in HARMLESS or full in ignored or is_filler(item):
            continue
        if name in read:
            if (invalid := _unknown_value(full, item)) is not None:
                yield invalid
            if isinstance(item.value, Message):  # read as a whole, except fields without a schema
                unknown = [field for _, field in item.value.walk() if field.type is None]
                yield from (_unread_field(f"{full}.{field.name}", field) for field in unknown)
        elif any(path_read.startswith(f"{name}.") for path_read in read) and isinstance(
            item.value, Message
        ):
            yield from _inside(item.value, full, read, ignored, f"{name}.")
        elif not is_default(item) or _acts_by_default(item):
            yield _unread_field(full, item)


def _unread_field(path: str, item: Field) -> Unread:
    return Unread(path, item, item.type is not None)


def _unknown_value(path: str, item: Field) -> Unread | None:
    """Return the finding if the value is not a value of the field's enum; else None."""
    known = item.type
    if known is None or known.enum is None or item.value in known.enum.values:
        return None
    return Unread(path, item, True, str(item.value))


def is_filler(item: Field) -> bool:
    """Return whether the field is a filler: it sets initial weights only."""
    return item.type is not None and item.type.type_name == "FillerParameter"


def _acts_by_default(item: Field) -> bool:
    """Return whether a fork has an effect by default where others have none: its field has a number as
    default that is not 0 or 1, such as the stride 2 of Ascend's Upsample."""
    number = isinstance(item.value, int | float) and item.value not in (0, 1)
    return number and item.type is not None and bool(item.type.dialects)


def is_default(item: Field) -> bool:
    """Return whether the field is set to its default value, so that it has no effect."""
    known = item.type
    if known is None or known.repeated:
        return False
    if isinstance(item.value, Message):
        return all(is_default(field) or field.name in HARMLESS for field in item.value.fields)
    default: Any = known.default
    if known.enum is not None:
        default = Name(known.default or next(iter(known.enum.values)))
    return bool(item.value == default)


def check_read(layer: Layer, kind: LayerType | None, ignored: Collection[str] = ()) -> None:
    """Check that the layer type reads every field that is set, except harmless ones.

    Raises:
        UnsupportedError: it does not; the error names all such fields.
    """
    if layer.type != layer.params.type:  # the layer was replaced by an identity
        return
    findings = list(unread(layer.params, kind, ignored))
    if not findings:
        return
    raise UnsupportedError.of(
        *(
            layer.unsupported(
                finding.problem(layer.type),
                _advice(finding, kind),
            ).diagnostic
            for finding in findings
        )
    )


def _advice(finding: Unread, kind: LayerType | None) -> str:
    if kind is not None and kind.user_defined:
        block, _, field = finding.path.partition(".")
        return f'Declare the fields that your layer reads: reads={{"{block}": "{field}"}}.'
    return f"Remove it, or pass --ignore-field {finding.path} if it does not change the result."
