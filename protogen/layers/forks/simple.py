"""Simple functions of forks: activations, and layers that do nothing while testing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from protogen.geometry import Shape
from protogen.layers.activation import rectify
from protogen.layers.base import LayerType, axis_of, check_bottoms, check_rank, fields
from protogen.layers.elementwise import _Same, affine
from protogen.layers.forks.flow.correlation import SOURCE as FLOWNET2
from protogen.layers.forks.synopsys.pointwise import SeLU, SeLUDropout
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter, Rewriter

if TYPE_CHECKING:
    from protogen.layers.values import Drawn, Rng

HAPPYNEAR = "happynear/caffe-windows"
OPENVINO = "openvinotoolkit/training_toolbox_caffe"
CAMBRICON = "Cambricon/caffe"


class NegReLU(_Same):
    """Forks (FlowNet2): min(x, 0) + negative_slope max(x, 0)."""

    reads = fields(relu_param="negative_slope")
    stock = False
    source = FLOWNET2
    activation = "rectifier"
    written_in_place = True

    def lower(self, layer: Layer, e: Emitter) -> None:
        flipped = f"{layer.writes[0]}@flipped"
        slope = float(layer.params.relu_param.negative_slope)
        rectify(e, e.value("Neg", layer.reads[0]), flipped, slope)
        e.op("Neg", [flipped], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        flip = {"power_param": {"scale": -1.0}}
        slope = float(layer.params.relu_param.negative_slope)
        x = r.add("Power", layer.bottoms, role="flipped", params=flip)
        params = {"relu_param": {"negative_slope": slope}} if slope else {}
        x = r.add("ReLU", [x], role="relu", top=x, params=params)
        r.add("Power", [x], params=flip)


class Insanity(_Same):
    """Forks (happynear): the randomised leaky rectifier x, or x / a below 0. In phase TRAIN each a is
    random between lb and ub; in phase TEST it is (ub - lb) / (ln |ub| - ln |lb|)."""

    reads = fields(insanity_param="lb ub")
    stock = False
    source = HAPPYNEAR
    activation = "rectifier"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        p = layer.params.insanity_param
        check_rank(layer, bottoms, 2, 32)
        if not p.ub > p.lb or p.lb * p.ub == 0:
            raise layer.error(f"ub must be above lb, and both not 0, got lb {p.lb:g}, ub {p.ub:g}")
        return super().shapes(layer, bottoms)

    def random(self, layer: Layer) -> bool:
        return layer.phase == "TRAIN"

    def _slope(self, layer: Layer) -> float:
        p = layer.params.insanity_param
        difference = math.log(abs(float(p.ub))) - math.log(abs(float(p.lb)))
        if difference == 0:
            raise layer.error(f"lb {p.lb:g} and ub {p.ub:g} have one size, so a is infinite")
        return difference / (float(p.ub) - float(p.lb))

    def lower(self, layer: Layer, e: Emitter) -> None:
        rectify(e, layer.reads[0], layer.writes[0], self._slope(layer))

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        if layer.phase == "TRAIN":
            raise layer.unsupported("no stock layer has random slopes")
        r.add("ReLU", layer.bottoms, params={"relu_param": {"negative_slope": self._slope(layer)}})


class CReLU(LayerType):
    """Forks (Cambricon): max(x, 0) and max(-x, 0), joined along concat_axis; negative_slope as in
    ReLU."""

    reads = fields(crelu_param="negative_slope concat_axis")
    stock = False
    source = CAMBRICON
    activation = "rectifier"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        axis = self._axis(layer, bottoms[0])
        shape = bottoms[0]
        return [(*shape[:axis], 2 * shape[axis], *shape[axis + 1 :])]

    def _axis(self, layer: Layer, shape: Shape) -> int:
        return axis_of(layer, layer.params.crelu_param.concat_axis, len(shape), "concat_axis")

    def lower(self, layer: Layer, e: Emitter) -> None:
        x, slope = layer.reads[0], float(layer.params.crelu_param.negative_slope)
        parts = [f"{layer.writes[0]}@{side}" for side in ("positive", "negative")]
        for read, part in zip((x, e.value("Neg", x)), parts, strict=True):
            rectify(e, read, part, slope)
        e.op("Concat", parts, [layer.writes[0]], axis=self._axis(layer, e.shape(x)))

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        slope = float(layer.params.crelu_param.negative_slope)
        params = {"relu_param": {"negative_slope": slope}} if slope else {}
        flip = {"power_param": {"scale": -1.0}}
        flipped = r.add("Power", layer.bottoms, role="flipped", params=flip)
        negative = r.add("ReLU", [flipped], role="negative", top=flipped, params=params)
        positive = r.add("ReLU", layer.bottoms, role="positive", params=params)
        axis = self._axis(layer, r.shape(layer.bottoms[0]))
        r.add("Concat", [positive, negative], params={"concat_param": {"axis": axis}})


class Arccos(_Same):
    """Forks (happynear): arccos(x); NaN outside of -1 .. 1."""

    stock = False
    source = HAPPYNEAR

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return rng.uniform(-1, 1, shapes[0]).astype("float32")

    def lower(self, layer: Layer, e: Emitter) -> None:
        e.op("Acos", [layer.reads[0]], [layer.writes[0]])


class Cosine(_Same):
    """Forks (happynear): cos(x)."""

    stock = False
    source = HAPPYNEAR

    def lower(self, layer: Layer, e: Emitter) -> None:
        e.op("Cos", [layer.reads[0]], [layer.writes[0]])


class Truncation(_Same):
    """Forks (happynear): min(max(x, lower_bound), upper_bound)."""

    reads = fields(truncation_param="lower_bound upper_bound")
    stock = False
    source = HAPPYNEAR
    activation = "rectifier"

    def rests_at(self, layer: Layer) -> tuple[float, ...]:
        p = layer.params.truncation_param
        return (p.lower_bound, p.upper_bound)

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.truncation_param
        x = e.value("Max", layer.reads[0], e.array(float(p.lower_bound)))
        e.op("Min", [x, e.array(float(p.upper_bound))], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        p = layer.params.truncation_param
        if p.lower_bound > p.upper_bound:
            raise layer.unsupported("lower_bound is above upper_bound")
        r.add(
            "Clip",
            layer.bottoms,
            params={"clip_param": {"min": p.lower_bound, "max": p.upper_bound}},
        )


class SoftTruncation(_Same):
    """Forks (happynear): 1 - exp(-x / c)."""

    reads = fields(soft_truncation_param="c")
    stock = False
    source = HAPPYNEAR
    activation = "saturating"

    def _factor(self, layer: Layer) -> float:
        c = float(layer.params.soft_truncation_param.c)
        if c == 0:
            raise layer.error("c must not be 0")
        return -1 / c

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        self._factor(layer)
        return super().shapes(layer, bottoms)

    def lower(self, layer: Layer, e: Emitter) -> None:
        power = e.value("Exp", affine(e, layer.reads[0], self._factor(layer), 0.0))
        e.op("Sub", [e.array(1.0), power], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        x = r.add(
            "Exp", layer.bottoms, role="exp", params={"exp_param": {"scale": self._factor(layer)}}
        )
        r.add("Power", [x], params={"power_param": {"scale": -1.0, "shift": 1.0}})


class _TestIdentity(_Same, abstract=True):
    """Base of layers that change their bottom at random in phase TRAIN and not in phase TEST."""

    stock = False
    computes = False
    passes_signal = True

    def random(self, layer: Layer) -> bool:
        return layer.phase == "TRAIN"

    def lower(self, layer: Layer, e: Emitter) -> None:
        e.op("Identity", [layer.reads[0]], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        if layer.phase == "TRAIN":
            raise layer.unsupported("no stock layer computes its random values")
        r.add("Power", layer.bottoms)


class Noise(_TestIdentity):
    """Forks (happynear): in phase TRAIN, x + noise: normal with gaussian_std times the size of x, or
    uniform within uniform_range, around bias. In phase TEST it does nothing."""

    source = HAPPYNEAR
    harmless = MappingProxyType(
        {
            f"noise_param.{name}": "training only"
            for name in ("gaussian_std", "uniform_range", "bias", "saltpepper_param")
        }
    )
    reads = fields(noise_param="")


class ScaleFilter(_TestIdentity):
    """Forks (OpenVINO): in phase TRAIN, each channel of each sample times a random number from min_scale
    to max_scale. In phase TEST it does nothing."""

    source = OPENVINO
    harmless = MappingProxyType(
        {f"scale_filter_param.{name}": "training only" for name in ("min_scale", "max_scale")}
    )
    reads = fields(scale_filter_param="")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_rank(layer, bottoms, 4, 4)
        return super().shapes(layer, bottoms)


class SeLu(SeLU):
    """Forks: as SeLU."""

    source = "soeaver/caffe-model"


class SeLuDropout(SeLUDropout):
    """Forks: as SeLUDropout."""

    source = "soeaver/caffe-model"


class GRN(_Same):
    """Forks (OpenVINO): x / sqrt(bias + sum of x^2 over the channels of each pixel)."""

    reads = fields(grn_param="bias")
    harmless = MappingProxyType({"grn_param.dummy_backward": "training only"})
    stock = False
    source = OPENVINO

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_rank(layer, bottoms, 2, 4)
        if layer.params.grn_param.bias < 0:
            raise layer.error(f"bias must be at least 0, got {layer.params.grn_param.bias:g}")
        return super().shapes(layer, bottoms)

    def in_place(self, layer: Layer) -> bool:
        return False  # its gradient reads both blobs; the source copies the bottom first

    def lower(self, layer: Layer, e: Emitter) -> None:
        x = layer.reads[0]
        total = e.reduce("ReduceSum", e.value("Mul", x, x), [1])
        norm = e.value("Sqrt", affine(e, total, 1.0, float(layer.params.grn_param.bias)))
        e.op("Div", [x, norm], [layer.writes[0]])


class Slope(LayerType):
    """Forks (happynear): two more channels: y / height and x / width of each pixel."""

    stock = False
    source = HAPPYNEAR

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        check_rank(layer, bottoms, 4, 4)
        n, c, h, w = bottoms[0]
        return [(n, c + 2, h, w)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        import numpy as np

        h, w = e.shape(layer.reads[0])[2:]
        maps = np.stack(np.meshgrid(np.arange(h) / h, np.arange(w) / w, indexing="ij"))
        batch = e.value("Slice", e.value("Shape", layer.reads[0]), e.array([0]), e.array([1]))
        size = e.value("Concat", batch, e.array([2, h, w]), axis=0)
        more = e.value("Expand", e.array(maps[None].astype(np.float32)), size)
        e.op("Concat", [layer.reads[0], more], [layer.writes[0]], axis=1)


class Gram(LayerType):
    """Forks (happynear): the products of all pairs of channels, summed over the pixels, divided by the
    number of pixels and of channels; top N x C x C x 1."""

    stock = False
    source = HAPPYNEAR

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        check_rank(layer, bottoms, 4, 4)
        n, c = bottoms[0][:2]
        return [(n, c, c, 1)]

    def lower(self, layer: Layer, e: Emitter) -> None:
        c, h, w = e.shape(layer.reads[0])[1:]
        rows = e.value("Reshape", layer.reads[0], e.array([0, c, h * w]))
        product = e.value("MatMul", rows, e.value("Transpose", rows, perm=[0, 2, 1]))
        product = e.value("Mul", product, e.array(1 / (h * w * c)))
        e.op("Unsqueeze", [product, e.array([3])], [layer.writes[0]])
