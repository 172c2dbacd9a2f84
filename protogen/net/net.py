"""The class Net: a graph, its weights by layer, and the message that it was built from."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from protogen import _late
from protogen._arguments import checked
from protogen._late import Shown
from protogen.errors import InputError, ProtogenWarning, quantity, warn
from protogen.formats import contents, prototxt
from protogen.formats.mapped import pieces
from protogen.formats.message import Message
from protogen.formats.picture import Picture
from protogen.geometry import Shape, shape_text
from protogen.layers import kind_of
from protogen.layers.filling import fixed_blobs
from protogen.layers.graph import Graph, Layer
from protogen.layers.reading import unread
from protogen.net.build import BuildOptions, build, identified
from protogen.net.fitting import check_values, fit, text_weights
from protogen.net.parsers import is_layer, text_for
from protogen.net.summary import Summary, summarise
from protogen.net.views import overwritten

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.formats.caffemodel import Entry
    from protogen.formats.mapped import LazyArray
    from protogen.formats.message import Source
    from protogen.toolchains.toolchain import Schema

    Weights = dict[str, list[NDArray[np.float32]]]


class Net(Shown):
    """A Caffe net.

    Args:
        message: the NetParameter, in the current format.
        weights: parameter blobs by layer name, in Caffe's blob order.
        options: those of ``build``: phase, level, stages, input_shapes, tolerant, identities.

    Attributes:
        message: the NetParameter.
        graph: layers in execution order with all shapes.
        weights: parameter blobs by layer name, in Caffe's blob order.
        schema: the parser that ``save`` writes for; None for that of BVLC Caffe.
    """

    schema: Schema | None = None

    def __init__(
        self,
        message: Message,
        weights: Weights | None = None,
        **options: Unpack[BuildOptions],
    ) -> None:
        self.message = message
        # A copy, because the caller may change the mapping.
        shapes = options.get("input_shapes") or {}
        options["input_shapes"] = {
            name: tuple(map(operator.index, one)) for name, one in shapes.items()
        }
        self._options = options
        self.graph: Graph = build(message, self.source, **options)
        self.weights: Weights = text_weights(self.graph) if weights is None else weights
        self.tell_assumed()

    def tell_assumed(self) -> None:
        """Warn of properties that the net does not set and that were assumed."""
        for diagnostic in self.graph.assumed:
            warn(Assumed.of(diagnostic))

    @property
    def source(self) -> Source | None:
        """The text of the net with its file name; None if the message was not read from a text."""
        return self.message.source if isinstance(self.message, prototxt.Document) else None

    @property
    def name(self) -> str:
        return self.graph.name

    @cached_property
    def overwritten(self) -> tuple[dict[str, Layer], list[tuple[Layer, str, Layer]]]:
        """Effects of in-place layers on blobs that share memory; see ``views.overwritten``. Cached,
        because a net is exported many times, one part at a time."""
        return overwritten(self.graph)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The included layers, in execution order."""
        return self.graph.layers

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.graph.inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        return self.graph.outputs

    @property
    def shapes(self) -> dict[str, Shape | None]:
        """The shape of every blob by its Caffe name; None after a layer of unknown type."""
        blobs = {top for layer in self.layers for top in layer.tops}
        return {name: shape for name, shape in self.graph.shapes.items() if name in blobs}

    @property
    def parameter_shapes(self) -> dict[str, tuple[Shape, ...] | None]:
        return self.graph.parameter_shapes

    @property
    def dialect(self) -> str:
        """The fork that the user chose; empty if the net alone tells it."""
        return self._options.get("dialect", "")

    def summary(self) -> Summary:
        """Return the layers with shapes and cost. Its text is what ``protogen summary`` prints."""
        return summarise(self.graph, self.message)

    @checked
    def draw(self, path: str | Path | None = None) -> Picture:
        """Draw the net from top to bottom, for a notebook. With ``path`` the drawing is also written, as
        SVG or PNG, depending on the extension.

        Raises:
            InputError: the path cannot be written, or its extension is neither .svg nor .png.
            UnsupportedError: igraph is not installed, or for PNG resvg-py.
        """
        picture: Picture = _late.net_picture(self, path)
        return picture

    @checked
    def with_inputs(self, shapes: Mapping[str, Shape]) -> Net:
        """Return the net with the same weights and other input shapes."""
        options = self._options.copy()
        options["input_shapes"] = {**(options.get("input_shapes") or {}), **shapes}
        return self._again(self.message, options)

    def with_message(self, message: Message) -> Net:
        """Return a net of another message, with the same weights and options."""
        return self._again(message, self._options)

    def with_part(self, message: Message, layers: Sequence[Layer]) -> Net:
        """Return a net of some layers of this one, in a message without rules, with their weights. Options
        that name other layers are left out."""
        options = self._options.copy()
        names = {name for layer in layers for name in (layer.name, layer.params.type)}
        fields = {one.path for layer in layers for one in unread(layer.params, kind_of(layer))}
        options["identities"] = [one for one in options.get("identities", ()) if one in names]
        options["ignored_fields"] = [x for x in options.get("ignored_fields", ()) if x in fields]
        options["stages"], options["level"] = (), 0
        part = self._again(message, options)
        part.weights = {
            layer.name: list(blobs)
            for layer in layers
            if (blobs := self.weights.get(layer.name) or self._owned(layer))
        }
        return part

    def _owned(self, layer: Layer) -> list[NDArray[np.float32]]:
        """Return the blobs of a layer that only the owners of its shared blobs have."""
        count = len(self.parameter_shapes[layer.name] or ())
        owners = [self.graph.owners.get((layer.name, index)) for index in range(count)]
        blobs = [self.weights[one[0]][one[1]] for one in owners if one and one[0] in self.weights]
        return blobs if len(blobs) == count else []

    def _again(self, message: Message, options: BuildOptions) -> Net:
        with unassuming():  # the warning was emitted for this net already
            return Net(message, self.weights, **options)

    @checked
    def take_weights(self, weights: Mapping[str, Sequence[NDArray[np.floating]]]) -> None:
        """Set the weights of layers by name, as Caffe does. Layers that the net does not have are
        ignored. Layers without new weights keep their present weights. A legacy shape of
        1 x 1 x N x K matches N x K.

        Raises:
            InputError: the number or a shape of a layer's blobs does not match.
        """
        shapes = _shapes_of(weights)
        # These weights may determine the number of channels, or the fork of a layer.
        if self.graph.assumed or any(identified(one, shapes) is not one for one in self.layers):
            self._options["weight_shapes"] = shapes
            self.graph = build(self.message, self.source, **self._options)
        for layer in self.layers:
            expected = self.parameter_shapes[layer.name]
            arrays = weights.get(layer.name)
            if arrays is None:
                continue
            if expected is None:  # unknown type or shape: there is nothing to compare with
                self.weights[layer.name] = list(arrays)
                continue
            if (kind := kind_of(layer)) is not None:
                arrays = kind.fitted(layer, arrays, expected)
            if len(arrays) != len(expected):
                raise layer.error(
                    f"the weights have {quantity(len(arrays), 'blob')}, but the layer has "
                    f"{len(expected)} ({_list(expected)})",
                    "They belong to another net, or to another version of this net.",
                )
            self.weights[layer.name] = [
                fit(layer, index, array, shape)
                for index, (array, shape) in enumerate(zip(arrays, expected, strict=True))
            ]

    def fill_diagonals(self) -> None:
        """Set the weights of layers that have none, and whose filler is FlowNet2's diagonal. Emits a
        warning for each: the caffemodel should have no such layer."""
        for layer in self.layers:
            shapes = self.parameter_shapes[layer.name]
            if not shapes or layer.name in self.weights or (kind := kind_of(layer)) is None:
                continue
            bottoms = [self.graph.shapes.get(read) for read in layer.reads]
            if None in bottoms:
                continue
            known = [shape for shape in bottoms if shape is not None]
            if (blobs := fixed_blobs(layer, kind, known, shapes)) is not None:
                self.weights[layer.name] = blobs
                warning = ProtogenWarning(
                    "the caffemodel has no weights for this layer, so its diagonal filler defines them",
                    where=layer.place,
                    subject=layer.subject,
                )
                warn(warning)

    def check_weights(self, graph: Graph | None = None) -> None:
        """Raise InputError if weights of a layer are missing or have the wrong shape.

        ``graph``: a part of the net's graph; only its layers are checked.
        """
        for layer in (graph or self.graph).layers:
            expected = self.parameter_shapes[layer.name]
            actual = tuple(array.shape for array in self.weights.get(layer.name, ()))
            if expected is None or actual == tuple(expected):
                continue
            if actual:
                raise layer.error(
                    f"its weights have the shapes {_list(actual)}, expected {_list(expected)}"
                )
            kind = kind_of(layer)
            if kind is not None and not kind.uses_blobs(layer):
                continue
            if any((layer.name, i) not in self.graph.owners for i in range(len(expected))):
                raise layer.error(
                    f"has no weights, expected blobs of the shapes {_list(expected)}",
                    "The caffemodel has no weights for a layer of this name."
                    if self.weights
                    else "Give the caffemodel of the net.",
                )

    def check_finite(self, graph: Graph | None = None) -> None:
        """Raise InputError if weights of a layer contain NaN; warn of infinities.

        ``graph``: a part of the net's graph; only its layers are checked.
        """
        import numpy as np

        for layer in (graph or self.graph).layers:
            for index, array in enumerate(self.weights.get(layer.name, ())):
                at = 0
                for piece in pieces(array):
                    with np.errstate(all="ignore"):  # the sum is not finite if any value is not
                        finite = np.isfinite(np.add.reduce(piece))
                    if not finite:
                        check_values(layer, index, piece, at)
                    at += piece.size

    def entries(self, schema: Schema | None = None) -> Iterator[Entry]:
        """Yield an entry for the writer of caffemodels for each layer, also for those without weights,
        with its parameters, as Caffe writes it. A layer whose weights are missing is left out: Caffe
        refuses a layer with too few blobs, and fills one that the file does not have.

        Args:
            schema: the parser that will read the file; see ``binary.layer_header``. By default, that of
                the net's dialect: the user's, or the first that a net of forks can be of.
        """
        schema = schema or self.parser()
        for layer in self.layers:
            blobs = self.weights.get(layer.name, ())
            complete = blobs or not self.parameter_shapes.get(layer.name)
            if complete and is_layer(layer.type, schema):
                yield entry(layer, blobs, schema)

    def parser(self) -> Schema | None:
        """Return the parser of the net's dialect: the user's dialect, or the first that a net of forks can
        be of. None is that of BVLC Caffe."""
        from protogen.formats.schema.dialect import BVLC, dialects
        from protogen.net.forks import of_forks
        from protogen.toolchains.toolchain import of_dialect

        name = self.dialect
        if not name and (detection := of_forks(self.message)) is not None:
            name = next(iter(detection.possible), "")
        return of_dialect(name).schema if name in dialects() and name != BVLC else None

    @checked
    def save(self, prototxt_path: str | Path, caffemodel: str | Path | None = None) -> None:
        """Write the net, and its weights if ``caffemodel`` is set.

        Raises:
            InputError: a path cannot be written.
        """
        from protogen.formats.caffemodel import write_pair

        if caffemodel is not None and not self.weights:
            raise InputError("the net has no weights", where=str(caffemodel))
        text = text_for(self.message, self.schema).encode("utf-8", "surrogateescape")
        entries = self.entries(self.schema)
        with ExitStack() as stack:
            write_pair(stack, (prototxt_path, text), caffemodel, self.name, entries)


class Assumed(ProtogenWarning):
    """A property that a net does not set was assumed."""


@contextmanager
def unassuming() -> Iterator[None]:
    """Suppress warnings of assumed properties in this block, because the caller may still set
    them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Assumed)
        yield


def _shapes_of(weights: Mapping[str, Sequence[NDArray[np.floating]]]) -> dict[str, list[Shape]]:
    return {name: [tuple(array.shape) for array in arrays] for name, arrays in weights.items()}


def _list(shapes: tuple[Shape, ...]) -> str:
    return ", ".join(map(shape_text, shapes)) or "none"


def load(
    path: str | Path,
    caffemodel: str | Path | None = None,
    *,
    strict: bool = False,
    **options: Unpack[BuildOptions],
) -> Net:
    """Load the net of a prototxt in any format (V0, V1 or current), with the weights of a
    caffemodel (or .caffemodel.h5). The first file may be a caffemodel with the layers' parameters, too.

    Args:
        strict: unknown fields are errors.
        options: those of ``build``: phase (TRAIN or TEST), level, stages, input_shapes, tolerant,
            identities, ignored_fields, dialect.

    Raises:
        InputError: a file is missing or invalid, or the weights do not match the net.
    """
    from protogen.net.binary_dialects import check_layers, read_binary_net
    from protogen.net.upgrade import upgrade

    kind = contents.kind_of(path)
    if kind == "caffemodel" or (not kind and Path(path).suffix == ".caffemodel"):
        document = upgrade(read_binary_net(path, options.get("dialect", "")))
    else:
        document = upgrade(prototxt.read(path, strict=strict))
    check_layers(document, path, kind == "caffemodel")
    weights: Weights = {}
    if caffemodel is not None:
        from protogen.formats.weightfiles import read_any

        weights = read_any(caffemodel, document.source)
        options["weight_shapes"] = _shapes_of(weights)
    net = Net(document, **options)
    if weights:
        net.take_weights(weights)
        net.fill_diagonals()
    return net


def entry(
    layer: Layer,
    arrays: Sequence[NDArray[np.float32] | LazyArray],
    schema: Schema | None = None,
) -> Entry:
    """Return the caffemodel entry of a layer: its parameters and blobs."""
    from protogen.formats.caffemodel import Entry
    from protogen.net.binary import layer_header

    return Entry(layer_header(layer.params, layer.name, schema), arrays)
