"""The rules, a module for each family."""

from protogen.lint.rule import Rule
from protogen.lint.rules import (
    arithmetic,
    audit,
    portability,
    syntax,
    training,
    upsampling,
    wiring,
)

__all__ = [
    "all_rules",
    "arithmetic",
    "audit",
    "portability",
    "syntax",
    "training",
    "upsampling",
    "wiring",
]


def all_rules() -> dict[str, Rule]:
    """Every rule by code, in order."""
    return dict(sorted(Rule.registry.items()))
