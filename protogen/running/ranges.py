"""``pg.half_check``: ranges of all blobs and weights, and what float16 and int8 do to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

import numpy as np

from protogen._late import Shown
from protogen.errors import InputError, did_you_mean
from protogen.formats.mapped import PIECE, release_arrays
from protogen.layers import kind_of
from protogen.layers.graph import Layer
from protogen.net.build import Reading
from protogen.net.net import Net, load
from protogen.running.drawing import random_feeds
from protogen.running.rounding import EXACT, LEVELS, NARROW, Range, Sums, decibels, range_of
from protogen.running.runtime import check_room, checked_input, opened

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class BlobRange:
    """The range of one value: a top of a layer. A blob that layers change in place has a row for
    each of them.

    Attributes:
        layer, type: name and type of the layer that writes the value.
        blob: the name of the top.
        shape: its shape in one run.
    """

    layer: str
    type: str
    blob: str
    shape: tuple[int, ...]
    range: Range

    @property
    def remarks(self) -> list[str]:
        """What float16 and int8 do to the values."""
        return self.range.remarks

    @property
    def snr(self) -> float | None:
        """The signal-to-noise ratio of int8 in dB; None for whole numbers and if all values are 0."""
        return None if self.range.integers else self.range.int8_snr

    def plain(self) -> dict[str, Any]:
        """Return a dictionary for JSON."""
        names = {"layer": self.layer, "type": self.type, "blob": self.blob}
        return {**names, "shape": list(self.shape), **self.range.plain()}


@dataclass(frozen=True, slots=True)
class WeightRange:
    """The range of one parameter blob.

    Attributes:
        layer, type: name and type of the layer.
        index: number of the blob in the layer, from 0.
        shape: its shape.
        channel_snr: signal-to-noise ratio of int8 in dB with a scale for each output of the layer;
            None for a blob of one axis, which is a bias or factors, and if all values are 0.
    """

    layer: str
    type: str
    index: int
    shape: tuple[int, ...]
    range: Range
    channel_snr: float | None

    @property
    def remarks(self) -> list[str]:
        """What float16 and int8 do to the values. int8 matters for weights only: toolchains use
        wider types for a bias."""
        if self.channel_snr is None:
            return self.range.half_remarks
        per_channel = self.channel_snr >= NARROW
        wide = "int8 needs a scale per channel" if per_channel else "too wide for int8"
        return [*self.range.half_remarks, *self.range.int8_remarks(wide)]

    @property
    def snr(self) -> float | None:
        """The signal-to-noise ratio of int8 in dB with one scale; None where ``channel_snr`` is."""
        return None if self.channel_snr is None else self.range.int8_snr

    def plain(self) -> dict[str, Any]:
        """Return a dictionary for JSON."""
        names = {"layer": self.layer, "type": self.type, "index": self.index}
        shape = {"shape": list(self.shape), "channel_snr": self.channel_snr}
        return {**names, **shape, **self.range.plain(), "remarks": self.remarks}


Row = TypeVar("Row", BlobRange, WeightRange)


@dataclass(frozen=True, slots=True, repr=False)
class HalfCheck(Shown):
    """The ranges of a net's blobs and weights.

    Attributes:
        blobs: the tops of all layers, in execution order.
        weights: the parameter blobs of all layers, in execution order.
        runs: number of batches.
        random: names of inputs with random data.
        seed: seed of the random data.
    """

    blobs: list[BlobRange]
    weights: list[WeightRange]
    runs: int
    random: tuple[str, ...]
    seed: int

    @property
    def passed(self) -> bool:
        """Whether float16 holds all values: none is beyond 65504, infinite or NaN."""
        return not self.broken

    @property
    def rows(self) -> list[BlobRange | WeightRange]:
        """The rows of all blobs, then those of all weights."""
        return [*self.blobs, *self.weights]

    @property
    def broken(self) -> list[BlobRange | WeightRange]:
        """The rows with a value that is NaN, infinite, or beyond the range of float16."""
        return [row for row in self.rows if row.range.broken]

    def plain(self) -> dict[str, Any]:
        """Return a dictionary for JSON."""
        return {
            "passed": self.passed,
            "runs": self.runs,
            "random": list(self.random),
            "seed": self.seed,
            "ranges": [row.plain() for row in self.blobs],
            "weights": [row.plain() for row in self.weights],
        }


def worst_first(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that are broken, in order; then those with remarks; then the others. The last
    two start with the lowest signal-to-noise ratio of int8, where it matters."""

    def rank(row: Row) -> tuple[int, float]:
        if row.range.broken:
            return 0, 0.0
        return 1 if row.remarks else 2, EXACT if row.snr is None else row.snr

    return sorted(rows, key=rank)


def half_check(
    net: Net | str | Path,
    caffemodel: str | Path | None = None,
    *,
    inputs: Arrays | Sequence[Arrays] | None = None,
    seed: int = 0,
    **reading: Unpack[Reading],
) -> HalfCheck:
    """Measure the range of every blob and weight, and what float16 and int8 do to the values.

    The net runs in float32. Its values are then rounded: a toolchain that computes in float16 or
    int8 also rounds between the layers, so that its errors add up.

    Args:
        net: a net with its weights, or the path of a prototxt.
        caffemodel: the weights of a prototxt.
        inputs: arrays by input name, of the inputs' shapes; a sequence of these for several runs,
            whose statistics are accumulated. Inputs without an array get random data.
        seed: seed of the random data; each further run has the next seed.
        reading: phase, level, stages, dialect and so on of a prototxt, as for ``pg.load``.

    Raises:
        InputError: a file or an input is invalid, or the net has no weights.
        UnsupportedError: a layer cannot be exported to ONNX, or the run needs more memory than this
            machine has.
    """
    if isinstance(net, Net):
        if caffemodel is not None or reading:
            raise InputError(
                "a caffemodel and options of reading apply only to the path of a prototxt",
                subject="half_check",
            )
    else:
        net = load(net, caffemodel, **reading)
    batches: list[Arrays] = (
        [inputs or {}] if inputs is None or isinstance(inputs, Mapping) else list(inputs)
    )
    if not batches:
        raise InputError("expected arrays for at least one run, got none", subject="inputs")
    check_room(net.graph)
    feeds = [_feeds(net, batch, seed + i) for i, batch in enumerate(batches)]
    missing = [name for name in net.inputs if any(name not in batch for batch in batches)]
    weights = list(_weights(net))
    return HalfCheck(_blobs(net, feeds), weights, len(feeds), tuple(missing), seed)


def _feeds(net: Net, arrays: Arrays, seed: int) -> dict[str, NDArray[Any]]:
    """Return an array for each input; those that are missing are random."""
    for name in arrays:
        if name not in net.inputs:
            advice = did_you_mean(name, net.inputs)
            raise InputError("unknown input", subject=f'"{name}"', advice=advice)
    checked = {name: checked_input(name, arrays, net.graph.shapes[name]) for name in arrays}
    if checked.keys() >= set(net.inputs):
        return checked
    return random_feeds(net, seed) | checked


def _blobs(net: Net, feeds: Sequence[Arrays]) -> list[BlobRange]:
    """Return the range of each value over all runs."""
    from protogen.onnx import lower

    tops = {
        write: (layer, top)
        for layer in net.layers
        for top, write in zip(layer.tops, layer.writes, strict=True)
    }
    program = lower(
        net, outputs=[name for name in tops if name not in net.inputs], fold=False, expected=True
    )
    run, needed = opened(program), [value.name for value in program.inputs]
    sums = {name: Sums() for name in tops}
    shapes: dict[str, tuple[int, ...]] = {}
    values: Arrays = {}
    for batch in feeds:
        values = {**batch, **run({name: batch[name] for name in needed})}
        for name, one in sums.items():
            one.add(values[name])
            shapes[name] = tuple(values[name].shape)
    # The scale of int8 is known after all runs: run again, if the values are not those of the only run.
    for batch in feeds:
        if len(feeds) > 1:
            values = {**batch, **run({name: batch[name] for name in needed})}
        for name, one in sums.items():
            one.quantise(values[name])
    return [
        BlobRange(layer.name, layer.type, top, shapes[name], sums[name].range())
        for name, (layer, top) in tops.items()
    ]


def _weights(net: Net) -> Iterator[WeightRange]:
    for layer in net.layers:
        for index, array in enumerate(net.weights.get(layer.name, ())):
            per_channel = (
                _channel_snr(layer, array) if index == 0 and array.ndim > 1 and array.size else None
            )
            shape = tuple(array.shape)
            yield WeightRange(layer.name, layer.type, index, shape, range_of(array), per_channel)
            release_arrays([array])


def _channel_snr(layer: Layer, array: NDArray[Any]) -> float | None:
    """Return the signal-to-noise ratio of int8 in dB with a scale for each output of the layer."""
    kind = kind_of(layer)
    rows = array.reshape(len(array), -1) if kind is None else kind.by_output(layer, array)
    signal = noise = 0.0
    step = max(1, PIECE // max(rows.itemsize * rows.shape[1], 1))
    for start in range(0, len(rows), step):
        x = np.asarray(rows[start : start + step], np.float64)
        x = np.where(np.isfinite(x), x, 0.0)
        scale = np.abs(x).max(axis=1, keepdims=True, initial=0.0) / LEVELS
        error = x - np.rint(np.divide(x, scale, out=np.zeros_like(x), where=scale > 0)) * scale
        signal += float(np.square(x).sum())
        noise += float(np.square(error).sum())
    return decibels(signal, noise)
