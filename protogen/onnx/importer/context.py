"""What the functions that lift operators read from and write to."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from protogen.errors import Diagnostic, InputError, UnsupportedError
from protogen.formats.message import Message
from protogen.geometry import Shape
from protogen.layers import LayerType
from protogen.layers.graph import Layer, free_name
from protogen.layers.writing import NewLayer, Rewriter
from protogen.onnx.importer.registry import CAFFE, FLOATS, MOVERS, REASONS, REGISTRY, Lift
from protogen.onnx.importer.roundtrip import remembered

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.onnx.importer.source import OnnxGraph, Operator
    from protogen.resampling.request import ResizeRequest


class Lifter:
    """Collects Caffe layers for a model's operators.

    Attributes:
        operator: the operator that is being lifted.
        layers: LayerParameters in execution order.
        weights: parameter blobs by layer name, as they stand in the model where possible.
        refused: operators that have no form, with the reason.
        approximated: operators whose form is not exact, with the error.
        forks: types of forks' layers that the dialect has.
        shapes: of all values, where they are known.
        made_of: layers by name of their operator.
        types_of: types of layers by outputs of their operator.
    """

    def __init__(self, source: OnnxGraph, forks: frozenset[str] = frozenset()) -> None:
        self.source = source
        self.forks = forks
        self.operator: Operator
        self.layers: list[Message] = []
        self.weights: dict[str, list[NDArray[np.floating]]] = {}
        self.refused: list[tuple[Operator, Diagnostic]] = []
        self.approximated: list[tuple[Operator, str]] = []
        self.made_of: dict[str, tuple[str, ...]] = {}
        self.types_of: dict[tuple[str, ...], str] = {}
        self._first = 0  # of the operator's own layers
        self._alias: dict[str, str] = {}
        self.shapes: dict[str, Shape | None] = dict(source.shapes)
        self._names: set[str] = set()
        self._made: set[str] = set(source.inputs)  # values that a layer makes
        self._values = {
            name for one in source.operators for name in (*one.inputs, *one.outputs) if name
        } | set(source.inputs)
        self._read = {name for one in source.operators for name in one.inputs if name} | set(
            source.outputs
        )

    def lift(self, operator: Operator) -> None:
        """Writes the layers of one operator, or notes why there are none."""
        self.operator = operator
        self._first = count = len(self.layers)
        try:
            function = REGISTRY.get(operator.type) if not operator.domain else None
            if operator.domain == CAFFE:
                function = remembered
            if function is None:
                where = f" of {operator.domain}" if operator.domain else ""
                reason = f"Caffe has no layer for the operator{where}"
                raise self.refuse(REASONS.get(operator.type, reason))
            self._check_kinds()
            self._check_attributes(function)
            self._call(function)
            made = self.layers[count:]
            self.made_of[operator.name] = tuple(layer.name for layer in made)
            self.types_of[operator.outputs] = ", ".join(dict.fromkeys(one.type for one in made))
            for name in operator.outputs:
                if name in self._read and name not in self._made and name not in self._alias:
                    raise self.refuse(f'its output "{name}" has no form in Caffe')
        except (UnsupportedError, InputError) as error:
            for layer in self.layers[count:]:
                self.weights.pop(layer.name, None)
            del self.layers[count:]
            self._made.update(operator.outputs)  # so that its readers are looked at as well
            found = error.diagnostic
            if found.subject != operator.subject:  # of a layer that stands for the operator
                found = self.refuse(str(error)).diagnostic
            self.refused.append((operator, found))

    def _call(self, function: Lift) -> None:
        """Runs an operator's function. One that stumbles over what ONNX does not allow either is
        refused in ONNX's words."""
        try:
            function(self, *self.operator.inputs, **self.operator.attributes)
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            MemoryError,
            TypeError,
            ValueError,
        ) as error:
            told = self.source.objection(self.operator, self.shapes)
            shapes = [self.shapes.get(name) for name in self.operator.inputs if name]
            raise self.refuse(
                f"it is not as ONNX defines it: {told}"
                if told
                else f"its attributes do not fit its inputs {shapes}"
            ) from error

    def _check_attributes(self, function: Lift) -> None:
        known = inspect.signature(function).parameters
        if any(p.kind is p.VAR_KEYWORD for p in known.values()):
            return
        for key in self.operator.attributes:
            if key not in known or known[key].kind is not inspect.Parameter.KEYWORD_ONLY:
                raise self.refuse(f"its attribute {key} has no form in Caffe")
        most = [p for p in known.values() if p.kind is not p.KEYWORD_ONLY]
        if len(self.operator.inputs) >= len(most) and not any(
            p.kind is p.VAR_POSITIONAL for p in most
        ):
            raise self.refuse(f"its input {len(most)} has no form in Caffe")

    def _check_kinds(self) -> None:
        for name in (*self.operator.inputs, *self.operator.outputs):
            empty = name not in self.source.constants and 0 in (self.shapes.get(name) or ())
            if empty and name in self._read:
                raise self.refuse(f'"{name}" has no values, and Caffe\'s blobs are not empty')
        for name in self.operator.inputs:
            kind = self.kind(name)
            if name in self.source.constants or kind in FLOATS:
                continue
            if self.operator.type in MOVERS and kind.lstrip("U").startswith("INT"):
                continue
            raise self.refuse(f'"{name}" is {kind}, but Caffe computes in float32')

    # what an operator's function reads

    @property
    def out(self) -> str:
        """The operator's first output."""
        return self.operator.outputs[0]

    @property
    def opset(self) -> int:
        return self.source.opset

    def is_read(self, name: str) -> bool:
        """Whether an operator reads the value, or it is an output of the model."""
        return name in self._read

    def kind(self, name: str) -> str:
        """ONNX's name of a value's element type."""
        return self.source.kinds.get(name, "FLOAT")

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
        found = self.shapes.get(name)
        if found is None:
            raise self.refuse(f'the shape of "{name}" is not known')
        return found

    def refuse(self, problem: str, advice: str = "") -> UnsupportedError:
        """An UnsupportedError that names the operator."""
        return UnsupportedError(problem, subject=self.operator.subject, advice=advice)

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
    ) -> str:
        """Adds a layer and gives its (first) top's value.

        Without a ``role`` it makes the operator's output and bears its name; else it makes a value
        of its own.
        """
        made = list(tops or ()) or [self.value(role) if role else self.out]
        self._append(self._layer_name(role), type_, bottoms, made, params or {}, weights)
        return made[0]

    def _append(
        self,
        name: str,
        type_: str,
        bottoms: Sequence[str],
        tops: Sequence[str],
        params: Mapping[str, Any],
        weights: Sequence[NDArray[np.floating]] | None = None,
    ) -> None:
        """Adds a layer; the shapes of its tops follow from its type's own rule."""
        reads = [self.blob(one) for one in bottoms]
        fields = {"bottom": reads} if reads else {}
        message = Message.make(
            "LayerParameter", name=name, type=type_, **fields, top=list(tops), **params
        )
        layer = Layer(name, type_, tuple(reads), tuple(tops), message)
        given = [self.shapes.get(one) for one in reads]
        shapes: Sequence[Shape | None] = [None] * len(tops)
        if None not in given:
            shapes = LayerType.registry[type_].shapes(layer, [s for s in given if s is not None])
        for top, shape in zip(tops, shapes, strict=True):
            known = self.source.shapes.get(top)
            if None not in (known, shape) and known != shape:
                raise self.refuse(f"Caffe's {type_} makes {shape} of {given}, not {known}")
            self.shapes[top] = shape
        self.layers.append(message)
        self._made.update(tops)
        if weights is not None:
            self.weights[name] = list(weights)

    def fork(
        self,
        type_: str,
        bottoms: Sequence[str],
        params: Mapping[str, Any] | None = None,
        role: str = "",
    ) -> str:
        """A layer of forks, or where the dialect lacks it, the stock layers that stand for it."""
        if type_ in self.forks:
            return self.add(type_, bottoms, params, role=role)
        top = self.value(role) if role else self.out
        message = Message.make(
            "LayerParameter",
            name=self.operator.name or self.out,
            type=type_,
            bottom=list(bottoms),
            top=[top],
            **(params or {}),
        )
        layer = Layer(message.name, type_, tuple(bottoms), (top,), message)
        LayerType.registry[type_].rewrite(layer, _Stock(self, role, top))
        return top

    def resize(self, request: ResizeRequest, x: str, top: str = "") -> None:
        """The stock layers of a resize."""
        from protogen.resampling.emit import emit
        from protogen.resampling.planning import decide

        chosen = decide(request).chosen
        name = self._layer_name("")
        self._names.discard(name)
        steps = emit(chosen.chains, request, chosen.form, name=name, bottom=x, top=top or self.out)
        for step in steps:
            self._names.add(step.name)
            weights = list(step.weights) if step.make else None
            self._append(step.name, step.type, step.bottoms, step.tops, step.params, weights)

    def same(self, value: str) -> str:
        """The operator hands on a value: no layer is needed."""
        return self.give(value, self.out)

    def give(self, value: str, output: str) -> str:
        """A value is an output of the operator. One of the operator's own layers takes its name."""
        maker = next((one for one in self.layers[self._first :] if value in one.top), None)
        if maker is None or value in self.operator.outputs:
            self._alias[output] = value
            return value
        for layer in self.layers[self._first :]:
            for entry in (*layer.all("bottom"), *layer.all("top")):
                if entry.value == value:
                    entry.value = output
        self._made.add(output)
        self.shapes[output] = self.shapes.get(value)
        base = self.operator.name or output
        if base not in self._names:
            if maker.name in self.weights:
                self.weights[base] = self.weights.pop(maker.name)
            self._names.add(base)
            maker.all("name")[0].value = base
        return output

    def blob(self, value: str) -> str:
        """The blob of a value; a constant becomes a Parameter layer."""
        while value in self._alias:
            value = self._alias[value]
        array = self.source.constants.get(value)
        if array is not None and value not in self._made:
            self.parameter(value, array)
        return value

    def finish(self, outputs: Sequence[str]) -> dict[str, str]:
        """Outputs that are another value's alias, with that value."""
        return {name: self.blob(name) for name in outputs if name in self._alias}

    def split(
        self, x: str, axis: int, points: Sequence[int], role: str = "part", kept: int | None = None
    ) -> list[str]:
        """A Slice at these places; its tops. The one at ``kept`` is the operator's output."""
        tops = [
            self.out if i == kept else self.value(f"{role}_{i}") for i in range(len(points) + 1)
        ]
        self.slice(x, axis, points, tops, "" if kept is not None else role)
        return tops

    def slice(
        self, x: str, axis: int, points: Sequence[int], tops: Sequence[str], role: str = ""
    ) -> None:
        """A Slice at these places, with these tops."""
        places = {"slice_point": [int(point) for point in points]}
        params = {"axis": axis, **places} if axis != 1 else places
        self.add("Slice", [x], {"slice_param": params}, role=role, tops=tops)

    def parameter(self, value: str, array: NDArray[Any]) -> str:
        """A constant as a blob, by a Parameter layer."""
        import numpy as np

        shape = {"dim": list(array.shape)}
        blob = [array.astype(np.float32, copy=False)]
        name = self._layer_name("", value)
        self._append(name, "Parameter", [], [value], {"parameter_param": {"shape": shape}}, blob)
        return value

    def value(self, role: str) -> str:
        """A name for a new value."""
        return free_name(f"{self.out}_{role}", self._values)

    def _layer_name(self, role: str, base: str = "") -> str:
        base = base or self.operator.name or self.out
        return free_name(f"{base}_{role}" if role else base, self._names, "_")


class _Stock(Rewriter):
    """A layer type's ``rewrite`` writes into a Lifter; its last layer makes ``top``."""

    def __init__(self, to: Lifter, role: str, top: str) -> None:
        self._to = to
        self._role = role
        self._top = top

    def append(self, new: NewLayer) -> str:
        tops = None if new.role else [self._top]
        role = self._named(new.role)
        return self._to.add(new.type, new.bottoms, new.params, new.weights, role=role, tops=tops)

    def split(self, bottom: str, role: str, axis: int, points: Sequence[int]) -> list[str]:
        return self._to.split(bottom, axis, points, self._named(role))

    def _named(self, role: str) -> str:
        return "_".join(filter(None, (self._role, role)))

    def retype(self, type_: str, **params: Mapping[str, Any]) -> None:
        raise self._to.refuse(f"a layer of forks cannot be retyped to {type_} here")

    def resize(self, sizes: Sequence[int], **sampling: Any) -> None:
        raise self._to.refuse("a layer of forks that resizes is not made of ONNX")

    def shape(self, blob: str) -> Shape:
        return self._to.shape(blob)

    def weights(self) -> list[NDArray[np.floating]] | None:
        return None
