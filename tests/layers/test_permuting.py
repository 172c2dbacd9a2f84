"""Permutations as moves of axes: the result, and how few slices they take."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogen.layers.permuting import MOST_SLICES, moves


def applied(x, order):
    """Apply the moves with numpy."""
    out = tuple(x.shape[axis] for axis in order)
    for move in moves(x.shape, order):
        x = x.reshape(move.shape)
        x = np.concatenate(np.split(x, move.slices, move.axis), move.to)
    return x.reshape(out)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.randoms())
def test_moves_permute(shape, random):
    order = list(range(len(shape)))
    random.shuffle(order)
    x = np.arange(prod(shape)).reshape(shape)
    np.testing.assert_array_equal(applied(x, order), x.transpose(order))


@given(st.integers(1, 400), st.integers(1, 400), st.booleans())
def test_a_transposed_matrix_takes_no_slice_per_element(rows, columns, batch):
    shape, order = ((2, rows, columns), (0, 2, 1)) if batch else ((rows, columns), (1, 0))
    x = np.arange(prod(shape)).reshape(shape)
    np.testing.assert_array_equal(applied(x, order), x.transpose(order))
    plan = moves(shape, order)
    # No more than one move of the shorter axis.
    assert sum(move.slices for move in plan) <= min(rows, columns) or min(rows, columns) == 1


@pytest.mark.parametrize(
    ("shape", "order", "slices"),
    [
        ((1, 2, 58, 28, 28), (0, 2, 1, 3, 4), [2]),  # channel shuffle
        ((1, 58, 2, 28, 28), (0, 2, 1, 3, 4), [2]),
        ((1, 2, 3, 4), (0, 1, 2, 3), []),
        ((1, 3, 1, 4), (0, 2, 1, 3), []),  # a Reshape
        ((1, 84, 8400), (0, 2, 1), [7, 12]),
        ((1, 8400, 84), (0, 2, 1), [7, 12]),
        ((1, 3, 85, 20, 20), (0, 1, 3, 4, 2), [5, 17]),  # YOLOv3 to v5
        ((1, 7, 8, 7, 8, 96), (0, 1, 3, 2, 4, 5), [7]),  # windows of Swin
        ((49, 3, 3, 32), (1, 0, 2, 3), [3]),  # query, key, value
        ((8000, 6400), (1, 0), [16, 20, 20]),
    ],
)
def test_moves_are_the_cheapest(shape, order, slices):
    assert sorted(move.slices for move in moves(shape, order)) == slices


def test_the_batch_is_merged_with_no_other_axis():
    """So a Reshape can copy it (``dim: 0``), and the batch can be changed later."""
    for move in moves((4, 3, 5, 2, 2), (0, 1, 3, 2, 4)):
        assert move.shape[0] == 4
        assert move.to > 0


def test_a_long_axis_without_factors_takes_its_length():
    (move,) = moves((4001, 8009), (1, 0))
    assert move.slices == 4001 > MOST_SLICES  # refused by the rewrite of a Permute
