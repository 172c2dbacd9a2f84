"""``pg.write_report`` and ``pg.draw``: a net as a page, and as a drawing."""

from __future__ import annotations

import bisect
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protogen import geometry
from protogen._version import __version__
from protogen.errors import InputError, Place
from protogen.formats import files, prototxt
from protogen.formats.weightfiles import missing
from protogen.generate.specification import size_text
from protogen.geometry import Shape
from protogen.layers.graph import Graph, Layer
from protogen.net.coordinates import BlobCoordinates, Map, crop_checks, places
from protogen.net.cost import Cost, costs
from protogen.net.net import Net, load
from protogen.report import drawing
from protogen.report.diagram import Diagram, diagram
from protogen.report.weights import first_filters, histogram

if TYPE_CHECKING:
    from protogen.net.differences import Difference

TEXT = 3000  # letters of a layer's prototxt that its panel shows
KERNELS = 6  # different upsampling kernels that are shown
LARGEST = 64  # factor that is still drawn
SCALE = 1.5
MOST = 24_000_000  # pixels of a PNG


@dataclass
class _Marks:
    """What is said of layers, by their index."""

    findings: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    changes: dict[int, list[str]] = field(default_factory=dict)
    kinds: dict[int, str] = field(default_factory=dict)


def draw(
    path: str | Path,
    output: str | Path,
    *,
    phase: str | None = None,
    input_shapes: Mapping[str, Shape] | None = None,
) -> Diagram:
    """Draws a net from above to below as SVG or PNG, as the output's name ends.

    ``phase`` is TEST where it is left out, or TRAIN where only that one is a net. A box is a layer with
    those that work in place on its top. Data that is read far from where it
    comes in stands as a dashed box beside its reader.

    Raises:
        InputError: the net is wrong, or the name ends otherwise.
        UnsupportedError: igraph or resvg-py is not installed.
    """
    files.distinct([("-o", output)], [path])
    ending = Path(output).suffix.lower()
    if ending not in (".svg", ".png"):
        raise InputError("is neither .svg nor .png", where=str(output))
    made = diagram(_loaded(path, None, phase, input_shapes)[0].graph)
    text = drawing.svg(made)
    if ending == ".svg":
        raw = text.encode()
    else:
        width, height = drawing.extent(made)
        scale = min(SCALE, math.sqrt(MOST / (width * height)), 30_000 / max(width, height))
        try:
            raw = drawing.png(text, drawing.fonts(), scale)
        except ImportError:
            raise missing("resvg-py, which draws PNG,", "report") from None
    with files.replacing(output) as file:
        file.write(raw)
    return made


def write_report(
    path: str | Path,
    output: str | Path,
    caffemodel: str | Path | None = None,
    *,
    against: str | Path | None = None,
    signals: bool = False,
    phase: str | None = None,
    input_shapes: Mapping[str, Shape] | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Path:
    """Writes one HTML page that needs no network: the net drawn, its layers with shapes, costs,
    weights and findings, where the pixels of its blobs lie, and what differs from another net.

    Args:
        against: another net; the page shows what must change in it to become this one.
        phase: TEST where it is left out, or TRAIN where only that one is a net.
        signals: measure what random data becomes in every layer, as ``pg.health`` does.
        progress: told (layers done, layers) while weights are looked at.

    Raises:
        InputError: a file is missing or wrong, weights do not fit the net, or the output is an input.
        UnsupportedError: igraph is not installed.
    """
    from protogen.report.page import page

    files.distinct([("-o", output)], [path, caffemodel, against])
    net, phase = _loaded(path, caffemodel, phase, input_shapes)
    made = diagram(net.graph)
    marks = _Marks()
    findings = _findings(path, net, marks)
    changes = _changes(against, net, marks) if against is not None else []
    each = costs(net.graph)
    known = places(net.graph)
    data = {
        "name": net.name or Path(path).name,
        "totals": _totals(net, each) + (" Phase TRAIN." if phase == "TRAIN" else ""),
        "layers": _layers(net, each, made, marks, progress),
        "findings": findings,
        "changes": changes,
        "compared": f"What must change in {Path(against).name} to become this net."
        if against
        else "",
        "crops": _crops(net.graph, known),
        "places": _places(net.graph, known),
        "pictures": _pictures(net.graph),
        "signals": _signals(load(path, caffemodel, phase=phase, input_shapes=input_shapes))
        if signals
        else None,
        "made": f"Made by protogen {__version__} of {Path(path).name}"
        + (f" and {Path(caffemodel).name}." if caffemodel is not None else "."),
    }
    counts = {i: len(found) for i, found in marks.findings.items()}
    with files.replacing(output) as file:
        file.write(page(made, data, marks.kinds, counts).encode("utf-8", "replace"))
    return Path(output)


def _loaded(
    path: str | Path,
    caffemodel: str | Path | None,
    phase: str | None,
    input_shapes: Mapping[str, Shape] | None,
) -> tuple[Net, str]:
    """The net and its phase: where none is chosen TEST, or TRAIN where only that one is a net."""

    def of(phase: str) -> Net:
        return load(path, caffemodel, phase=phase, input_shapes=input_shapes, tolerant=True)

    if phase is not None:
        return of(phase), phase
    try:
        return of("TEST"), "TEST"
    except InputError as error:
        try:
            return of("TRAIN"), "TRAIN"
        except InputError:
            raise error from None


def _totals(net: Net, each: Sequence[Cost]) -> str:
    values = sum(one.parameters or 0 for one in each)
    work = sum(one.multiply_adds or 0 for one in each)
    memory = sum(one.activations or 0 for one in each) * 4
    ends = [", ".join(names) or "none" for names in (net.inputs, net.outputs)]
    unknown = sum(one.output is None for one in each)
    return (
        f"{len(each)} layers, {values:,} parameters ({size_text(values * 4)}), {work:,} "
        f"multiply-adds, {size_text(memory)} of activations. In: {ends[0]}; out: {ends[1]}."
        + (f" {unknown} layers have an unknown shape and do not count." if unknown else "")
    )


def _layers(
    net: Net,
    each: Sequence[Cost],
    made: Diagram,
    marks: _Marks,
    progress: Callable[[int, int], object] | None,
) -> list[dict[str, Any]]:
    boxes = {
        member: box.index
        for part in made.parts
        for box in part.boxes
        if not box.stub
        for member in box.members
    }
    first = first_filters(net)
    rows = []
    for i, cost in enumerate(each):
        layer = cost.layer
        text = prototxt.write(layer.params)
        rows.append(
            {
                "name": layer.name,
                "type": layer.type,
                "box": boxes.get(i, i),
                "bottoms": list(layer.bottoms),
                "tops": list(layer.tops),
                "shape": None if cost.output is None else list(cost.output),
                "parameters": cost.parameters,
                "work": cost.multiply_adds,
                "memory": None if cost.activations is None else cost.activations * 4,
                "field": None if cost.receptive_field is None else list(cost.receptive_field),
                "stride": "×".join(dict.fromkeys(map(str, cost.stride or ()))),
                "place": _line(layer),
                "text": text if len(text) <= TEXT else text[:TEXT] + "\n...",
                "blobs": _blobs(net, layer),
                "picture": first[1] if first and first[0] is layer else None,
                "findings": marks.findings.get(i, []),
                "changes": marks.changes.get(i, []),
            }
        )
        if progress:
            progress(i + 1, len(net.layers))
    return rows


def _line(layer: Layer) -> str:
    """Where a layer stands, without the folder."""
    return str(layer.place).rpartition("/")[2]


def _blobs(net: Net, layer: Layer) -> list[dict[str, Any]]:
    arrays = net.weights.get(layer.name)
    if arrays is None:
        shapes = net.parameter_shapes.get(layer.name) or ()
        return [{"shape": list(shape)} for shape in shapes]
    return [{"shape": list(array.shape)} | histogram(array) for array in arrays]


# findings and differences


def _findings(path: str | Path, net: Net, marks: _Marks) -> list[dict[str, Any]]:
    from protogen.lint.engine import check_file
    from protogen.lint.rules import rule_name

    found = check_file(path)
    lines = []
    for i, layer in enumerate(net.layers):
        if isinstance(layer.place, Place) and layer.place.line:
            lines.append((layer.place.line, i))
    lines.sort()
    names = {layer.name: i for i, layer in enumerate(net.layers)}
    made = []
    for one in found.diagnostics:
        plain = {"code": one.code, "name": rule_name(one.code), "message": one.message}
        line = one.place.line
        made.append(plain | {"line": line, "layer": one.layer})
        at = bisect.bisect_right(lines, (line, len(net.layers))) - 1
        if one.layer in names:
            marks.findings.setdefault(names[one.layer], []).append(plain)
        elif at >= 0 and not one.layer:
            marks.findings.setdefault(lines[at][1], []).append(plain)
    return made


def _changes(against: str | Path, net: Net, marks: _Marks) -> list[dict[str, str]]:
    from protogen.net.differences import diff
    from protogen.net.upgrade import upgrade

    made = []
    names = {layer.name: i for i, layer in enumerate(net.layers)}
    assert isinstance(net.message, prototxt.Document)
    for one in diff(upgrade(prototxt.read(against)), net.message):
        made.append({"layer": one.layer, "text": str(one)})
        i = names.get(one.layer)
        if i is not None:
            marks.changes.setdefault(i, []).append(str(one))
            marks.kinds[i] = _kind(one, marks.kinds.get(i))
    return made


def _kind(one: Difference, before: str | None) -> str:
    return "added" if one.kind == "added" or before == "added" else "changed"


# coordinates


def _map(one: Map) -> str:
    sign = "−" if one.shift < 0 else "+"
    return f"{one.scale} · x {sign} {abs(one.shift)}"


def _places(graph: Graph, known: Mapping[str, BlobCoordinates | None]) -> list[dict[str, str]]:
    made: list[dict[str, str]] = []
    for layer in graph.layers:
        for top, write in zip(layer.tops, layer.writes, strict=True):
            place = known.get(write)
            if place is not None and top not in layer.bottoms:
                made.append(
                    {
                        "blob": top,
                        "source": place.source,
                        "height": _map(place.height),
                        "width": _map(place.width),
                    }
                )
    return made


def _crops(graph: Graph, known: Mapping[str, BlobCoordinates | None]) -> list[dict[str, Any]]:
    order = {id(layer): i for i, layer in enumerate(graph.layers)}
    made = []
    for crop in crop_checks(graph, known):
        given, right = (
            " × ".join(map(str, dict.fromkeys(n))) for n in (crop.offsets, crop.expected)
        )
        made.append(
            {
                "layer": crop.layer.name,
                "i": order[id(crop.layer)],
                "given": given,
                "right": right,
                "fits": tuple(crop.offsets) == tuple(crop.expected),
                "why": f"{crop.layer.bottoms[0]} lies at {_map(crop.first.height)}, "
                f"{crop.layer.bottoms[1]} at {_map(crop.second.height)} (height)",
            }
        )
    return made


def _pictures(graph: Graph) -> list[dict[str, str]]:
    """Kernel, profile and error of each different bilinear upsampling of a whole factor."""
    from protogen.generate.specification import UpsampleSpec
    from protogen.generate.upsampling import kernel_picture
    from protogen.report import kernel
    from protogen.report.page import embedded

    users: dict[int, list[str]] = {}
    for layer in graph.layers:
        p = layer.params.convolution_param
        if layer.type != "Deconvolution" or p.weight_filler.type != "bilinear":
            continue
        sizes, strides, pads = list(p.kernel_size), list(p.stride), list(p.pad)
        f = strides[0] if strides else 1
        classic = (geometry.upsample_kernel(f), geometry.upsample_pad(f))
        if (sizes[0] if sizes else 0, pads[0] if pads else 0) == classic and f <= LARGEST:
            users.setdefault(f, []).append(layer.name)
    made = []
    for f, names in sorted(users.items())[:KERNELS]:
        buffer = io.BytesIO()
        kernel.draw([kernel_picture(UpsampleSpec((f, f)))], buffer, "png")
        made.append(
            {"text": f"Factor {f}: {', '.join(names)}", "picture": embedded(buffer.getvalue())}
        )
    return made


def _signals(net: Net) -> dict[str, Any]:
    """The picture and the verdicts of ``pg.health``; without weights, beside recommended fillers."""
    from protogen.report import signals
    from protogen.report.page import embedded
    from protogen.training.signals.health import gradients_known, health

    backwards = gradients_known(net)
    from_file = bool(net.weights)
    found = [health(net, gradients=backwards)]
    if not from_file:
        found.append(health(net, gradients=backwards, recommend=True))
    buffer = io.BytesIO()
    signals.draw([one.row(one.weights) for one in found], buffer, "png")
    return {
        "picture": embedded(buffer.getvalue()),
        "text": f"Normal random data, {found[0].batch} samples, weights of {found[0].weights}.",
        "findings": [one.text for one in found[0].findings],
    }
