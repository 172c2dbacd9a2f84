"""Rewrites a net in forms of layers that a toolchain takes and computes rightly."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from protogen.errors import InputError, ProtogenWarning, UnsupportedError, quantity
from protogen.formats import prototxt
from protogen.layers import kind_of
from protogen.layers.graph import cut
from protogen.layers.reading import check_read
from protogen.legalization.canonical import canonical, merge_reshapes
from protogen.legalization.draft import MARK, Draft, Item, draft_of
from protogen.legalization.search import Resolution, Search, Surroundings, Tried
from protogen.net.net import Net
from protogen.toolchains.toolchain import Schema, Toolchain, load_toolchain
from protogen.toolchains.verdicts import BAD

if TYPE_CHECKING:
    from protogen.formats.message import Message

_ROUNDS = 8


@dataclass(frozen=True)
class Change:
    """A layer that the toolchain does not take, and what replaces it.

    Attributes:
        reason: what the toolchain does with it.
        form: the form that is written.
        becomes: the types of its layers.
        tried: all forms that were tried, with cost or reason.
    """

    layer: str
    type: str
    reason: str
    form: str
    becomes: tuple[str, ...]
    tried: tuple[Tried, ...] = ()


@dataclass(frozen=True, eq=False)
class Legalized:
    """A net in the forms that some toolchains take.

    Attributes:
        net: the net, with weights.
        toolchains: the toolchains.
        changes: the layers that were replaced, in execution order.
    """

    net: Net
    toolchains: tuple[Toolchain, ...]
    changes: tuple[Change, ...]

    @property
    def schema(self) -> Schema | None:
        """The parser of the toolchain; None for several toolchains."""
        return self.toolchains[0].schema if len(self.toolchains) == 1 else None

    @property
    def error(self) -> float:
        """The largest stated error of a form, relative to the largest value."""
        chosen = (one.error for change in self.changes for one in change.tried if one.chosen)
        return max(chosen, default=0.0)


def check_dialect(dialect: str, toolchain: Toolchain) -> None:
    """Check that a dialect is that of a target.

    Raises:
        InputError: the target has layers of another dialect.
    """
    if dialect and dialect != toolchain.name:
        raise InputError(
            f"the target {toolchain.name} decides the layers, also where they are of a fork",
            subject=f"dialect {dialect}",
            advice="Leave out --dialect.",
        )


def toolchains_of(
    target: str | Path | Toolchain | Sequence[str | Path | Toolchain],
) -> list[Toolchain]:
    """Return the data of targets by their names or files.

    Raises:
        InputError: a name is unknown, or a file is invalid.
    """
    targets = [target] if isinstance(target, (str, Path, Toolchain)) else target
    return [one if isinstance(one, Toolchain) else load_toolchain(one) for one in targets]


def legalize(
    net: Net,
    target: str | Path | Toolchain | Sequence[str | Path | Toolchain],
    *,
    outputs: Sequence[str] = (),
) -> Legalized:
    """Rewrite a net so that each toolchain takes every layer and computes it as Caffe does.

    Layers that a toolchain refuses or computes otherwise are replaced by the cheapest form that all
    of them take, in multiply-adds and written values. The text has one spelling for everything, and
    no field without effect. Inputs, outputs and other blobs keep their names.

    Args:
        target: the names of toolchains (see ``protogen targets``), or files of your own.
        outputs: blobs that become the outputs of the net; by default those that nobody reads.

    Raises:
        InputError: a target is unknown.
        UnsupportedError: a layer has no form that the toolchains take; the message names each layer,
            the reason, and what was tried.
    """
    toolchains = toolchains_of(target)
    graph = cut(net.graph, outputs) if outputs else net.graph
    for layer in graph.layers:
        kind = kind_of(layer)
        check_read(layer, kind, graph.ignored_fields)
        if kind is not None:
            kind.decide(layer)
    draft = draft_of(graph, net.weights)
    draft.header = net.message.fields[0].before if net.message.fields else ()
    canonical(draft)
    search = Search(draft, toolchains)
    changes: dict[str, Change] = {}
    failed: dict[str, tuple[str, Resolution]] = {}
    for _ in range(_ROUNDS):
        bad = _bad(search, draft)
        todo = {i: reason for i, reason in bad.items() if draft.items[i].name not in failed}
        if not todo:
            break
        surroundings = Surroundings(draft.items)
        replaced: dict[int, tuple[Item, ...]] = {}
        for i, reason in todo.items():
            item = draft.items[i]
            before, after = surroundings.of(i)
            result = search.best(before, item, after, 0)
            if result.items is None:
                failed[item.name] = (reason, result)
                continue
            replaced[i] = result.items
            _note(changes, item, reason, result)
        draft.items = [new for i, one in enumerate(draft.items) for new in replaced.get(i, (one,))]
        merge_reshapes(draft)
        if not replaced:
            break
    message = draft.message()
    _check(search, draft, message, failed)
    return Legalized(_net(net, draft, message), tuple(toolchains), tuple(_final(changes, draft)))


def _bad(search: Search, draft: Draft) -> dict[int, str]:
    """Return the layers that a toolchain does not take, with its reason."""
    message = draft.message()
    rows = search.verdicts(message)
    names = [one.name for one in message.layer]
    bad: dict[int, str] = {}
    for i, name in enumerate(names):
        for row in rows.get(name, ()):
            if row.verdict in BAD:
                bad.setdefault(i, row.text)
    return bad


def _note(changes: dict[str, Change], item: Item, reason: str, result: Resolution) -> None:
    """Record the replacement of a layer; that of a layer of another form belongs to its origin."""
    form = next((one.text for one in result.tried if one.chosen), "")
    key = item.name if item.forms else item.origin
    changes[key] = Change(item.origin, item.type, reason, form, (), result.tried)


def _final(changes: dict[str, Change], draft: Draft) -> list[Change]:
    """Return the changes with the types that were written."""
    types: dict[str, list[str]] = {}
    for item in draft.items:
        types.setdefault(item.origin, []).append(item.type)
    return [
        Change(
            one.layer.partition(MARK)[0], one.type, one.reason, one.form,
            tuple(types.get(one.layer, ())), one.tried,
        )
        for one in changes.values()
    ]  # fmt: skip


def _check(
    search: Search, draft: Draft, message: Message, failed: dict[str, tuple[str, Resolution]]
) -> None:
    """Raise UnsupportedError unless the toolchains take the whole net."""
    rows = search.verdicts(message)
    titles = ", ".join(one.name for one in search.toolchains)
    lines = []
    for item, layer in zip(draft.items, message.layer, strict=True):
        bad = [row for row in rows.get(layer.name, ()) if row.verdict in BAD]
        if not bad:
            continue
        of = "" if item.origin == layer.name else f' (of layer "{item.origin}")'
        lines.append(f'  layer "{layer.name}" ({item.type}){of}: {bad[0].text}')
        resolution = failed.get(item.name)
        for one in resolution[1].tried if resolution else ():
            if not one.reason.startswith("it has") and one.cost is not None:
                lines.append(f"    not {one.text}: {one.reason}")
    for row in rows.get("", ()):
        if row.verdict in BAD:
            lines.append(f"  the net: {row.text}")
    if lines:
        count = sum(line.startswith("  layer") for line in lines)
        raise UnsupportedError(
            f"{titles} takes no form of {quantity(count, 'layer')}" if count else
            f"{titles} does not take the net",
            subject=f'net "{draft.name}"',
            lines=lines,
            advice="End the net before these layers with --to-blob, or change them.",
        )  # fmt: skip


def _net(net: Net, draft: Draft, message: Message) -> Net:
    """Return the legalized net with the weights of its layers."""
    import numpy as np

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ProtogenWarning)
        text = prototxt.write(message)
        result = Net(prototxt.parse(text, f"{net.name or 'the net'}, legalized"), tolerant=True)
    result.weights = {
        layer.name: [np.asarray(array, np.float32) for array in item.weights]
        for item, layer in zip(draft.items, message.layer, strict=True)
        if item.weights is not None
    }
    return result
