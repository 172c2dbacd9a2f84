"""Row of the table of checks, and helpers that write short nets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Row:
    """One check of BVLC Caffe.

    ``id`` is the layer type in lower case and the fault; ``type`` is the layer type, "every layer" or
    "the net"; ``demands`` is Caffe's requirement; ``at`` is Caffe's file and line. Each net of ``bad``
    violates it, each of ``good`` narrowly does not. ``said`` is the file whose check fails in Caffe, if
    that is another file. ``phase`` is the phase that Caffe rejects; ``dialect`` is set if forks allow what
    BVLC rejects. ``unasked`` is the reason why real Caffe cannot run the good nets; ``loose`` is the
    reason why it does not run the bad ones.

    ``when`` is

    build      Caffe rejects the net when it builds it
    backward   Caffe rejects it when it computes a gradient: ``check`` reports it, ``convert`` need not
    lowered    as ``build``; protogen builds the net for its other layers, but does not convert it
    weights    Caffe rejects these ``weights`` (shapes of blobs by layer); ``fits`` are valid ones
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
        """Source file whose check fails in Caffe."""
        return self.said or self.at.partition(":")[0]


def source(name: str, shape: str) -> str:
    """An Input layer; the shape is text like 2x3x8x8, empty for a blob without axes."""
    dims = " ".join(f"dim: {n}" for n in shape.split("x") if n)
    return f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}\n'


def layer(type_: str, bottoms: str = "", tops: str = "t", params: str = "", name: str = "l") -> str:
    """A layer; bottoms and tops are separated by spaces."""
    blobs = " ".join(
        [f'bottom: "{one}"' for one in bottoms.split()] + [f'top: "{one}"' for one in tops.split()]
    )
    return f'layer {{ name: "{name}" type: "{type_}" {blobs} {params} }}\n'


def one(type_: str, params: str = "", *shapes: str, tops: str = "t") -> str:
    """A net of one layer that reads inputs a, b, c ... of these shapes."""
    names = "abcdefgh"[: len(shapes)]
    inputs = "".join(map(source, names, shapes))
    return inputs + layer(type_, " ".join(names), tops, params)
