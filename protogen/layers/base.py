"""What a layer type is, and the registry of all of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from protogen.geometry import Shape, shape_text
from protogen.layers.checking import span
from protogen.layers.graph import Layer
from protogen.layers.values import Values
from protogen.layers.writing import Emitter, Rewriter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.formats.message import Message


@dataclass(frozen=True, slots=True)
class Window:
    """Kernel, stride, pad and dilation along each spatial axis. ``transposed``: the stride spreads
    pixels instead of skipping them."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool = False


POINT = Window((), (), (), ())  # every pixel for itself


@dataclass(frozen=True, slots=True)
class Filling:
    """How a parameter blob is made before training.

    ``field`` is the path in LayerParameter of the filler that says so; ``value`` is the constant
    that Caffe writes where nothing is said. For blobs that multiply the data, ``into`` counts the
    inputs that meet in an output value, and ``out`` the outputs that an input value reaches; both
    are 0 for all others. ``neutral`` is the value with which a blob that does not multiply what it
    is trained on leaves its layer without effect, and ``suits`` the filler that the layer's form
    asks for.
    """

    field: str = ""
    value: float = 0.0
    into: float = 0.0
    out: float = 0.0
    neutral: float | None = None
    suits: str = ""


@dataclass(frozen=True, slots=True)
class Mistake:
    """A wrong reading of a layer that other tools are known for. Where two runs differ, the layer
    is run so: if that gives the other side's numbers, this is the cause.

    ``changes`` are parameters by path (``pooling_param.round_mode``), ``blobs`` makes other
    weights, ``attributes`` are those of ONNX operators by type, and operators of the types in
    ``without`` hand on what they read.
    """

    cause: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    blobs: Callable[[list[NDArray[np.float32]]], list[NDArray[np.float32]]] | None = None
    attributes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    without: tuple[str, ...] = ()


def fields(**blocks: str) -> dict[str, frozenset[str]]:
    """What a layer type reads of its LayerParameter: for each block the names of its fields, with
    spaces between. ``nms_param.top_k`` is a field of an inner message; the inner message's own
    name stands for all of its fields."""
    return {block: frozenset(names.split()) for block, names in blocks.items()}


class LayerType(Values):
    """One Caffe layer type. A subclass is called exactly as its type string and is registered by
    being defined. Stateless: one instance answers for every layer of the type.
    """

    registry: ClassVar[dict[str, LayerType]] = {}
    reads: ClassVar[Mapping[str, frozenset[str]]] = MappingProxyType({})  # made by ``fields``
    required: ClassVar[tuple[str, ...]] = ()  # ``block.field`` that a net must set
    harmless: ClassVar[Mapping[str, str]] = MappingProxyType({})  # ``block.field``: why
    is_loss: ClassVar[bool] = False  # Caffe then makes tops that the net does not name
    # What a signal does here: a rectifier keeps about half of the values, a saturating one bends
    # all of them; passes_signal hands values on, so that the activation may stand behind it;
    # weighted multiplies data with weights.
    activation: ClassVar[Literal["", "rectifier", "saturating"]] = ""
    passes_signal: ClassVar[bool] = False
    weighted: ClassVar[bool] = False
    computes: ClassVar[bool] = True  # its values are not those of its bottom, moved or counted
    written_in_place: ClassVar[bool] = False  # people let its top be its bottom
    resizes: ClassVar[bool] = False  # it interpolates: other layers can do the same
    top_may_be_unused: ClassVar[bool] = False  # its top need not be read, in a training net too
    feeds: ClassVar[bool] = False  # its tops come from outside: files, or whoever runs the net
    data_axis: ClassVar[int | None] = None  # axis of the tops whose length only data decides
    refusal: ClassVar[tuple[str, str]] = ("protogen has no ONNX form of it", "")
    limits: ClassVar[str] = ""  # of its ONNX form, for the table of supported layers
    stock: ClassVar[bool] = True  # whether BVLC Caffe has it
    forks: ClassVar[tuple[str, ...]] = ()  # dialects that have it besides, and are told so
    remembered: ClassVar[bool] = False  # ONNX models of it hold its text, for the way back
    user_defined: ClassVar[bool] = False  # registered by a user with ``pg.layer``
    trained: ClassVar[bool] = True  # whether Caffe trains its blobs, where it has some
    inline_blobs: ClassVar[str] = ""  # what must fit of blobs that a text gives: shapes or counts

    @property
    def is_plain(self) -> bool:
        """Whether it needs no parameters, and has no weights."""
        own = type(self)
        return own.blobs is LayerType.blobs and not self.required

    @property
    def has_form(self) -> bool:
        """Whether it has an ONNX form, for some of its parameters at least."""
        own = type(self).lower is not LayerType.lower
        return own and self.refusal == LayerType.refusal

    def __init_subclass__(cls, abstract: bool = False) -> None:
        if abstract:
            return
        if cls.__name__ in LayerType.registry:
            raise TypeError(f"the layer type {cls.__name__} is defined twice")
        LayerType.registry[cls.__name__] = cls()

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        """The shapes of the tops; None for one that only data or a file decides.

        Raises:
            InputError: the bottoms or parameters do not fit each other.
        """
        raise layer.unsupported("protogen does not know this layer's output shape")

    def demands(self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
        """What Caffe demands of the layer although its shapes are known: nothing.

        Raises:
            InputError: Caffe refuses it.
        """

    def decide(self, layer: Layer) -> None:
        """Nothing, where it is clear what the layer computes.

        Raises:
            UnsupportedError: forks compute different things, and neither the net nor ``dialect``
                says whose it is.
        """

    def in_place(self, layer: Layer) -> bool:
        """Whether Caffe computes the layer rightly where a top is its bottom as well. Other layers
        are refused by Caffe, or overwrite what they still read."""
        return False

    def does_nothing(self, params: Message) -> bool:
        """Whether a layer with this LayerParameter hands on what it gets."""
        return False

    def dies(self, layer: Layer) -> bool:
        """Whether a unit that is at or below 0 for all data gets no gradient."""
        return False

    def saturates_at(self, layer: Layer) -> tuple[float, float] | None:
        """Values at and beyond which hardly any gradient passes; None where there are none."""
        return None

    def without_gradient(self, layer: Layer) -> Collection[int]:
        """The bottoms, by index, to which Caffe refuses to send a gradient."""
        return ()

    def random(self, layer: Layer) -> bool:
        """Whether its tops are other ones in every run."""
        return False

    def assumed(self, layer: Layer, channels: int) -> Sequence[Shape | None]:
        """The shapes of the tops if its pictures have this many channels, where the net leaves
        that open and nothing else; empty where it does not."""
        return ()

    def complete(
        self, layer: Layer, tops: list[Shape | None], given: Sequence[Shape | None]
    ) -> list[Shape | None]:
        """What follows for the other tops where the user gave one's shape: ``given`` holds it."""
        return tops

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        """The shapes of the parameter blobs, in Caffe's order."""
        return []

    def uses_blobs(self, layer: Layer) -> bool:
        """Whether the tops follow from the parameter blobs."""
        return True

    def fillings(
        self, layer: Layer, bottoms: Sequence[Shape], blobs: Sequence[Shape]
    ) -> list[Filling]:
        """How each parameter blob is made before training: zeros unless a layer says otherwise."""
        return [Filling()] * len(blobs)

    def multiply_adds(
        self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape], blobs: Sequence[Shape]
    ) -> int:
        """Products of data with parameters in one forward pass; 0 for layers that have none."""
        return 0

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        """How an output pixel reads input pixels: itself alone unless a layer says
        otherwise; None where it reads the whole input."""
        return POINT

    def mistakes(self, layer: Layer) -> list[Mistake]:
        """How other tools are known to read this layer wrongly."""
        return []

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        """Writes a fork's layer in stock layers that compute the same.

        Raises:
            UnsupportedError: there are none.
        """
        if self.refusal != LayerType.refusal:
            raise layer.unsupported(*self.refusal)
        raise layer.unsupported("no stock layers compute it")

    def lower(self, layer: Layer, e: Emitter) -> None:
        """Writes the layer in ONNX operators.

        A class without a ``lower`` of its own is refused with its ``refusal``: why, and a way out.

        Raises:
            UnsupportedError: standard ONNX cannot say what this layer does.
        """
        raise layer.unsupported(*self.refusal)


def layer_type(name: str) -> LayerType | None:
    """The layer type of this name; None where protogen does not know it."""
    return LayerType.registry.get(name)


def family_of(kind: LayerType) -> str:
    """The family that a type belongs to: the module that it is defined in."""
    return type(kind).__module__.rpartition(".")[2]


def kind_of(layer: Layer) -> LayerType | None:
    """The type that answers for a layer: that of its type string; for a Python layer the one that
    a user registered for its class (``python_param.layer``), where there is one."""
    if layer.type == "Python":
        own = LayerType.registry.get(layer.params.python_param.layer)
        if own is not None and own.user_defined:
            return own
    return LayerType.registry.get(layer.type)


def check_bottoms(layer: Layer, least: int, most: int | None = None) -> None:
    """Raises InputError unless the layer has from ``least`` to ``most`` bottoms (None: any)."""
    count = len(layer.bottoms)
    if count < least or (most is not None and count > most):
        raise layer.error(f"has {count} bottoms, but takes {span(least, most)}")


def axis_of(layer: Layer, axis: int, rank: int, name: str = "axis", end: bool = False) -> int:
    """An axis counted from 0; Caffe counts negative ones from the end. With ``end``, the place
    behind the last axis counts too.

    Raises:
        InputError: it is outside of the blob.
    """
    last = rank if end else rank - 1
    if not -last - 1 <= axis <= last:
        raise layer.error(f"{name} {axis} is outside of a blob with {rank} axes")
    return axis + last + 1 if axis < 0 else axis


def check_rank(layer: Layer, bottoms: Sequence[Shape], least: int, most: int) -> None:
    """Raises InputError unless each bottom has from ``least`` to ``most`` axes."""
    for name, shape in zip(layer.bottoms, bottoms, strict=False):
        if not least <= len(shape) <= most:
            wanted = span(least, most)
            raise layer.error(f'"{name}" is {shape_text(shape)}, but must have {wanted} axes')


def four_axes(layer: Layer, shape: Shape) -> tuple[int, int, int, int]:
    """N, C, H, W of a blob as Caffe's older layers see it: axes that it lacks have length 1.

    Raises:
        InputError: it has more than 4 axes.
    """
    if len(shape) > 4:
        raise layer.error(f"its bottom is {shape_text(shape)}, but must have 4 axes at most")
    n, c, h, w = (*shape, 1, 1, 1, 1)[:4]
    return n, c, h, w


LARGEST = 1 << 22  # values of a constant that a layer's ONNX form brings with it


def check_room(layer: Layer, values: int) -> None:
    """Raises UnsupportedError where a constant of this many values would have to be made."""
    if values > LARGEST:
        raise layer.unsupported(
            f"its ONNX form would need a constant of {values} values", "Use smaller sizes."
        )


@contextmanager
def guarded(layer: Layer, bottoms: Sequence[Shape | None]) -> Iterator[None]:
    """Formulas of a layer stand in this block. Bottoms of a number or a rank that they were not
    made for end in an InputError that names the layer and the shapes.

    Which they are need then not be checked before each formula of each type.
    """
    try:
        yield
    except (ArithmeticError, LookupError, ValueError) as error:
        found = ", ".join("unknown" if s is None else shape_text(s) for s in bottoms) or "none"
        raise layer.error(
            f"its bottoms have too few axes, or do not fit its parameters: {found}"
        ) from error
