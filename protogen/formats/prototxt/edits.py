"""Edits of a text. They replace ranges and leave the rest, with its comments and layout, as is."""

from __future__ import annotations

from collections.abc import Sequence

from protogen.errors import Edit


def apply_edits(text: str, edits: Sequence[Edit], *, overlapping: bool = False) -> str:
    """Return the text after the edits. Their order in ``edits`` does not matter.

    Args:
        overlapping: skip an edit that overlaps an earlier one; the caller can apply it in a next
            round. Otherwise overlapping edits are an error.

    Raises:
        ValueError: two edits overlap.
    """
    parts, at = [], 0
    for start, end, new in sorted(edits):
        if start < at:
            if overlapping:
                continue
            raise ValueError(f"the edit of {start} to {end} overlaps an edit that ends at {at}")
        parts += [text[at:start], new]
        at = end
    return "".join([*parts, text[at:]])
