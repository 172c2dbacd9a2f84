"""PG6: what files from strangers may hold. Off in ``check``, on in ``protogen audit``."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

from protogen.errors import Diagnostic, InputError
from protogen.geometry import shape_text
from protogen.lint.context import Context, Wire
from protogen.lint.rule import Rule
from protogen.net.rules import included

_INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: %s dim: 8 } } }\n'
LARGEST = 2**31  # bytes of one blob's values: more than Caffe reads in a file


class PythonLayer(Rule):
    code = "PG601"
    audit = True
    what = "A Python layer."
    why = "It imports a module and runs its code when the net is loaded: by design, and unseen."
    example = (_INPUT % 8) + (
        'layer { name: "p" type: "Python" bottom: "data" top: "p" python_param { module: "m" layer: "L" } }'
    )
    mended = (_INPUT % 8) + 'layer { name: "p" type: "ReLU" bottom: "data" top: "p" }'

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for item in net.wires:
            if item.type == "Python":
                p = item.value.python_param
                yield net.diagnostic(
                    self,
                    item,
                    f"runs {p.layer or '?'} of the module {p.module or '?'} when the "
                    "net is loaded.",
                )


class HiddenLayer(Rule):
    code = "PG602"
    audit = True
    what = "A layer that takes part in one phase only, in a net for use."
    why = "Who looks at the net in one phase does not see what it does in the other."
    example = (_INPUT % 8) + (
        'layer { name: "r" type: "ReLU" bottom: "data" top: "data" include { phase: TRAIN } }'
    )
    mended = (_INPUT % 8) + 'layer { name: "r" type: "ReLU" bottom: "data" top: "data" }'

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for item in net.wires if net.is_deploy else ():
            there = [p for p in ("TRAIN", "TEST") if included(item.value, p)]
            if len(there) < 2:
                where = f"only in phase {there[0]}" if there else "in no phase"
                yield net.diagnostic(self, item, f"takes part {where}.")


class AbsolutePath(Rule):
    code = "PG603"
    audit = True
    what = "A path that is absolute, leads out of its folder, or goes through a shell's home."
    why = "The net reads or writes files of whoever runs it."
    example = 'layer { name: "d" type: "ImageData" top: "a" top: "b" image_data_param { source: "/etc/passwd" } }'
    mended = 'layer { name: "d" type: "ImageData" top: "a" top: "b" image_data_param { source: "list.txt" } }'

    def check(self, net: Context) -> Iterator[Diagnostic]:
        names = ("source", "mean_file", "root_folder", "file_name", "infogain_file", "meanfile")
        for _, _, field in net.walk():
            text = field.value
            if (
                field.name in names
                and isinstance(text, str)
                and re.match(r"^([/~\\]|[A-Za-z]:[/\\])|(.*[/\\])?\.\.([/\\]|$)", text)
            ):
                yield net.diagnostic(
                    self, field, f"{field.name} is {text!r}, outside of the net's folder."
                )


class AbsurdSize(Rule):
    code = "PG604"
    audit = True
    what = "A blob of more than 2 GiB."
    why = "Loading the net takes all memory; no real net needs it."
    example = _INPUT % 50000000
    mended = _INPUT % 8

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for layer in net.layers:
            graph = net.graphs[next(iter(net.graphs))]
            for write in layer.writes:
                shape = graph.shapes.get(write)
                if shape and 4 * math.prod(shape) > LARGEST:
                    yield net.diagnostic(
                        self,
                        layer,
                        f"its top is {'x'.join(map(str, shape))}: "
                        f"{4 * math.prod(shape) / 2**30:.1f} GiB.",
                    )


class DoubleBlobs(Rule):
    code = "PG605"
    audit = True
    what = "Two layers of one name in a caffemodel."
    why = "Which of them counts, depends on who reads the file."
    example = ""
    mended = ""

    def check(self, net: Context) -> Iterator[Diagnostic]:
        if net.weights is None:
            return
        counts = Counter(layer.name for layer in net.weights.layers if layer.blobs)
        for name, count in counts.items():
            if count > 1:
                yield net.diagnostic(
                    self,
                    _item(net, name),
                    f'the caffemodel has {count} layers "{name}" with weights.',
                )


def _item(net: Context, name: str) -> Wire | None:
    return next((item for item in net.wires if item.value.name == name), None)


class WrongBlobs(Rule):
    code = "PG606"
    audit = True
    what = "Weights whose number or shapes are not those that the net declares."
    why = "They belong to another net, or were tampered with."
    example = ""
    mended = ""

    def check(self, net: Context) -> Iterator[Diagnostic]:
        if net.weights is None:
            return
        by_name = {layer.name: layer for layer in net.weights.layers if layer.blobs}
        for layer in net.layers:
            wanted, stored = net.blobs(layer), by_name.get(layer.name)
            if stored is None or not wanted:
                continue
            found = [blob.shape for blob in stored.blobs]
            fits = len(found) == len(wanted) and all(
                f in (w, (1,) * (4 - len(w)) + w) for f, w in zip(found, wanted, strict=True)
            )
            if not fits:
                told, needed = (
                    ", ".join(shape_text(s) for s in shapes) for shapes in (found, wanted)
                )
                yield net.diagnostic(
                    self, layer, f"its weights are {told}, but the net declares {needed}."
                )


class MissingBlobs(Rule):
    code = "PG607"
    audit = True
    what = "A layer without weights in the caffemodel, or weights of a layer that the net lacks."
    why = (
        "Caffe fills what is missing by its fillers, and passes over what is too much, in silence."
    )
    example = ""
    mended = ""

    def check(self, net: Context) -> Iterator[Diagnostic]:
        if net.weights is None:
            return
        stored = {layer.name for layer in net.weights.layers if layer.blobs}
        if not stored:
            yield net.diagnostic(self, None, "the caffemodel holds no weights at all.")
            return
        for layer in net.layers:
            if net.blobs(layer) and layer.name not in stored:
                yield net.diagnostic(self, layer, "the caffemodel has no weights for it.")
        known = {item.value.name for item in net.wires}
        for name in sorted(stored - known):
            yield net.diagnostic(
                self, None, f'the caffemodel has weights of "{name}", which the net lacks.'
            )


class NotFinite(Rule):
    code = "PG608"
    audit = True
    what = "Weights that hold NaN or infinities."
    why = "Everything behind them is NaN; some tools crash."
    example = ""
    mended = ""

    def check(self, net: Context) -> Iterator[Diagnostic]:
        import numpy as np

        from protogen.formats.mapped import pieces

        for layer in net.weights.layers if net.weights is not None else ():
            for index, blob in enumerate(layer.blobs):
                try:
                    array = blob.array()
                except InputError as error:
                    yield net.diagnostic(self, _item(net, layer.name), f"{layer.name}: {error}")
                    continue
                with np.errstate(all="ignore"):
                    bad = sum(int(np.count_nonzero(~np.isfinite(piece))) for piece in pieces(array))
                if bad:
                    yield net.diagnostic(
                        self,
                        _item(net, layer.name),
                        f"{layer.name}: blob {index} holds {bad} values that are no numbers.",
                    )
