"""What lifts ONNX operators: the registry of functions, one per operator, and what they write to."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from protogen.errors import UnsupportedError, layout
from protogen.graph import Layer, Shape
from protogen.layers import LayerType
from protogen.message import Message

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.onnx.source import Operator, Source
    from protogen.resizing.request import Resize

Lift = Callable[..., None]
REGISTRY: dict[str, Lift] = {}


def lifts(*types: str) -> Callable[[Lift], Lift]:
    """Registers a function for operators of ONNX. Its positional arguments are a Lifter and the
    operator's inputs (names of values, "" or None where absent), its keywords the attributes; an
    attribute that it has no keyword for is refused by name."""

    def register(function: Lift) -> Lift:
        for one in types:
            if one in REGISTRY:
                raise TypeError(f"the operator {one} is lifted twice")
            REGISTRY[one] = function
        return function

    return register


class Lifter:
    """Collects Caffe layers for a model's operators.

    Attributes:
        operator: the operator that is being lifted.
        layers: LayerParameters in execution order.
        weights: parameter blobs by layer name, as they stand in the model where possible.
        refused: operators that have no form, with the reason.
        forks: types of forks' layers that the dialect has.
    """

    def __init__(self, source: Source, forks: frozenset[str] = frozenset()) -> None:
        self.source = source
        self.forks = forks
        self.operator: Operator
        self.layers: list[Message] = []
        self.weights: dict[str, list[NDArray[np.floating]]] = {}
        self.refused: list[tuple[Operator, str]] = []
        self._alias: dict[str, str] = {}
        self._shapes: dict[str, Shape] = dict(source.shapes)
        self._names: set[str] = set()
        self._made: set[str] = set()  # values that a layer makes
        self._values = {
            name for one in source.operators for name in (*one.inputs, *one.outputs) if name
        } | set(source.inputs)

    def lift(self, operator: Operator) -> None:
        """Writes the layers of one operator, or notes why there are none."""
        self.operator = operator
        count = len(self.layers)
        try:
            function = REGISTRY.get(operator.type) if not operator.domain else None
            if function is None:
                where = f" of {operator.domain}" if operator.domain else ""
                raise self.refuse(f"Caffe has no layer for the operator{where}")
            self._check_kinds()
            known = inspect.signature(function).parameters
            anything = any(p.kind is p.VAR_KEYWORD for p in known.values())
            unknown = [key for key in operator.attributes if key not in known]
            if unknown and not anything:
                raise self.refuse(f"its attribute {unknown[0]} has no form in Caffe")
            function(self, *operator.inputs, **operator.attributes)
        except UnsupportedError as error:
            del self.layers[count:]
            self.refused.append((operator, str(error)))

    def _check_kinds(self) -> None:
        for name in self.operator.inputs:
            kind = self.source.kinds.get(name)
            if kind and name not in self.source.constants and self.operator.type != "Cast":
                raise self.refuse(f'"{name}" is {kind}, but Caffe computes in float32')

    # what an operator's function reads

    @property
    def out(self) -> str:
        """The operator's first output."""
        return self.operator.outputs[0]

    @property
    def opset(self) -> int:
        return self.source.opset

    def constant(self, name: str | None) -> NDArray[Any] | None:
        """The value of a constant; None where there is none, or the value is computed."""
        return self.source.constants.get(name) if name else None

    def wanted(self, name: str | None, what: str) -> NDArray[Any]:
        """The value of what must be a constant.

        Raises:
            UnsupportedError: it is computed.
        """
        found = self.constant(name)
        if found is None:
            raise self.refuse(f'its {what} "{name}" is computed, not constant')
        return found

    def numbers(self, given: Sequence[int] | None, name: str | None, what: str) -> list[int] | None:
        """Whole numbers that are an attribute in old operator sets and an input in new ones."""
        if given is not None:
            return [int(n) for n in given]
        return [int(n) for n in self.wanted(name, what).reshape(-1)] if name else None

    def shape(self, name: str) -> Shape:
        """The shape of a value.

        Raises:
            UnsupportedError: it is not known.
        """
        found = self._shapes.get(name)
        if found is None:
            raise self.refuse(f'the shape of "{name}" is not known')
        return found

    def refuse(self, problem: str, advice: str = "") -> UnsupportedError:
        """An UnsupportedError that names the operator."""
        return UnsupportedError(layout(problem, subject=self.operator.subject, advice=advice))

    # what it writes

    def add(
        self,
        type_: str,
        bottoms: Sequence[str],
        params: Mapping[str, Any] | None = None,
        weights: Sequence[NDArray[np.floating]] | None = None,
        *,
        role: str = "",
        tops: Sequence[str] | None = None,
        shape: Shape | None = None,
    ) -> str:
        """Adds a layer and gives its (first) top's value.

        Without a ``role`` it makes the operator's output and bears its name; else it makes a value
        of its own, of ``shape`` (that of the first bottom unless given).
        """
        made = list(tops or ())
        if not made:
            made = [self._value(role) if role else self.out]
        if role:
            given = self._shapes.get(bottoms[0]) if shape is None and bottoms else shape
            if given is not None:
                self._shapes.setdefault(made[0], given)
        name = self._layer_name(role)
        message = Message.make(
            "LayerParameter",
            name=name,
            type=type_,
            bottom=[self.blob(one) for one in bottoms],
            top=made,
            **(params or {}),
        )
        self.layers.append(message)
        self._made.update(made)
        if weights is not None:
            self.weights[name] = list(weights)
        return made[0]

    def fork(
        self, type_: str, bottoms: Sequence[str], params: Mapping[str, Any] | None = None
    ) -> None:
        """A layer of forks, or where the dialect lacks it, the stock layers that stand for it."""
        message = Message.make(
            "LayerParameter",
            name=self._layer_name(""),
            type=type_,
            bottom=[self.blob(one) for one in bottoms],
            top=[self.out],
            **(params or {}),
        )
        if type_ in self.forks:
            self.layers.append(message)
            self._made.add(self.out)
            return
        self._names.discard(message.name)
        kind = LayerType.registry[type_]
        kind.rewrite(Layer(message.name, type_, tuple(bottoms), (self.out,), message), _Stock(self))

    def resize(self, request: Resize, x: str) -> None:
        """The stock layers of a resize."""
        from protogen.resizing.emit import emit
        from protogen.resizing.planning import decide

        chosen = decide(request).chosen
        name = self._layer_name("")
        self._names.discard(name)
        steps = emit(chosen.chains, request, chosen.form, name=name, bottom=x, top=self.out)
        for step in steps:
            self._names.add(step.name)
            bottoms = [self.blob(one) for one in step.bottoms]
            self.layers.append(
                Message.make("LayerParameter", name=step.name, type=step.type, bottom=bottoms,
                             top=list(step.tops), **step.params)
            )  # fmt: skip
            self._made.update(step.tops)
            if step.make:
                self.weights[step.name] = list(step.weights)

    def same(self, value: str, output: str | None = None) -> None:
        """The operator hands on a value: no layer is needed."""
        self._alias[output or self.out] = value

    def blob(self, value: str) -> str:
        """The blob of a value; a constant becomes a Parameter layer."""
        while value in self._alias:
            value = self._alias[value]
        array = self.source.constants.get(value)
        if array is not None and value not in self._made:
            self._parameter(value, array)
        return value

    def finish(self, outputs: Sequence[str]) -> dict[str, str]:
        """Outputs that are another value's alias, with that value."""
        return {name: self.blob(name) for name in outputs if name in self._alias}

    def split(
        self, x: str, axis: int, points: Sequence[int], role: str = "part", kept: int | None = None
    ) -> list[str]:
        """A Slice at these places; its tops. The one at ``kept`` is the operator's output."""
        shape = self.shape(x)
        lengths = [b - a for a, b in zip([0, *points], [*points, shape[axis]], strict=True)]
        tops = []
        for i, length in enumerate(lengths):
            tops.append(self.out if i == kept else self._value(f"{role}_{i}"))
            self._shapes[tops[-1]] = (*shape[:axis], length, *shape[axis + 1 :])
        params = {"slice_param": {"axis": axis, "slice_point": [int(p) for p in points]}}
        self.add("Slice", [x], params, role="" if kept is not None else role, tops=tops)
        return tops

    def _parameter(self, value: str, array: NDArray[Any]) -> None:
        import numpy as np

        name = self._layer_name("", value)
        shape = {"dim": list(array.shape)}
        self.layers.append(
            Message.make("LayerParameter", name=name, type="Parameter", top=[value],
                         parameter_param={"shape": shape})
        )  # fmt: skip
        self.weights[name] = [array.astype(np.float32, copy=False)]
        self._made.add(value)

    def _value(self, role: str) -> str:
        name, count = f"{self.out}_{role}", 1
        while name in self._values:
            count += 1
            name = f"{self.out}_{role}{count}"
        self._values.add(name)
        return name

    def _layer_name(self, role: str, base: str = "") -> str:
        base = base or self.operator.name or self.out
        wanted = f"{base}_{role}" if role else base
        name, count = wanted, 1
        while name in self._names:
            count += 1
            name = f"{wanted}_{count}"
        self._names.add(name)
        return name


class _Stock:
    """A layer type's ``rewrite`` writes into a Lifter, as ``layers.base.Rewriter`` describes."""

    def __init__(self, to: Lifter) -> None:
        self._to = to

    def add(
        self,
        type_: str,
        bottoms: Sequence[str],
        *,
        role: str = "",
        top: str = "",
        params: Mapping[str, Any] | None = None,
        weights: Sequence[NDArray[np.floating]] | None = None,
        keeps: Sequence[int] | None = None,
    ) -> str:
        return self._to.add(type_, bottoms, params, weights, role=role)

    def split(self, bottom: str, role: str, axis: int, points: Sequence[int]) -> list[str]:
        return self._to.split(bottom, axis, points, role)

    def retype(self, type_: str, **params: Mapping[str, Any]) -> None:
        raise self._to.refuse(f"a layer of forks cannot be retyped to {type_} here")

    def resize(self, sizes: Sequence[int], **sampling: Any) -> None:
        raise self._to.refuse("a layer of forks that resizes is not made of ONNX")

    def shape(self, blob: str) -> Shape:
        return self._to.shape(blob)

    def weights(self) -> list[NDArray[np.floating]] | None:
        return None
