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
    "SYNTAX",
    "all_rules",
    "arithmetic",
    "audit",
    "portability",
    "rule_name",
    "syntax",
    "training",
    "upsampling",
    "wiring",
]

SYNTAX = "PG100"  # what no rule finds: the text cannot be read at all


def all_rules() -> dict[str, Rule]:
    """Every rule by code, in order."""
    return dict(sorted(Rule.registry.items()))


def rule_name(code: str) -> str:
    """The name of the rule with a code."""
    return "syntax-error" if code == SYNTAX else Rule.registry[code].name
