"""Dialects of Caffe and the fork layer types that each one supports."""

from __future__ import annotations

from protogen.errors import InputError
from protogen.layers import LayerType

# The Caffe variants that a net can be written for. ``LayerType.forks`` names, for a fork's layer
# type, the dialects that have it.
DIALECTS = (
    "bvlc",
    "ssd",
    "refinedet",
    "intel",
    "yolo",
    "pytorch2caffe",
    "segnet",
    "pspnet",
    "huawei",
    "synopsys",
)


def known_dialects() -> list[str]:
    """Return all dialects, including those that a user's layer types name."""
    named = [fork for kind in LayerType.registry.values() for fork in kind.forks]
    return list(dict.fromkeys((*DIALECTS, *named)))


def forks_of(dialect: str) -> frozenset[str]:
    """Return the layer types that a dialect has in addition to those of BVLC Caffe.

    Raises:
        InputError: the dialect is unknown.
    """
    if dialect not in known_dialects():
        raise InputError(
            f"unknown name {dialect!r}",
            subject="dialect",
            advice=f"Known dialects: {', '.join(known_dialects())}.",
        )
    return frozenset(name for name, kind in LayerType.registry.items() if dialect in kind.forks)


# Layer types of forks that have no parameter block and of which only the name is known.
ONLY_NAMED = frozenset(
    (
        "AssistedExcitation",
        "BatchReduction",
        "BoxAnnotatorOHEM",
        "ImageLabelmapData",
        "ImageSegData",
        "LaneData",
        "ROIAlign",
        "SeLu",
        "SeLuDropout",
        "SmoothL1LossOHEM",
        "SoftmaxWithLossOHEM",
    )
)
