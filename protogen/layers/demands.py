"""Checks of BVLC Caffe for a layer whose shapes are valid: Caffe refuses the net if one of them
fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from protogen.errors import InputError, quantity
from protogen.geometry import Shape, shape_text
from protogen.layers.base import LayerType
from protogen.layers.filling import check_fillers, check_inline_blobs
from protogen.layers.graph import Layer


def refusals(
    layer: Layer,
    kind: LayerType,
    bottoms: Sequence[Shape],
    tops: Sequence[Shape | None],
    blobs: Sequence[Shape],
) -> Iterator[InputError]:
    """Yield an error for each check of Caffe that the layer fails."""
    if layer.type != layer.params.type:  # the user replaced the layer by an identity
        return
    checks: tuple[tuple[Any, ...], ...] = (
        (_check_values, layer, bottoms, tops),
        (_check_propagation, layer),
        (_check_rates, layer, kind),
        (check_fillers, layer, kind, bottoms, blobs),
        (check_inline_blobs, layer, kind, blobs),
        (kind.demands, layer, bottoms, tops),
    )
    for check, *arguments in checks:
        try:
            check(*arguments)
        except InputError as error:
            yield error


def _check_values(layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
    for shape in bottoms:
        if 0 in shape:  # the layer that produces it is reported already
            return
    for name, top in zip(layer.tops, tops, strict=False):
        if top is not None and 0 in top:
            raise layer.error(
                f'its top "{name}" has shape {shape_text(top)}, which contains no values',
                "Set the shape of its data.",
            )


def _check_propagation(layer: Layer) -> None:
    if not layer.params.has("propagate_down"):
        return
    flags, bottoms = len(layer.params.propagate_down), len(layer.bottoms)
    if flags not in (0, bottoms):
        raise layer.error(
            f"has {flags} propagate_down for {quantity(bottoms, 'bottom')}",
            "Set one per bottom, or none.",
        )


def _check_rates(layer: Layer, kind: LayerType) -> None:
    if kind.trained:
        return
    for spec in layer.params.param[:3]:
        if spec.lr_mult != 0:
            raise layer.error(
                f"a param has lr_mult {spec.lr_mult:g}, but the blobs are statistics and not trained",
                "Set lr_mult: 0, or remove param: Caffe then uses 0.",
            )
