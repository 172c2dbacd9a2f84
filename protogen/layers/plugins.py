"""Layers that a user brings: Python layers of a net, or types that protogen does not know."""

from __future__ import annotations

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


_OF_PYTHON = fields(python_param="module layer param_str share_in_parallel")
# What a class of the package may declare, and so a layer of the user's.
DECLARABLE = frozenset(
    name
    for name in (*vars(LayerType), *vars(Values))
    if not name.startswith("_")
    and name not in ("registry", "user_defined", "has_form", "is_plain", "lower")
)


def layer(
    name: str,
    *,
    shapes: Shapes | None = None,
    blobs: Blobs | None = None,
    reads: Mapping[str, str] | None = None,
    **declared: Any,
) -> Callable[[Lower], Lower]:
    """Registers a function that writes a layer in ONNX operators.

        @pg.layer("MyLayer", reads={"my_param": "slope"})
        def my_layer(layer, e):
            slope = layer.params.my_param.slope
            e.op("LeakyRelu", [layer.reads[0]], [layer.writes[0]], alpha=slope)

    The function gets the Layer (``reads`` and ``writes`` name its values, ``params`` holds the
    LayerParameter) and an emitter: ``e.op`` adds an operator that writes named values, ``e.value``
    one whose result is an inner value, ``e.array`` a constant, ``e.blob`` a parameter blob,
    ``e.shape`` gives the shape of a value.

    Args:
        name: the layer's type, or for a Python layer its class (``python_param.layer``).
        shapes: gives the shapes of the tops for those of the bottoms. Where it is left out, a type
            that protogen knows keeps its own, and any other has tops like the first bottom.
        blobs: gives the shapes of the parameter blobs. Where it is left out, a type that protogen
            knows keeps its own, and any other has none.
        reads: the fields that the function reads: for each block their names, with spaces between.
            A field that a net sets and that is not declared is refused by name.
        declared: whatever else a layer type of protogen's declares (``protogen.layers.LayerType``):
            ``activation="rectifier"``, ``stock=False``, ``forks=("mine",)``; a function with the
            arguments of a method without ``self``, such as ``in_place=lambda layer: False``.

    Raises:
        InputError: there is no such declaration.
    """
    for key in declared:
        if key not in DECLARABLE:
            raise InputError(
                "a layer type declares nothing of this name",
                subject=f"pg.layer {name!r}: {key}",
                advice=did_you_mean(key, DECLARABLE)
                or f"Known are {', '.join(sorted(DECLARABLE))}.",
            )

    def register(function: Lower) -> Lower:
        def first_shape(of: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
            check_bottoms(of, 1, None)
            return [bottoms[0]] * len(of.tops)

        known = LayerType.registry.pop(name, None)
        own: dict[str, Any] = {"in_place": lambda _: True, **declared, "lower": function}
        if shapes is not None or known is None:
            own["shapes"] = shapes or first_shape
        if blobs is not None or known is None:
            own["blobs"] = blobs or (lambda *_: [])
        members = {key: _method(value) if callable(value) else value for key, value in own.items()}
        if reads is not None or known is None:
            members["reads"] = fields(**(reads or {})) | _OF_PYTHON
        parent = LayerType if known is None else type(known)
        # Being defined registers it.
        type(name, (parent,), {"__doc__": function.__doc__, "user_defined": True, **members})
        return function

    return register


def _method(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function as a method of a class that has no state."""

    def method(self: LayerType, *args: Any) -> Any:
        return function(*args)

    return method


def run_plugin(path: str | Path) -> None:
    """Runs a Python file of the user's, which registers layers.

    Raises:
        InputError: it is not there, or no Python.
    """
    try:
        runpy.run_path(str(path))
    except (OSError, SyntaxError) as error:
        raise InputError(f"cannot be run ({error})", where=str(path)) from None
