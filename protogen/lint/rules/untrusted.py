"""PG6: untrusted files. Off in ``protogen check``, on in ``protogen check --untrusted``."""

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
LARGEST = 2**31  # bytes of one blob's values; Caffe cannot read a larger file


class PythonLayer(Rule):
    code = "PG601"
    untrusted = True
    what = "A Python layer."
    why = "Loading the net imports a Python module and runs its code, by design and without notice."
    example = (_INPUT % 8) + (
        'layer { name: "p" type: "Python" bottom: "data" top: "p" python_param { module: "m" layer: "L" } }'
    )
    fixed = (_INPUT % 8) + 'layer { name: "p" type: "ReLU" bottom: "data" top: "p" }'

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for item in net.wires:
            if item.type == "Python":
                p = item.value.python_param
                yield net.diagnostic(
                    self,
                    item,
                    f"the layer runs class {p.layer or '?'} of the Python module {p.module or '?'} when the "
                    "net is loaded.",
                )


class HiddenLayer(Rule):
    code = "PG602"
    untrusted = True
    what = "A layer that is active in one phase only, in a deploy net."
    why = "A reader who looks at the net in one phase does not see what it does in the other."
    example = (_INPUT % 8) + (
        'layer { name: "r" type: "ReLU" bottom: "data" top: "data" include { phase: TRAIN } }'
    )
    fixed = (_INPUT % 8) + 'layer { name: "r" type: "ReLU" bottom: "data" top: "data" }'

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for item in net.wires if net.is_deploy else ():
            phases = [p for p in ("TRAIN", "TEST") if included(item.value, p)]
            if len(phases) < 2:
                where = f"only in phase {phases[0]}" if phases else "in no phase"
                yield net.diagnostic(self, item, f"the layer is active {where}.")


class AbsolutePath(Rule):
    code = "PG603"
    untrusted = True
    what = "A path that is absolute, leads out of the net's folder, or starts with ~ (a home directory)."
    why = "The net reads or writes files of the user who runs it."
    example = 'layer { name: "d" type: "ImageData" top: "a" top: "b" image_data_param { source: "/etc/passwd" } }'
    fixed = 'layer { name: "d" type: "ImageData" top: "a" top: "b" image_data_param { source: "list.txt" } }'

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
                    self, field, f"{field.name} is {text!r}, outside the net's folder."
                )


class AbsurdSize(Rule):
    code = "PG604"
    untrusted = True
    what = "A blob of more than 2 GiB."
    why = "Loading the net uses all memory. No real net needs such a blob."
    example = _INPUT % 50000000
    fixed = _INPUT % 8

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for layer in net.layers:
            graph = net.graphs[next(iter(net.graphs))]
            for write in layer.writes:
                shape = graph.shapes.get(write)
                if shape and 4 * math.prod(shape) > LARGEST:
                    size = "x".join(map(str, shape))
                    yield net.diagnostic(
                        self,
                        layer,
                        f'the top "{write}" has the shape {size} and needs '
                        f"{4 * math.prod(shape) / 2**30:.1f} GiB.",
                    )


class DoubleBlobs(Rule):
    code = "PG605"
    untrusted = True
    what = "Two layers with the same name in a caffemodel."
    why = "Which of them is used depends on the program that reads the file."
    example = ""
    fixed = ""

    def check(self, net: Context) -> Iterator[Diagnostic]:
        if net.weights is None:
            return
        counts = Counter(layer.name for layer in net.weights.layers if layer.blobs)
        for name, count in counts.items():
            if count > 1:
                yield net.diagnostic(
                    self,
                    _item(net, name),
                    f'the caffemodel has {count} layers with weights under the name "{name}".',
                )


def _item(net: Context, name: str) -> Wire | None:
    """Return the first layer of the net with this name."""
    return next((item for item in net.wires if item.value.name == name), None)


class WrongBlobs(Rule):
    code = "PG606"
    untrusted = True
    what = "Weights whose number or shapes differ from what the net declares."
    why = "The weights belong to another net, or the file was manipulated."
    example = ""
    fixed = ""

    def check(self, net: Context) -> Iterator[Diagnostic]:
        if net.weights is None:
            return
        by_name = {layer.name: layer for layer in net.weights.layers if layer.blobs}
        for layer in net.layers:
            declared, stored = net.blobs(layer), by_name.get(layer.name)
            if stored is None or not declared:
                continue
            shapes = [blob.shape for blob in stored.blobs]
            match = len(shapes) == len(declared) and all(
                shape in (expected, (1,) * (4 - len(expected)) + expected)
                for shape, expected in zip(shapes, declared, strict=True)
            )
            if not match:
                actual, expected_text = (
                    ", ".join(shape_text(shape) for shape in some) for some in (shapes, declared)
                )
                yield net.diagnostic(
                    self,
                    layer,
                    f"the shapes of the weights are {actual} in the caffemodel, but {expected_text} "
                    "in the net.",
                )


class MissingBlobs(Rule):
    code = "PG607"
    untrusted = True
    what = (
        "A layer without weights in the caffemodel, or weights of a layer that is not in the net."
    )
    why = (
        "Caffe silently fills missing weights with the fillers, and silently ignores extra weights."
    )
    example = ""
    fixed = ""

    def check(self, net: Context) -> Iterator[Diagnostic]:
        if net.weights is None:
            return
        stored = {layer.name for layer in net.weights.layers if layer.blobs}
        if not stored:
            yield net.diagnostic(self, None, "the caffemodel contains no weights.")
            return
        for layer in net.layers:
            if net.blobs(layer) and layer.name not in stored:
                yield net.diagnostic(self, layer, "the caffemodel has no weights for this layer.")
        known = {item.value.name for item in net.wires}
        for name in sorted(stored - known):
            yield net.diagnostic(
                self,
                None,
                f'the caffemodel has weights for the layer "{name}", which is not in the net.',
            )


class NotFinite(Rule):
    code = "PG608"
    untrusted = True
    what = "Weights that are NaN or infinite."
    why = "All results after this layer are NaN, and some tools crash."
    example = ""
    fixed = ""

    def check(self, net: Context) -> Iterator[Diagnostic]:
        import numpy as np

        from protogen.formats.mapped import pieces

        for layer in net.weights.layers if net.weights is not None else ():
            for index, blob in enumerate(layer.blobs):
                try:
                    array = blob.array()
                except InputError as error:
                    yield net.diagnostic(
                        self,
                        _item(net, layer.name),
                        f'weights of the layer "{layer.name}": {error}',
                    )
                    continue
                with np.errstate(all="ignore"):
                    bad = sum(int(np.count_nonzero(~np.isfinite(piece))) for piece in pieces(array))
                if bad:
                    yield net.diagnostic(
                        self,
                        _item(net, layer.name),
                        f"{bad} NaN or infinite value{'s' if bad != 1 else ''} in blob {index} of the "
                        f'layer "{layer.name}".',
                    )
