"""Which layers, inputs and outputs a part of a net has, and the names of its blobs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from protogen.errors import InputError, UnsupportedError, did_you_mean
from protogen.geometry import Shape
from protogen.layers import kind_of
from protogen.layers.graph import Graph, Layer, cut, free_name
from protogen.net.net import Net


@dataclass
class Selection:
    """A part of a net.

    Attributes:
        graph: the whole net.
        layers: the layers of the part, in order.
        begins: the values that become inputs, each with its blob in the part.
        inputs: the inputs of the net that the part has, too.
        ends: the values that are the outputs, each with its blob in the part.
        names: new blobs of values that layers of the part write, where they have another one.
        copies: blobs that are outputs and that layers of the part read, too: the blob that a Split
            copies, by the output.
        used: all names of layers and blobs.
    """

    graph: Graph
    layers: tuple[Layer, ...]
    begins: dict[str, str]
    inputs: tuple[str, ...]
    ends: dict[str, str]
    names: dict[str, str] = field(default_factory=dict)
    copies: dict[str, str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def bottoms(self, layer: Layer) -> list[str]:
        """Return the bottoms of a layer of the part."""
        known = self.names | self.begins
        return [
            known.get(read, bottom) for bottom, read in zip(layer.bottoms, layer.reads, strict=True)
        ]

    def tops(self, layer: Layer) -> list[str]:
        """Return the tops of a layer of the part."""
        return [
            self.names.get(write, top) for top, write in zip(layer.tops, layer.writes, strict=True)
        ]

    def unread(self) -> list[str]:
        """Return the tops that no layer of the part reads and that are not outputs."""
        read = {name for layer in self.layers for name in layer.reads} - self.begins.keys()
        return [
            top
            for layer in self.layers
            if not feeds(layer)
            for top, written, write in zip(
                self.tops(layer), layer.params.top, layer.writes, strict=False
            )
            if written and write not in read and write not in self.ends
        ]

    def shape(self, value: str) -> Shape:
        """Return the shape of an input.

        Raises:
            InputError: it is unknown.
        """
        shape = self.graph.shapes[value]
        if shape is None:
            raise InputError(
                "its shape is unknown",
                subject=f'blob "{value}"',
                advice=f"Give it with --input-shape {_blob(self.graph, value)}=N,C,H,W.",
            )
        return shape


def feeds(layer: Layer) -> bool:
    """Return whether the tops of a layer are inputs of the net."""
    kind = kind_of(layer)
    return kind is not None and kind.is_source


def beginnings(graph: Graph, blobs: Sequence[str]) -> list[str]:
    """Return the values at which a part begins. An input of the net is none of them: it is an input of
    the part anyway, if the part needs it.

    Raises:
        InputError: the net has no such blob.
    """
    _check_known(graph, blobs)
    return [name for name in dict.fromkeys(blobs) if name not in graph.inputs]


def endings(graph: Graph, blobs: Sequence[str]) -> list[str]:
    """Return the values at which a part ends; by default the outputs of the net.

    Raises:
        InputError: the net has no such blob.
    """
    _check_known(graph, blobs)
    chosen = graph.last(blobs) if blobs else graph.outputs
    return [name for name in dict.fromkeys(chosen) if blobs or name not in graph.inputs]


def _check_known(graph: Graph, blobs: Sequence[str]) -> None:
    for name in blobs:
        if name not in graph.shapes:
            advice = did_you_mean(name, graph.shapes)
            raise InputError("unknown blob", subject=f'"{name}"', advice=advice)


def select(
    net: Net, begins: Sequence[str], ends: Sequence[str], *, chosen: bool, optional: bool = False
) -> Selection:
    """Return the part of a net from some values to others.

    Args:
        begins: the values that become inputs; see ``beginnings``.
        ends: the values that become outputs; see ``endings``.
        chosen: whether the user named the outputs.
        optional: leave out a value of ``begins`` that no output needs, instead of an error.

    Raises:
        InputError: no output needs a value of ``begins``, an output is an input, or an output depends
            on no input.
        UnsupportedError: a layer of the part reads a blob that a layer outside of it changes.
    """
    graph = net.graph
    new, needed, layers = set(begins), set(ends), []
    for layer in reversed(graph.layers):
        if any(name in needed and name not in new for name in layer.writes):
            needed.update(layer.reads)
            layers.append(layer)
    layers.reverse()
    read = {name for layer in layers for name in layer.reads}
    if chosen:
        fed = {name for layer in graph.layers if feeds(layer) for name in layer.writes}
        _check_ends(graph, ends, fed.union(begins), layers)
    listed, ends = ends, [name for name in ends if name not in new]
    if not optional:
        _check_needed(net, begins, listed, read)
    inputs = tuple(name for name in graph.inputs if name in read)
    _check_views(net, layers)
    part = Selection(
        graph,
        tuple(layers),
        {name: _blob(graph, name) for name in begins if name in read},
        inputs,
        {name: _blob(graph, name) for name in ends},
        used={name for one in graph.layers for name in (one.name, *one.tops)},
    )
    for name in part.begins:
        part.shape(name)
    _rename_cut_tops(part)
    return part


def _check_needed(
    net: Net, begins: Sequence[str], ends: Sequence[str], read: Collection[str]
) -> None:
    """Check that the layers of the part read each new input."""
    for name in begins:
        if name in read:
            continue
        # Whether it is needed without the other new inputs.
        alone = any(name in layer.reads for layer in cut(net.graph, ends).layers)
        but = " except through other new inputs" if alone and len(begins) > 1 else ""
        raise InputError(
            f"no output depends on it{but} (outputs: {', '.join(ends)})",
            subject=f'"{name}"',
            advice="Leave it out, or name an output after it with --to-blob.",
        )


def _check_ends(
    graph: Graph, ends: Sequence[str], inputs: Collection[str], layers: Sequence[Layer]
) -> None:
    """Check that each output is computed from an input."""
    fed = set(inputs)
    for layer in layers:
        if fed.intersection(layer.reads):
            fed.update(layer.writes)
    for name in ends:
        if name in inputs:
            raise InputError(
                "is an input of the part, so that no layer computes it",
                subject=f'"{name}"',
                advice="Name a blob after it with --to-blob.",
            )
        if name not in fed:
            before = cut(graph, [name]).layers
            starts = [top for layer in before if not layer.bottoms for top in layer.tops]
            flags = " ".join(f"--from-blob {top}" for top in starts[:8])
            raise InputError(
                "depends on no input of the part",
                subject=f'"{name}"',
                advice=f"Make an input of what it is computed from: {flags}." if starts else "",
            )


def _check_views(net: Net, layers: Sequence[Layer]) -> None:
    """Check that no layer reads a blob that a layer which is left out changes in place.

    Raises:
        UnsupportedError: a layer does. Without the other layer it would compute something else.
    """
    names = {layer.name for layer in layers}
    for layer, value, writer in net.overwritten[1]:
        if layer.name in names and writer.name not in names:
            raise UnsupportedError(
                f'works in place on "{writer.bottoms[0]}", which shares its memory with "{value}", but '
                f'{layer.subject} reads "{value}" afterwards',
                where=writer.place,
                subject=writer.subject,
                advice="Give its top a different name, or cut the net somewhere else.",
                layer=writer.name,
            )


def _blob(graph: Graph, value: str) -> str:
    """Return the blob that holds a value."""
    for layer in graph.layers:
        for top, write in zip(layer.tops, layer.writes, strict=True):
            if write == value:
                return top
    return value


def _until(part: Selection, value: str) -> list[Layer]:
    """Return the layers of the part up to the one that writes a value, in the whole net."""
    at = {id(layer): i for i, layer in enumerate(part.graph.layers)}
    last = next(i for i, layer in enumerate(part.graph.layers) if value in layer.writes)
    return [layer for layer in part.layers if at[id(layer)] <= last]


def _rename(part: Selection, layers: Sequence[Layer], old: str, new: str) -> None:
    """Give another name to the values that these layers write to a blob."""
    for layer in layers:
        for top, write in zip(part.tops(layer), layer.writes, strict=True):
            if top == old and write not in part.begins and write not in part.inputs:
                part.names[write] = new


def _rename_cut_tops(part: Selection) -> None:
    """Rename the blobs of layers of the part that have the name of a new input.

    A layer with several tops stays if the part needs another of its tops.

    Raises:
        InputError: the inputs of the part would have the same name.
    """
    blobs: dict[str, str] = {name: name for name in part.inputs}
    for value, blob in part.begins.items():
        if blob in blobs:
            raise InputError(
                f'"{blobs[blob]}" and "{value}" are values of one blob, which cannot be two inputs',
                subject=f'"{blob}"',
                advice="Begin at one of them, or give the top of the layer in place another name.",
            )
        blobs[blob] = value
        before = [layer for layer in _until(part, value) if blob in layer.tops]
        if before:
            new = free_name(f"{blob}_cut", part.used)
            for layer in before:
                for top, write in zip(layer.tops, layer.writes, strict=True):
                    if top == blob:
                        part.names[write] = new


def copy_read_outputs(part: Selection) -> None:
    """Rename each output that a layer of the part reads, so that a Split can copy it to the output.

    Raises:
        UnsupportedError: a layer of the part works in place on an output.
    """
    taken = {*part.begins.values(), *part.inputs}
    for value, blob in part.ends.items():
        readers = [layer for layer in part.layers if value in layer.reads]
        for layer in readers:
            if layer.bottoms[layer.reads.index(value)] in layer.tops:
                raise layer.unsupported(
                    f'works in place on "{value}", which is an output of the part',
                    "Give its top another name, or leave out the output.",
                )
        if not readers:
            part.ends[value] = part.names.get(value, blob)
            continue
        inner = free_name(f"{blob}_value", part.used)
        _rename(part, _until(part, value), blob, inner)
        output = free_name(f"{blob}_output", part.used) if blob in taken else blob
        part.ends[value], part.copies[output] = output, inner
