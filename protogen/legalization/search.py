"""Chooses, for each layer that a toolchain does not take, the cheapest form that it takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from protogen.errors import InputError
from protogen.formats import prototxt
from protogen.formats.message import Message
from protogen.layers import LayerType
from protogen.layers.graph import Graph
from protogen.legalization.draft import MARK, Draft, Item, assemble, built
from protogen.legalization.expansion import Alternative, Unfit, alternatives
from protogen.net.cost import costs
from protogen.net.targets import judge
from protogen.toolchains.limits import Limits
from protogen.toolchains.toolchain import Toolchain
from protogen.toolchains.verdicts import BAD, TargetVerdict

WRITE_COST = 4  # writing a value costs about as much as this many multiply-adds
WEAK_COST = 1 << 40  # a layer that the toolchain may remove is the last choice
LAYER_COST = 2000  # starting a layer, in multiply-adds
OWN = "protogen"  # the dialect of layer types that no Caffe has
DEPTH = 4  # the most forms inside of forms
_BACK, _AHEAD = 4, 2  # the layers around a layer that its verdict may depend on
_MOST = 6  # the most readers of one value that are looked at


class Cost(NamedTuple):
    """Cost of some layers. ``total`` is in multiply-adds."""

    layers: int
    multiply_adds: int
    values: int

    @property
    def total(self) -> int:
        return self.multiply_adds + WRITE_COST * self.values + LAYER_COST * self.layers


@dataclass(frozen=True)
class Tried:
    """A form of a layer that was tried.

    Attributes:
        text: the form.
        reason: why the toolchain does not take it, or why it does not fit the layer; empty if the
            toolchain takes it.
        cost: its cost with all forms inside of it; None if it was not computed.
        chosen: whether it is the one that is written.
        error: its stated error relative to the largest value.
        legal: whether the toolchain takes it, or it was not asked because it is not the cheapest.
    """

    text: str
    reason: str = ""
    cost: Cost | None = None
    chosen: bool = False
    error: float = 0.0
    legal: bool = True


@dataclass(frozen=True, eq=False)
class Resolution:
    """The result for one layer: the layers that replace it (None if there is no legal form) and what
    was tried."""

    items: tuple[Item, ...] | None
    cost: int
    tried: tuple[Tried, ...]


class Search:
    """The search over the forms of one draft.

    Attributes:
        strict: whether a layer of which no source says what the toolchain does counts as not taken.
    """

    def __init__(self, draft: Draft, toolchains: Sequence[Toolchain]) -> None:
        self.draft = draft
        self.strict = True
        self.toolchains = tuple(toolchains)
        self.limits = tuple(
            limit for limit in (Limits.of(one) for one in toolchains) if limit.rules
        )
        self._results: dict[str, tuple[Item, Resolution]] = {}
        self._judged: tuple[str, dict[str, list[TargetVerdict]]] = ("", {})

    def verdicts(self, message: Message) -> dict[str, list[TargetVerdict]]:
        """Return the verdicts on each layer of a net by its name, of each toolchain; those on the
        net as a whole under "". A net that is equal to the one before is not judged again."""
        text = prototxt.write(message)
        if text == self._judged[0]:
            return self._judged[1]
        graph, invalid = built(message)
        rows: dict[str, list[TargetVerdict]] = {}
        for toolchain in self.toolchains:
            report = judge(toolchain, graph, message, None, invalid)
            for one in (report.net, *report.layers):
                rows.setdefault(one.layer, []).append(one)
        self._judged = text, rows
        return rows

    def best(
        self, before: Sequence[Item], item: Item, after: Sequence[Item], depth: int
    ) -> Resolution:
        """Return the cheapest legal form of a layer between the layers around it."""
        key = f"{self.strict} {self._key(before, item, after)}"
        if key in self._results:
            known, result = self._results[key]
            return _moved(known, item, result, self.draft)
        result = self._search(before, item, after, depth)
        self._results[key] = (item, result)
        return result

    def _search(
        self, before: Sequence[Item], item: Item, after: Sequence[Item], depth: int
    ) -> Resolution:
        tried: list[Tried] = []
        options: list[tuple[int, Cost, Alternative]] = []
        general = depth < 2 and all(
            item.type in one.types or not one.types_complete for one in self.toolchains
        )
        for one in alternatives(item, self.draft, self.limits, general):
            if isinstance(one, Unfit):
                tried.append(Tried(one.text, one.reason))
                continue
            if one.form.float32 and any(t.float16 for t in self.toolchains):
                tried.append(Tried(one.text, "it needs the digits of float32"))
                continue
            try:
                graph = self._graph(before, one.items, after)
            except InputError as error:
                tried.append(Tried(one.text, error.diagnostic.message))
                continue
            cost = _cost(graph, {new.name for new in one.items})
            if cost is None:
                tried.append(Tried(one.text, "the shapes of its layers are unknown"))
                continue
            options.append((cost.total + one.form.weak * WEAK_COST, cost, one))
        best: tuple[int, Cost, Alternative, tuple[Item, ...]] | None = None
        for raw, cost, one in sorted(options, key=lambda option: option[0]):
            if best is not None and raw >= best[0]:
                reason = "the toolchain may remove what it adds" if one.form.weak else "more work"
                tried.append(Tried(one.text, reason, cost, error=one.form.error))
                continue
            items, reason = self._legal(before, one, item, after, depth)
            if items is None:
                tried.append(Tried(one.text, reason, cost, error=one.form.error, legal=False))
                continue
            full = _cost(self._graph(before, items, after), {new.name for new in items})
            assert full is not None
            total = full.total + one.form.weak * WEAK_COST
            if best is None or total < best[0]:
                best = (total, full, one, items)
            tried.append(Tried(one.text, "", full, error=one.form.error))
        if best is None:
            return Resolution(None, 0, tuple(tried))
        chosen = best[2].text
        rows = [replace(one, chosen=one.text == chosen and not one.reason) for one in tried]
        return Resolution(best[3], best[0], tuple(rows))

    def _legal(
        self,
        before: Sequence[Item],
        form: Alternative,
        item: Item,
        after: Sequence[Item],
        depth: int,
    ) -> tuple[tuple[Item, ...] | None, str]:
        """Replace those layers of a form that are not legal; return them, or None and the reason."""
        items = list(form.items)
        for _ in range(8):
            bad = self._bad(before, items, after)
            if not bad:
                return tuple(items), ""
            name, (type_, text) = next(iter(bad.items()))
            reason = text if type_ == item.type else f"{type_}: {text}"
            i = next(i for i, one in enumerate(items) if one.name == name)
            same = form.form.general and items[i].type == item.type
            if depth >= DEPTH or same:
                return None, reason
            inner = self.best(
                [*before, *items[:i]][-_BACK:], items[i], [*items[i + 1 :], *after], depth + 1
            )
            if inner.items is None:
                return None, reason
            items[i : i + 1] = inner.items
        return None, reason

    def _bad(
        self, before: Sequence[Item], items: Sequence[Item], after: Sequence[Item]
    ) -> dict[str, tuple[str, str]]:
        """Return the layers that a toolchain does not take, with type and reason, in order."""
        message = self._message(before, items, after)
        rows = self.verdicts(message)
        bad: dict[str, tuple[str, str]] = {}
        for item in items:
            if objection := self.objection(item.type, rows.get(item.name, ())):
                bad.setdefault(item.name, (item.type, objection))
        return bad

    def objection(self, type_: str, rows: Sequence[TargetVerdict]) -> str:
        """Return why a layer is not legal; empty if it is."""
        kind = LayerType.registry.get(type_)
        if kind is not None and kind.forks == (OWN,):
            return "the type is protogen's own: no toolchain has it"
        for row in rows:
            if row.verdict in BAD:
                return row.text
        if self.strict and any(row.verdict == "unknown" for row in rows):
            return "no source says whether the toolchain takes it"
        return ""

    def _message(
        self, before: Sequence[Item], items: Sequence[Item], after: Sequence[Item]
    ) -> Message:
        net = [*before, *items, *after]
        written = {value for item in net for value in item.writes}
        boundary = dict.fromkeys(v for item in net for v in item.reads if v not in written)
        outputs = set(self.draft.outputs)
        return assemble("net", net, boundary, self.draft.shapes, outputs)

    def _graph(self, before: Sequence[Item], items: Sequence[Item], after: Sequence[Item]) -> Graph:
        graph, _ = built(self._message(before, items, after))
        for layer, item in zip(
            (one for one in graph.layers if one.type != "Input"),
            (one for one in (*before, *items, *after) if one.type != "Input"),
            strict=True,
        ):
            for write, value in zip(layer.writes, item.writes, strict=True):
                if self.draft.shapes.get(value) is None:
                    self.draft.shapes[value] = graph.shapes.get(write)
        return graph

    def _key(self, before: Sequence[Item], item: Item, after: Sequence[Item]) -> str:
        """Everything that the search for a layer depends on, without names."""
        numbers: dict[str, int] = {}
        parts = []
        for one in (*before, item, *after):
            for value in (*one.reads, *one.writes):
                numbers.setdefault(value, len(numbers))
            wiring = [numbers[v] for v in one.reads], [numbers[v] for v in one.writes]
            shapes = [self.draft.shapes.get(v) for v in (*one.reads, *one.writes)]
            text = prototxt.write(one.params)
            weights = [array.shape for array in one.weights or ()]
            output = [v in self.draft.outputs for v in one.writes]
            parts.append(f"{one.type} {one.in_place} {wiring} {shapes} {weights} {output} {text}")
        parts.append(f"{len(before)} {item.forms} {_values_key(item)}")
        return "\n".join(parts)


def _values_key(item: Item) -> int:
    """The weights of a layer decide which forms fit it, and are part of its forms."""
    return id(item.weights) if item.weights is not None else 0


def _moved(known: Item, item: Item, result: Resolution, draft: Draft) -> Resolution:
    """Return the result for an equal layer: its own values and names in the same layers."""
    if known is item or result.items is None:
        return result
    values = dict(zip((*known.reads, *known.writes), (*item.reads, *item.writes), strict=True))
    old, new = _base(known.name), _base(item.name)
    items = []
    for one in result.items:
        for value in one.writes:
            if value not in values:
                values[value] = draft.unique(_renamed(value, old, new))
                draft.shapes[values[value]] = draft.shapes.get(value)
        name = item.name if one.name == known.name else draft.unique(_renamed(one.name, old, new))
        reads, writes = (tuple(values.get(v, v) for v in vs) for vs in (one.reads, one.writes))
        items.append(replace(one, name=name, reads=reads, writes=writes, origin=item.origin))
    return Resolution(tuple(items), result.cost, result.tried)


def _base(name: str) -> str:
    return name.partition(MARK)[0]


def _renamed(name: str, old: str, new: str) -> str:
    base = _base(name)
    return new + base.removeprefix(old) if base.startswith(old) else base


def _cost(graph: Graph, names: Iterable[str]) -> Cost | None:
    """Return the cost of some layers of a net; None if a shape is unknown."""
    chosen = set(names)
    layers = adds = values = 0
    try:
        rows = costs(graph)
    except InputError:  # a layer does not fit its bottoms
        return None
    for row in rows:
        if row.layer.name not in chosen:
            continue
        if row.multiply_adds is None or row.activations is None:
            return None
        layers += 1
        adds += row.multiply_adds
        values += row.activations
    return Cost(layers, adds, values)


class Surroundings:
    """The layers around each layer of a draft that its verdict may depend on."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items
        self._producers = {value: i for i, one in enumerate(items) for value in one.writes}
        self._readers: dict[str, list[int]] = {}
        for i, one in enumerate(items):
            for value in dict.fromkeys(one.reads):
                self._readers.setdefault(value, []).append(i)

    def of(self, index: int) -> tuple[list[Item], list[Item]]:
        """Return the layers before and after a layer: those that compute its bottoms, up to some
        steps back, and those that read its bottoms and tops."""
        items = self._items
        before: set[int] = set()
        frontier = [index]
        for _ in range(_BACK):
            frontier = [
                self._producers[v] for i in frontier for v in items[i].reads if v in self._producers
            ]
            before.update(frontier)
        after: set[int] = set()
        values = {*items[index].writes, *items[index].reads}
        for _ in range(_AHEAD):
            near = {i for value in values for i in self._readers.get(value, ())[:_MOST]}
            near -= {index, *before}
            after |= near
            values = {value for i in near for value in items[i].writes}
        early = sorted(before | {i for i in after if i < index})
        return [items[i] for i in early], [items[i] for i in sorted(after) if i > index]
