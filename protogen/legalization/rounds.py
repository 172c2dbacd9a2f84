"""Replaces the layers of a draft that a toolchain does not take, round by round.

The verdict on a layer depends on its neighbours. So after each round the whole net is judged again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from protogen.errors import UnsupportedError, quantity
from protogen.formats.message import Message
from protogen.layers import LayerType
from protogen.layers.forms import forms_of
from protogen.legalization.canonical import merge_reshapes
from protogen.legalization.draft import Draft, Item
from protogen.legalization.search import Resolution, Search, Surroundings, Tried
from protogen.toolchains.verdicts import BAD

MOST = 8  # rounds


@dataclass(frozen=True)
class Change:
    """A layer that the toolchain does not take, and what replaces it.

    Attributes:
        reason: what the toolchain does with it.
        form: the forms that are written, in a few words.
        becomes: the types of the layers.
        tried: all forms that were tried, with cost or reason.
        error: the largest stated error of a form, relative to the largest value.
    """

    layer: str
    type: str
    reason: str
    form: str
    becomes: tuple[str, ...]
    tried: tuple[Tried, ...] = ()
    error: float = 0.0


class Rounds:
    """The rounds over one draft, and what they replaced."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._draft: Draft = search.draft
        self._changes: dict[str, Change] = {}
        self._failed: dict[str, Resolution] = {}

    def run(self, strict: bool) -> None:
        """Replace layers until the toolchains take all that have a form. ``strict``: layers of which
        no source says what the toolchain does count as not taken."""
        self._search.strict = strict
        self._failed.clear()
        for _ in range(MOST):
            bad = {i: reason for i, reason in self._bad().items() if not self._has_failed(i)}
            if not bad or not self._replace(bad):
                return

    def _has_failed(self, index: int) -> bool:
        return self._draft.items[index].name in self._failed

    def _bad(self) -> dict[int, str]:
        """Return the layers that are not legal, by index, with the reason."""
        message = self._draft.message()
        rows = self._search.verdicts(message)
        items = zip(self._draft.items, message.layer, strict=True)
        reasons = (
            self._search.objection(item.type, rows.get(layer.name, ())) for item, layer in items
        )
        return {i: reason for i, reason in enumerate(reasons) if reason}

    def _replace(self, bad: dict[int, str]) -> bool:
        """Replace layers by their cheapest legal form; return whether any was replaced."""
        draft = self._draft
        surroundings = Surroundings(draft.items)
        replaced: dict[int, tuple[Item, ...]] = {}
        for i, reason in bad.items():
            item = draft.items[i]
            before, after = surroundings.of(i)
            result = self._search.best(before, item, after, 0)
            if result.items is None:
                self._failed[item.name] = result
                continue
            replaced[i] = result.items
            if not item.forms:
                form = next((one.text for one in result.tried if one.chosen), "")
                change = Change(item.name, item.type, reason, form, (), result.tried)
                self._changes[item.origin] = change
        draft.items = [new for i, one in enumerate(draft.items) for new in replaced.get(i, (one,))]
        merge_reshapes(draft)
        return bool(replaced)

    def changes(self) -> tuple[Change, ...]:
        """Return what was replaced. A layer of which nothing is left, because nobody read it, is
        left out."""
        by_origin: dict[str, list[Item]] = {}
        for item in self._draft.items:
            by_origin.setdefault(item.origin, []).append(item)
        result = []
        for origin, change in self._changes.items():
            items = by_origin.get(origin, [])
            forms = dict.fromkeys(text for item in items for _, text in item.forms)
            if items:
                becomes = tuple(item.type for item in items)
                form = "; ".join(forms) or change.form
                error = max((_error(*used) for item in items for used in item.forms), default=0.0)
                result.append(
                    replace(change, layer=origin, form=form, becomes=becomes, error=error)
                )
        return tuple(result)

    def check(self, message: Message) -> dict[str, str]:
        """Return the layers of which no source says what the toolchains do, with their types.

        Raises:
            UnsupportedError: a layer is not legal, or the net as a whole.
        """
        rows = self._search.verdicts(message)
        self._search.strict = False
        lines: list[str] = []
        unknown: dict[str, str] = {}
        refused: list[Message] = []
        for item, layer in zip(self._draft.items, message.layer, strict=True):
            verdicts = rows.get(layer.name, ())
            if reason := self._search.objection(item.type, verdicts):
                lines += self._lines(item, layer.name, reason)
                refused.append(layer)
            elif any(row.verdict == "unknown" for row in verdicts):
                unknown[layer.name] = item.type
        count = sum(line.startswith("  layer") for line in lines)
        whole = [f"  the net: {row.text}" for row in rows.get("", ()) if row.verdict in BAD]
        if lines or whole:
            names = ", ".join(one.name for one in self._search.toolchains)
            what = f"form of {quantity(count, 'layer')}" if count else "form of the net"
            raise UnsupportedError(
                f"{names} takes no {what}",
                subject=f'net "{self._draft.name}"',
                lines=[*lines, *whole],
                advice=_advice(message, refused),
            )
        return unknown

    def _lines(self, item: Item, name: str, reason: str) -> list[str]:
        """Return the lines of an error about a layer: the reason, and why its forms are not legal."""
        of = "" if item.origin == name else f' (of layer "{item.origin}")'
        lines = [f'  layer "{name}" ({item.type}){of}: {reason}']
        resolution = self._failed.get(item.name)
        for one in resolution.tried if resolution else ():
            if one.cost is not None and one.reason != reason:
                lines.append(f"    not {one.text}: {one.reason}")
        return lines


def _error(type_: str, text: str) -> float:
    """Return the stated error of a form of a layer type."""
    return next((one.error for one in forms_of(type_) if one.text == text), 0.0)


def _advice(message: Message, refused: list[Message]) -> str:
    """Return what can be done: the blobs before the refused layers, as outputs of a smaller net."""
    names = {layer.name for layer in refused}
    lost: set[str] = set()
    ends: dict[str, None] = {}
    for layer in message.layer:
        if layer.name not in names and not lost & set(layer.bottom):
            continue
        lost.update(layer.top)
        kind = LayerType.registry.get(layer.type)
        if kind is None or kind.reads_values:
            ends.update(dict.fromkeys(layer.bottom))
    inputs = {top for layer in message.layer if layer.type == "Input" for top in layer.top}
    blobs = [name for name in ends if name not in lost and name not in inputs]
    if not blobs:
        return "Change these layers."
    return "End the net before them: " + " ".join(f"--to-blob {name}" for name in blobs[:8]) + "."
