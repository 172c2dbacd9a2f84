"""Layers of metric learning and face recognition (happynear, SphereFace, OpenVINO)."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from protogen.formats.message import Message
from protogen.geometry import Shape, shape_text
from protogen.layers.base import (
    Filling,
    LayerType,
    Window,
    axis_of,
    check_bottoms,
    check_rank,
    fields,
)
from protogen.layers.checking import check_tops
from protogen.layers.elementwise import BOOL
from protogen.layers.forks.simple import HAPPYNEAR
from protogen.layers.graph import Layer
from protogen.layers.labels import clipped_labels
from protogen.layers.values import whole
from protogen.layers.writing import Emitter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.layers.values import Drawn, Rng

SPHEREFACE = "wy1iu/sphereface"
_MARGIN = "num_output type axis base gamma lambda_min"
_CONSTANT = "no effect while gamma is 0; with another gamma, nets that use lambda are refused"
_WAY_OUT = "End the net before it with --to-blob: it is used for training."


def chosen(e: Emitter, label: str, rows: int, classes: int) -> str:
    """Emit a mask (rows, classes) that is true at the class of each label."""
    index = clipped_labels(e, label, classes)
    if rows:
        index = e.value("Slice", index, *map(e.array, ([0], [rows])))
    ones = e.value("OneHot", index, e.array(classes), e.array([0.0, 1.0]))
    return e.value("Cast", ones, to=BOOL)


class InnerDistance(LayerType):
    """Forks (happynear): the distance of each sample from each of num_output vectors: the sum of
    squared differences (L2) or of absolute ones (L1). The vectors are the blob, or a second bottom.
    With ``normalize``, the blob's vectors have length 1."""

    reads = fields(inner_distance_param="num_output axis transpose distance_type normalize")
    harmless = MappingProxyType(
        {
            "inner_distance_param.bias_term": "the fork does not read it",
            "inner_distance_param.update_center_only": "training only",
        }
    )
    stock = False
    source = HAPPYNEAR
    weighted = True

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 2)
        p = layer.params.inner_distance_param
        if p.distance_type not in ("L1", "L2"):
            raise layer.error(f'distance_type must be "L1" or "L2", got "{p.distance_type}"')
        axis = axis_of(layer, p.axis, len(bottoms[0]))
        length = math.prod(bottoms[0][axis:])
        count = bottoms[1][0] if len(bottoms) > 1 else int(p.num_output)
        if count < 1:
            raise layer.error("num_output is 0 or missing", "Set it to the number of vectors.")
        if len(bottoms) > 1 and math.prod(bottoms[1]) != count * length:
            raise layer.error(
                f'bottom "{layer.bottoms[1]}" must hold vectors of {length} values, got '
                f"{shape_text(bottoms[1])}"
            )
        return [(*bottoms[0][:axis], count)]

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        if len(bottoms) > 1:
            return []
        p = layer.params.inner_distance_param
        length = math.prod(bottoms[0][axis_of(layer, p.axis, len(bottoms[0])) :])
        return [(length, p.num_output) if p.transpose else (p.num_output, length)]

    def fillings(
        self, layer: Layer, bottoms: Sequence[Shape], blobs: Sequence[Shape]
    ) -> list[Filling]:
        return [Filling("inner_distance_param.weight_filler")][: len(blobs)]

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.inner_distance_param
        before, after = e.shape(layer.reads[0]), e.shape(layer.writes[0])
        axis = axis_of(layer, p.axis, len(before))
        rows, length = math.prod(before[:axis]), math.prod(before[axis:])
        x = e.value("Reshape", layer.reads[0], e.array([rows, 1, length]))
        if len(layer.reads) > 1:
            vectors = e.value("Reshape", layer.reads[1], e.array([1, after[-1], length]))
        else:
            vectors = e.array(self._vectors(layer, e, after[-1], length))
        difference = e.value("Sub", x, vectors)
        sizes = (
            e.value("Mul", difference, difference)
            if p.distance_type == "L2"
            else e.value("Abs", difference)
        )
        total = e.reduce("ReduceSum", sizes, [2], keepdims=False)
        e.op("Identity", [e.reshape(total, (rows, after[-1]), after)], [layer.writes[0]])

    def _vectors(self, layer: Layer, e: Emitter, count: int, length: int) -> NDArray[np.float32]:
        import numpy as np

        p = layer.params.inner_distance_param
        if p.transpose:
            raise layer.unsupported(
                "with transpose the fork reads the blob in the order of vectors, not of columns",
                "Store the vectors without transpose.",
            )
        vectors = e.weight(layer, 0).astype(np.float32).reshape(1, count, length)
        if not p.normalize:
            return vectors
        size = np.sqrt((vectors * vectors).sum(axis=2, keepdims=True) + np.float32(1e-6))
        unit: NDArray[np.float32] = vectors / size
        return unit


class LabelSpecificAdd(LayerType):
    """Forks (happynear, OpenVINO): scores; bottom 1 holds labels. In phase TRAIN the score of the label
    is increased by bias if it is above -bias (happynear), or reduced by |bias| if it is above |bias|
    (OpenVINO). Phase TEST passes the scores through; a second top is 0 there."""

    reads = fields(label_specific_add_param="")
    harmless = MappingProxyType(
        {
            f"label_specific_add_param.{name}": "phase TEST does not use it"
            for name in (
                "bias",
                "transform_test",
                "bias_base",
                "bias_gamma",
                "bias_power",
                "bias_min",
                "bias_max",
                "iteration",
            )
        }
    )
    stock = False
    source = HAPPYNEAR

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        check_tops(layer, 1, 2)
        if bottoms[0][:1] != bottoms[1][:1]:
            raise layer.error("its bottoms must have the same number of samples")
        return [bottoms[0], (1,)][: len(layer.tops)]

    def in_place(self, layer: Layer) -> bool:
        return True

    def without_gradient(self, layer: Layer) -> Collection[int]:
        return (1,)

    def meaning(self, layer: Layer) -> str:
        p = layer.params.label_specific_add_param
        return layer.dialect if layer.phase == "TRAIN" and p.bias > 0 else ""

    def decide(self, layer: Layer) -> None:
        p = layer.params.label_specific_add_param
        if layer.phase == "TRAIN" and p.bias > 0 and layer.dialect not in ("happynear", "openvino"):
            raise layer.unsupported(
                "the type is ambiguous in phase TRAIN: a bias above 0 is added to the score of the label "
                "by happynear, and subtracted from it by OpenVINO's training toolbox",
                "Set --dialect happynear or --dialect openvino.",
            )

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return whole(rng, math.prod(shapes[0][1:]), shapes[1]) if index == 1 else None

    def lower(self, layer: Layer, e: Emitter) -> None:
        p, x = layer.params.label_specific_add_param, layer.reads[0]
        bias = float(p.bias)
        if layer.phase == "TRAIN":
            if p.has("bias_base"):
                raise layer.unsupported("each iteration changes its bias", _WAY_OUT)
            if layer.dialect == "openvino":
                bias = -abs(bias)
            x = self._moved(e, layer, x, bias)
        e.op("Identity", [x], [layer.writes[0]])
        if len(layer.writes) > 1:
            value = bias if layer.phase == "TRAIN" else 0.0
            e.op("Identity", [e.array([value])], [layer.writes[1]])

    def _moved(self, e: Emitter, layer: Layer, x: str, bias: float) -> str:
        shape = e.shape(x)
        classes = math.prod(shape[1:])
        flat = e.value("Reshape", x, e.array([shape[0], classes]))
        mask = chosen(e, layer.reads[1], shape[0], classes)
        mask = e.value("And", mask, e.value("Greater", flat, e.array(-bias)))
        moved = e.value("Where", mask, e.value("Add", flat, e.array(bias)), flat)
        return e.reshape(moved, (shape[0], classes), shape)


class _Margin(LayerType, abstract=True):
    """Base of the inner products with an angular margin; bottoms vectors and labels.

    With t the angle between a vector and the weights of a class, the score of the label is
    |x| |w| f(t) instead of |x| |w| cos(t). f is (-1)^k cos(m t) - 2k where t is between k and k + 1
    times pi / m; m is 1 (SINGLE) to 4 (QUADRUPLE). The scores are (f + lambda cos) / (1 + lambda).
    lambda, which a second top holds, depends on the iteration unless gamma is 0.
    """

    stock = False
    weighted = True
    block = ""
    unit_weights = False

    def _params(self, layer: Layer) -> Message:
        params: Message = getattr(layer.params, self.block)
        return params

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        check_tops(layer, 1, 2)
        p = self._params(layer)
        if p.num_output < 1:
            raise layer.error("num_output is 0 or missing", "Set it to the number of classes.")
        axis = axis_of(layer, p.axis, len(bottoms[0]))
        if bottoms[0][:1] != bottoms[1][:1]:
            raise layer.error("its bottoms must have the same number of samples")
        return [(*bottoms[0][:axis], int(p.num_output)), (1,)][: len(layer.tops)]

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        p = self._params(layer)
        axis = axis_of(layer, p.axis, len(bottoms[0]))
        return [(int(p.num_output), math.prod(bottoms[0][axis:]))]

    def fillings(
        self, layer: Layer, bottoms: Sequence[Shape], blobs: Sequence[Shape]
    ) -> list[Filling]:
        outputs, length = blobs[0]
        return [Filling(f"{self.block}.weight_filler", fan_in=length, fan_out=outputs)]

    def multiply_adds(
        self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape], blobs: Sequence[Shape]
    ) -> int:
        return math.prod(bottoms[0]) * int(self._params(layer).num_output)

    def without_gradient(self, layer: Layer) -> Collection[int]:
        return (1,)

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return whole(rng, int(self._params(layer).num_output), shapes[1]) if index == 1 else None

    def _lambda(self, layer: Layer) -> float:
        p = self._params(layer)
        if p.gamma and (p.type != "SINGLE" or len(layer.tops) > 1):
            raise layer.unsupported("each iteration changes its lambda (gamma is not 0)", _WAY_OUT)
        return max(float(p.base), float(p.lambda_min))

    def lower(self, layer: Layer, e: Emitter) -> None:
        import numpy as np

        p, before = self._params(layer), e.shape(layer.reads[0])
        axis = axis_of(layer, p.axis, len(before))
        if axis != 1:
            raise layer.unsupported(f"axis {p.axis} is unsupported", "Use axis 1.")
        mixing = self._lambda(layer)
        weight = e.weight(layer, 0).astype(np.float32)
        length = np.sqrt((weight * weight).sum(axis=1))
        if self.unit_weights:
            weight, length = weight / length[:, None], np.ones_like(length)
        x = e.value("Flatten", layer.reads[0], axis=1)
        scores = e.value("MatMul", x, e.array(weight.T))
        if p.type != "SINGLE":
            norm = e.value("Sqrt", e.reduce("ReduceSum", e.value("Mul", x, x), [1]))
            sizes = e.value("Mul", norm, e.array(length[None])) if not self.unit_weights else norm
            eps = 0.0 if self.unit_weights else 1e-9
            divisor = e.value("Add", sizes, e.array(eps)) if eps else sizes
            margin = self._margin(e, str(p.type), e.value("Div", scores, divisor))
            mask = chosen(e, layer.reads[1], before[0], int(p.num_output))
            own = e.value("Where", mask, e.value("Mul", sizes, margin), scores)
            total = e.value("Add", own, e.value("Mul", scores, e.array(mixing)))
            scores = e.value("Mul", total, e.array(1 / (1 + mixing)))
        e.op("Identity", [scores], [layer.writes[0]])
        if len(layer.writes) > 1:
            e.op("Identity", [e.array([mixing])], [layer.writes[1]])

    def _margin(self, e: Emitter, type_: str, cos: str) -> str:
        """Emit f of the cosines, in the forks' polynomials."""
        sign, square = e.value("Sign", cos), e.value("Mul", cos, cos)
        one, two, three, four, eight = map(e.array, (1.0, 2.0, 3.0, 4.0, 8.0))
        if type_ == "DOUBLE":  # 2 sign cos^2 - 1
            return e.value("Sub", e.value("Mul", two, e.value("Mul", sign, square)), one)
        if type_ == "TRIPLE":
            outer = e.value("Sign", e.value("Sub", e.value("Abs", cos), e.array(0.5)))
            shift = e.value("Sub", e.value("Mul", sign, e.value("Add", outer, one)), two)
            cubic = e.value("Mul", e.value("Sub", e.value("Mul", four, square), three), cos)
            return e.value("Add", e.value("Mul", outer, cubic), shift)
        inner = e.value("Sign", e.value("Sub", e.value("Mul", two, square), one))
        outer = e.value("Mul", sign, inner)
        shift = e.value("Sub", e.value("Add", e.value("Mul", two, sign), outer), three)
        quartic = e.value("Mul", e.value("Mul", eight, square), e.value("Sub", square, one))
        return e.value("Add", e.value("Mul", outer, e.value("Add", quartic, one)), shift)


class MarginInnerProduct(_Margin):
    """Forks (SphereFace, happynear): angular margin (A-Softmax); the weights have length 1."""

    block = "margin_inner_product_param"
    reads = fields(margin_inner_product_param=_MARGIN)
    harmless = MappingProxyType(
        {f"margin_inner_product_param.{name}": _CONSTANT for name in ("power", "iteration")}
    )
    source = SPHEREFACE
    unit_weights = True


class LargeMarginInnerProduct(_Margin):
    """Forks (happynear): angular margin (L-Softmax)."""

    block = "largemargin_inner_product_param"
    reads = fields(largemargin_inner_product_param=_MARGIN)
    harmless = MappingProxyType(
        {f"largemargin_inner_product_param.{name}": _CONSTANT for name in ("power", "iteration")}
    )
    source = HAPPYNEAR


class Pairwise(LayerType):
    """Forks (happynear): each sample of bottom 0 with each sample of bottom 1: their sum (times coeff),
    product or larger value; top M x N x C."""

    reads = fields(pairwise_param="operation coeff")
    stock = False
    source = HAPPYNEAR

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 2, 2)
        check_rank(layer, bottoms, 2, 4)
        p = layer.params.pairwise_param
        if len(p.coeff) not in (0, 2) or (p.coeff and p.operation == "PROD"):
            raise layer.error("coeff must be set for both bottoms, and for SUM only")
        for name, shape in zip(layer.bottoms, bottoms, strict=True):
            if shape[1] != bottoms[0][1] or math.prod(shape[2:]) != 1:
                raise layer.error(
                    f'bottom "{name}" must hold vectors of {bottoms[0][1]} channels, got '
                    f"{shape_text(shape)}"
                )
        return [(bottoms[0][0], bottoms[1][0], bottoms[0][1])]

    def lower(self, layer: Layer, e: Emitter) -> None:
        p, (m, n, c) = layer.params.pairwise_param, e.shape(layer.writes[0])
        a = e.value("Reshape", layer.reads[0], e.array([m, 1, c]))
        b = e.value("Reshape", layer.reads[1], e.array([1, n, c]))
        if p.coeff:
            a, b = (
                e.value("Mul", x, e.array(float(f))) for x, f in zip((a, b), p.coeff, strict=True)
            )
        op = {"SUM": "Add", "PROD": "Mul", "MAX": "Max"}[str(p.operation)]
        e.op(op, [a, b], [layer.writes[0]])


class MovingNormalize(LayerType):
    """Forks (happynear): x divided by the moving average of the length of its vectors, which each run
    changes; a second top holds the average."""

    stock = False
    source = HAPPYNEAR
    blob_names = ("average",)
    trained = False
    refusal = ("each run changes the length that it divides by", _WAY_OUT)

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        check_tops(layer, 1, 2)
        return [bottoms[0], (1,)][: len(layer.tops)]

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(1,)]

    def uses_blobs(self, layer: Layer) -> bool:
        return False  # the layer is refused, whatever its average is
