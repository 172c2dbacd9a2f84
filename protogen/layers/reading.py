"""What a net sets and its layers do not read: such a field is refused, never ignored in silence.

A layer type declares in ``LayerType.reads`` the fields of its parameter blocks that its shapes and
numbers follow from. Every other field that a net sets is harmless, for one of the reasons below,
or it is refused wherever numbers are computed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from protogen.errors import UnsupportedError
from protogen.formats.message import Field, Message, Name
from protogen.layers.base import LayerType
from protogen.layers.graph import Layer

# Fields of LayerParameter that belong to no type. The net reads them when it is built.
OF_THE_NET = frozenset(
    ("name", "type", "bottom", "top", "phase", "include", "exclude", "blobs", "param")
)
_TRAINING = "training only"
_SPEED = "how it is computed; the numbers are the same"
_DEBUG = "what is printed or written beside the net"
# Fields that change no number of a forward pass, in whatever block they stand.
HARMLESS: Mapping[str, str] = {
    "engine": _SPEED,
    "conv_algorithm": _SPEED,
    "cudnn_convolution_algo_seeker": _SPEED,
    "force_nd_im2col": _SPEED,
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
    "clipping_threshold": _TRAINING,
    "label_smoothing": "the gradient only: the loss that is reported stays the same",
    "debug_info": _DEBUG,
    "visualize": _DEBUG,
    "visualize_threshold": _DEBUG,
    "save_output_param": _DEBUG,
    "save_file": _DEBUG,
    "file_name": _DEBUG,
}
# Blocks of forks that say how to store or distribute a layer, not what it computes.
HARMLESS_BLOCKS: Mapping[str, str] = {
    "quantization_param": "scales of whole-number inference; the net is read in float",
    "mn_grad_compress_param": _TRAINING,
    "mn_activation_param": _SPEED,
}


@dataclass(frozen=True, slots=True)
class Unread:
    """A field that is set and that nothing reads.

    ``path`` is ``block.field``, ``item`` the field in the text, and ``forks`` have it: empty for a
    field of BVLC Caffe, or for one that no known schema has (then ``known`` is False). ``value`` is
    the value that is set where the field is read and only its value is not.
    """

    path: str
    item: Field
    forks: tuple[str, ...]
    known: bool
    value: str = ""

    def problem(self, type_: str) -> str:
        """What is wrong, for a message whose subject is the layer."""
        whose = f" (a field of {', '.join(self.forks)})" if self.forks else ""
        if self.value:
            whose = f" (a value of {', '.join(self.forks)})" if self.forks else ""
            return f"{self.path} is {self.value}{whose}, which protogen does not know"
        if not self.known:
            return f"{self.path} is set{_shown(self.item)}, which no known caffe.proto has"
        return f"{self.path} is set{_shown(self.item)}{whose}, which {type_} does not read"


def _shown(item: Field) -> str:
    if isinstance(item.value, Message):
        return ""
    word = {True: "true", False: "false"}.get(item.value) if isinstance(item.value, bool) else None
    return f" to {word if word is not None else item.literal or item.value}"


def unread(
    params: Message, kind: LayerType | None, ignored: Collection[str] = ()
) -> Iterator[Unread]:
    """Every field of a LayerParameter that is set, changes what the layer computes in some
    Caffe, and is not read by its type.

    Args:
        ignored: paths that the user takes the responsibility for.
    """
    if kind is None:  # its own refusal says more
        return
    for item in params.fields:
        if item.name in OF_THE_NET or item.name in HARMLESS or item.name in ignored:
            continue
        read = kind.reads.get(item.name)
        if kind.feeds and item.type is not None:
            continue  # what fills the tops does not matter: they are inputs
        if read is None:
            strangers = item.type is not None and not item.type.dialects and kind.stock
            if item.name in HARMLESS_BLOCKS or strangers or _says_nothing(item):
                continue  # BVLC's layers do not look at each other's blocks
            if item.type is not None and isinstance(item.value, Message):
                yield from _inside(item.value, item.name, (), ignored)
            else:
                yield _of(item.name, item)
        elif isinstance(item.value, Message):
            yield from _inside(item.value, item.name, read, {*ignored, *kind.harmless})
        else:
            yield _of(item.name, item)


def of_forks(params: Message, kind: LayerType) -> bool:
    """Whether a LayerParameter sets a field, or an enum's value, that its type reads and that only
    forks have."""
    for block in params.fields:
        if block.name not in kind.reads or not isinstance(block.value, Message):
            continue
        for _, item in block.value.walk():
            known = item.type
            if known is None or item.name in HARMLESS or _says_nothing(item):
                continue
            if known.dialects or (known.enum and known.enum.dialects.get(str(item.value))):
                return True
    return False


def _inside(
    block: Message, path: str, read: Collection[str], ignored: Collection[str], inner: str = ""
) -> Iterator[Unread]:
    for item in block.fields:
        name = inner + item.name
        full = f"{path}.{item.name}"
        if item.name in HARMLESS or full in ignored or _is_filler(item):
            continue
        if name in read:
            if (found := _unknown_value(full, item)) is not None:
                yield found
            if isinstance(item.value, Message):  # read as a whole, but for what no schema has
                strange = [one for _, one in item.value.walk() if one.type is None]
                yield from (_of(f"{full}.{one.name}", one) for one in strange)
        elif any(one.startswith(f"{name}.") for one in read) and isinstance(item.value, Message):
            yield from _inside(item.value, full, read, ignored, f"{name}.")
        elif not _says_nothing(item):
            yield _of(full, item)


def _of(path: str, item: Field) -> Unread:
    return Unread(path, item, item.type.dialects if item.type else (), item.type is not None)


def _unknown_value(path: str, item: Field) -> Unread | None:
    """A word that is no value of its enum, or a wrong kind of value."""
    known = item.type
    if known is None or known.enum is None or item.value in known.enum.values:
        return None
    return Unread(path, item, (), True, str(item.value))


def _is_filler(item: Field) -> bool:
    """Whether it says how weights begin."""
    return item.type is not None and item.type.type_name == "FillerParameter"


def _says_nothing(item: Field) -> bool:
    """Whether the field is set to what it is where it is left out."""
    known = item.type
    if known is None or known.repeated:
        return False
    if isinstance(item.value, Message):
        return all(_says_nothing(one) or one.name in HARMLESS for one in item.value.fields)
    default: Any = known.default
    if known.enum is not None:
        default = Name(known.default or next(iter(known.enum.values)))
    return bool(item.value == default)


def check_read(layer: Layer, kind: LayerType | None, ignored: Collection[str] = ()) -> None:
    """Raises UnsupportedError where a field of the layer is set and not read; all are named."""
    if layer.type != layer.params.type:  # it stands for an identity, whatever it is
        return
    found = list(unread(layer.params, kind, ignored))
    if not found:
        return
    raise UnsupportedError.of(
        *(
            layer.unsupported(
                one.problem(layer.type),
                _advice(one, kind),
            ).diagnostic
            for one in found
        )
    )


def _advice(one: Unread, kind: LayerType | None) -> str:
    if kind is not None and kind.user_defined:
        block, _, field = one.path.partition(".")
        return f'Declare what your layer reads: reads={{"{block}": "{field}"}}.'
    return f"Take it out, or say --ignore-field {one.path} where it changes nothing."
