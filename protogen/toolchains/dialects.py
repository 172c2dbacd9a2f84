"""Dialects of Caffe: the names that a user may give, and the layer types and repositories of each."""

from __future__ import annotations

from collections.abc import Mapping

from protogen.formats.schema.dialect import BVLC, Dialect, check_name, dialects, facts
from protogen.layers import LayerType


def known_dialects() -> list[str]:
    """Return all dialects, including those that layer types of the user and protogen's own name."""
    named = [fork for kind in LayerType.registry.values() for fork in kind.forks]
    return list(dict.fromkeys((*dialects(), *named)))


def check_dialect(dialect: str) -> None:
    """Raise InputError if the dialect is unknown."""
    check_name(dialect, known_dialects())


def public(dialect: str) -> Mapping[str, Dialect]:
    """Return the data of a public dialect under its name; empty for a dialect of the user."""
    return {dialect: dialects()[dialect]} if dialect in dialects() else {}


def forks_of(dialect: str) -> frozenset[str]:
    """Return the layer types that a dialect has in addition to those of BVLC Caffe.

    Raises:
        InputError: the dialect is unknown.
    """
    check_dialect(dialect)
    own = {name for name, kind in LayerType.registry.items() if dialect in kind.forks}
    known = facts()
    bit = known.bits.get(dialect, 0)
    beyond = bit and {
        type_ for type_, has in known.types.items() if has & bit and not has & known.bits[BVLC]
    }
    return frozenset(own | (beyond or set()))


def lacks_of(dialect: str) -> frozenset[str]:
    """Return the layer types of BVLC Caffe that a dialect lacks; none for a dialect of the user."""
    known = facts()
    bit, bvlc = known.bits.get(dialect), known.bits[BVLC]
    if bit is None:
        return frozenset()
    return frozenset(t for t, has in known.types.items() if has & bvlc and not has & bit)


def registering(type_: str) -> list[str]:
    """Return the public dialects that register a layer type."""
    known = facts()
    return known.names_of(known.types.get(type_, 0))
