"""Insert an upsampling layer into the text of an existing net. Other text does not change."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protogen.errors import Edit, InputError, did_you_mean, quantity
from protogen.formats import prototxt
from protogen.formats.message import Field
from protogen.formats.prototxt import Document
from protogen.formats.prototxt.edits import apply_edits
from protogen.generate.replacing import renamed
from protogen.generate.upsampling import Upsampling, classic
from protogen.net.build import build
from protogen.net.upgrade import upgrade

if TYPE_CHECKING:
    from protogen.generate.plan import Plan
    from protogen.geometry import Shape


@dataclass(frozen=True, slots=True)
class Spliced:
    """The new text of a net, the inserted layers, and the names of the rewired layers."""

    text: str
    upsampling: Upsampling | Plan
    rewired: tuple[str, ...]
    bom: bool = False

    def encode(self) -> bytes:
        """Return the bytes of the file, with the original byte-order mark and non-UTF-8 bytes."""
        mark = b"\xef\xbb\xbf" if self.bom else b""
        return mark + self.text.encode("utf-8", "surrogateescape")


def splice(
    net: str | Path,
    after: str,
    *,
    rewire: bool = False,
    exact: bool = False,
    channels: int | None = None,
    name: str = "upsample",
    top: str | None = None,
    **options: Any,
) -> Spliced:
    """Insert upsampling of the blob ``after`` into the net in the file ``net``.

    The inserted layer is the classic layer, or with ``exact`` the layers of a plan (``resize``).
    It follows the last layer that writes the blob. With ``rewire``, the later layers that read the
    blob read the upsampled one instead. Other text and comments do not change.

    Args:
        channels: the number of channels; by default it follows from the shapes of the net.
        options: as ``upsample``: factor, mode, trainable, weights, template, templates; with
            ``exact`` as ``resize``: factor, size, mode, like, target and so on. The input shape
            follows from the net.

    Raises:
        InputError: the net is missing or invalid, the blob is unknown, a name is already in use,
            or the number of channels is unknown.
    """
    document = prototxt.read(net)
    if document.has("layers"):
        raise document.source.error(
            document.all("layers")[0].start,
            "the net has an old format (`layers`)",
            "Run protogen upgrade on it first.",
        )
    upgraded = upgrade(document)
    layers = document.all("layer")
    inputs = list(document.input)
    writer = max((i for i, field in enumerate(layers) if after in field.value.top), default=None)
    if writer is None and after not in inputs:
        raise InputError(_unknown_blob(after, layers, inputs), where=str(net))
    _check_free(net, layers, inputs, name, name if top is None else top)
    shape = _shape(net, upgraded, after, channels)
    if channels is None and shape is not None:
        channels = shape[1]
    upsampling: Upsampling | Plan
    if exact:
        from protogen.generate.resizing import resize

        input_options = {"input_shape": shape} if shape else {"channels": channels}
        upsampling = resize(
            **input_options, bottom=after, name=name, top=top, whole_net=False, **options
        )
        new_top = upsampling.top
        _check_all_free(net, layers, inputs, upsampling)
    else:
        upsampling = classic(bottom=after, channels=channels, name=name, top=top, **options)
        new_top = upsampling.specs[0].top
    begin = 0 if writer is None else writer + 1
    readers = [
        (layer, bottom)
        for layer in layers[begin:]
        for bottom in layer.value.all("bottom")
        if bottom.value == after
    ]
    edits = [_insertion(document, layers, writer, upsampling.prototxt)]
    if rewire:
        edits += (renamed(document.source, bottom, new_top) for _, bottom in readers)
    text = apply_edits(document.source.text, edits)
    rewired = dict.fromkeys(layer.value.name for layer, _ in readers) if rewire else ()
    spliced = Spliced(text, upsampling, tuple(rewired), document.source.bom)
    _check_result(net, text)
    return spliced


def _shape(net: str | Path, upgraded: Document, after: str, channels: int | None) -> Shape | None:
    """Return the shape of the blob; None where the user set the channels of an unknown shape."""
    shape = build(upgraded, upgraded.source).shapes.get(after)
    if shape is None:
        if channels is None:
            raise InputError(
                f"the shape of blob {after!r} is unknown",
                where=str(net),
                advice="Give its channels with --channels.",
            )
        return None
    if len(shape) != 4:
        raise InputError(
            f"blob {after!r} must have 4 axes (N, C, H, W), but its shape is "
            f"{'x'.join(map(str, shape))}",
            where=str(net),
        )
    if channels is not None and channels != shape[1]:
        raise InputError(
            f"blob {after!r} has {quantity(shape[1], 'channel')}, but --channels is {channels}",
            where=str(net),
            advice="Leave out --channels: the net determines it.",
        )
    return shape


def _check_free(
    net: str | Path, layers: list[Field], inputs: list[str], name: str, top: str
) -> None:
    for item in layers:
        if item.value.name == name:
            raise InputError(
                f"the layer name {name!r} is already in use",
                where=str(net),
                advice="Choose another name with --name.",
            )
    if top in inputs or any(top in item.value.top for item in layers):
        raise InputError(
            f"the blob name {top!r} is already in use",
            where=str(net),
            advice="Choose another name with --top.",
        )


def _check_all_free(net: str | Path, layers: list[Field], inputs: list[str], plan: Plan) -> None:
    """Check the names of every layer of a plan: they differ from the requested name."""
    for step in plan.steps:
        for top in step.tops:
            _check_free(net, layers, inputs, step.name, top)


def _unknown_blob(after: str, layers: list[Field], inputs: list[str]) -> str:
    known = [*inputs, *(top for item in layers for top in item.value.top)]
    return f"no layer produces a blob named {after!r}. {did_you_mean(after, known)}".strip()


def _insertion(document: Document, layers: list[Field], writer: int | None, new: str) -> Edit:
    """Return the edit that inserts ``new`` after the layer with the index ``writer``.

    The insertion point follows the rest of the line, such as a comment.
    """
    text = document.source.text
    newline = "\r\n" if "\r\n" in text else "\n"
    new = new.replace("\n", newline)
    if writer is None:  # the blob is an input field of the net
        at = layers[0].start if layers else len(text)
        lead = "" if at == 0 or text[at - 1] == "\n" else newline
        return at, at, lead + new
    end = layers[writer].end
    stop = text.find("\n", end)
    stop = len(text) if stop < 0 else stop + 1
    rest = text[end:stop].strip().lstrip(";,").strip()
    if rest and not rest.startswith("#"):  # another layer on the same line
        return end, end, newline + new
    lead = "" if text[stop - 1 : stop] == "\n" else newline
    return stop, stop, lead + new


def _check_result(net: str | Path, text: str) -> None:
    """Check that the new text is a valid net.

    Raises:
        InputError: it is not.
    """
    result = upgrade(prototxt.parse(text, f"{net} with the new layer"))
    build(result, result.source)
