"""Layers of Ristretto and of Vitis' quantiser (DECENT): float32 that is rounded to a number format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from protogen.geometry import Shape
from protogen.layers.base import Filling, LayerType, check_bottoms, fields
from protogen.layers.convolution import WINDOW, Convolution, Deconvolution
from protogen.layers.dense import InnerProduct
from protogen.layers.elementwise import _Same
from protogen.layers.forks.rounding import LARGEST_SHIFT, FixedPoint, Format, MiniFloat, powers_of_2
from protogen.layers.graph import Layer
from protogen.layers.normalization import LRN
from protogen.layers.padding import SIDES
from protogen.layers.writing import Emitter, Rewriter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RISTRETTO = "pmgysel/caffe"
_ADVICE = "Use the layer of float32 instead: Convolution, Deconvolution, InnerProduct or LRN."
_PRECISION = fields(
    quantization_param=(
        "precision rounding_scheme bw_layer_in bw_layer_out bw_params fl_layer_in fl_layer_out "
        "fl_params mant_bits exp_bits exp_min exp_max"
    )
)
_INTEL = MappingProxyType(
    {
        f"quantization_param.{name}": "only Intel's fork has it"
        for name in ("scale_in", "scale_out", "scale_params", "is_negative_input", "force_u8_input")
    }
)


class _Trimming:
    """An emitter for the layer of float32 inside of a quantised layer: its blobs are rounded."""

    def __init__(self, e: Emitter, shapes: dict[str, Shape]) -> None:
        self._emitter, self._shapes = e, shapes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._emitter, name)

    def blob(self, layer: Layer, index: int) -> str:
        return self._emitter.array(self.weight(layer, index))

    def weight(self, layer: Layer, index: int) -> NDArray[np.float32]:
        import numpy as np

        values = np.asarray(self._emitter.weight(layer, index), np.float32)
        return trimmed_weights(layer, values, index)

    def shape(self, value: str) -> Shape:
        known = self._shapes.get(value)
        return self._emitter.shape(value) if known is None else known


def _format(layer: Layer, place: str) -> Format:
    """Return the number format of ``layer_in``, ``layer_out`` or ``params``."""
    p = layer.params.quantization_param
    if p.precision == "MINIFLOAT":
        mini = MiniFloat(int(p.mant_bits), int(p.exp_bits))
        mini.check(layer)
        return mini
    fractions = list(getattr(p, f"fl_{place}")) or [16]
    if len(fractions) > 1:
        raise layer.error(f"fl_{place} is set {len(fractions)} times", "Set it once.")
    point = FixedPoint(int(getattr(p, f"bw_{place}")), int(fractions[0]))
    point.check(layer)
    return point


def trimmed_weights(layer: Layer, values: NDArray[np.float32], index: int) -> NDArray[np.float32]:
    """Return a parameter blob of a Ristretto layer as the layer rounds it."""
    p = layer.params.quantization_param
    if p.precision != "INTEGER_POWER_OF_2_WEIGHTS":
        return _format(layer, "params").of_array(values)
    if index:  # the bias stays as it is
        return values
    if max(abs(p.exp_min), abs(p.exp_max)) > LARGEST_SHIFT:
        raise layer.unsupported("exp_min and exp_max are beyond the range of float32")
    return powers_of_2(values, int(p.exp_min), int(p.exp_max))


def _is_random(layer: Layer) -> bool:
    """Return whether the layer rounds at random: always while training."""
    scheme = layer.params.quantization_param.rounding_scheme
    return layer.phase == "TRAIN" or bool(scheme == "STOCHASTIC")


def _lower(of_float: Callable[[Layer, Emitter], None], layer: Layer, e: Emitter) -> None:
    """Emit a Ristretto layer: rounded bottoms, the layer of float32 with rounded blobs, rounded tops.
    The fork rounds the bottoms in their memory, so later layers read the rounded values too."""
    bottoms = [_format(layer, "layer_in").of_value(e, read) for read in layer.reads]
    exact = [f"{write}@exact" for write in layer.writes]
    shapes = {name: e.shape(read) for name, read in zip(bottoms, layer.reads, strict=True)}
    shapes |= {name: e.shape(write) for name, write in zip(exact, layer.writes, strict=True)}
    inner = replace(layer, reads=tuple(bottoms), writes=tuple(exact))
    of_float(inner, cast("Emitter", _Trimming(e, shapes)))
    for name, write in zip(exact, layer.writes, strict=True):
        e.op("Identity", [_format(layer, "layer_out").of_value(e, name)], [write])
    for read, value in zip(layer.reads, bottoms, strict=True):
        e.overwrite(read, value)


class _Rounded(LayerType, abstract=True):
    """Base class of Ristretto's layers with blobs, before the layer of float32 in the bases."""

    harmless = _INTEL
    stock = False
    source = RISTRETTO

    def random(self, layer: Layer) -> bool:
        return _is_random(layer)

    def lower(self, layer: Layer, e: Emitter) -> None:
        _lower(super().lower, layer, e)

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        raise layer.unsupported("no stock layers round", _ADVICE)


class ConvolutionRistretto(_Rounded, Convolution):
    """Forks (Ristretto): Convolution of bottoms and blobs that are rounded to a number format, with
    rounded tops; as on a GPU, where halves round to the even number. In phase TRAIN the blobs are
    rounded at random. The fork rounds the bottom itself, for layers after it too."""

    reads = (
        fields(convolution_param=f"{WINDOW} {SIDES} num_output bias_term group axis") | _PRECISION
    )
    holes = False


class DeconvolutionRistretto(_Rounded, Deconvolution):
    """Forks (Ristretto): Deconvolution, rounded as in ConvolutionRistretto."""

    reads = ConvolutionRistretto.reads


class FcRistretto(_Rounded, InnerProduct):
    """Forks (Ristretto): InnerProduct, rounded as in ConvolutionRistretto."""

    reads = fields(inner_product_param="num_output bias_term axis transpose") | _PRECISION

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        return super().shapes(layer, bottoms)


class LRNRistretto(LRN):
    """Forks (Ristretto): LRN across channels of numbers with few bits (MINIFLOAT), each sum and
    product rounded."""

    reads = fields(
        lrn_param="local_size alpha beta norm_region k",
        quantization_param="precision mant_bits exp_bits",
    )
    harmless = _INTEL
    stock = False
    source = RISTRETTO
    refusal = ("it rounds each sum over the channels, one after the other", _ADVICE)

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        p = layer.params
        if p.quantization_param.precision != "MINIFLOAT":
            raise layer.error("its precision must be MINIFLOAT", "Set it.")
        if p.lrn_param.norm_region != "ACROSS_CHANNELS":
            raise layer.error("its norm_region must be ACROSS_CHANNELS")
        return super().shapes(layer, bottoms)

    def lower(self, layer: Layer, e: Emitter) -> None:
        raise layer.unsupported(*self.refusal)

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        raise layer.unsupported(*self.refusal)


class FixedNeuron(_Same):
    """Forks (Vitis): x rounded to bit_width bits. Its blob is the number of bits after the point.
    Halves round up. With follow_data_layer (the input of the net), digits after the last bit are cut
    off, and there is no saturation. With ``enable: false`` it does nothing."""

    reads = fields(fixed_param="enable bit_width follow_data_layer")
    harmless = MappingProxyType(
        {
            f"fixed_param.{name}": "used only to calibrate"
            for name in ("fixed_method", "moving_average_fraction", "fix_info")
        }
    )
    stock = False
    source = "Xilinx/Vitis-AI"
    blob_names = ("position",)
    trained = False
    limits = "phase TEST"

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(1,)]

    def fillings(
        self, layer: Layer, bottoms: Sequence[Shape], blobs: Sequence[Shape]
    ) -> list[Filling]:
        return [Filling(value=0.0, neutral=4.0)]

    def uses_blobs(self, layer: Layer) -> bool:
        return bool(layer.params.fixed_param.enable)

    def reason_constant(self, layer: Layer, blobs: Sequence[NDArray[np.floating]]) -> str:
        return ""  # a position of 0 means whole numbers

    def lower(self, layer: Layer, e: Emitter) -> None:
        import math

        p, x, write = layer.params.fixed_param, layer.reads[0], layer.writes[0]
        if not p.enable:
            e.op("Identity", [x], [write])
            return
        if layer.phase == "TRAIN":
            raise layer.unsupported(
                "in phase TRAIN the fork calibrates the position by the data", "Use phase TEST."
            )
        point = FixedPoint(int(p.bit_width), math.floor(float(e.weight(layer, 0).flat[0])))
        point.check(layer)
        scaled = e.value("Mul", x, e.array(2.0**point.fraction))
        step = e.array(2.0**-point.fraction)
        if p.follow_data_layer:
            cut = e.value("Mul", e.value("Floor", e.value("Abs", scaled)), e.value("Sign", scaled))
            e.op("Mul", [cut, step], [write])
            return
        rounded = e.value("Round", scaled)  # halves to the even number
        is_half = e.value("Equal", e.value("Sub", scaled, rounded), e.array(0.5))
        up = e.value("Add", rounded, e.array(1.0))
        rounded = e.value("Mul", e.value("Where", is_half, up, rounded), step)
        e.op("Clip", [rounded, *map(e.array, point.limits())], [write])
