"""How notebooks and Python show results: one line for ``repr``, a table for ``_repr_html_``.

The classes inherit ``Shown`` (protogen/_late.py), which calls ``one_line`` and ``html``. Names in nets are
untrusted: control characters are escaped in lines, and HTML in tables.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from protogen.errors import printable

# The module of each class, which has functions for it in LINES or TABLES.
HOMES = {
    "Net": "nets",
    "Summary": "nets",
    "Dense": "nets",
    "Perceptron": "nets",
    "Preprocessed": "nets",
    "Rewritten": "nets",
    "Upsampling": "upsampling",
    "Plan": "upsampling",
    "Converted": "conversions",
    "Imported": "conversions",
    "ImportedNet": "conversions",
    "TorchNet": "conversions",
    "Comparison": "conversions",
    "Cut": "conversions",
    "PartFile": "conversions",
    "Rescued": "toolchains",
    "Legalized": "toolchains",
    "TargetNet": "toolchains",
    "TargetReport": "toolchains",
    "Detection": "toolchains",
    "Trial": "toolchains",
    "Checked": "findings",
    "Diagnostic": "findings",
    "Finding": "findings",
    "Health": "findings",
    "Diagnosis": "findings",
    "Log": "findings",
    "HalfCheck": "findings",
    "Statistics": "data",
    "Transform": "data",
}


def one_line(value: Any) -> str:
    """Return the ``repr`` of a result: its class and its content in one line."""
    text = _function(value, "LINES")(value)
    return printable(f"<{type(value).__name__} {' '.join(text.split())}>")


def html(value: Any) -> str:
    """Return a result as HTML for a notebook."""
    from protogen.notebook.page import page

    return page(_function(value, "TABLES")(value))


def _function(value: Any, kind: str) -> Any:
    """Return the function that describes a value, by the name of its class or of a base class."""
    name = next(one.__name__ for one in type(value).__mro__ if one.__name__ in HOMES)
    functions = getattr(import_module(f"protogen.notebook.{HOMES[name]}"), kind)
    return functions[name]
