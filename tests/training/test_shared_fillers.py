"""A blob that layers share is filled once, by the filler of the first layer."""

from __future__ import annotations

import numpy as np
from nets import net_with

import protogen as pg

SHARED = 'param { name: "w" } param { name: "b" } '
LAYERS = "".join(
    f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{name}" {SHARED}'
    f"inner_product_param {{ num_output: 4 {filler} }} }}\n"
    for name, bottom, filler in (
        (
            "first",
            "x",
            'weight_filler { type: "xavier" } bias_filler { type: "constant" value: 3 }',
        ),
        ("second", "first", 'weight_filler { type: "constant" value: 7 }'),
    )
)


def test_the_owners_filler_counts():
    """Caffe: the second layer uses the memory of the first, whatever its own filler says."""
    net = net_with({"x": (1, 4)}, LAYERS)
    pg.initialise(net, seed=1)
    first, second = net.weights["first"], net.weights["second"]
    assert np.ptp(first[0]) > 0
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (second[1] == 3).all()
