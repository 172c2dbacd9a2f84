"""Parameter blobs without a filler: warnings for those that start at 0, suitable fillers, and a net with
them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from protogen.errors import ProtogenWarning, UnsupportedError
from protogen.formats import prototxt
from protogen.formats.message import Field, Message
from protogen.layers.fillers import EXTRAS, Filler
from protogen.layers.graph import Layer
from protogen.layers.recommending import activations_after, role_of

if TYPE_CHECKING:
    from protogen.layers.graph import Graph
    from protogen.net.net import Net
    from protogen.training.initialisation import FilledBlob

LISTED = 8  # blobs that a warning names
FILL = "Use --fill (fill=True) to choose suitable fillers."


class StartsDead(ProtogenWarning):
    """Blobs without a filler start at 0, so that the net cannot learn."""


def complete_fillers(graph: Graph, blobs: Sequence[FilledBlob], fill: bool) -> list[FilledBlob]:
    """Return the blobs with the fillers that count; ``fill``: with suitable ones where there are
    none."""
    blobs = with_owners_fillers(blobs)
    return with_suitable_fillers(graph, blobs) if fill else blobs


def with_suitable_fillers(graph: Graph, blobs: Sequence[FilledBlob]) -> list[FilledBlob]:
    """Return the blobs; those without an explicit filler get a suitable one.

    Weights get the filler that suits the activation after their layer. Other blobs get the value
    that leaves their layer without effect.
    """
    after = activations_after(graph)
    return [
        blob if blob.explicit else _with_suitable_filler(blob, after.get(blob.layer.name))
        for blob in blobs
    ]


def _with_suitable_filler(blob: FilledBlob, activation: object) -> FilledBlob:
    filling = blob.filling
    if filling.suits:
        return replace(blob, filler=Filler(filling.suits), reason="no filler: the layer upsamples")
    if blob.is_weight:
        type_ = activation.type if isinstance(activation, Layer) else ""
        if isinstance(activation, Layer) and role_of(activation) == "rectifier":
            return replace(blob, filler=Filler("msra"), reason=f"no filler: {type_} follows")
        why = f"{type_} follows" if type_ else "no rectifier follows"
        return replace(blob, filler=Filler("xavier"), reason=f"no filler: {why}")
    if filling.neutral is not None:
        filler = Filler(value=filling.neutral)
        return replace(blob, filler=filler, reason="no filler: neutral value")
    return blob


def zero_start_warnings(blobs: Sequence[FilledBlob]) -> Iterator[ProtogenWarning]:
    """Return warnings for blobs that start at 0: one for weights, and one for all other blobs."""
    weights = [blob for blob in blobs if blob.is_weight and _is_zero(blob)]
    if weights:
        problem = "weights without a filler start at 0, so that no signal and no gradient passes"
        yield StartsDead(f"{problem}: {_names(weights)}", advice=FILL)
    others = {b.layer.name: b for b in reversed(blobs) if b.filling.neutral and _is_zero(b)}
    if others:
        problem = (
            "blobs without a filler start at 0, so that phase TEST has no variance, or the scale "
            "blocks the signal"
        )
        names = _names(list(reversed(others.values())))
        yield StartsDead(f"{problem}: {names}", advice=FILL)


def _is_zero(blob: FilledBlob) -> bool:
    return not blob.explicit and blob.filler.type == "constant" and blob.filler.value == 0


def _names(blobs: Sequence[FilledBlob]) -> str:
    """Return the names of the first blobs, and the number of the others."""
    names = [f"{blob.layer.name}.{blob.name}" for blob in blobs]
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def with_owners_fillers(blobs: Sequence[FilledBlob]) -> list[FilledBlob]:
    """Give a blob that several layers share the filler of its owner: Caffe fills the blob for the
    owner, and the other layers use this memory."""
    by_owner = {(blob.layer.name, blob.index): blob for blob in blobs}
    result = []
    for blob in blobs:
        owner = by_owner[blob.owner]
        result.append(
            replace(
                blob,
                filler=owner.filler,
                filling=owner.filling,
                reason=owner.reason,
                explicit=owner.explicit,
            )
        )
    return result


def with_fillers(net: Net, blobs: Sequence[FilledBlob]) -> Message:
    """Return a copy of the net's message with the fillers of these blobs.

    Blobs for which Caffe has no filler, such as BatchNorm's, are left out: only the caffemodel has
    their initial values.

    Raises:
        UnsupportedError: Caffe has no such filler.
    """
    changed: dict[str, list[FilledBlob]] = {}
    for blob in blobs:
        if not blob.reason or not blob.filling.field:  # without a field no text can name the filler
            continue
        if blob.filler.type in EXTRAS:
            raise UnsupportedError(
                f"Caffe has no filler {blob.filler.type}, so that the prototxt cannot contain it",
                subject=blob.layer.subject,
                advice="Write its values to a caffemodel.",
            )
        changed.setdefault(blob.layer.name, []).append(blob)
    copy = prototxt.parse(prototxt.write(net.message), net.name or "net")
    for entry in copy.all("layer"):
        for blob in changed.get(entry.value.name, ()):
            outer, name = blob.filling.field.split(".")
            if not entry.value.has(outer):
                entry.value.add(outer, {})
            param: Message = getattr(entry.value, outer)
            numbers = blob.filler.numbers()
            filler = Message.make("FillerParameter", **numbers)
            present = param.all(name)
            if present:
                present[0].value = filler
                present[0].literal = None
            else:
                param.append(Field(name, filler, param.kind.fields[name] if param.kind else None))
    return copy
