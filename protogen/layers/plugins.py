"""Layers that a user brings: Python layers of a net, or types that protogen does not know."""

from __future__ import annotations

import runpy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protogen.errors import InputError
from protogen.layers.base import LayerType, check_bottoms

if TYPE_CHECKING:
    from protogen.geometry import Shape
    from protogen.layers.graph import Layer
    from protogen.layers.writing import Emitter

    Lower = Callable[[Layer, Emitter], None]
    Shapes = Callable[[Layer, Sequence[Shape]], Sequence[Shape | None]]
    Blobs = Callable[[Layer, Sequence[Shape]], list[Shape]]


def layer(
    name: str, *, shapes: Shapes | None = None, blobs: Blobs | None = None
) -> Callable[[Lower], Lower]:
    """Registers a function that writes a layer in ONNX operators.

        @pg.layer("MyLayer")
        def my_layer(layer, e):
            e.op("Relu", [layer.reads[0]], [layer.writes[0]])

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
    """

    def register(function: Lower) -> Lower:
        def own_shapes(
            self: LayerType, of: Layer, bottoms: Sequence[Shape]
        ) -> Sequence[Shape | None]:
            if shapes is not None:
                return shapes(of, bottoms)
            check_bottoms(of, 1, None)
            return [bottoms[0]] * len(of.tops)

        def own_blobs(self: LayerType, of: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
            return blobs(of, bottoms) if blobs is not None else []

        def own_in_place(self: LayerType, of: Layer) -> bool:
            return True

        def own_lower(self: LayerType, of: Layer, e: Emitter) -> None:
            function(of, e)

        members: dict[str, Any] = {
            "__doc__": function.__doc__,
            "in_place": own_in_place,
            "users_own": True,
            "lower": own_lower,
        }
        known = LayerType.registry.pop(name, None)
        if shapes is not None or known is None:
            members["shapes"] = own_shapes
        if blobs is not None or known is None:
            members["blobs"] = own_blobs
        type(
            name, (LayerType if known is None else type(known),), members
        )  # being defined registers it
        return function

    return register


def run_plugin(path: str | Path) -> None:
    """Runs a Python file of the user's, which registers layers.

    Raises:
        InputError: it is not there, or no Python.
    """
    try:
        runpy.run_path(str(path))
    except (OSError, SyntaxError) as error:
        raise InputError(f"cannot be run ({error})", where=str(path)) from None
