"""Layer types that a user registers: Python layers of a net, or types unknown to protogen."""

from __future__ import annotations

import os
import runpy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protogen.errors import InputError, did_you_mean
from protogen.layers.base import LayerType, check_bottoms, fields
from protogen.layers.values import Values

if TYPE_CHECKING:
    from protogen.geometry import Shape
    from protogen.layers.graph import Layer
    from protogen.layers.writing import Emitter

    Lower = Callable[[Layer, Emitter], None]
    Shapes = Callable[[Layer, Sequence[Shape]], Sequence[Shape | None]]
    Blobs = Callable[[Layer, Sequence[Shape]], list[Shape]]


plugin_files: set[str] = set()  # those that were run
_PYTHON_FIELDS = fields(python_param="module layer param_str share_in_parallel")
# Attributes and methods that a layer class may define, and so also a user's layer.
DECLARABLE = frozenset(
    name
    for name in (*vars(LayerType), *vars(Values))
    if not name.startswith("_")
    and name
    not in ("registry", "python", "python_class", "user_defined", "has_form", "is_plain", "lower")
)


def layer(
    name: str,
    *,
    shapes: Shapes | None = None,
    blobs: Blobs | None = None,
    reads: Mapping[str, str] | None = None,
    **declared: Any,
) -> Callable[[Lower], Lower]:
    """Register a function that emits a layer as ONNX operators.

        @pg.layer("MyLayer", reads={"my_param": "slope"})
        def my_layer(layer, e):
            slope = layer.params.my_param.slope
            e.op("LeakyRelu", [layer.reads[0]], [layer.writes[0]], alpha=slope)

    The function receives the Layer (``reads`` and ``writes`` name its values, ``params`` holds the
    LayerParameter) and an emitter. ``e.op`` adds an operator that writes named values, ``e.value``
    adds one whose result is an intermediate value, ``e.array`` adds a constant, ``e.blob`` adds a
    parameter blob, and ``e.shape`` returns the shape of a value.

    Args:
        name: the layer's type, or for a Python layer its class (``python_param.layer``).
        shapes: returns the shapes of the tops from the shapes of the bottoms. By default, a type
            that protogen knows keeps its own function; the tops of any other type have the shape
            of the first bottom.
        blobs: returns the shapes of the parameter blobs. By default, a type that protogen knows
            keeps its own function; any other type has no parameter blobs.
        reads: the fields that the function reads: for each block their names, separated by spaces.
            A field that a net sets and that is not declared here is refused by name.
        declared: any other attribute or method of a layer type (``protogen.layers.LayerType``):
            ``activation="rectifier"``, ``stock=False``, ``forks=("mine",)``; a function with the
            arguments of a method without ``self``, such as ``in_place=lambda layer: False``.

    Raises:
        InputError: ``declared`` has an unknown name.
    """
    for key in declared:
        if key not in DECLARABLE:
            raise InputError(
                "unknown attribute of a layer type",
                subject=f"pg.layer {name!r}: {key}",
                advice=did_you_mean(key, DECLARABLE)
                or f"Known attributes: {', '.join(sorted(DECLARABLE))}.",
            )

    def register(function: Lower) -> Lower:
        def first_shape(layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
            check_bottoms(layer, 1, None)
            return [bottoms[0]] * len(layer.tops)

        known = LayerType.registry.pop(name, None)
        overrides: dict[str, Any] = {"in_place": lambda _: True, **declared, "lower": function}
        if shapes is not None or known is None:
            overrides["shapes"] = shapes or first_shape
        if blobs is not None or known is None:
            overrides["blobs"] = blobs or (lambda *_: [])
        members = {
            key: _method(value) if callable(value) else value for key, value in overrides.items()
        }
        if reads is not None or known is None:
            members["reads"] = fields(**(reads or {})) | _PYTHON_FIELDS
        parent = LayerType if known is None else type(known)
        # LayerType registers a subclass when the class is created.
        type(name, (parent,), {"__doc__": function.__doc__, "user_defined": True, **members})
        return function

    return register


def _method(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function as a method that ignores ``self``."""

    def method(self: LayerType, *args: Any) -> Any:
        return function(*args)

    return method


def run_plugin(path: str | Path) -> None:
    """Run a user's Python file, which registers layers.

    Raises:
        InputError: the file cannot be read, or its Python syntax is invalid.
        Exception: what the file raises.
    """
    if not str(path) or os.path.isdir(path):
        raise InputError("a plugin must be a Python file", where=str(path))
    plugin_files.add(str(path))
    try:
        runpy.run_path(str(path))
    except (OSError, SyntaxError) as error:
        raise InputError(f"cannot be run ({error})", where=str(path)) from None
