"""Alternative forms of layers: small nets of other layers that compute the same.

Each function writes one form. ``forms_of`` returns the forms of a layer type; the modules are loaded
with the first call.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module

from protogen.layers.base import LayerType
from protogen.layers.forms.registry import EVERY, FORMS, Form, form

__all__ = ["Form", "form", "forms_of"]

_FAMILIES = (
    "activation",
    "arithmetic",
    "convolution",
    "cutting",
    "every",
    "logarithms",
    "moving",
    "normalization",
    "constants",
    "pooling",
    "recurrent",
    "reduction",
    "resizing",
    "softmax",
    "spreading",
)


@cache
def _load() -> None:
    for family in _FAMILIES:
        import_module(f"{__name__}.{family}")


def forms_of(type_: str) -> Sequence[Form]:
    """Return the forms of a layer type: the stock layers of a fork's type first, then its other forms,
    then those that every layer has."""
    _load()
    kind = LayerType.registry.get(type_)
    stock = [Form("stock layers", kind.rewrite)] if kind is not None and kind.has_rewrite else []
    return [*stock, *FORMS.get(type_, ()), *FORMS.get(EVERY, ())]
