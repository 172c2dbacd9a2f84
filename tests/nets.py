"""Small nets that several test modules build."""

from __future__ import annotations

from collections.abc import Mapping

from protogen.formats import prototxt
from protogen.net.net import Net


def net_with(inputs: Mapping[str, tuple[int, ...]], layers: str) -> Net:
    """A net called net.prototxt of an Input layer for each shape by name, a line each, and the
    given layers."""
    heads = [
        f'layer {{ name: "{name}" type: "Input" top: "{name}" '
        f"input_param {{ shape {{ {' '.join(f'dim: {n}' for n in shape)} }} }} }}"
        for name, shape in inputs.items()
    ]
    return Net(prototxt.parse("\n".join([*heads, layers]), "net.prototxt"))
