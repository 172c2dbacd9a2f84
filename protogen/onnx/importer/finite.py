"""Whether values can be infinite or NaN, which a product with a mask or a matrix of 0 and 1 spreads."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from protogen.onnx.importer.context import ImportContext

# Operators whose result can be infinite or NaN although their inputs are finite.
_UNBOUNDED = frozenset(("Div", "Exp", "Log", "Pow", "Reciprocal", "Sqrt"))
_SPREADS = (
    "infinity and NaN in one value also reach values beside it, because the layers multiply by 0 where "
    "the operator leaves a value out"
)


def can_be_unbounded(ctx: ImportContext, value: str) -> bool:
    """Whether an operator before the value can give infinity or NaN for finite inputs: by its formula, or
    because one of its constants is infinite or NaN."""
    seen: set[str] = set()
    stack = [value]
    while stack:
        name = stack.pop()
        operator = ctx.producers.get(name)
        if name in seen or operator is None:
            continue
        seen.add(name)
        if operator.type in _UNBOUNDED:
            return True
        for read in operator.inputs:
            constant = ctx.constant(read)
            if constant is None:
                stack.append(read)
            elif _has_infinity(constant):
                return True
    return False


def _has_infinity(array: NDArray[Any]) -> bool:
    import numpy as np

    return array.dtype.kind == "f" and not np.isfinite(array).all()


def note_spread(ctx: ImportContext) -> None:
    """Report that the operator multiplies by 0, if one of its inputs can be infinite or NaN."""
    if any(can_be_unbounded(ctx, name) for name in ctx.operator.inputs):
        entry = (ctx.operator, _SPREADS)
        if entry not in ctx.approximated:
            ctx.approximated.append(entry)
