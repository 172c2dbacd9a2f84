"""Blobs for which a net names no filler: which start dead, and what suits them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from protogen.errors import ProtogenWarning
from protogen.layers.fillers import Filler
from protogen.layers.graph import Layer
from protogen.layers.recommending import activations_after, role_of

if TYPE_CHECKING:
    from protogen.layers.graph import Graph
    from protogen.training.initialisation import FilledBlob

LISTED = 8  # names in a warning
FILL = "Give --fill (fill=True) for what suits the net."


class StartsDead(ProtogenWarning):
    """Blobs that start as 0 because nobody says how they begin."""


def filled(graph: Graph, blobs: Sequence[FilledBlob]) -> list[FilledBlob]:
    """The blobs; those of which neither the net nor the user says how they begin with what suits
    them: weights as the activation behind asks, others so that their layer changes nothing."""
    after = activations_after(graph)
    return [blob if blob.said else _filled(blob, after.get(blob.layer.name)) for blob in blobs]


def _filled(blob: FilledBlob, activation: object) -> FilledBlob:
    filling = blob.filling
    if filling.suits:
        return replace(blob, filler=Filler(filling.suits), reason="no filler: it upsamples")
    if blob.is_weight:
        kind = activation.type if isinstance(activation, Layer) else ""
        if isinstance(activation, Layer) and role_of(activation) == "rectifier":
            return replace(blob, filler=Filler("msra"), reason=f"no filler: {kind} follows")
        why = f"{kind} follows" if kind else "no rectifier follows"
        return replace(blob, filler=Filler("xavier"), reason=f"no filler: {why}")
    if filling.neutral is not None:
        filler = Filler(value=filling.neutral)
        return replace(blob, filler=filler, reason="no filler: the layer changes nothing so")
    return blob


def dead(blobs: Sequence[FilledBlob]) -> Iterator[ProtogenWarning]:
    """What starts dead because nobody says how it begins, a warning for each kind."""
    weights = [blob for blob in blobs if blob.is_weight and _is_zero(blob)]
    if weights:
        problem = "without a filler, and so 0: no signal gets through, and none back"
        yield StartsDead(f"{_names(weights)} {problem}", advice=FILL)
    others = {b.layer.name: b for b in reversed(blobs) if b.filling.neutral and _is_zero(b)}
    if others:
        problem = "0 at the start: no variance in phase TEST, and a scale that lets nothing through"
        listed = _names(list(reversed(others.values())))
        yield StartsDead(f"{listed} {problem}", advice=FILL)


def _is_zero(blob: FilledBlob) -> bool:
    return not blob.said and blob.filler.type == "constant" and blob.filler.value == 0


def _names(blobs: Sequence[FilledBlob]) -> str:
    """The first of them, how many more, and the verb."""
    names = [f"{blob.layer.name}.{blob.name}" for blob in blobs]
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{', '.join(names[:LISTED])}{more} {'is' if len(names) == 1 else 'are'}"
