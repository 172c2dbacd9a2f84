"""Writes a form of a layer: collects the layers that replace it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from protogen.errors import InputError, UnsupportedError
from protogen.formats.message import Field, Message
from protogen.geometry import Shape
from protogen.layers import kind_of
from protogen.layers.forms import Form, forms_of
from protogen.layers.graph import Layer
from protogen.layers.reading import of_forks
from protogen.layers.writing import NewLayer, Rewriter
from protogen.legalization.draft import MARK, Draft, Item, params_message, without
from protogen.resampling.emit import emit
from protogen.resampling.planning import Candidate, every_candidate
from protogen.resampling.request import ResizeRequest
from protogen.resampling.sampling import Sampling

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.toolchains.limits import Limits


@dataclass(frozen=True, eq=False)
class Alternative:
    """One way to compute a layer: the form, and the layers by which it replaces the layer."""

    form: Form
    text: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Unfit:
    """A form that a layer does not have, and the reason."""

    text: str
    reason: str


def alternatives(
    item: Item, draft: Draft, limits: Sequence[Limits] = (), general: bool = True
) -> Iterator[Alternative | Unfit]:
    """Yield the forms of a layer, and why others do not fit it. A form that resizes has one
    alternative for each plan of the resize. ``general``: with the forms that every layer has."""
    layer = item.layer()
    kind = kind_of(layer)
    for form in forms_of(item.type):
        is_stock = kind is not None and kind.stock and not of_forks(layer.params, kind)
        if form.text == "stock layers" and is_stock:
            continue
        if (item.type, form.text) in item.forms or (form.general and not general):
            continue
        choice = 0
        while True:
            expansion = Expansion(item, layer, draft, form, choice, limits)
            try:
                form.write(layer, expansion)
            except (UnsupportedError, InputError) as error:
                yield Unfit(form.text, error.diagnostic.message)
                break
            text = form.text + (f", {expansion.label}" if expansion.label else "")
            yield Alternative(form, text, tuple(expansion.finish()))
            choice += 1
            if choice >= expansion.choices:
                break


class Expansion(Rewriter):
    """Collects the layers of one form of one layer.

    Attributes:
        choices: the number of plans of the form's resize; 1 without one.
        label: the plan that was chosen; empty without a resize.
    """

    def __init__(
        self,
        item: Item,
        layer: Layer,
        draft: Draft,
        form: Form,
        choice: int,
        limits: Sequence[Limits],
    ) -> None:
        self._item = item
        self._layer = layer
        self._draft = draft
        self._forms = (*item.forms, (item.type, form.text))
        self._choice = choice
        self._limits = limits
        self._items: list[Item] = []
        self._current: dict[str, str] = {}  # the value that a blob holds so far
        self._final: dict[str, str] = {}  # the last value of each top of the layer
        self.choices = 1
        self.label = ""

    def finish(self) -> list[Item]:
        """Return the layers; the last value of each top has the name of the layer's own value."""
        names = {value: top for top, value in self._final.items()}
        type_, text = self._forms[-1]
        forms = (*self._forms[:-1], (type_, ", ".join(filter(None, (text, self.label)))))
        return [
            replace(
                one,
                forms=forms,
                reads=tuple(names.get(value, value) for value in one.reads),
                writes=tuple(names.get(value, value) for value in one.writes),
            )
            for one in self._items
        ]

    def append(self, new: NewLayer) -> str:
        name = self._name(new.role)
        top = new.top or (name if new.role else self._layer.tops[0])
        in_place = top in new.bottoms and top in self._current
        weights = None if new.weights is None else list(new.weights)
        self._add(name, new.type, new.bottoms, [top], params_message(new.params), weights, in_place)
        return top

    def split(
        self, bottom: str, role: str, axis: int, points: Sequence[int], tops: Sequence[str] = ()
    ) -> list[str]:
        names = list(tops) or [""] * (len(points) + 1)
        names = [name or self._name(f"{role}_{i}") for i, name in enumerate(names)]
        params = {"slice_param": {"axis": axis, "slice_point": [int(p) for p in points]}}
        self._add(self._name(role), "Slice", [bottom], names, params_message(params), None)
        return names

    def copy(self, bottoms: Sequence[str], *, role: str = "", name: str = "") -> str:
        own = self._name(role) if role else ""
        tops = [own] if role else list(self._layer.tops)
        label = self._draft.unique(name) if name else own or self._layer.name
        params = self._item.params
        self._add(label, self._item.type, bottoms, tops, params, self._item.weights)
        return tops[0] if tops else ""

    def retype(self, type_: str, **params: Mapping[str, Any]) -> None:
        changed = without(self._item.params, params)
        for block, values in params.items():
            old = getattr(self._item.params, block)
            new = Message(old.kind, [one for one in old.fields if one.name not in values])
            for key, value in values.items():
                for entry in value if isinstance(value, list) else [value]:
                    if entry is not None:
                        new.add(key, entry)
            known = changed.kind.fields.get(block) if changed.kind else None
            changed.append(Field(block, new, known))
        layer = self._layer
        self._add(layer.name, type_, layer.bottoms, layer.tops, changed, self._item.weights)

    def resize(
        self,
        sizes: Sequence[int],
        *,
        roi: Sequence[float] = (0, 0, 1, 1),
        scale: tuple[float, float] | None = None,
        extrapolation: float = 0.0,
        **sampling: Any,
    ) -> None:
        bottom, top = self._layer.bottoms[0], self._layer.tops[0]
        request = ResizeRequest.of_image(
            self.shape(bottom), sizes, roi, Sampling(**sampling), scale, extrapolation
        )
        candidates = every_candidate(request, tuple(self._limits))
        self.choices = len(candidates)
        candidate: Candidate = candidates[self._choice]
        self.label = f"{candidate.label} {candidate.form}".rstrip()
        name = self._layer.name
        steps = emit(candidate.chains, request, candidate.form, name=name, bottom=bottom, top=top)
        for step in steps:
            weights = list(step.weights) or None
            own = step.name if step.name == name else self._draft.unique(step.name)
            params = params_message(step.params)
            in_place = step.tops[0] in step.bottoms
            self._add(own, step.type, step.bottoms, step.tops, params, weights, in_place)

    def input(self) -> tuple[str, Shape]:
        for item in self._draft.items:
            if item.type == "Input":
                return item.writes[0], self._draft.shapes.get(item.writes[0]) or ()
        raise self._layer.unsupported("the net has no input")

    def constant(self, blob: str) -> NDArray[np.floating] | None:
        return self._draft.constants.get(self._current.get(blob, blob))

    def shape(self, blob: str) -> Shape:
        shape = self._draft.shapes.get(self._current.get(blob, blob))
        if shape is None:
            raise self._layer.unsupported(f'the shape of its bottom "{blob}" is unknown')
        return shape

    def weights(self) -> list[NDArray[np.floating]] | None:
        return None if self._item.weights is None else list(self._item.weights)

    def _name(self, role: str) -> str:
        name = self._layer.name
        return self._draft.unique(f"{name.partition(MARK)[0]}_{role}") if role else name

    def _add(
        self,
        name: str,
        type_: str,
        bottoms: Sequence[str],
        tops: Sequence[str],
        params: Message,
        weights: Sequence[NDArray[np.floating]] | None,
        in_place: bool = False,
    ) -> None:
        reads = tuple(self._current.get(bottom, bottom) for bottom in bottoms)
        writes = []
        for top in tops:
            value = self._draft.unique(top)
            self._current[top] = value
            if top in self._layer.tops:
                self._final[top] = value
            writes.append(value)
        if name != self._layer.name:
            name = self._draft.unique(name)
        item = Item(
            name, type_, params, reads, tuple(writes), weights, in_place, self._item.origin,
            self._forms,
        )  # fmt: skip
        self._items.append(item)
