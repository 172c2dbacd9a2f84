"""What a user holds: a graph, its weights by layer, and the text that it came from."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from protogen import files, prototxt
from protogen.build import build
from protogen.errors import InputError, layout
from protogen.graph import Graph, Layer, Shape
from protogen.message import Message

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Weights = dict[str, list[NDArray[np.float32]]]


class Net:
    """A Caffe net.

    Attributes:
        message: the NetParameter.
        graph: layers in execution order with all shapes.
        weights: parameter blobs by layer name, in Caffe's blob order.
    """

    def __init__(
        self,
        message: Message,
        weights: Weights | None = None,
        *,
        phase: str = "TEST",
        level: int = 0,
        stages: Collection[str] = (),
        input_shapes: Mapping[str, Shape] | None = None,
    ) -> None:
        self.message = message
        source = message.source if isinstance(message, prototxt.Document) else None
        self.graph: Graph = build(
            message, source, phase=phase, level=level, stages=stages, input_shapes=input_shapes
        )
        self.weights: Weights = {} if weights is None else weights

    @property
    def name(self) -> str:
        return self.graph.name

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

    def check_weights(self) -> None:
        """Raises InputError where a layer's weights are missing or of the wrong shape."""
        for layer in self.layers:
            wanted = self.parameter_shapes[layer.name] or ()
            found = tuple(array.shape for array in self.weights.get(layer.name, ()))
            if found != tuple(wanted):
                raise layer.error(
                    f"its weights have the shapes {_list(found)}, but must have {_list(wanted)}"
                )

    def save(self, prototxt_path: str | Path, caffemodel: str | Path | None = None) -> None:
        """Writes the net, and its weights if ``caffemodel`` is given.

        Raises:
            InputError: a path cannot be written.
        """
        from protogen.caffemodel import write_weights

        with ExitStack() as stack:
            text = prototxt.write(self.message).encode("utf-8", "surrogateescape")
            stack.enter_context(files.replacing(prototxt_path)).write(text)
            if caffemodel is not None:
                if not self.weights:
                    raise InputError(layout("the net has no weights", where=str(caffemodel)))
                write_weights(stack.enter_context(files.replacing(caffemodel)), self)


def _list(shapes: tuple[Shape, ...]) -> str:
    return ", ".join("x".join(map(str, shape)) for shape in shapes) or "none"
