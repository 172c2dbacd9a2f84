"""The registry of forms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from protogen.layers.graph import Layer
from protogen.layers.writing import Rewriter

EVERY = "*"  # the forms of every layer type
Write = Callable[[Layer, Rewriter], None]


@dataclass(frozen=True, slots=True)
class Form:
    """One way to compute a layer by other layers.

    Attributes:
        text: the layers, in a few words.
        write: adds the layers to a Rewriter. It raises UnsupportedError for a layer that the form
            does not fit.
        error: the largest error relative to the largest value; 0 for a form that differs only by the
            rounding of float32.
        float32: whether it needs the digits of float32: float16 gives other values.
        general: whether every layer type has it: then it writes the layer itself, too.
        weak: whether a toolchain may remove what it adds, because it is the identity. Such a form is
            chosen only if no other is legal.
    """

    text: str
    write: Write
    error: float = 0.0
    float32: bool = False
    general: bool = False
    weak: bool = False


FORMS: dict[str, list[Form]] = {}


def form(
    *types: str, text: str, error: float = 0.0, float32: bool = False, weak: bool = False
) -> Callable[[Write], Write]:
    """Register a function as a form of these layer types; ``EVERY`` stands for all."""

    def register(function: Write) -> Write:
        for type_ in types:
            FORMS.setdefault(type_, []).append(
                Form(text, function, error, float32, type_ == EVERY, weak)
            )
        return function

    return register
