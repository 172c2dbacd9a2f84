"""What a user holds: a graph, its weights by layer, and the text that it came from."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from protogen.errors import InputError, ProtogenWarning
from protogen.formats import files, prototxt
from protogen.formats.mapped import pieces
from protogen.formats.message import Message
from protogen.geometry import Shape, shape_text
from protogen.layers import kind_of
from protogen.layers.graph import Graph, Layer
from protogen.net.build import BuildOptions, build
from protogen.net.rules import stages_of
from protogen.net.views import overwritten

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.formats.caffemodel import Entry
    from protogen.formats.mapped import LazyArray

    Weights = dict[str, list[NDArray[np.float32]]]


class Net:
    """A Caffe net.

    Args:
        message: the NetParameter, in today's form.
        weights: parameter blobs by layer name, in Caffe's blob order.
        options: those of ``build``: phase, level, stages, input_shapes, tolerant, identities.

    Attributes:
        message: the NetParameter.
        graph: layers in execution order with all shapes.
        weights: parameter blobs by layer name, in Caffe's blob order.
    """

    def __init__(
        self,
        message: Message,
        weights: Weights | None = None,
        **options: Unpack[BuildOptions],
    ) -> None:
        self.message = message
        source = message.source if isinstance(message, prototxt.Document) else None
        options["input_shapes"] = dict(options.get("input_shapes") or {})  # the caller's may change
        self._options = options
        self.graph: Graph = build(message, source, **options)
        self.weights: Weights = _in_the_text(self.graph) if weights is None else weights
        self.tell_assumed()

    def tell_assumed(self) -> None:
        """Warns of what the net leaves open and was taken for granted."""
        for one in self.graph.assumed:
            warnings.warn(Assumed.of(one), stacklevel=3)

    @property
    def name(self) -> str:
        return self.graph.name

    @cached_property
    def overwritten(self) -> tuple[dict[str, Layer], list[tuple[Layer, str, Layer]]]:
        """What layers in place do to blobs through their views; see ``views.overwritten``. It is of
        the whole net, and a net is lowered many times, a part at a time."""
        return overwritten(self.graph)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that take part, in execution order."""
        return self.graph.layers

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.graph.inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        return self.graph.outputs

    @property
    def shapes(self) -> dict[str, Shape | None]:
        """Every blob's shape by its Caffe name; None behind a layer of unknown type."""
        blobs = {top for layer in self.layers for top in layer.tops}
        return {name: shape for name, shape in self.graph.shapes.items() if name in blobs}

    @property
    def parameter_shapes(self) -> dict[str, tuple[Shape, ...] | None]:
        return self.graph.parameter_shapes

    def with_inputs(self, shapes: Mapping[str, Shape]) -> Net:
        """The same net and weights with other shapes of inputs."""
        options = self._options.copy()
        options["input_shapes"] = {**(options.get("input_shapes") or {}), **shapes}
        return self._again(self.message, options)

    def with_message(self, message: Message) -> Net:
        """A net of another message, with the same weights and options."""
        return self._again(message, self._options)

    def _again(self, message: Message, options: BuildOptions) -> Net:
        with unassuming():  # it was told of this net
            return Net(message, self.weights, **options)

    def take_weights(self, found: Mapping[str, Sequence[NDArray[np.floating]]]) -> None:
        """Takes over the weights of layers by name, as Caffe does: layers that the net lacks are
        passed over, layers without weights keep what they have, and a legacy shape of
        1 x 1 x N x K fits N x K.

        Raises:
            InputError: a layer's blobs are of another number or shape.
        """
        if self.graph.assumed:  # these weights may tell
            self._options["weight_shapes"] = _shapes_of(found)
            source = self.message.source if isinstance(self.message, prototxt.Document) else None
            self.graph = build(self.message, source, **self._options)
        for layer in self.layers:
            wanted = self.parameter_shapes[layer.name]
            arrays = found.get(layer.name)
            if arrays is None:
                continue
            if wanted is None:  # a type or shape that is not known: nothing to compare with
                self.weights[layer.name] = list(arrays)
                continue
            if len(arrays) != len(wanted):
                raise layer.error(
                    f"the weights have {len(arrays)} blobs, but the layer has {len(wanted)} "
                    f"({_list(wanted)})",
                    "They belong to another net, or to another version of this one.",
                )
            self.weights[layer.name] = [
                _fit(layer, index, array, shape)
                for index, (array, shape) in enumerate(zip(arrays, wanted, strict=True))
            ]

    def check_weights(self, graph: Graph | None = None) -> None:
        """Raises InputError where a layer's weights are missing or of the wrong shape.

        ``graph``: a part of the net's graph; only its layers are looked at.
        """
        for layer in (graph or self.graph).layers:
            wanted = self.parameter_shapes[layer.name]
            found = tuple(array.shape for array in self.weights.get(layer.name, ()))
            if wanted is None or found == tuple(wanted):
                continue
            if found:
                raise layer.error(
                    f"its weights have the shapes {_list(found)}, but must have {_list(wanted)}"
                )
            kind = kind_of(layer)
            if kind is not None and not kind.uses_blobs(layer):
                continue
            if any((layer.name, i) not in self.graph.owners for i in range(len(wanted))):
                raise layer.error(
                    f"has no weights, but needs {_list(wanted)}",
                    "The caffemodel lacks this layer, or names it otherwise."
                    if self.weights
                    else "Give the net's caffemodel.",
                )

    def check_finite(self, graph: Graph | None = None) -> None:
        """Raises InputError where a layer's weights hold NaN; infinities are warned of.

        ``graph``: a part of the net's graph; only its layers are looked at.
        """
        import numpy as np

        for layer in (graph or self.graph).layers:
            for index, array in enumerate(self.weights.get(layer.name, ())):
                at = 0
                for piece in pieces(array):
                    with np.errstate(all="ignore"):  # a sum tells of one bad value among many
                        fine = np.isfinite(np.add.reduce(piece))
                    if not fine:
                        _check_values(layer, index, piece, at)
                    at += piece.size

    def entries(self) -> Iterator[Entry]:
        """What the writer of caffemodels takes: each layer that has weights."""
        for layer in self.layers:
            if layer.name in self.weights:
                yield entry(layer, self.weights[layer.name])

    def save(self, prototxt_path: str | Path, caffemodel: str | Path | None = None) -> None:
        """Writes the net, and its weights if ``caffemodel`` is given.

        Raises:
            InputError: a path cannot be written.
        """
        from protogen.formats.caffemodel import write_weights

        with ExitStack() as stack:
            text = prototxt.write(self.message).encode("utf-8", "surrogateescape")
            stack.enter_context(files.replacing(prototxt_path)).write(text)
            if caffemodel is not None:
                if not self.weights:
                    raise InputError("the net has no weights", where=str(caffemodel))
                file = stack.enter_context(files.replacing(caffemodel))
                write_weights(file, self.name, self.entries())


class Assumed(ProtogenWarning):
    """Something that a net leaves open was taken for granted."""


@contextmanager
def unassuming() -> Iterator[None]:
    """What is assumed of a net is not told in this block: it may still be given."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Assumed)
        yield


def _shapes_of(found: Mapping[str, Sequence[NDArray[np.floating]]]) -> dict[str, list[Shape]]:
    return {name: [tuple(array.shape) for array in arrays] for name, arrays in found.items()}


def _check_values(layer: Layer, index: int, piece: NDArray[np.floating], at: int) -> None:
    import numpy as np

    bad = np.flatnonzero(np.isnan(piece))
    if bad.size:
        raise layer.error(
            f"blob {index} of the weights holds NaN (value {at + int(bad[0])})",
            "The training diverged before it was saved: take an earlier snapshot.",
        )
    if np.isinf(piece).any():
        told = ProtogenWarning(
            f"blob {index} of the weights holds infinite values",
            where=layer.place,
            subject=layer.subject,
        )
        warnings.warn(told, stacklevel=3)


def _list(shapes: tuple[Shape, ...]) -> str:
    return ", ".join(map(shape_text, shapes)) or "none"


def _fit(
    layer: Layer, index: int, array: NDArray[np.floating], shape: Shape
) -> NDArray[np.float32]:
    """The array in the wanted shape, where Caffe accepts it: equal, or four axes of which the
    first are 1 (files from before blobs had any number of axes)."""
    legacy = (1,) * (4 - len(shape)) + shape
    if array.shape not in (shape, legacy):
        raise layer.error(
            f"blob {index} of the weights is {shape_text(array.shape)}, but must be {shape_text(shape)}",
            "They belong to another net, or num_output or a kernel was changed.",
        )
    return array.reshape(shape)


def _in_the_text(graph: Graph) -> Weights:
    """Parameter blobs that stand in the net's own text, as Caffe takes them."""
    made: Weights = {}
    for layer in graph.layers:
        blobs, shapes = layer.params.blobs, graph.parameter_shapes[layer.name]
        if not blobs or shapes is None or len(blobs) != len(shapes):
            continue
        import numpy as np

        arrays = [np.asarray(one.data or one.double_data, np.float32) for one in blobs]
        counts = [math.prod(shape) for shape in shapes]
        if [array.size for array in arrays] == counts:  # else it is refused, or warned of
            made[layer.name] = [a.reshape(s) for a, s in zip(arrays, shapes, strict=True)]
    return made


def load(
    path: str | Path,
    caffemodel: str | Path | None = None,
    *,
    strict: bool = False,
    **options: Unpack[BuildOptions],
) -> Net:
    """The net of a prototxt of any age, with the weights of a caffemodel (or .caffemodel.h5).

    Args:
        strict: unknown fields are errors.
        options: those of ``build``: phase (TRAIN or TEST), level, stages, input_shapes, tolerant,
            identities, ignored_fields, dialect.

    Raises:
        InputError: a file is missing or wrong, or weights do not fit the net.
    """
    from protogen.net.upgrade import upgrade

    document = upgrade(prototxt.read(path, strict=strict))
    found: Weights = {}
    if caffemodel is not None:
        from protogen.formats.weightfiles import read_any

        found = read_any(caffemodel)
        options["weight_shapes"] = _shapes_of(found)
    net = Net(document, **options)
    if found:
        net.take_weights(found)
    return net


def stages_named(path: str | Path, stages: Collection[str]) -> list[str]:
    """Those of the stages that rules of a prototxt name."""
    from protogen.net.upgrade import upgrade

    known = stages_of(upgrade(prototxt.read(path))) if stages else ()
    return [stage for stage in stages if stage in known]


def entry(layer: Layer, arrays: Sequence[NDArray[np.float32] | LazyArray]) -> Entry:
    """A layer's name, type, bottoms and tops with its blobs."""
    from protogen.formats.caffemodel import Entry, header

    return Entry(header(layer.name, layer.type, layer.bottoms, layer.tops), arrays)
