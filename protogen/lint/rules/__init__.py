"""The rules, grouped into modules by topic."""

from protogen.lint.rule import Rule
from protogen.lint.rules import (
    arithmetic,
    portability,
    syntax,
    training,
    untrusted,
    upsampling,
    wiring,
)

__all__ = [
    "SYNTAX",
    "all_rules",
    "arithmetic",
    "portability",
    "rule_name",
    "syntax",
    "training",
    "untrusted",
    "upsampling",
    "wiring",
]

SYNTAX = "PG100"  # The text cannot be parsed. No rule reports this, but the engine itself.


def all_rules() -> dict[str, Rule]:
    """Return every rule by code, in the order of the codes."""
    return dict(sorted(Rule.registry.items()))


def rule_name(code: str) -> str:
    """Return the name of the rule with this code."""
    return "syntax-error" if code == SYNTAX else Rule.registry[code].name
