"""Checks of BVLC Caffe on a net, one row per check (ROWS), and checks that no net can fail (UNREACHABLE)."""

from __future__ import annotations

from checks import (
    activations,
    combining,
    convolutions,
    counts,
    losses,
    nets,
    shaping,
    sources,
    sums,
)
from checks.rows import Row
from checks.unreachable import UNREACHABLE

__all__ = ["ROWS", "UNREACHABLE", "Row"]

ROWS: tuple[Row, ...] = (
    *nets.ROWS,
    *counts.ROWS,
    *convolutions.ROWS,
    *sums.ROWS,
    *activations.ROWS,
    *combining.ROWS,
    *shaping.ROWS,
    *losses.ROWS,
    *sources.ROWS,
)
