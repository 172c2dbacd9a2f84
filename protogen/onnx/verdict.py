"""Whether a layer or an operator converts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one Caffe layer or ONNX operator converts.

    Attributes:
        type: the layer's or the operator's type.
        name: its name.
        output: its first output.
        kind: ``converts``, ``approximated`` (not exact), ``dialect`` (only to layers of a fork) or
            ``refused``.
        text: what it becomes, the dialect, or the reason.
    """

    type: str
    name: str
    output: str
    kind: str
    text: str
