"""The rules, a module for each family."""

from protogen.lint.rules import (
    arithmetic,
    audit,
    portability,
    syntax,
    training,
    upsampling,
    wiring,
)

__all__ = ["arithmetic", "audit", "portability", "syntax", "training", "upsampling", "wiring"]
