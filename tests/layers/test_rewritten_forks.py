"""Each type of a fork that ``protogen rewrite`` replaces: its stock layers give the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
from nets import net_with
from rewritable import BY_BASE, KEPT, OWN
from test_field_walk import BASES, BOTTOMS, MAP, bases

import protogen as pg
from protogen.layers import kind_of
from protogen.running.drawing import random_feeds

NETS = [
    *((name, params, BOTTOMS.get(params, BASES.get(name, ("", (MAP,)))[1]))
      for name in BY_BASE for params in bases(name)),
    *((name, *net) for name, net in OWN.items()),
]  # fmt: skip


def written(path, name, params, shapes):
    """A net of one layer with random weights, and what ``rewrite`` makes of it."""
    inputs = dict(zip("abcdef", shapes, strict=False))
    bottoms = " ".join(f'bottom: "{bottom}"' for bottom in inputs)
    net = net_with(inputs, f'layer {{ name: "y" type: "{name}" {bottoms} top: "y" {params} }}')
    rng = np.random.default_rng(0)
    for key, blobs in net.parameter_shapes.items():
        if blobs:
            net.weights[key] = [np.float32(rng.uniform(0.5, 1.5, shape)) for shape in blobs]
    model = path / "n.caffemodel" if net.weights else None
    net.save(path / "n.prototxt", model)
    return net, pg.rewrite(path / "n.prototxt", model)


@pytest.mark.parametrize("name", [*BY_BASE, *OWN])
def test_stock_layers_give_the_same_numbers(name, tmp_path):
    """At least one of the type's nets is replaced. Some are not: their parameters are incomplete, or have
    no stock form."""
    compared = 0
    for params, shapes in (row[1:] for row in NETS if row[0] == name):
        try:
            net, result = written(tmp_path, name, params, shapes)
        except pg.ProtogenError:
            continue
        if result.retained:
            continue
        assert all(kind_of(layer).stock for layer in result.net.layers)
        for seed in range(2):
            feeds = random_feeds(net, seed)
            expected, actual = (pg.run(one, feeds)["y"] for one in (net, result.net))
            assert actual.shape == expected.shape
            limit = 2e-5 * max(1, np.abs(expected).max(initial=0))
            np.testing.assert_allclose(actual, expected, rtol=0, atol=limit)
            compared += 1
    assert compared


@pytest.mark.parametrize("name", KEPT)
def test_types_without_a_stock_form(name, tmp_path):
    shapes, reason = KEPT[name]
    _, result = written(tmp_path, name, "" if len(shapes) > 1 else bases(name)[0], shapes)
    assert reason in result.retained[0].reason
