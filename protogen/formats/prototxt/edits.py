"""Edits of a text: pieces of it replaced, the rest kept with its comments and layout."""

from __future__ import annotations

from collections.abc import Sequence

from protogen.errors import Edit


def apply_edits(text: str, edits: Sequence[Edit], *, overlapping: bool = False) -> str:
    """The text after edits, which may come in any order.

    Args:
        overlapping: an edit that overlaps an earlier one is left out, for the next round; otherwise
            no two may overlap.

    Raises:
        ValueError: two edits overlap.
    """
    made, at = [], 0
    for start, end, new in sorted(edits):
        if start < at:
            if overlapping:
                continue
            raise ValueError(f"the edit of {start} to {end} overlaps one that ends at {at}")
        made += [text[at:start], new]
        at = end
    return "".join([*made, text[at:]])
