"""Checks that layers of several families share."""

from __future__ import annotations

from collections.abc import Sequence

from protogen.errors import quantity
from protogen.geometry import Shape, shape_text
from protogen.layers.graph import Layer


def check_tops(layer: Layer, least: int, most: int | None = None) -> None:
    """Raises InputError unless the layer has from ``least`` to ``most`` tops (None: any)."""
    count = len(layer.tops)
    if count < least or (most is not None and count > most):
        raise layer.error(f"expected {counted(least, most, 'top')}, got {count}")


def check_set(layer: Layer, paths: Sequence[str]) -> None:
    """Raises InputError unless the layer sets each field (``block.field``)."""
    for path in paths:
        block, _, name = path.partition(".")
        if not getattr(layer.params, block).has(name):
            raise layer.error(f"missing {path}", "Set it.")


def counted(least: int, most: int | None, noun: str, plural: str = "") -> str:
    """Return a range of counts in words: ``1 top``, ``at least 2 tops``, ``at most 1 top``,
    ``2 to 4 axes``."""
    if most is None:
        return f"at least {quantity(least, noun, plural)}"
    last = quantity(most, noun, plural)
    if least == most:
        return last
    return f"{least} to {last}" if least else f"at most {last}"


def check_equal(layer: Layer, bottoms: Sequence[Shape]) -> None:
    """Raises InputError unless all bottoms have one shape."""
    for name, shape in zip(layer.bottoms[1:], bottoms[1:], strict=False):
        if shape != bottoms[0]:
            raise layer.error(
                f'its bottoms must have the same shape, but "{layer.bottoms[0]}" is '
                f'{shape_text(bottoms[0])} and "{name}" is {shape_text(shape)}',
                rounding_advice(shape, bottoms[0]),
            )


def rounding_advice(a: Shape, b: Shape) -> str:
    """Return advice if two maps differ only a little in height and width; empty otherwise."""
    if len(a) != 4 or len(b) != 4 or a == b or a[0] != b[0]:
        return ""
    if any(abs(n - m) > max(1, max(n, m) // 8) for n, m in zip(a[2:], b[2:], strict=True)):
        return ""
    return (
        "If the net was written for a Caffe fork, that fork may round sizes differently: set "
        "round_mode: FLOOR in the Pooling before this layer, or height and width in the Interp. In nets "
        "of OpenVINO, zoom_factor multiplies the size: set --dialect openvino."
    )


class Guard:
    """The context of ``base.guarded``: a class and not a generator, because each layer enters it."""

    __slots__ = ("bottoms", "layer")

    def __init__(self, layer: Layer, bottoms: Sequence[Shape | None]) -> None:
        self.layer, self.bottoms = layer, bottoms

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, (ArithmeticError, LookupError, ValueError)):
            texts = ("unknown" if s is None else shape_text(s) for s in self.bottoms)
            shapes = ", ".join(texts) or "none"
            raise self.layer.error(
                f"its bottoms have too few axes or do not match its parameters (shapes: {shapes})"
            ) from error
