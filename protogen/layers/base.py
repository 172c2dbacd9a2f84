"""Base class of all layer types, the registry of types, and checks of shapes and axes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from protogen.errors import quantity
from protogen.geometry import Shape, shape_text
from protogen.layers.checking import Guard, counted
from protogen.layers.graph import Layer
from protogen.layers.registry import Registry
from protogen.layers.values import Values
from protogen.layers.writing import Emitter, Rewriter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.formats.message import Message


@dataclass(frozen=True, slots=True)
class Window:
    """Kernel, stride, pad and dilation of each spatial axis. If ``transposed``, the stride inserts
    space between pixels instead of skipping pixels. ``end`` is the pad at the ends of the axes if it
    differs from ``pad``, that at their begins (forks); else it is empty."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool = False
    end: tuple[int, ...] = ()

    @property
    def ends(self) -> tuple[int, ...]:
        """The pad at the end of each axis."""
        return self.end or self.pad


POINT = Window((), (), (), ())  # each output pixel reads only its own input pixel


@dataclass(frozen=True, slots=True)
class Filling:
    """Initial values of a parameter blob before training.

    Attributes:
        field: path of the blob's filler in LayerParameter.
        value: constant that Caffe writes by default.
        fan_in: number of inputs that each output value sums; 0 for a blob that does not multiply
            the data.
        fan_out: number of outputs that each input value contributes to; 0 as ``fan_in``.
        neutral: value with which the layer changes nothing, for a blob that is not a weight: 0 for
            a mean; None if there is no such value.
        suits: filler that fits the layer's parameters; empty for no preference.
    """

    field: str = ""
    value: float = 0.0
    fan_in: float = 0.0
    fan_out: float = 0.0
    neutral: float | None = None
    suits: str = ""


@dataclass(frozen=True, slots=True)
class Mistake:
    """Known error that other tools make with a layer. If the numbers of two runs differ, the layer
    runs again with this error; if it then gives the numbers of the other run, this is the cause.

    Attributes:
        cause: the error in words.
        changes: parameters to change, by path (``pooling_param.round_mode``).
        blobs: function that changes the weights.
        attributes: attributes of ONNX operators to change, by operator type.
        without: types of operators to replace by Identity.
    """

    cause: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    blobs: Callable[[list[NDArray[np.float32]]], list[NDArray[np.float32]]] | None = None
    attributes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    without: tuple[str, ...] = ()


def fields(**blocks: str) -> dict[str, frozenset[str]]:
    """Return the fields of LayerParameter that a layer type reads. Each argument is a block, its
    value the names of fields, separated by spaces. ``nms_param.top_k`` is a field of an inner
    message; the name of the inner message alone means all of its fields."""
    return {block: frozenset(names.split()) for block, names in blocks.items()}


class LayerType(Values):
    """Base class of Caffe layer types. A subclass has exactly the name of its type string. Its
    definition registers it. Instances have no state: one instance serves all layers of the type.
    """

    registry: ClassVar[Registry[str, LayerType]] = Registry("protogen.layers.forks")
    # Types of Python layers with a public meaning, by ``python_param`` module and layer.
    python: ClassVar[Registry[tuple[str, str], LayerType]] = Registry("protogen.layers.forks")
    python_class: ClassVar[tuple[str, str]] = ("", "")  # module and layer of such a type
    reads: ClassVar[Mapping[str, frozenset[str]]] = MappingProxyType({})  # see ``fields``
    required: ClassVar[tuple[str, ...]] = ()  # each ``block.field`` that a net must set
    harmless: ClassVar[Mapping[str, str]] = MappingProxyType({})  # ``block.field``: reason
    is_loss: ClassVar[bool] = False  # Caffe adds tops that the net does not name
    # Effect on a signal. A rectifier keeps about half of the values; a saturating activation bends
    # all of them. A weighted layer multiplies data by weights. A layer that passes_signal may stand
    # between a weighted layer and its activation.
    activation: ClassVar[Literal["", "rectifier", "saturating"]] = ""
    passes_signal: ClassVar[bool] = False
    weighted: ClassVar[bool] = False
    computes: ClassVar[bool] = True  # False: tops are bottom values, moved or counted
    reads_values: ClassVar[bool] = True  # False: its tops depend on the shapes of bottoms only
    written_in_place: ClassVar[bool] = False  # imported nets compute it in place
    resizes: ClassVar[bool] = False  # it interpolates, so other layers can replace it
    top_may_be_unused: ClassVar[bool] = False  # in training nets too
    is_source: ClassVar[bool] = False  # its tops are inputs of the net: from files or the caller
    data_axis: ClassVar[int | None] = None  # axis of the tops whose length depends on data
    refusal: ClassVar[tuple[str, str]] = ("protogen cannot export this layer type", "")
    limits: ClassVar[str] = ""  # of its export to ONNX, for the table of supported layers
    stock: ClassVar[bool] = True  # whether BVLC Caffe has it
    forks: ClassVar[tuple[str, ...]] = ()  # dialects that have it although BVLC does not
    source: ClassVar[str] = ""  # public repository whose code defines it, unless BVLC Caffe has it
    # Its ONNX model stores its text as metadata, for the conversion back to Caffe.
    has_round_trip_metadata: ClassVar[bool] = False
    user_defined: ClassVar[bool] = False  # registered by a user with ``pg.layer``
    trained: ClassVar[bool] = True  # whether Caffe trains its blobs
    # What blobs in the prototxt must match: "shapes", "counts" of values, or "" for nothing.
    inline_blobs: ClassVar[str] = ""

    @property
    def is_plain(self) -> bool:
        """Whether the layer type requires no parameters and has no weights."""
        own = type(self)
        return own.blobs is LayerType.blobs and not self.required

    @property
    def has_form(self) -> bool:
        """Whether protogen can export the layer type, at least with some parameters."""
        own = type(self).lower is not LayerType.lower
        return own and self.refusal == LayerType.refusal

    @property
    def has_rewrite(self) -> bool:
        """Whether other layers replace the layer type, at least with some parameters."""
        return type(self).rewrite is not LayerType.rewrite

    def __init_subclass__(cls, abstract: bool = False) -> None:
        if abstract:
            return
        if cls.python_class[0]:
            if LayerType.python.has_now(cls.python_class):
                raise TypeError(f"the Python class {'.'.join(cls.python_class)} is defined twice")
            LayerType.python[cls.python_class] = cls()
            return
        if LayerType.registry.has_now(cls.__name__):
            raise TypeError(f"the layer type {cls.__name__} is defined twice")
        LayerType.registry[cls.__name__] = cls()

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        """Return the shapes of the tops; None for a shape that depends on data or on a file.

        Raises:
            InputError: the bottoms and parameters do not match.
        """
        raise layer.unsupported("protogen cannot compute the output shape of this layer type")

    def demands(self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
        """Check what Caffe requires in addition to valid shapes. By default: nothing.

        Raises:
            InputError: Caffe refuses the layer.
        """

    def decide(self, layer: Layer) -> None:
        """Check that it is clear what the layer computes.

        Raises:
            UnsupportedError: forks compute different things, and neither the net nor ``dialect``
                identifies the fork.
        """

    def meaning(self, layer: Layer) -> str:
        """Return a text that is the same for all dialects that compute the layer in the same way, for a
        layer that ``decide`` takes in these dialects."""
        return layer.dialect

    def dialect_of(self, layer: Layer, blobs: Sequence[Shape]) -> str:
        """Return the dialect that parameter blobs of these shapes, of a weight file, identify; empty
        if they do not. It is asked only if neither the user nor the net names a dialect."""
        return ""

    def in_place(self, layer: Layer) -> bool:
        """Whether Caffe computes the layer correctly in place (a top is also its bottom). Caffe
        refuses other layers in place, or they overwrite values that they still read."""
        return False

    def does_nothing(self, params: Message) -> bool:
        """Whether a layer with this LayerParameter passes its bottom through unchanged."""
        return False

    def dies(self, layer: Layer) -> bool:
        """Whether a unit whose input is 0 or less for all data gets no gradient."""
        return False

    def saturates_at(self, layer: Layer) -> tuple[float, float] | None:
        """Return the low and high output at and beyond which the gradient is close to 0; None if the
        layer does not saturate."""
        return None

    def without_gradient(self, layer: Layer) -> Collection[int]:
        """Return the indices of bottoms for which Caffe refuses to compute a gradient."""
        return ()

    def random(self, layer: Layer) -> bool:
        """Whether its tops differ from run to run."""
        return False

    def assumed(self, layer: Layer, channels: int) -> Sequence[Shape | None]:
        """Return the shapes of the tops for this number of image channels, if the number is all
        that the net does not define; empty otherwise."""
        return ()

    def complete(
        self, layer: Layer, tops: list[Shape | None], user_shapes: Sequence[Shape | None]
    ) -> list[Shape | None]:
        """Complete the shapes of the tops from those that the user set (``user_shapes``)."""
        return tops

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        """Return the shapes of the parameter blobs, in Caffe's order."""
        return []

    def fitted(
        self, layer: Layer, arrays: Sequence[NDArray[np.floating]], shapes: Sequence[Shape]
    ) -> Sequence[NDArray[np.floating]]:
        """Return the blobs of a caffemodel in the shapes of the layer's parameter blobs, for a fork
        that changes blobs when it reads them. By default, they are unchanged."""
        return arrays

    def by_output(self, layer: Layer, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the first parameter blob as an array (outputs, values of one output). By default,
        its first axis is that of the outputs."""
        return weights.reshape(len(weights), -1)

    def uses_blobs(self, layer: Layer) -> bool:
        """Whether the tops depend on the parameter blobs."""
        return True

    def fillings(
        self, layer: Layer, bottoms: Sequence[Shape], blobs: Sequence[Shape]
    ) -> list[Filling]:
        """Return the initial values of each parameter blob before training; zeros by default."""
        return [Filling()] * len(blobs)

    def multiply_adds(
        self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape], blobs: Sequence[Shape]
    ) -> int:
        """Return the number of multiplications of data by parameters in one forward pass."""
        return 0

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        """Return the window of input pixels that an output pixel reads: by default only its own
        pixel; None for the whole input."""
        return POINT

    def mistakes(self, layer: Layer) -> list[Mistake]:
        """Return the errors that other tools are known to make with this layer."""
        return []

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        """Replace a fork's layer by stock layers that compute the same.

        Raises:
            UnsupportedError: no stock layers compute it.
        """
        if self.refusal != LayerType.refusal:
            raise layer.unsupported(*self.refusal)
        raise layer.unsupported("no stock layers compute it")

    def lower(self, layer: Layer, e: Emitter) -> None:
        """Emit ONNX operators for the layer.

        A class that does not override this method raises its ``refusal``: the reason and advice.

        Raises:
            UnsupportedError: standard ONNX operators cannot express the layer.
        """
        raise layer.unsupported(*self.refusal)


def layer_type(name: str) -> LayerType | None:
    """Return the layer type of this name; None if it is unknown."""
    return LayerType.registry.get(name)


def family_of(kind: LayerType) -> str:
    """Return the family of a layer type: the name of the module that defines it."""
    return type(kind).__module__.rpartition(".")[2]


def kind_of(layer: Layer) -> LayerType | None:
    """Return the layer type that handles a layer, by its type string; None if it is unknown. For a
    Python layer, a type that the user registered for its class (``python_param.layer``) comes first,
    then one of protogen for its ``python_param.module`` and ``python_param.layer``.
    """
    if layer.type == "Python":
        p = layer.params.python_param
        own = LayerType.registry.get(p.layer)
        if own is not None and own.user_defined:
            return own
        known = LayerType.python.get((p.module, p.layer))
        if known is not None:
            return known
    try:
        return LayerType.registry[layer.type]  # several times faster than ``get``
    except KeyError:
        return None


def check_bottoms(layer: Layer, least: int, most: int | None = None) -> None:
    """Raises InputError unless the layer has from ``least`` to ``most`` bottoms (None: any)."""
    count = len(layer.bottoms)
    if count < least or (most is not None and count > most):
        raise layer.error(f"expected {counted(least, most, 'bottom')}, got {count}")


def axis_of(layer: Layer, axis: int, rank: int, name: str = "axis", end: bool = False) -> int:
    """Return an axis as an index from 0; negative axes count from the end, as in Caffe. With
    ``end``, the position after the last axis is valid too.

    Raises:
        InputError: the axis is out of range.
    """
    last = rank if end else rank - 1
    if not -last - 1 <= axis <= last:
        raise layer.error(
            f"{name} {axis} is out of range for a blob with {quantity(rank, 'axis', 'axes')}"
        )
    return axis + last + 1 if axis < 0 else axis


def check_rank(layer: Layer, bottoms: Sequence[Shape], least: int, most: int) -> None:
    """Raises InputError unless each bottom has from ``least`` to ``most`` axes."""
    for name, shape in zip(layer.bottoms, bottoms, strict=False):
        if not least <= len(shape) <= most:
            axes = counted(least, most, "axis", "axes")
            raise layer.error(f'bottom "{name}" must have {axes}, got {shape_text(shape)}')


def four_axes(layer: Layer, shape: Shape) -> tuple[int, int, int, int]:
    """Return N, C, H, W of a blob as Caffe's older layers do: missing axes have length 1.

    Raises:
        InputError: the blob has more than 4 axes.
    """
    if len(shape) > 4:
        raise layer.error(f"its bottom must have at most 4 axes, got {shape_text(shape)}")
    n, c, h, w = (*shape, 1, 1, 1, 1)[:4]
    return n, c, h, w


LARGEST = 1 << 22  # most values of a constant that the export of a layer may add


def check_room(layer: Layer, values: int, what: str = "a constant") -> None:
    """Raises UnsupportedError if the export needs a constant, or ``what`` else, of more than
    ``LARGEST`` values."""
    if values > LARGEST:
        raise layer.unsupported(
            f"its export needs {what} of {values} values, but the limit is {LARGEST}",
            "Use smaller sizes.",
        )


def guarded(layer: Layer, bottoms: Sequence[Shape | None]) -> Guard:
    """Context for the shape formulas of a layer. If the number or the rank of the bottoms does not
    suit them, it raises an InputError that names the layer and the shapes.

    So each formula of each type need not check its bottoms first.
    """
    return Guard(layer, bottoms)
