"""What Caffe demands of a layer besides the shapes of its bottoms: a net is refused for it, but its
shapes are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from protogen.errors import InputError
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
    """Why Caffe refuses a layer whose shapes are known; nothing where it does not."""
    if layer.type != layer.params.type:  # it stands for an identity, whatever it is
        return
    checks: tuple[Callable[[], None], ...] = (
        lambda: _check_values(layer, bottoms, tops),
        lambda: _check_propagation(layer),
        lambda: _check_rates(layer, kind),
        lambda: check_fillers(layer, kind, bottoms, blobs),
        lambda: check_inline_blobs(layer, kind, blobs),
        lambda: kind.demands(layer, bottoms, tops),
    )
    for check in checks:
        try:
            check()
        except InputError as error:
            yield error


def _check_values(layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
    if any(0 in shape for shape in bottoms):  # the layer before has been told of
        return
    for name, shape in zip(layer.tops, tops, strict=False):
        if shape is not None and 0 in shape:
            raise layer.error(
                f'its top "{name}" is {shape_text(shape)}, which holds no values',
                "Give the shape of its data.",
            )


def _check_propagation(layer: Layer) -> None:
    given, count = len(layer.params.propagate_down), len(layer.bottoms)
    if given not in (0, count):
        raise layer.error(
            f"has {count} bottoms, but {given} propagate_down",
            "Give one for each bottom, or none.",
        )


def _check_rates(layer: Layer, kind: LayerType) -> None:
    if kind.trained:
        return
    for spec in layer.params.param[:3]:
        if spec.lr_mult != 0:
            raise layer.error(
                f"a param has lr_mult {spec.lr_mult:g}, but its blobs are statistics",
                "Give lr_mult: 0, or leave param out: Caffe then takes 0.",
            )
