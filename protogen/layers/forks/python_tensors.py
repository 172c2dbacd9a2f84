"""Python layers of Synopsys' Caffe, and those of V-Net and OSVOS."""

from __future__ import annotations

import math
from collections.abc import Sequence

from protogen.geometry import Shape, shape_text
from protogen.layers.base import check_bottoms
from protogen.layers.checking import check_tops
from protogen.layers.elementwise import FLOAT
from protogen.layers.forks.data import OneImage
from protogen.layers.forks.python_layers import READS, KnownPython, settings
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter

SYNOPSYS = "foss-for-synopsys-dwc-arc-processors/synopsys-caffe"


class TensorShape(KnownPython):
    """Synopsys: the lengths of the axes of its bottom, as numbers."""

    python_class = ("shape", "TensorShape")
    source = SYNOPSYS
    reads_values = False

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        check_tops(layer, 1, 1)
        return [(len(bottoms[0]),)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        lengths = e.value("Shape", layer.reads[0])
        e.op("Cast", [lengths], [layer.writes[0]], to=FLOAT)


class BroadcastEltwise(KnownPython):
    """Synopsys: two blobs, broadcast by numpy's rules. ``operation`` in param_str is 0 product, 1 sum
    with ``coeff``, 2 maximum, 3 quotient or 4 minimum."""

    python_class = ("eltwise", "Eltwise")
    source = SYNOPSYS

    def _operation(self, layer: Layer) -> tuple[int, list[float]]:
        """Return the operation, and the coefficients of a sum."""
        values = settings(layer)
        operation, coeff = values.get("operation"), values.get("coeff")
        if not isinstance(operation, int) or not 0 <= operation <= 4:
            raise layer.error(f"param_str must have 'operation' from 0 to 4, got {operation!r}")
        if operation != 1:
            return operation, []
        good = isinstance(coeff, list | tuple) and len(coeff) >= 2
        if not good or not all(isinstance(x, int | float) for x in coeff or ()):
            raise layer.error(f"param_str must have 'coeff', two numbers, got {coeff!r}")
        return operation, [float(x) for x in (coeff or ())[:2]]

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        check_tops(layer, 1, 1)
        self._operation(layer)
        rank = max(map(len, bottoms))
        long = [(1,) * (rank - len(shape)) + tuple(shape) for shape in bottoms]
        if any(a != b and 1 not in (a, b) for a, b in zip(*long, strict=True)):
            raise layer.error(
                f"its bottoms of shapes {shape_text(bottoms[0])} and {shape_text(bottoms[1])} cannot be "
                "broadcast to each other"
            )
        return [tuple(max(pair) for pair in zip(*long, strict=True))]

    def lower(self, layer: Layer, e: Emitter) -> None:
        operation, coeff = self._operation(layer)
        reads = list(layer.reads)
        for i, factor in enumerate(coeff):
            reads[i] = reads[i] if factor == 1 else e.value("Mul", reads[i], e.array(factor))
        e.op(("Mul", "Add", "Max", "Div", "Min")[operation], reads, [layer.writes[0]])


class ReshapeByBlob(KnownPython):
    """Synopsys: its first bottom in the shape that the values of its second bottom are. Its shape is
    known only when it runs, so it is the last layer of a net."""

    python_class = ("reshape", "Reshape")
    source = SYNOPSYS
    refusal = (
        "the values of its second bottom are the shape of its top",
        "End the net at its first bottom with --to-blob, or use a Reshape layer.",
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape | None]:
        check_bottoms(layer, 2, 2)
        check_tops(layer, 1, 1)
        if len(bottoms[1]) != 1:
            raise layer.error(
                f'"{layer.bottoms[1]}" must have 1 axis, got shape {shape_text(bottoms[1])}'
            )
        return [None]


class DiceLoss(KnownPython):
    """V-Net: a Dice coefficient of scores and labels."""

    python_class = ("pyLayer", "DiceLoss")
    source = "faustomilletari/VNet"
    refusal = (
        "public versions of its class differ: in the number of classes, in the threshold of the labels, and "
        "in whether it is 1 minus the coefficient",
        "End the net at its bottoms with --to-blob, or register the class with pg.layer.",
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        check_tops(layer, 1, 1)
        if math.prod(bottoms[0]) % max(1, math.prod(bottoms[1])):
            raise layer.error(
                "its first bottom must hold a score of each class for each label, got shapes "
                f"{shape_text(bottoms[0])} and {shape_text(bottoms[1])}"
            )
        return [(1,)]


class OSVOSDataLayer(OneImage):
    """OSVOS: a colour image of a list of files, and its mask, as large as the image; its tops are inputs of
    the net."""

    python_class = ("osvos_layer", "OSVOSDataLayer")
    source = "kmaninis/OSVOS-caffe"
    reads = READS

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        check_bottoms(layer, 0, 0)
        check_tops(layer, 2, 2)
        return super().shapes(layer, bottoms)
