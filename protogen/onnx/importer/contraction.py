"""Sums of products of values with labelled axes: matrix products, outer products, weighted sums.

Each axis of an operand has a label, a letter. Axes with the same label are multiplied element by element;
the labels that nothing else needs are summed. So "ik,kj->ij" is a product of two matrices.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations, permutations
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from protogen.onnx.importer.arithmetic import eltwise, floats, powered, span, with_constant
from protogen.onnx.importer.context import ImportContext
from protogen.onnx.importer.forms import along_axis, permuted, reshaped, tiled
from protogen.onnx.importer.reduction import reduced
from protogen.onnx.importer.selection import selected

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

LARGEST_PRODUCT = 2**26  # products of two computed values before summing: 256 MiB
MOST_ORDERS = 7  # labels of which every order is tried


class Operand(NamedTuple):
    """A value with a label for each of its axes: the name of a blob, or a constant."""

    value: str | NDArray[Any]
    labels: str


def operand_of(ctx: ImportContext, name: str, labels: str) -> Operand:
    """Return a value of the model, which may be a constant, as an operand."""
    constant = ctx.constant(name)
    return Operand(name if constant is None else floats(ctx, constant), labels)


def contracted(ctx: ImportContext, operands: Sequence[Operand], out: str) -> str:
    """Multiply operands and sum over the labels that are not in ``out``. Return the blob of the result.

    An axis of length 1 is repeated where its label has another length.

    Args:
        operands: at least one of them is computed.
        out: labels of the result's axes, each of which an operand has.

    Raises:
        UnsupportedError: a label has two lengths, or two computed values have more than LARGEST_PRODUCT
            products.
    """
    lengths: dict[str, int] = {}
    for value, labels in operands:
        shape = ctx.shape(value) if isinstance(value, str) else value.shape
        for label, length in zip(labels, shape, strict=True):
            known = lengths.setdefault(label, length)
            if known != length and 1 not in (known, length):
                raise ctx.unsupported(
                    f"an axis has length {known} in one input and {length} in another"
                )
            lengths[label] = max(known, length)
    product = _Product(ctx, out, lengths)
    own = [product.without_repeats(one) for one in operands]
    todo = [product.prepared(one, own[:i] + own[i + 1 :]) for i, one in enumerate(own)]
    while len(todo) > 1:
        a, b = product.next_pair(todo)
        todo = [one for one in todo if one is not a and one is not b]
        others = {label for one in todo for label in one.labels}
        todo.append(product.pair(a, b, others | set(out)))
    return product.ordered(todo[0], out)


class _Product:
    """Adds the layers of the products."""

    def __init__(self, ctx: ImportContext, out: str, lengths: Mapping[str, int]) -> None:
        self._ctx, self._out, self._lengths = ctx, out, lengths

    def _shape(self, labels: Sequence[str]) -> tuple[int, ...]:
        return tuple(self._lengths[label] for label in labels)

    def _place(self, label: str) -> int:
        """Where a label is in the result; labels that are summed come last."""
        return self._out.index(label) if label in self._out else len(self._out)

    def without_repeats(self, operand: Operand) -> Operand:
        """Drop axes that are repeated, and take the diagonal of axes with the same label."""
        import numpy as np

        ctx, (value, labels) = self._ctx, operand
        shape = ctx.shape(value) if isinstance(value, str) else value.shape
        own = [i for i, label in enumerate(labels) if shape[i] == self._lengths[label]]
        shape, labels = tuple(shape[i] for i in own), "".join(labels[i] for i in own)
        value = self._reshaped(value, shape)
        once = "".join(dict.fromkeys(labels))
        if once == labels:
            return Operand(value, once)
        places = np.einsum(f"{labels}->{once}", np.arange(prod(shape)).reshape(shape))
        if isinstance(value, str):
            return Operand(selected(ctx, value, places, "diagonal"), once)
        return Operand(value.reshape(-1)[places], once)

    def prepared(self, operand: Operand, others: Sequence[Operand]) -> Operand:
        """Sum over the labels that neither another operand nor the result has."""
        value, labels = operand
        needed = {label for one in others for label in one.labels} | set(self._out)
        axes = [i for i, label in enumerate(labels) if label not in needed]
        rest = "".join(label for label in labels if label in needed)
        if axes and isinstance(value, str):
            value = reduced(self._ctx, value, axes, "SUM", "summed", self._shape(rest))
        elif axes:
            assert not isinstance(value, str)
            value = value.sum(axis=tuple(axes))
        return Operand(value, rest)

    def _reshaped(self, value: str | NDArray[Any], shape: tuple[int, ...]) -> str | NDArray[Any]:
        if isinstance(value, str):
            return reshaped(self._ctx, value, shape, "axes")
        return value.reshape(shape)

    def ordered(self, operand: Operand, labels: Sequence[str]) -> str:
        """Return the blob of an operand with its axes in this order."""
        assert isinstance(operand.value, str)
        order = [operand.labels.index(label) for label in labels]
        return permuted(self._ctx, operand.value, order, "ordered")

    def next_pair(self, operands: Sequence[Operand]) -> tuple[Operand, Operand]:
        """Return the pair to multiply next: related constants, then the smallest result."""

        def cost(pair: tuple[Operand, Operand]) -> tuple[int, int]:
            a, b = pair
            common = set(a.labels) & set(b.labels)
            constant = not isinstance(a.value, str) and not isinstance(b.value, str)
            rank = (0 if common else 2) if constant else 1
            others = {
                label for one in operands if one is not a and one is not b for label in one.labels
            }
            result = (set(a.labels) | set(b.labels)) & (others | set(self._out))
            return rank, prod(self._shape(sorted(result)))

        return min(combinations(operands, 2), key=cost)

    def pair(self, a: Operand, b: Operand, keep: Collection[str]) -> Operand:
        """Multiply two operands, and sum over the labels that are not in ``keep``."""
        import numpy as np

        if isinstance(a.value, str) and isinstance(b.value, str):
            return self._computed(a, b, keep)
        if isinstance(b.value, str):
            a, b = b, a
        assert not isinstance(b.value, str)
        if not isinstance(a.value, str):
            labels = "".join(label for label in dict.fromkeys(a.labels + b.labels) if label in keep)
            product = np.einsum(f"{a.labels},{b.labels}->{labels}", a.value, b.value)
            return Operand(np.asarray(product), labels)
        sums = [label for label in a.labels if label in b.labels and label not in keep]
        new = sorted(set(b.labels) - set(a.labels), key=self._place)
        both = [label for label in a.labels if label in b.labels and label in keep]
        is_wide = prod(self._shape(both)) > 1
        if not new and (is_wide or not sums):
            return self._scaled(a, b, sums)
        return self._by_matrix(a, b, sums, new, both if is_wide else [])

    # A constant operand

    def _scaled(self, x: Operand, factors: Operand, sums: Sequence[str]) -> Operand:
        """Multiply by factors along some of the axes, and sum."""
        ctx = self._ctx
        assert isinstance(x.value, str)
        values = self._spread(factors, x.labels)
        y = with_constant(ctx, x.value, values, "Scale", "scaled")
        axes = [x.labels.index(label) for label in sums]
        rest = "".join(label for label in x.labels if label not in sums)
        if axes:
            y = reduced(ctx, y, axes, "SUM", "summed", self._shape(rest))
        return Operand(y, rest)

    def _spread(self, factors: Operand, labels: str) -> NDArray[Any]:
        """Return a constant with its axes in the order of the labels, and length 1 for those it lacks."""
        import numpy as np

        assert not isinstance(factors.value, str)
        own = [label for label in labels if label in factors.labels]
        turned = factors.value.transpose([factors.labels.index(label) for label in own])
        shape = [self._lengths[label] if label in own else 1 for label in labels]
        return np.ascontiguousarray(turned).reshape(shape)

    def _by_matrix(
        self, x: Operand, w: Operand, sums: Sequence[str], new: Sequence[str], both: Sequence[str]
    ) -> Operand:
        """Multiply by a matrix for each index of ``both``: neighbouring axes of x become the rows of the
        product. The matrices are weights."""
        import numpy as np

        assert isinstance(x.value, str)
        assert not isinstance(w.value, str)
        labels, at = self._with_block(x.labels, sums, new, both)
        value = self.ordered(x, labels)
        size = len(both) + len(sums)
        block = labels[at : at + size]
        both = [label for label in block if label in both]
        sums = [label for label in block if label not in both]
        groups, rows, columns = (prod(self._shape(one)) for one in (both, new, sums))
        order = [w.labels.index(label) for label in (*both, *new, *sums)]
        dropped = [label for label in w.labels if label not in (*both, *new, *sums)]  # of length 1
        matrix = np.ascontiguousarray(
            w.value.transpose([*order, *(w.labels.index(label) for label in dropped)])
        )
        matrix = matrix.reshape((groups, rows, columns) if groups > 1 else (rows, columns))
        before, after = labels[:at], labels[at + size :]
        view = (*self._shape(before), groups * columns, *self._shape(after))
        y = reshaped(self._ctx, value, view, "rows")
        y = along_axis(self._ctx, y, at, matrix, "product")
        result = [*before, *both, *new, *after]
        return Operand(reshaped(self._ctx, y, self._shape(result), "split"), "".join(result))

    def _with_block(
        self, labels: str, sums: Sequence[str], new: Sequence[str], both: Sequence[str]
    ) -> tuple[list[str], int]:
        """Return the order of x's labels in which those of ``both`` and then those of ``sums`` are
        neighbours, and the place of the first. It is x's own order, or that of the result."""
        block = {*both, *sums}
        order = list(labels)
        if block:
            at = min(order.index(label) for label in block)
            part = order[at : at + len(block)]
            if set(part) == block and set(part[: len(both)]) == set(both):
                return order, at
            order = sorted((one for one in order if one not in block), key=self._place)
            first = min(map(self._place, (*both, *new)), default=len(self._out))
            at = sum(self._place(label) < first for label in order)
            middle = [*sorted(both, key=self._place), *sums]
            return [*order[:at], *middle, *order[at:]], at
        first = self._place(new[0])
        at = sum(self._place(label) < first for label in order)
        if any(self._place(label) > first for label in order[:at]):
            at = len(order)
        return order, at

    # Two computed operands

    def _computed(self, a: Operand, b: Operand, keep: Collection[str]) -> Operand:
        """Repeat both to the shape of all products, multiply, and sum."""
        assert isinstance(a.value, str)
        assert isinstance(b.value, str)
        ctx = self._ctx
        order = self._best_order(a.labels, b.labels, keep)
        full = self._shape(order)
        if prod(full) > LARGEST_PRODUCT:
            raise ctx.unsupported(
                f"the product of two computed matrices takes {prod(full)} multiplications, but the "
                f"limit is {LARGEST_PRODUCT}"
            )
        values: list[str] = []
        for one, role in ((a, "left"), (b, "right")):
            value = self.ordered(one, [label for label in order if label in one.labels])
            shape = tuple(self._lengths[label] if label in one.labels else 1 for label in order)
            values.append(reshaped(ctx, value, shape, role))
        axes = [i for i, label in enumerate(order) if label not in keep]
        rest = "".join(label for label in order if label in keep)
        y = _repeated_product(ctx, values[0], values[1], full)
        if axes:
            y = reduced(ctx, y, axes, "SUM", "summed", self._shape(rest))
        return Operand(y, rest)

    def _best_order(self, a: str, b: str, keep: Collection[str]) -> Sequence[str]:
        """Return the order of all labels that takes the fewest layers. A permutation counts as 3."""
        union = sorted(dict.fromkeys(a + b), key=self._place)
        if len(union) > MOST_ORDERS:
            return [*(label for label in union if label in keep),
                    *(label for label in union if label not in keep)]  # fmt: skip
        long_axes = {label for label in union if self._lengths[label] > 1}

        def cost(order: tuple[str, ...]) -> tuple[int, int]:
            wrong = sum(
                [label for label in order if label in labels and label in long_axes]
                != [label for label in labels if label in order and label in long_axes]
                for labels in (a, b, self._out if set(union) & set(keep) == set(self._out) else "")
                if labels
            )
            own = [[label in labels for label in order if label in long_axes] for labels in (a, b)]
            missing = [one.count(False) for one in own]
            layers = sum(missing) + 1
            for this, other in ((0, 1), (1, 0)):
                if (
                    sum(x and not y for x, y in zip(own[other], [False, *own[other]], strict=False))
                    == 1
                ):
                    layers = min(layers, missing[this] + 1)  # a Scale repeats the other one
            summed = [label not in keep for label in order if label in long_axes]
            runs = sum(x and not y for x, y in zip(summed, [False, *summed], strict=False))
            layers += runs + (not summed[-1] if any(summed) else 0)
            inversions = sum(order.index(x) > order.index(y) for x, y in combinations(union, 2))
            return 3 * wrong + layers, inversions

        return min(permutations(union), key=cost)


def _repeated_product(ctx: ImportContext, a: str, b: str, full: tuple[int, ...]) -> str:
    """Multiply two values with as many axes as ``full``, repeating axes of length 1.

    If the long axes of one value are neighbours, a Scale repeats it. Otherwise it is tiled.
    """
    shapes = [ctx.shape(one) for one in (a, b)]
    if shapes == [full, full]:
        return (
            powered(ctx, a, power=2.0, role="square")
            if a == b
            else eltwise(ctx, "PROD", [a, b], "products")
        )
    fits = []
    for x, y in ((a, b), (b, a)):
        axes = span(full, ctx.shape(y))
        if axes is not None:
            fits.append((sum(m != n for m, n in zip(ctx.shape(x), full, strict=True)), x, y, axes))
    if fits:
        _, x, y, (axis, inner) = min(fits, key=lambda one: one[0])
        x = tiled(ctx, x, full, "tiled")
        y = reshaped(ctx, y, inner, "factors")
        params = {"scale_param": {"axis": axis}} if axis != 1 else {}
        return ctx.add("Scale", [x, y], params, role="products")
    operands = [tiled(ctx, a, full, "left_tiled"), tiled(ctx, b, full, "right_tiled")]
    return eltwise(ctx, "PROD", operands, "products")
