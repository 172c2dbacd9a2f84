"""What layers of several families check alike."""

from __future__ import annotations

from collections.abc import Sequence

from protogen.geometry import Shape, shape_text
from protogen.layers.graph import Layer


def check_tops(layer: Layer, least: int, most: int | None = None) -> None:
    """Raises InputError unless the layer has from ``least`` to ``most`` tops (None: any)."""
    count = len(layer.tops)
    if count < least or (most is not None and count > most):
        raise layer.error(f"has {counted(count)}, but makes {span(least, most)}")


def counted(count: int) -> str:
    return f"{count} top" if count == 1 else f"{count} tops"


def span(least: int, most: int | None) -> str:
    """How many there may be, in words."""
    if most is None:
        return f"{least} or more"
    return f"{least}" if most == least else f"{least} to {most}"


def check_equal(layer: Layer, bottoms: Sequence[Shape]) -> None:
    """Raises InputError unless all bottoms have one shape."""
    for name, shape in zip(layer.bottoms[1:], bottoms[1:], strict=False):
        if shape != bottoms[0]:
            raise layer.error(
                f'its bottoms differ: "{layer.bottoms[0]}" is {shape_text(bottoms[0])}, '
                f'"{name}" is {shape_text(shape)}',
                rounding_advice(shape, bottoms[0]),
            )


def rounding_advice(a: Shape, b: Shape) -> str:
    """What to do where two maps of one batch and depth have sizes that are near each other."""
    if len(a) != 4 or len(b) != 4 or a == b or a[0] != b[0]:
        return ""
    if any(abs(n - m) > max(1, max(n, m) // 8) for n, m in zip(a[2:], b[2:], strict=True)):
        return ""
    return (
        "If a fork wrote this net, it rounds sizes otherwise: give the Pooling before it "
        "round_mode: FLOOR, or the Interp its height and width."
    )
