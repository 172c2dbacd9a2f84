"""What a layer type is, and the registry of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

from protogen.graph import Layer, Shape


class Emitter(Protocol):
    """What a layer's ``lower`` writes to; ``protogen.onnx`` has the one that makes ONNX."""

    def op(self, op_type: str, reads: Sequence[str], writes: Sequence[str], **attrs: Any) -> None:
        """Adds one ONNX operator."""

    def blob(self, layer: Layer, index: int) -> str:
        """The name of a layer's parameter blob as a constant of the model."""

    def shape(self, value: str) -> Shape:
        """The shape of a value."""


class LayerType:
    """One Caffe layer type. A subclass is called exactly as its type string and is registered by
    being defined. Stateless: one instance answers for every layer of the type.
    """

    registry: ClassVar[dict[str, LayerType]] = {}
    blob_names: ClassVar[tuple[str, ...]] = ("weight", "bias")

    def __init_subclass__(cls, abstract: bool = False) -> None:
        if abstract:
            return
        if cls.__name__ in LayerType.registry:
            raise TypeError(f"the layer type {cls.__name__} is defined twice")
        LayerType.registry[cls.__name__] = cls()

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        """The shapes of the tops.

        Raises:
            InputError: the bottoms or parameters do not fit each other.
        """
        raise layer.unsupported("protogen does not know this layer's output shape")

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        """The shapes of the parameter blobs, in Caffe's order."""
        return []

    def lower(self, layer: Layer, e: Emitter) -> None:
        """Writes the layer in ONNX operators.

        Raises:
            UnsupportedError: standard ONNX cannot say what this layer does.
        """
        raise layer.unsupported("protogen cannot write this layer in ONNX yet")


def layer_type(name: str) -> LayerType | None:
    """The layer type of this name; None where protogen does not know it."""
    return LayerType.registry.get(name)


def check_bottoms(layer: Layer, least: int, most: int | None = None) -> None:
    """Raises InputError unless the layer has from ``least`` to ``most`` bottoms (None: any)."""
    count = len(layer.bottoms)
    top = least if most is None else most
    if least <= count <= (top if most is not None else count):
        return
    wanted = (
        f"{least}"
        if most == least
        else f"{least} or more"
        if most is None
        else f"{least} to {most}"
    )
    raise layer.error(f"has {count} bottoms, but takes {wanted}")
