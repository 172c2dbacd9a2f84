"""Proofs of ``rewrite``: equal layers share one, and the differences that they report."""

from __future__ import annotations

import numpy as np
import pytest

import protogen as pg
from protogen.generate import proofs
from protogen.running import runtime

HEAD = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 dim: 6 dim: 5 } } }\n'
POOL = """layer { name: "pool" type: "Pooling" bottom: "x3" top: "p"
  pooling_param { kernel_size: 2 stride: 2 } }
"""


def activation(name: str, bottom: str, top: str, slope: str = "") -> str:
    return (
        f'layer {{ name: "{name}" type: "HardSigmoid" bottom: "{bottom}" top: "{top}" {slope} }}\n'
    )


@pytest.fixture
def runs(monkeypatch):
    shapes = []
    run = runtime.run

    def noted(net, feeds):
        shapes.append([array.shape for array in feeds.values()])
        return run(net, feeds)

    monkeypatch.setattr(runtime, "run", noted)
    return shapes


def test_equal_layers_share_a_proof(tmp_path, runs):
    """Names and blobs make no difference; shapes and parameters do."""
    path = tmp_path / "net.prototxt"
    chain = "".join(activation(f"a{i}", f"x{i - 1}" if i else "data", f"x{i}") for i in range(4))
    other = activation("b", "x3", "y", "hard_sigmoid_param { alpha: 0.25 }")
    path.write_text(HEAD + chain + other + POOL + activation("c", "p", "z"))
    result = pg.rewrite(path)
    assert len(result.replaced) == 6
    whole, pooled = [(1, 4, 6, 5)], [(1, 4, 3, 3)]
    assert runs == [whole, whole, whole, whole, pooled, pooled]  # two runs for each of three proofs
    assert len({(one.error, one.largest) for one in result.replaced[:4]}) == 1


def test_layers_with_other_weights_have_proofs_of_their_own(tmp_path, runs):
    path = tmp_path / "net.prototxt"
    layers = "".join(
        f'layer {{ name: "n{i}" type: "Normalize" bottom: "{"data" if not i else f"x{i - 1}"}" '
        f'top: "x{i}" norm_param {{ across_spatial: false channel_shared: false }} }}\n'
        for i in range(3)
    )
    path.write_text(HEAD + layers)
    net = pg.load(path)
    first = np.float32([1, 2, 3, 4])
    net.take_weights({"n0": [first], "n1": [first + 1], "n2": [first]})
    net.save(path, tmp_path / "net.caffemodel")
    assert len(pg.rewrite(path, tmp_path / "net.caffemodel").replaced) == 3
    assert len(runs) == 2 * 2


@pytest.mark.parametrize("size", [0, 1, 7, proofs._PIECE, 3 * proofs._PIECE + 5])
def test_largest_difference_is_that_of_all_values_at_once(size):
    random = np.random.default_rng(size)
    expected = random.standard_normal(size, np.float32)
    actual = expected + random.standard_normal(size, np.float32) * np.float32(1e-6)
    whole = np.abs(expected.astype(np.float64) - actual.astype(np.float64)).max(initial=0)
    largest = np.abs(expected.astype(np.float64)).max(initial=0)
    assert proofs._largest_of(expected, actual) == (whole, largest)


def test_arrays_of_other_shapes_and_invalid_values_differ():
    ones = np.ones((2, 3), np.float32)
    assert proofs._largest_of(ones, ones.reshape(3, 2)) == (float("inf"), 1)
    broken = ones.copy()
    broken[1, 1] = np.nan
    assert np.isnan(proofs._largest_of(ones, broken)[0])
