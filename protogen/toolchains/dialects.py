"""Which layers of forks each dialect of Caffe has."""

from __future__ import annotations

from protogen.errors import InputError
from protogen.layers import LayerType

# Whose Caffe a net can be of. The classes of layers say which of them has a layer of forks.
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
    """All of them, and those that layers of the user's say."""
    own = {fork: None for kind in LayerType.registry.values() for fork in kind.forks}
    return list(dict.fromkeys((*DIALECTS, *own)))


def forks_of(dialect: str) -> frozenset[str]:
    """The layers of forks that a dialect has besides those of BVLC Caffe.

    Raises:
        InputError: it is not known.
    """
    if dialect not in known_dialects():
        raise InputError(
            f"{dialect!r} is not known",
            subject="dialect",
            advice=f"Known are {', '.join(known_dialects())}.",
        )
    return frozenset(n for n, kind in LayerType.registry.items() if dialect in kind.forks)


# Types of forks that have no parameter block of their own, and of which only the name is known.
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
