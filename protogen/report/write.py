"""``pg.write_report``: the HTML report of a net."""

from __future__ import annotations

import bisect
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from protogen import geometry
from protogen._version import __version__
from protogen.errors import InputError, Place, quantity
from protogen.formats import files, prototxt
from protogen.generate.specification import size_text
from protogen.geometry import Shape
from protogen.layers.graph import Graph, Layer
from protogen.net.build import Reading
from protogen.net.coordinates import BlobCoordinates, Map, crop_checks, places
from protogen.net.cost import Cost, costs
from protogen.net.net import Net, load
from protogen.report import measured
from protogen.report.diagram import Diagram, foldable_diagram
from protogen.report.weights import StoredWeights, first_filters, histogram

if TYPE_CHECKING:
    from protogen.lint.engine import Checked
    from protogen.net.differences import Difference

TEXT = 3000  # characters of a layer's prototxt that its panel shows at most
KERNELS = 6  # upsampling kernels that are shown at most
LARGEST = 64  # largest upsampling factor whose kernel is shown


@dataclass
class _Marks:
    """Findings and differences by the index of the layer; ``kinds`` is added or changed."""

    findings: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    changes: dict[int, list[str]] = field(default_factory=dict)
    kinds: dict[int, str] = field(default_factory=dict)


def write_report(
    path: str | Path,
    output: str | Path,
    caffemodel: str | Path | StoredWeights | None = None,
    *,
    against: str | Path | None = None,
    signals: bool = False,
    ranges: bool = False,
    checked: Checked | None = None,
    input_shapes: Mapping[str, Shape] | None = None,
    progress: Callable[[int, int], object] | None = None,
    **reading: Unpack[Reading],
) -> Path:
    """Write one HTML page that needs no network.

    The page shows the drawing, the layers with shapes, costs, weights and findings, the coordinates
    of the blobs' pixels, and the differences from another net.

    Args:
        path: the prototxt.
        output: the HTML file.
        caffemodel: the weights; optional. ``StoredWeights`` are read once for several pages.
        against: another net; the page shows the changes that turn it into this one.
        signals: measure the signal of random data in every layer, as ``pg.health`` does.
        ranges: measure what float16 and int8 do to every blob and weight on random data, as
            ``pg.half_check`` does.
        checked: the findings to show; by default those of ``pg.check_file``.
        input_shapes: shapes of inputs by name, instead of those of the prototxt.
        progress: called with (layers done, layers) while histograms of the weights are computed.
        reading: phase (TEST by default, or TRAIN if the net is valid only in that phase), level,
            stages, dialect and so on, as for ``pg.load``.

    Raises:
        InputError: a file is missing or invalid, the weights do not fit the net, or the output is
            one of the inputs.
        UnsupportedError: igraph is not installed.
    """
    from protogen.report.page import page

    def loaded() -> Net:
        return load(path, weights, input_shapes=input_shapes, **reading)

    stored = StoredWeights(caffemodel) if isinstance(caffemodel, str | Path) else caffemodel
    weights = stored.path if stored is not None else None
    files.distinct([("--output", output)], [path, weights, against])
    net, phase = loaded_with_phase(path, stored, input_shapes, reading)
    reading["phase"] = phase
    layout = foldable_diagram(net.graph)
    marks = _Marks()
    findings = _findings(path, net, marks, reading, input_shapes or {}, checked)
    changes = _changes(against, net, marks) if against is not None else []
    layer_costs = costs(net.graph)
    coordinates = places(net.graph)
    data = {
        "name": net.name or Path(path).name,
        "totals": _totals(net, layer_costs) + (" Phase TRAIN." if phase == "TRAIN" else ""),
        "layers": _layers(net, layer_costs, layout, marks, stored, progress),
        "findings": findings,
        "changes": changes,
        "compared": f"Changes that turn {Path(against).name} into this net." if against else "",
        "crops": _crops(net.graph, coordinates),
        "places": _places(net.graph, coordinates),
        "pictures": _pictures(net.graph),
        "signals": measured.signals(loaded()) if signals else None,
        "ranges": measured.ranges(loaded()) if ranges else None,
        "made": f"Written by protogen {__version__} from {Path(path).name}"
        + (f" and {Path(weights).name}." if weights is not None else "."),
    }
    counts = {i: len(findings) for i, findings in marks.findings.items()}
    with files.replacing(output) as file:
        file.write(page(layout, data, marks.kinds, counts).encode("utf-8", "replace"))
    return Path(output)


def loaded_with_phase(
    path: str | Path,
    stored: StoredWeights | None,
    input_shapes: Mapping[str, Shape] | None,
    reading: Reading,
) -> tuple[Net, str]:
    """Load the net; return it with its phase, by default TEST, or TRAIN if only that is valid."""

    def of(phase: str) -> Net:
        options: Reading = {**reading, "phase": phase}
        of_file = stored.load if stored is not None else load
        return of_file(path, input_shapes=input_shapes, tolerant=True, **options)

    if reading.get("phase"):
        return of(reading["phase"]), reading["phase"]
    try:
        return of("TEST"), "TEST"
    except InputError as error:
        try:
            return of("TRAIN"), "TRAIN"
        except InputError:
            raise error from None


def _totals(net: Net, layer_costs: Sequence[Cost]) -> str:
    values = sum(cost.parameters or 0 for cost in layer_costs)
    work = sum(cost.multiply_adds or 0 for cost in layer_costs)
    memory = sum(cost.activations or 0 for cost in layer_costs) * 4
    ends = [", ".join(names) or "none" for names in (net.inputs, net.outputs)]
    unknown = sum(cost.output is None for cost in layer_costs)
    return (
        f"{quantity(len(layer_costs), 'layer')}, {quantity(values, 'parameter', form=',')} "
        f"({size_text(values * 4)}), {quantity(work, 'multiply-add', form=',')}, "
        f"{size_text(memory)} of activations. Inputs: {ends[0]}; outputs: {ends[1]}."
        + (f" Not counted: {quantity(unknown, 'layer')} of unknown shape." if unknown else "")
    )


def _layers(
    net: Net,
    layer_costs: Sequence[Cost],
    layout: Diagram,
    marks: _Marks,
    stored: StoredWeights | None,
    progress: Callable[[int, int], object] | None,
) -> list[dict[str, Any]]:
    boxes = {
        member: box.index
        for part in layout.parts
        for box in part.boxes
        if not box.stub
        for member in box.members
    }
    first = first_filters(net)
    rows = []
    for i, cost in enumerate(layer_costs):
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
                "blobs": _blobs(net, layer, stored),
                "picture": first[1] if first and first[0] is layer else None,
                "findings": marks.findings.get(i, []),
                "changes": marks.changes.get(i, []),
            }
        )
        if progress:
            progress(i + 1, len(net.layers))
    return rows


def _line(layer: Layer) -> str:
    """Return file, line and column of a layer, without the folder."""
    return str(layer.place).rpartition("/")[2]


def _blobs(net: Net, layer: Layer, stored: StoredWeights | None) -> list[dict[str, Any]]:
    arrays = net.weights.get(layer.name)
    if arrays is None:
        shapes = net.parameter_shapes.get(layer.name) or ()
        return [{"shape": list(shape)} for shape in shapes]
    bars = stored.histogram if stored else histogram
    return [{"shape": list(array.shape)} | bars(array) for array in arrays]


# findings and differences


def _findings(
    path: str | Path,
    net: Net,
    marks: _Marks,
    reading: Reading,
    input_shapes: Mapping[str, Shape],
    checked: Checked | None,
) -> list[dict[str, Any]]:
    from protogen.lint.context import Settings
    from protogen.lint.engine import check_file
    from protogen.lint.rules import rule_name

    settings = Settings(dialect=reading.get("dialect", ""), input_shapes=dict(input_shapes))
    report = checked or check_file(path, settings=settings)
    lines = []
    for i, layer in enumerate(net.layers):
        if isinstance(layer.place, Place) and layer.place.line:
            lines.append((layer.place.line, i))
    lines.sort()
    names = {layer.name: i for i, layer in enumerate(net.layers)}
    rows = []
    for diagnostic in report.diagnostics:
        code, name = diagnostic.code, diagnostic.layer
        plain = {"code": code, "name": rule_name(code), "message": diagnostic.message}
        line = diagnostic.place.line
        rows.append(plain | {"line": line, "layer": name})
        # A finding without a layer belongs to the last layer that starts at or before its line.
        at = bisect.bisect_right(lines, (line, len(net.layers))) - 1
        if name in names:
            marks.findings.setdefault(names[name], []).append(plain)
        elif at >= 0 and not name:
            marks.findings.setdefault(lines[at][1], []).append(plain)
    return rows


def _changes(against: str | Path, net: Net, marks: _Marks) -> list[dict[str, str]]:
    from protogen.net.differences import diff
    from protogen.net.upgrade import upgrade

    rows = []
    names = {layer.name: i for i, layer in enumerate(net.layers)}
    assert isinstance(net.message, prototxt.Document)
    for change in diff(upgrade(prototxt.read(against)), net.message):
        rows.append({"layer": change.layer, "text": str(change)})
        i = names.get(change.layer)
        if i is not None:
            marks.changes.setdefault(i, []).append(str(change))
            marks.kinds[i] = _kind(change, marks.kinds.get(i))
    return rows


def _kind(change: Difference, before: str | None) -> str:
    return "added" if change.kind == "added" or before == "added" else "changed"


# coordinates


def _map_text(axis: Map) -> str:
    sign = "−" if axis.shift < 0 else "+"
    return f"{axis.scale} · x {sign} {abs(axis.shift)}"


def _places(
    graph: Graph, coordinates: Mapping[str, BlobCoordinates | None]
) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    for layer in graph.layers:
        for top, write in zip(layer.tops, layer.writes, strict=True):
            place = coordinates.get(write)
            if place is not None and top not in layer.bottoms:
                rows.append(
                    {
                        "blob": top,
                        "source": place.source,
                        "height": _map_text(place.height),
                        "width": _map_text(place.width),
                    }
                )
    return rows


def _crops(graph: Graph, coordinates: Mapping[str, BlobCoordinates | None]) -> list[dict[str, Any]]:
    order = {id(layer): i for i, layer in enumerate(graph.layers)}
    rows = []
    for crop in crop_checks(graph, coordinates):
        offset, expected = (
            " × ".join(map(str, dict.fromkeys(n))) for n in (crop.offsets, crop.expected)
        )
        rows.append(
            {
                "layer": crop.layer.name,
                "i": order[id(crop.layer)],
                "given": offset,
                "right": expected,
                "fits": tuple(crop.offsets) == tuple(crop.expected),
                "why": f"{crop.layer.bottoms[0]} is at {_map_text(crop.first.height)}, "
                f"{crop.layer.bottoms[1]} at {_map_text(crop.second.height)} (height)",
            }
        )
    return rows


def _pictures(graph: Graph) -> list[dict[str, str]]:
    """Plot kernel, profile and error of each bilinear Deconvolution with an integer factor."""
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
    rows = []
    for f, names in sorted(users.items())[:KERNELS]:
        buffer = io.BytesIO()
        kernel.draw([kernel_picture(UpsampleSpec((f, f)))], buffer, "png")
        rows.append(
            {"text": f"Factor {f}: {', '.join(names)}", "picture": embedded(buffer.getvalue())}
        )
    return rows
