"""Puts an upsampling layer into an existing net's text and leaves the rest as its author wrote it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protogen.errors import Edit, InputError, did_you_mean
from protogen.formats import prototxt
from protogen.formats.message import Field
from protogen.formats.prototxt import Document
from protogen.formats.prototxt.edits import apply_edits
from protogen.generate.stock import renamed
from protogen.generate.upsampling import Upsampling, classic
from protogen.net.build import build
from protogen.net.upgrade import upgrade

if TYPE_CHECKING:
    from protogen.generate.plan import Plan
    from protogen.geometry import Shape


@dataclass(frozen=True, slots=True)
class Spliced:
    """A net's new text, what was put in, and the layers that now read it."""

    text: str
    upsampling: Upsampling | Plan
    rewired: tuple[str, ...]
    bom: bool = False

    def encode(self) -> bytes:
        """The text as its file's bytes: byte-order mark and stray bytes as they were."""
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
    """Puts upsampling behind the blob ``after`` of the net in the file ``net``: the classic layer,
    or with ``exact`` the layers of a plan (``resize``).

    It goes behind the last layer that writes the blob. With ``rewire``, the layers that
    read the blob from there on read the upsampled one. Text and comments stay as they are.

    Args:
        channels: taken from the net's shapes unless given.
        options: as ``upsample``: factor, mode, trainable, weights, template, templates; with
            ``exact`` as ``resize``: factor, size, mode, like, target and so on. The input's shape
            is the net's.

    Raises:
        InputError: the net is missing or wrong, the blob is unknown, a name is taken, or the
            channel count is neither known nor given.
    """
    document = prototxt.read(net)
    if document.has("layers"):
        raise document.source.error(
            document.all("layers")[0].start,
            "the net is of the old form with `layers`",
            "Run protogen upgrade on it first.",
        )
    modern = upgrade(document)
    layers = document.all("layer")
    inputs = list(document.input)
    writer = max((i for i, f in enumerate(layers) if after in f.value.top), default=None)
    if writer is None and after not in inputs:
        raise InputError(_unknown_blob(after, layers, inputs), where=str(net))
    _check_free(net, layers, inputs, name, name if top is None else top)
    shape = _shape(net, modern, after, channels)
    if channels is None and shape is not None:
        channels = shape[1]
    up: Upsampling | Plan
    if exact:
        from protogen.generate.resizing import resize

        known = {"input_shape": shape} if shape else {"channels": channels}
        up = resize(**known, bottom=after, name=name, top=top, whole_net=False, **options)
        new_top = up.top
        _check_all_free(net, layers, inputs, up)
    else:
        up = classic(bottom=after, channels=channels, name=name, top=top, **options)
        new_top = up.specs[0].top
    begin = 0 if writer is None else writer + 1
    readers = [
        (layer, bottom)
        for layer in layers[begin:]
        for bottom in layer.value.all("bottom")
        if bottom.value == after
    ]
    edits = [_insertion(document, layers, writer, up.prototxt)]
    if rewire:
        edits += (renamed(document.source, bottom, new_top) for _, bottom in readers)
    text = apply_edits(document.source.text, edits)
    rewired = dict.fromkeys(layer.value.name for layer, _ in readers) if rewire else ()
    made = Spliced(text, up, tuple(rewired), document.source.bom)
    _prove(net, text)
    return made


def _shape(net: str | Path, modern: Document, after: str, given: int | None) -> Shape | None:
    """The blob's shape; None where only its channels are known, because the user gave them."""
    shape = build(modern, modern.source).shapes.get(after)
    if shape is None:
        if given is None:
            raise InputError(
                f"the shape of blob {after!r} is not known",
                where=str(net),
                advice="Give its channels with --channels.",
            )
        return None
    if len(shape) != 4:
        raise InputError(
            f"blob {after!r} is {'x'.join(map(str, shape))}, no picture with 4 axes", where=str(net)
        )
    if given is not None and given != shape[1]:
        raise InputError(
            f"blob {after!r} has {shape[1]} channels, but --channels says {given}",
            where=str(net),
            advice="Leave --channels out: it is taken from the net.",
        )
    return shape


def _check_free(
    net: str | Path, layers: list[Field], inputs: list[str], name: str, top: str
) -> None:
    for item in layers:
        if item.value.name == name:
            raise InputError(
                f"the layer name {name!r} is taken",
                where=str(net),
                advice="Choose another with --name.",
            )
    if top in inputs or any(top in item.value.top for item in layers):
        raise InputError(
            f"the blob name {top!r} is taken", where=str(net), advice="Choose another with --top."
        )


def _check_all_free(net: str | Path, layers: list[Field], inputs: list[str], up: Plan) -> None:
    """A plan of several layers has more names than the one that was asked for."""
    for step in up.steps:
        for top in step.tops:
            _check_free(net, layers, inputs, step.name, top)


def _unknown_blob(after: str, layers: list[Field], inputs: list[str]) -> str:
    known = [*inputs, *(top for item in layers for top in item.value.top)]
    return f"no layer makes a blob named {after!r}. {did_you_mean(after, known)}".strip()


def _insertion(document: Document, layers: list[Field], writer: int | None, new: str) -> Edit:
    """Behind the writer's closing brace and what else stands on its line."""
    text = document.source.text
    newline = "\r\n" if "\r\n" in text else "\n"
    new = new.replace("\n", newline)
    if writer is None:  # behind inputs of the net itself
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


def _prove(net: str | Path, text: str) -> None:
    """The new text must be a net by the same rules."""
    result = upgrade(prototxt.parse(text, f"{net} with the new layer"))
    build(result, result.source)
