"""Outputs of a toolchain under other names than the blobs of the net."""

from __future__ import annotations

import numpy as np
from nets import net_with

from protogen.running.matching import compare

RELU = 'layer { name: "r" type: "ReLU" bottom: "x" top: "r" }\n'


def word(net_text: str, expected: str, names: dict[str, int]) -> str:
    """Return the problem with the output ``expected`` if the toolchain gives these names; the number is
    added to the right values."""
    graph = net_with({"x": (1, 2, 3, 4)}, net_text).graph
    right = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    answers = {name: right + offset for name, offset in names.items()}
    (row,) = compare({expected: right}, answers, graph, 1e-3)
    return row.problem


def test_a_blob_that_is_written_again_in_place():
    text = RELU + 'layer { name: "s" type: "Sigmoid" bottom: "r" top: "r" }'
    assert not word(text, "r", {"r/1": 5, "r/2": 0})
    assert word(text, "r", {"r/1": 0, "r/2": 5})


def test_a_copy_by_a_reshape_to_the_same_shape():
    text = RELU + (
        'layer { name: "c" type: "Reshape" bottom: "r" top: "c" reshape_param { shape { dim: 0 dim: 0 '
        "dim: 0 dim: 0 } } }"
    )
    assert not word(text, "c", {"r": 0})
    assert word(text, "c", {"r": 3})
