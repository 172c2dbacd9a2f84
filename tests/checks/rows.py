"""What a row of the table is, and the shortest way to write a net."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Row:
    """One check of BVLC Caffe.

    ``id`` is the layer type in lower case and the flaw; ``type`` is the layer type, "every layer" or
    "the net"; ``demands`` says what Caffe wants; ``at`` is Caffe's file and line. Each net of ``bad``
    violates it, each of ``good`` just does not. ``said`` is the file in which Caffe says it, where that is
    another one. ``phase`` is the one that Caffe refuses; ``dialect``
    is given where forks allow what BVLC refuses. ``unasked`` is the reason why real Caffe cannot be
    asked about the good nets; ``loose`` the reason why it is not asked about the bad ones.

    ``when`` is

    build      Caffe refuses the net when it is made
    backward   when a gradient is computed: ``check`` tells of it, ``convert`` need not
    lowered    as ``build``; protogen builds the net for its other layers, and refuses to convert it
    weights    when it takes these ``weights`` (shapes of blobs by layer); ``fits`` are some that fit
    """

    id: str
    type: str
    demands: str
    at: str
    bad: tuple[str, ...]
    good: tuple[str, ...] = ()
    said: str = ""
    phase: str = "TEST"
    dialect: str = ""
    unasked: str = ""
    loose: str = ""
    when: Literal["build", "backward", "lowered", "weights"] = "build"
    weights: Mapping[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    fits: Mapping[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """The source file in which Caffe says it."""
        return self.said or self.at.partition(":")[0]


def source(name: str, shape: str) -> str:
    """An Input layer; the shape is written like 2x3x8x8, empty for a blob without axes."""
    dims = " ".join(f"dim: {n}" for n in shape.split("x") if n)
    return f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}\n'


def layer(type_: str, bottoms: str = "", tops: str = "t", params: str = "", name: str = "l") -> str:
    """A layer; bottoms and tops stand with spaces between."""
    blobs = " ".join(
        [f'bottom: "{one}"' for one in bottoms.split()] + [f'top: "{one}"' for one in tops.split()]
    )
    return f'layer {{ name: "{name}" type: "{type_}" {blobs} {params} }}\n'


def one(type_: str, params: str = "", *shapes: str, tops: str = "t") -> str:
    """A net of one layer that reads inputs a, b, c ... of these shapes."""
    names = "abcdefgh"[: len(shapes)]
    made = "".join(map(source, names, shapes))
    return made + layer(type_, " ".join(names), tops, params)
