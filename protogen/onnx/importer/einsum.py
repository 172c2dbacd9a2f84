"""Einsum: sums of products of any labelled axes."""

from __future__ import annotations

from string import ascii_letters
from typing import TYPE_CHECKING

from protogen.onnx.importer.context import ImportContext
from protogen.onnx.importer.contraction import contracted, operand_of
from protogen.onnx.importer.registry import NUMBERS, imports

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protogen.geometry import Shape


@imports("Einsum", takes=NUMBERS)
def einsum(ctx: ImportContext, *inputs: str, equation: str) -> None:
    """A product with a constant is a Scale, an InnerProduct or a Convolution. Computed values are
    repeated, multiplied and summed."""
    terms, out = _labels(ctx, equation, [ctx.shape(name) for name in inputs])
    operands = [operand_of(ctx, *one) for one in zip(inputs, terms, strict=True)]
    ctx.pass_through(contracted(ctx, operands, out))


def _labels(ctx: ImportContext, equation: str, shapes: Sequence[Shape]) -> tuple[list[str], str]:
    """Return the labels of the axes of each input and of the output. The axes of an ellipsis get letters
    that the equation does not use."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        raise ctx.unsupported(
            f'"{equation}" has {len(terms)} terms, but there are {len(shapes)} inputs'
        )
    letters = {one for one in equation if one in ascii_letters}
    if set(equation) - letters - set(" ,.->"):
        raise ctx.unsupported(f'"{equation}" has characters that are not letters')
    free = [one for one in ascii_letters if one not in letters]
    counts = [
        len(shape) - len(term.replace("...", "")) for term, shape in zip(terms, shapes, strict=True)
    ]
    for term, count, shape in zip(terms, counts, shapes, strict=True):
        if count < 0 or (count and "..." not in term) or term.replace("...", "", 1).count("."):
            raise ctx.unsupported(f'"{equation}": the term "{term}" does not fit {len(shape)} axes')
    spans = {n for term, n in zip(terms, counts, strict=True) if "..." in term}
    if len(spans) > 1 or (spans and arrow and "..." not in right):
        raise ctx.unsupported(
            f'"{equation}": the ellipsis must be as many axes in every term, and in the output too'
        )
    most = max(spans, default=0)
    if most > len(free):
        raise ctx.unsupported(f'"{equation}" has more axes than there are letters')
    rest = "".join(free[:most])
    if not arrow:  # the labels that appear once, in alphabetical order
        once = [one for one in sorted(letters) if left.count(one) == 1]
        right = ("..." if "..." in left else "") + "".join(once)
    out = right.replace("...", rest)
    expanded = [term.replace("...", rest) for term in terms]
    known = set("".join(expanded))
    if len(set(out)) < len(out) or not set(out) <= known:
        raise ctx.unsupported(f'"{equation}": the output must have labels of the inputs, each once')
    return expanded, out
