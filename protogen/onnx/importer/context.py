"""State of an import: what import functions read from the model, and the layers they write."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from protogen.errors import Diagnostic, InputError, UnsupportedError
from protogen.formats.message import Message
from protogen.geometry import Shape
from protogen.layers import LayerType
from protogen.layers.exact_resize import EXACT_RESIZE, exact_resize_params
from protogen.layers.graph import Layer, free_name
from protogen.onnx.importer.registry import (
    CAFFE,
    FLOATS,
    NUMBERS,
    REASONS,
    REGISTRY,
    TAKES,
    ImportFunction,
)
from protogen.onnx.importer.roundtrip import restore_layer
from protogen.onnx.importer.stock import StockLayers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.onnx.importer.source import OnnxGraph, Operator
    from protogen.resampling.request import ResizeRequest


class ImportContext:
    """Collects the Caffe layers of a model's operators.

    Attributes:
        operator: the operator that is being imported.
        layers: LayerParameters in execution order.
        weights: parameter blobs by layer name; the model's own arrays where possible.
        refused: unsupported operators, with the reason.
        approximated: operators that are imported approximately, with the error.
        notes: how the net differs from the model in many operators; a dict, to keep the order.
        forks: types of fork layers that the dialect has; ``missing``: those that operators asked for.
        shapes: shapes by value, None where unknown.
        producers: the model's operators, by the values that they produce.
        layers_of: names of layers, by name of their operator.
        types_of: types of layers, by outputs of their operator.
        reasons: why a layer is there, by its name.
    """

    def __init__(self, source: OnnxGraph, forks: frozenset[str] = frozenset()) -> None:
        self.source = source
        self.forks = forks
        self.operator: Operator
        self.layers: list[Message] = []
        self.weights: dict[str, list[NDArray[np.floating]]] = {}
        self.refused: list[tuple[Operator, Diagnostic]] = []
        self.approximated: list[tuple[Operator, str]] = []
        self.notes: dict[str, None] = dict.fromkeys(source.notes)
        self.layers_of: dict[str, tuple[str, ...]] = {}
        self.types_of: dict[tuple[str, ...], str] = {}
        self.reasons: dict[str, str] = {}
        self.missing: dict[tuple[str, ...], dict[str, None]] = {}
        self._first = 0  # index of the operator's first layer
        self._alias: dict[str, str] = {}
        self.shapes: dict[str, Shape | None] = dict(source.shapes)
        self.producers = {name: one for one in source.operators for name in one.outputs if name}
        self._names: set[str] = set()
        self._produced: set[str] = set(source.inputs)  # values that a layer produces
        self._values = {
            name for one in source.operators for name in (*one.inputs, *one.outputs) if name
        } | set(source.inputs)
        self._used = {name for one in source.operators for name in one.inputs if name} | set(
            source.outputs
        )

    def import_operator(self, operator: Operator) -> None:
        """Add the layers of one operator, or record why it is unsupported."""
        self.operator, self._first = operator, len(self.layers)
        first = self._first
        try:
            function = REGISTRY.get(operator.type) if not operator.domain else None
            if operator.domain == CAFFE:
                function = restore_layer
            if function is None:
                where = f" of domain {operator.domain}" if operator.domain else ""
                reason = f"Caffe has no layer for this operator{where}"
                raise self.unsupported(REASONS.get(operator.type, reason))
            self._check_kinds()
            self._check_attributes(function)
            self._call(function)
            layers = self.layers[first:]
            self._explain(function, layers)
            self.layers_of[operator.name] = tuple(layer.name for layer in layers)
            self.types_of[operator.outputs] = ", ".join(dict.fromkeys(one.type for one in layers))
            for name in operator.outputs:
                if name in self._used and name not in self._produced and name not in self._alias:
                    raise self.unsupported(f'output "{name}" has no equivalent in Caffe')
        except (UnsupportedError, InputError) as error:
            for layer in self.layers[first:]:
                self.weights.pop(layer.name, None)
            del self.layers[first:]
            self._produced.update(operator.outputs)  # so that its readers are checked too
            diagnostic = error.diagnostic
            if diagnostic.subject != operator.subject:  # raised by a layer of the operator
                diagnostic = self.unsupported(str(error)).diagnostic
            self.refused.append((operator, diagnostic))

    def _explain(self, function: ImportFunction, layers: Sequence[Message]) -> None:
        """Store why the layers of the operator are there: the operator, and how it is computed if there
        are several layers."""
        missing = self.missing.get(self.operator.outputs, ())
        why = [f"the dialect has no {type_}" for type_ in missing]
        if how := (inspect.getdoc(function) or "").split("\n\n")[0].replace("``", ""):
            why.append(" ".join(how.split()).rstrip("."))
        text = self.operator.subject
        if len(layers) > 1 and why:
            text += f": {'; '.join(why)}"
        self.reasons |= dict.fromkeys((layer.name for layer in layers), text)

    def _call(self, function: ImportFunction) -> None:
        """Call an import function. If it fails on an operator that violates ONNX's definition,
        raise an error with ONNX's own message."""
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
            objection = self.source.objection(self.operator, self.shapes)
            shapes = [self.shapes.get(name) for name in self.operator.inputs if name]
            raise self.unsupported(
                f"violates ONNX's definition of the operator: {objection}"
                if objection
                else f"the attributes do not fit the input shapes {shapes}"
            ) from error

    def _check_attributes(self, function: ImportFunction) -> None:
        known = inspect.signature(function).parameters
        if any(p.kind is p.VAR_KEYWORD for p in known.values()):
            return
        for key in self.operator.attributes:
            if key not in known or known[key].kind is not inspect.Parameter.KEYWORD_ONLY:
                raise self.unsupported(f"attribute {key} has no equivalent in Caffe")
        positional = [p for p in known.values() if p.kind is not p.KEYWORD_ONLY]
        if len(self.operator.inputs) >= len(positional) and not any(
            p.kind is p.VAR_POSITIONAL for p in positional
        ):
            raise self.unsupported(f"input {len(positional)} has no equivalent in Caffe")

    def _check_kinds(self) -> None:
        for name in (*self.operator.inputs, *self.operator.outputs):
            empty = name not in self.source.constants and 0 in (self.shapes.get(name) or ())
            if empty and name in self._used:
                raise self.unsupported(f'"{name}" is empty, but Caffe blobs cannot be empty')
        takes = TAKES.get(self.operator.type, FLOATS)
        for name in self.operator.inputs:
            kind = self.kind(name)
            if name in self.source.constants:
                continue
            if kind not in takes:
                raise self.unsupported(f'"{name}" has type {kind}, but Caffe computes in float32')
            if kind == "DOUBLE" and self.operator.type != "Cast":
                self.notes["the model computes in float64; Caffe computes in float32"] = None
            elif kind not in FLOATS and takes is NUMBERS:
                self.notes["integers are computed in float32, which is exact up to 2^24"] = None

    # Access to the operator and its inputs

    @property
    def out(self) -> str:
        """The operator's first output."""
        return self.operator.outputs[0]

    @property
    def opset(self) -> int:
        return self.source.opset

    def is_read(self, name: str) -> bool:
        """Whether an operator reads the value, or it is an output of the model."""
        return name in self._used

    def kind(self, name: str) -> str:
        """Return ONNX's name of a value's element type."""
        return self.source.kinds.get(name, "FLOAT")

    def constant(self, name: str | None) -> NDArray[Any] | None:
        """Return a constant's array; None if ``name`` is empty or the value is computed."""
        return self.source.constants.get(name) if name else None

    def require_constant(self, name: str | None, role: str) -> NDArray[Any]:
        """Return the array of a value that must be a constant.

        Raises:
            UnsupportedError: the value is computed.
        """
        array = self.constant(name)
        if array is None:
            raise self.unsupported(f'{role} "{name}" must be a constant, but it is computed')
        return array

    def integers(
        self, attribute: Sequence[int] | None, name: str | None, role: str
    ) -> list[int] | None:
        """Return integers that are an attribute in old operator sets and an input in new ones."""
        if attribute is not None:
            return [int(n) for n in attribute]
        return [int(n) for n in self.require_constant(name, role).reshape(-1)] if name else None

    def shape(self, name: str) -> Shape:
        """Return the shape of a value.

        Raises:
            UnsupportedError: the shape is unknown.
        """
        constant = self.source.constants.get(name)
        shape = self.shapes.get(name) if constant is None else constant.shape
        if shape is None:
            raise self.unsupported(f'the shape of "{name}" is unknown')
        return shape

    def unsupported(self, problem: str, advice: str = "") -> UnsupportedError:
        """Return an UnsupportedError that names the operator."""
        return UnsupportedError(problem, subject=self.operator.subject, advice=advice)

    # Output of layers

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
        """Add a layer and return its first top.

        Without a ``role`` the layer produces the operator's output and has the operator's name.
        With a ``role`` it produces a new, intermediate value.
        """
        names = list(tops or ()) or [self.new_value(role) if role else self.out]
        self._append(self._layer_name(role), type_, bottoms, names, params or {}, weights)
        return names[0]

    def _append(
        self,
        name: str,
        type_: str,
        bottoms: Sequence[str],
        tops: Sequence[str],
        params: Mapping[str, Any],
        weights: Sequence[NDArray[np.floating]] | None = None,
    ) -> None:
        """Add a layer; the layer type computes the shapes of the tops."""
        reads = [self.blob(one) for one in bottoms]
        fields = {"bottom": reads} if reads else {}
        message = Message.make(
            "LayerParameter", name=name, type=type_, **fields, top=list(tops), **params
        )
        layer = Layer(name, type_, tuple(reads), tuple(tops), message)
        bottom_shapes = [self.shapes.get(one) for one in reads]
        shapes: Sequence[Shape | None] = [None] * len(tops)
        if None not in bottom_shapes:
            shapes = LayerType.registry[type_].shapes(
                layer, [s for s in bottom_shapes if s is not None]
            )
        for top, shape in zip(tops, shapes, strict=True):
            known = self.source.shapes.get(top)
            if None not in (known, shape) and known != shape:
                raise self.unsupported(
                    f"Caffe's {type_} gives shape {shape} for {bottom_shapes}, expected {known}"
                )
            self.shapes[top] = shape
        self.layers.append(message)
        self._produced.update(tops)
        if weights is not None:
            self.weights[name] = list(weights)

    def add_fork_layer(
        self,
        type_: str,
        bottoms: Sequence[str],
        params: Mapping[str, Any] | None = None,
        role: str = "",
    ) -> str:
        """Add a fork layer, or equivalent stock layers if the dialect lacks it."""
        if type_ in self.forks:
            return self.add(type_, bottoms, params, role=role)
        self.missing.setdefault(self.operator.outputs, {})[type_] = None
        top = self.new_value(role) if role else self.out
        message = Message.make(
            "LayerParameter",
            name=self.operator.name or self.out,
            type=type_,
            bottom=list(bottoms),
            top=[top],
            **(params or {}),
        )
        layer = Layer(message.name, type_, tuple(bottoms), (top,), message)
        LayerType.registry[type_].rewrite(layer, StockLayers(self, role, top))
        return top

    def resize(self, request: ResizeRequest, x: str, top: str = "", role: str = "") -> None:
        """Add an ExactResize, or the stock layers of a resize if the dialect lacks it."""
        if EXACT_RESIZE in self.forks:
            params = {"exact_resize_param": exact_resize_params(request)}
            self.add(EXACT_RESIZE, [x], params, role=role, tops=[top or self.out])
            return
        from protogen.resampling.emit import emit
        from protogen.resampling.planning import decide

        chosen = decide(request).chosen
        self._names.discard(name := self._layer_name(role))
        steps = emit(chosen.chains, request, chosen.form, name=name, bottom=x, top=top or self.out)
        for step in steps:
            self._names.add(step.name)
            weights = list(step.weights) if step.make else None
            self._append(step.name, step.type, step.bottoms, step.tops, step.params, weights)

    def pass_through(self, value: str) -> str:
        """Make the operator's output an alias of a value, without a layer."""
        return self.bind_output(value, self.out)

    def bind_output(self, value: str, output: str) -> str:
        """Bind a value to an output of the operator. A value that one of the operator's own layers
        produces is renamed; for another value, the output becomes an alias."""
        producer = next((layer for layer in self.layers[self._first :] if value in layer.top), None)
        if producer is None or value in self.operator.outputs:
            self._alias[output] = value
            return value
        for layer in self.layers[self._first :]:
            for entry in (*layer.all("bottom"), *layer.all("top")):
                if entry.value == value:
                    entry.value = output
        self._produced.add(output)
        self.shapes[output] = self.shapes.get(value)
        base = self.operator.name or output
        if base not in self._names:
            if producer.name in self.weights:
                self.weights[base] = self.weights.pop(producer.name)
            self._names.add(base)
            producer.all("name")[0].value = base
        return output

    def blob(self, value: str) -> str:
        """Return the blob of a value; add a Parameter layer for a constant."""
        while value in self._alias:
            value = self._alias[value]
        array = self.source.constants.get(value)
        if array is not None and value not in self._produced:
            self.parameter(value, array)
        return value

    def output_aliases(self, outputs: Sequence[str]) -> dict[str, str]:
        """Return the outputs that are an alias, with the aliased value."""
        return {name: self.blob(name) for name in outputs if name in self._alias}

    def split(
        self, x: str, axis: int, points: Sequence[int], role: str = "part", main: int | None = None
    ) -> list[str]:
        """Add a Slice and return its tops. The top number ``main`` is the operator's output."""
        tops = [
            self.out if i == main else self.new_value(f"{role}_{i}") for i in range(len(points) + 1)
        ]
        self.slice(x, axis, points, tops, "" if main is not None else role)
        return tops

    def slice(
        self, x: str, axis: int, points: Sequence[int], tops: Sequence[str], role: str = ""
    ) -> None:
        """Add a Slice at these points, with these tops."""
        params: dict[str, Any] = {"axis": axis} if axis != 1 else {}
        params["slice_point"] = [int(point) for point in points]
        self.add("Slice", [x], {"slice_param": params}, role=role, tops=tops)

    def parameter(self, value: str, array: NDArray[Any]) -> str:
        """Add a Parameter layer that produces a constant."""
        import numpy as np

        shape = {"dim": list(array.shape)}
        blob = [array.astype(np.float32, copy=False)]
        name = self._layer_name("", value)
        self._append(name, "Parameter", [], [value], {"parameter_param": {"shape": shape}}, blob)
        return value

    def new_value(self, role: str) -> str:
        """Return an unused name for a new value."""
        return free_name(f"{self.out}_{role}", self._values)

    def _layer_name(self, role: str, base: str = "") -> str:
        base = base or self.operator.name or self.out
        return free_name(f"{base}_{role}" if role else base, self._names, "_")
