"""Differences between two nets by layers and parameters, independent of the layout of the text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from protogen.formats.message import Field, Message
from protogen.formats.prototxt import Document, scalar


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference. ``kind`` is "added", "removed", "moved" or "changed". For a changed layer,
    ``field`` is the name of the parameter, ``before`` and ``after`` its values as prototxt (None:
    not set)."""

    kind: str
    layer: str
    type: str
    field: str = ""
    before: str | None = None
    after: str | None = None

    def __str__(self) -> str:
        subject = f"{self.layer} ({self.type})" if self.type else self.layer
        if self.kind == "added":
            return f"+ {subject}"
        if self.kind == "removed":
            return f"- {subject}"
        if self.kind == "moved":
            return f"~ {subject}: moved to another position"
        before = "not set" if self.before is None else self.before
        after = "not set" if self.after is None else self.after
        return f"~ {subject}: {self.field}: {before} -> {after}"


def diff(a: Document, b: Document) -> list[Difference]:
    """Return the changes that turn net ``a`` into net ``b``. Both are in the current format.

    Layers are matched by name, layers of the same name by their phases and then by order. A field
    set to its default equals a field that is not set. The order of fields does not matter, the
    order of layers does.
    """
    differences = list(_fields("net", "", a, b, skip=("layer", "name")))
    old, new = _layers(a), _layers(b)
    common = [key for key in old if key in new]
    order = {key: i for i, key in enumerate(key for key in new if key in old)}
    stays = _longest_rise([order[key] for key in common])
    for i, key in enumerate(common):
        x, y = old[key], new[key]
        differences += _fields(x.name, y.type, x, y)
        if i not in stays:
            differences.append(Difference("moved", x.name, x.type))
    removed = (m for key, m in old.items() if key not in new)
    added = (m for key, m in new.items() if key not in old)
    differences += (Difference("removed", m.name, m.type) for m in removed)
    differences += (Difference("added", m.name, m.type) for m in added)
    return differences


Key = tuple[str, str, int]


def _layers(net: Document) -> dict[Key, Message]:
    layers: dict[Key, Message] = {}
    for item in net.all("layer"):
        layer: Message = item.value
        phases = ",".join(str(rule.phase) for rule in layer.include)
        count = 0
        while (layer.name, phases, count) in layers:
            count += 1
        layers[layer.name, phases, count] = layer
    return layers


def _fields(
    layer: str, type_: str, a: Message, b: Message, path: str = "", skip: tuple[str, ...] = ()
) -> Iterator[Difference]:
    names = dict.fromkeys(item.name for item in (*a.fields, *b.fields))
    for name in names:
        if name in skip:
            continue
        x, y = a.all(name), b.all(name)
        known = (x or y)[0].type
        here = f"{path}{name}"
        inner = known is not None and known.message is not None
        if inner and known is not None and not known.repeated:
            yield from _fields(
                layer, type_, _message(x, known.message), _message(y, known.message), f"{here}."
            )
            continue
        before, after = _values(a, name, x), _values(b, name, y)
        if before != after:
            yield Difference("changed", layer, type_, here, _text(before), _text(after))


def _message(fields: list[Field], kind: Any) -> Message:
    return fields[0].value if fields else Message(kind)


def _values(message: Message, name: str, fields: list[Field]) -> list[Any]:
    """Return the effective values of a field: the default if a single field is not set."""
    if fields:
        return [f.value.plain() if isinstance(f.value, Message) else f.value for f in fields]
    known = message.kind.fields.get(name) if message.kind else None
    if known is None or known.repeated:
        return []
    default = getattr(message, name)
    return [] if default in ("", b"") else [default]


def _text(values: list[Any]) -> str | None:
    if not values:
        return None
    shown = [_plain_text(value) if isinstance(value, dict) else scalar(value) for value in values]
    return shown[0] if len(shown) == 1 else f"[{', '.join(shown)}]"


def _plain_text(value: Any) -> str:
    if not isinstance(value, dict):
        return scalar(value)
    parts = []
    for name, one in value.items():
        for item in one if isinstance(one, list) else [one]:
            parts.append(
                f"{name} {_plain_text(item)}"
                if isinstance(item, dict)
                else f"{name}: {scalar(item)}"
            )
    return "{ " + " ".join(parts) + " }" if parts else "{}"


def _longest_rise(values: list[int]) -> set[int]:
    """Return the indices of a longest increasing subsequence: the layers that need not move."""
    from bisect import bisect_left

    tails: list[int] = []
    ends: list[int] = []
    before: list[int] = []
    for i, value in enumerate(values):
        at = bisect_left(tails, value)
        before.append(ends[at - 1] if at else -1)
        if at == len(tails):
            tails.append(value)
            ends.append(i)
        else:
            tails[at] = value
            ends[at] = i
    indices = set()
    i = ends[-1] if ends else -1
    while i >= 0:
        indices.add(i)
        i = before[i]
    return indices
