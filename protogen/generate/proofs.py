"""Proofs that layers of forks and their replacements compute the same: both run on the same random data.

Layers with equal parameters, shapes and weights give equal numbers, so one of them is run.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING

from protogen.errors import ProtogenWarning
from protogen.formats import prototxt
from protogen.formats.message import Field, Message
from protogen.generate.stock import replacement
from protogen.geometry import Shape
from protogen.layers.graph import Layer
from protogen.net.net import Net
from protogen.toolchains.limits import Limits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.net.net import Weights

_PIECE = 1 << 16  # values


class Proofs:
    """The proofs of one net.

    Args:
        limits: limits of a target, for the layers that resize.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._errors: dict[tuple[object, ...], tuple[float, float]] = {}
        self._random: _Random | None = None

    def errors(self, net: Net, layer: Layer, shapes: Mapping[str, Shape]) -> tuple[float, float]:
        """Return the largest difference between the outputs of a layer and of its replacement, and the
        largest value.

        Args:
            shapes: the shapes of the bottoms.

        Raises:
            UnsupportedError: the layer has no stock equivalent, or it cannot be run.
        """
        key = _key(net, layer, shapes)
        if key not in self._errors:
            self._errors[key] = self._run(net, layer, shapes)
        return self._errors[key]

    def _run(self, net: Net, layer: Layer, shapes: Mapping[str, Shape]) -> tuple[float, float]:
        from protogen.running.runtime import run

        self._random = self._random or _Random()
        feeds, weights = self._random.draw(shapes), list(net.weights.get(layer.name, ()))
        blobs = net.parameter_shapes[layer.name] or ()
        weights = weights or self._random.blobs(blobs)
        original = _single_layer_net(layer, feeds, {layer.name: weights} if blobs else {})
        copy = replacement(original, original.layers[-1], (), self._limits)
        stock = Net(_document(feeds, copy.layers), copy.new_weights)
        expected, actual = (run(one, feeds)[_TOP] for one in (original, stock))
        return _largest_of(expected, actual)


def parse_again(text: str, name: str) -> prototxt.Document:
    """Parse a text that was generated from a parsed one, without repeating its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ProtogenWarning)
        return prototxt.parse(text, name)


def _key(net: Net, layer: Layer, shapes: Mapping[str, Shape]) -> tuple[object, ...]:
    """Everything that the numbers of a comparison depend on."""
    import numpy as np

    fields = [field for field in layer.params.fields if field.name not in ("name", "bottom", "top")]
    names = list(dict.fromkeys((*layer.bottoms, *layer.tops)))
    weights = net.weights.get(layer.name) or ()
    return (
        prototxt.write(Message(layer.params.kind, fields)),
        tuple(map(names.index, (*layer.bottoms, *layer.tops))),
        tuple(shapes.values()),
        tuple(net.parameter_shapes[layer.name] or ()),
        tuple(hashlib.sha256(np.ascontiguousarray(blob).data).digest() for blob in weights),
    )


def _largest_of(
    expected: NDArray[np.floating], actual: NDArray[np.floating]
) -> tuple[float, float]:
    """Return the largest difference of two arrays, infinite for different shapes, and the largest value
    of the first. They are computed in pieces that fit into the processor's cache."""
    import numpy as np

    error, largest = np.float64(0), np.float64(0)
    flat, other = expected.reshape(-1), actual.reshape(-1)
    if expected.shape != actual.shape:
        return float("inf"), float(np.abs(expected.astype(np.float64)).max(initial=0))
    for at in range(0, flat.size, _PIECE):
        piece = flat[at : at + _PIECE].astype(np.float64)
        largest = np.maximum(largest, np.abs(piece).max())
        piece -= other[at : at + _PIECE]
        error = np.maximum(error, np.abs(piece, out=piece).max())
    return float(error), float(largest)


class _Random:
    """Random arrays for proofs: each proof reads the same numbers, so they are drawn once."""

    def __init__(self) -> None:
        import numpy as np

        self._generator = np.random.default_rng(0)
        self._numbers: NDArray[np.float32] = np.empty(0, np.float32)

    def draw(self, shapes: Mapping[str, Shape]) -> dict[str, NDArray[np.float32]]:
        """Return an array of each of these shapes, with standard deviation 3."""
        import numpy as np

        missing = sum(map(prod, shapes.values())) - len(self._numbers)
        if missing > 0:
            more = self._generator.standard_normal(missing, np.float32)
            more *= 3
            self._numbers = np.concatenate([self._numbers, more])
        arrays, at = {}, 0
        for name, shape in shapes.items():
            arrays[name] = self._numbers[at : at + prod(shape)].reshape(shape)
            at += prod(shape)
        return arrays

    @staticmethod
    def blobs(shapes: Sequence[Shape]) -> list[NDArray[np.float32]]:
        """Return parameter blobs of these shapes with positive values, as variances must be."""
        import numpy as np

        generator = np.random.default_rng([0, 1])
        return [generator.random(shape, np.float32) + np.float32(0.5) for shape in shapes]


_TOP = "top of the layer"  # a name that no blob of a net has


def _single_layer_net(
    layer: Layer,
    feeds: Mapping[str, NDArray[np.float32]],
    weights: Weights,
) -> Net:
    """Return a net of only this layer, active in every phase, whose top is ``_TOP``."""
    fields = [
        Field(item.name, _TOP if item.name == "top" else item.value, item.type)
        for item in layer.params.fields
        if item.name not in ("include", "exclude", "phase")
    ]
    document = _document(feeds, [Message(layer.params.kind, fields)])
    return Net(document, dict(weights), dialect=layer.dialect)


def _document(
    feeds: Mapping[str, NDArray[np.float32]], layers: Sequence[Message]
) -> prototxt.Document:
    inputs = [
        Message.make(
            "LayerParameter",
            name=name,
            type="Input",
            top=[name],
            input_param={"shape": [{"dim": list(array.shape)}]},
        )
        for name, array in feeds.items()
    ]
    net = Message.make("NetParameter", layer=[*inputs, *layers])
    return parse_again(prototxt.write(net), "a net of one layer")
