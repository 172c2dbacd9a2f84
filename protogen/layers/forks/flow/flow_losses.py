"""Losses of FlowNet2: distances of two flows, in which positions without a value (NaN) do not count."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from protogen.errors import quantity
from protogen.geometry import Shape
from protogen.layers.base import check_bottoms, check_rank, fields
from protogen.layers.checking import check_equal, check_set, check_tops
from protogen.layers.elementwise import FLOAT
from protogen.layers.forks.flow.correlation import SOURCE
from protogen.layers.graph import Layer
from protogen.layers.labels import total
from protogen.layers.loss import _Loss
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng


class _FlowLoss(_Loss, abstract=True):
    """Base of the losses of one bottom, or of the difference of two."""

    least = 1
    stock = False
    source = SOURCE
    gives_no_gradient = False

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 2)
        check_set(layer, self.required)
        check_tops(layer, 0, 1)
        check_rank(layer, bottoms, self.least_axes(layer), 4)
        check_equal(layer, bottoms)
        self.check(layer, bottoms)
        return [()]

    def least_axes(self, layer: Layer) -> int:
        """Return the least number of axes of a bottom."""
        return 4

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return None

    def difference(self, layer: Layer, e: Emitter) -> tuple[str, str]:
        """Emit the difference with 0 for NaN, and a mask that is true for NaN."""
        x = layer.reads[0]
        x = e.value("Sub", *layer.reads) if len(layer.reads) > 1 else x
        is_nan = e.value("IsNaN", x)
        return e.value("Where", is_nan, e.array(0.0), x), is_nan

    def divided(self, layer: Layer, e: Emitter, terms: str, is_nan: str, by_entries: bool) -> str:
        """Emit the sum of ``terms`` by the number of samples, or with ``by_entries`` by the number of
        values that are not NaN, per channel."""
        n, c = (*e.shape(layer.reads[0]), 1)[:2]
        if not by_entries:
            return total(e, terms, 1 / n)
        present = e.value("Cast", e.value("Not", is_nan), to=FLOAT)
        return e.value("Div", total(e, terms, 1.0), total(e, present, 1 / c))


class L1Loss(_FlowLoss):
    """Forks (NVCaffe, FlowNet2): the sum of |d| of a difference d, by the number of samples. FlowNet2:
    values of d that are NaN count as 0. With l2_per_location, the sum of sqrt(epsilon + sum of d^2 over the channels) of each pixel.
    Differences below plateau count as 0."""

    reads = fields(
        l1_loss_param=(
            "l2_per_location l2_prescale_by_channels normalize_by_num_entries epsilon plateau"
        )
    )

    def least_axes(self, layer: Layer) -> int:
        return 4 if layer.params.l1_loss_param.l2_per_location else 1

    def loss(self, layer: Layer, e: Emitter) -> tuple[str, str]:
        p = layer.params.l1_loss_param
        d, is_nan = self.difference(layer, e)
        plateau = float(p.plateau)
        if p.l2_per_location:
            terms = e.reduce("ReduceSum", e.value("Mul", d, d), [1])
            if p.l2_prescale_by_channels:
                terms = e.value("Mul", terms, e.array(1 / e.shape(layer.reads[0])[1]))
            terms = self._above(e, terms, plateau * plateau)
            terms = e.value("Sqrt", e.value("Add", terms, e.array(float(p.epsilon))))
        else:
            terms = self._above(e, e.value("Abs", d), plateau)
        return self.divided(layer, e, terms, is_nan, bool(p.normalize_by_num_entries)), ""

    def _above(self, e: Emitter, values: str, least: float) -> str:
        """Emit 0 for values below ``least``."""
        if least <= 0:
            return values
        return e.value("Where", e.value("Less", values, e.array(least)), e.array(0.0), values)


class LpqLoss(_FlowLoss):
    """Forks (FlowNet2): the sum over pixels of (q_epsilon + sum over channels of
    (p_epsilon + |d|)^p)^q of a difference d, by the number of samples."""

    reads = fields(
        lpq_loss_param=(
            "l2_prescale_by_channels normalize_by_num_entries p_epsilon q_epsilon p q "
            "pq_episode_starts_at_iter"
        )
    )
    required = ("lpq_loss_param.p", "lpq_loss_param.q")
    limits = "one p and one q"

    def check(self, layer: Layer, bottoms: Sequence[Shape]) -> None:
        p = layer.params.lpq_loss_param
        starts = list(p.pq_episode_starts_at_iter) or [0]
        if not len(starts) == len(p.p) == len(p.q):
            raise layer.error(
                f"p, q and pq_episode_starts_at_iter must have the same number of values, got "
                f"{len(p.p)}, {len(p.q)} and {len(starts)}"
            )
        if starts[0] != 0 or any(b <= a for a, b in itertools.pairwise(starts)):
            raise layer.error("pq_episode_starts_at_iter must begin with 0 and increase")

    def check_form(self, layer: Layer) -> None:
        count = len(layer.params.lpq_loss_param.p)
        if count > 1:
            raise layer.unsupported(
                f"p and q have {quantity(count, 'value')}, and the iteration selects one",
                "Keep one p and one q.",
            )

    def loss(self, layer: Layer, e: Emitter) -> tuple[str, str]:
        p = layer.params.lpq_loss_param
        d, is_nan = self.difference(layer, e)
        size = e.value("Add", e.value("Abs", d), e.array(float(p.p_epsilon)))
        powers = e.value("Pow", size, e.array(float(p.p[0])))
        terms = e.reduce("ReduceSum", powers, [1])
        if p.l2_prescale_by_channels:
            terms = e.value("Mul", terms, e.array(1 / e.shape(layer.reads[0])[1]))
        terms = e.value("Add", terms, e.array(float(p.q_epsilon)))
        terms = e.value("Pow", terms, e.array(float(p.q[0])))
        return self.divided(layer, e, terms, is_nan, bool(p.normalize_by_num_entries)), ""
