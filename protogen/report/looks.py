"""The name of the colours of a layer type in drawings of nets."""

from __future__ import annotations

from protogen.layers import LayerType
from protogen.layers.base import family_of

# Packages and modules of ``layers.forks`` that have colours of their own.
OF_FORKS = ("detection", "regions", "flow", "sequences", "synopsys", "resizing")


def look_of(kind: LayerType) -> str:
    """Return the name of the colours of a layer type: its family, or for types of forks the package of
    their families."""
    path = type(kind).__module__.split(".")
    if path[:3] != ["protogen", "layers", "forks"]:
        return family_of(kind)
    return path[3] if path[3] in OF_FORKS else "forks"
