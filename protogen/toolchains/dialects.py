"""Which layers of forks each dialect of Caffe has."""

from __future__ import annotations

from protogen.errors import InputError

_SSD = frozenset(("DetectionOutput", "Permute"))
# Forks' layers that a dialect has besides those of BVLC Caffe.
DIALECTS: dict[str, frozenset[str]] = {
    "bvlc": frozenset(),
    "ssd": _SSD | {"PixelShuffle"},
    "refinedet": _SSD,
    "intel": _SSD,
    "yolo": _SSD,
    "pytorch2caffe": _SSD,
    "segnet": frozenset(),
    "pspnet": frozenset(),
    "huawei": frozenset(),
    "synopsys": frozenset(),
}


def forks_of(dialect: str) -> frozenset[str]:
    """The forks' layers of a dialect.

    Raises:
        InputError: it is not known.
    """
    if dialect not in DIALECTS:
        raise InputError(
            f"{dialect!r} is not known",
            subject="dialect",
            advice=f"Known are {', '.join(DIALECTS)}.",
        )
    return DIALECTS[dialect]


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
