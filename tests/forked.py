"""One layer of a fork, run by protogen: its tops, and those of the stock layers that replace it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from nets import input_layer

import protogen as pg
from protogen.formats import prototxt

TOLERANCE = 2e-5  # of the largest magnitude: float32 sums in another order


def layer_net(text: str, shapes: Sequence[tuple[int, ...]], tops: int = 1, **options) -> pg.Net:
    """Return the net of a layer with the bottoms x0, x1, ... and the tops y0, y1, ..."""
    names = [f"x{i}" for i in range(len(shapes))]
    ends = "".join(f' bottom: "{name}"' for name in names)
    ends += "".join(f' top: "y{i}"' for i in range(tops))
    lines = [input_layer(name, shape) for name, shape in zip(names, shapes, strict=True)]
    lines.append(f'layer {{ name: "l"{ends} type: {text} }}')
    return pg.Net(prototxt.parse("\n".join(lines), "net.prototxt"), **options)


def tops_of(
    text: str,
    arrays: Sequence[np.ndarray],
    blobs: Sequence[np.ndarray] = (),
    tops: int = 1,
    **options,
) -> list[np.ndarray]:
    """Return the tops of a layer. ``text`` is its type in quotes and its parameters."""
    net = layer_net(text, [array.shape for array in arrays], tops, **options)
    if blobs:
        net.take_weights({"l": list(blobs)})
    outputs = pg.run(net, {f"x{i}": array for i, array in enumerate(arrays)})
    for i in range(tops):
        assert net.shapes[f"y{i}"] == outputs[f"y{i}"].shape
    return [outputs[f"y{i}"] for i in range(tops)]


def stock_tops_of(
    folder: Path,
    text: str,
    arrays: Sequence[np.ndarray],
    blobs: Sequence[np.ndarray] = (),
    **options,
) -> np.ndarray:
    """Return the top of the stock layers that ``pg.rewrite`` puts in the place of a layer."""
    net = layer_net(text, [array.shape for array in arrays], **options)
    weights = None
    if blobs:
        net.take_weights({"l": list(blobs)})
        weights = folder / "fork.caffemodel"
    net.save(folder / "fork.prototxt", weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.ProtogenWarning)
        result = pg.rewrite(folder / "fork.prototxt", weights, **options)
    assert not result.retained, result.retained
    assert len(result.replaced) == 1
    assert all(kind.stock for kind in map(pg_kind, result.net.layers))
    feeds = {f"x{i}": array for i, array in enumerate(arrays)}
    return pg.run(result.net, feeds)["y0"]


def pg_kind(layer):
    from protogen.layers import kind_of

    return kind_of(layer)


def assert_close(actual: np.ndarray, expected: np.ndarray, tolerance: float = TOLERANCE) -> None:
    """Check that shapes are equal, and values equal to a part of the largest magnitude."""
    assert actual.shape == expected.shape
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
    limit = tolerance * max(np.abs(expected[np.isfinite(expected)]).max(initial=0), 1e-30)
    with np.errstate(invalid="ignore"):
        same = (actual == expected) | np.isnan(expected) | (np.abs(actual - expected) <= limit)
    assert same.all()


def numbers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)
