"""Small nets that several test modules build."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protogen.formats import prototxt
from protogen.net.net import Net


def net_with(inputs: Mapping[str, tuple[int, ...]], layers: str, **options: Any) -> Net:
    """Build a net with an Input layer for each input, one line each, and further layers.

    The name of its file is net.prototxt. ``options`` are those of Net, such as dialect.
    """
    input_layers = [input_layer(name, shape) for name, shape in inputs.items()]
    return Net(prototxt.parse("\n".join([*input_layers, layers]), "net.prototxt"), **options)


def input_layer(name: str, shape: tuple[int, ...]) -> str:
    """Return the text of an Input layer, in one line."""
    dims = " ".join(f"dim: {n}" for n in shape)
    return (
        f'layer {{ name: "{name}" type: "Input" top: "{name}" '
        f"input_param {{ shape {{ {dims} }} }} }}"
    )
