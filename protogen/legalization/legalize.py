"""Rewrites a net in forms of layers that a toolchain takes and computes rightly."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from protogen._late import Shown
from protogen.errors import InputError, ProtogenWarning
from protogen.formats import prototxt
from protogen.layers import kind_of
from protogen.layers.graph import cut
from protogen.layers.reading import check_read
from protogen.legalization.canonical import canonical
from protogen.legalization.draft import Draft, draft_of
from protogen.legalization.rounds import Change, Rounds
from protogen.legalization.search import Search
from protogen.net.deciding import check_decided
from protogen.net.net import Net
from protogen.net.parsers import check_form
from protogen.net.targets import judge
from protogen.toolchains.toolchain import Schema, Toolchain, load_toolchain
from protogen.toolchains.verdicts import BAD

if TYPE_CHECKING:
    from protogen.formats.message import Message


@dataclass(frozen=True, eq=False, repr=False)
class Legalized(Shown):
    """A net in the forms that some toolchains take.

    Attributes:
        net: the net, with weights.
        toolchains: the toolchains.
        changes: the layers that were replaced, in execution order.
        unknown: layers of the result, by name, of which no source says what the toolchains do.
        renamed: names in the result of values that a layer in place wrote over in the net.
    """

    net: Net
    toolchains: tuple[Toolchain, ...]
    changes: tuple[Change, ...]
    unknown: Mapping[str, str] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)

    @property
    def schema(self) -> Schema | None:
        """The parser of the toolchain; None for several toolchains."""
        return self.toolchains[0].schema if len(self.toolchains) == 1 else None

    @property
    def error(self) -> float:
        """The largest stated error of a form, relative to the largest value."""
        return max((change.error for change in self.changes), default=0.0)


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
    for one in toolchains:
        check_form(one.schema)
    graph = cut(net.graph, outputs) if outputs else net.graph
    for layer in graph.layers:
        kind = kind_of(layer)
        check_read(layer, kind, graph.ignored_fields)
        check_decided(layer)
    draft = draft_of(graph, net.weights)
    draft.header = net.message.fields[0].before if net.message.fields else ()
    canonical(draft)
    rounds = Rounds(Search(draft, toolchains))
    for strict in (True, False):
        rounds.run(strict)
    message = draft.message()
    unknown = rounds.check(message)
    result = _net(net, draft, message)
    if len(toolchains) == 1:
        result.schema = toolchains[0].schema
    return Legalized(result, tuple(toolchains), rounds.changes(), unknown, draft.renamed)


def legal_for(net: Net, toolchain: Toolchain) -> Legalized:
    """Return a net in the forms that a toolchain takes: the net itself if it takes every layer.

    Raises:
        UnsupportedError: a layer has no form that the toolchain takes.
    """
    report = judge(toolchain, net.graph, net.message)
    if all(one.verdict not in BAD for one in (report.net, *report.layers)):
        net.schema = toolchain.schema
        return Legalized(net, (toolchain,), ())
    return legalize(net, toolchain)


def _net(net: Net, draft: Draft, message: Message) -> Net:
    """Return the legalized net with the weights of its layers."""
    import numpy as np

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ProtogenWarning)
        text = prototxt.write(message)
        source = f"{net.name or 'the net'}, legalized"
        result = Net(prototxt.parse(text, source), tolerant=True, dialect=net.dialect)
    result.weights = {
        layer.name: [np.asarray(array, np.float32) for array in item.weights]
        for item, layer in zip(draft.items, message.layer, strict=True)
        if item.weights is not None
    }
    return result
