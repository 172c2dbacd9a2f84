"""Normalisation, and the scales and biases that go with it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from protogen.graph import Layer, Shape
from protogen.layers.base import LayerType, axis_of, check_bottoms, text
from protogen.layers.elementwise import _Same
from protogen.message import Message


def _channels(shape: Shape) -> int:
    return shape[1] if len(shape) > 1 else 1


class BatchNorm(_Same):
    """(x - mean) / sqrt(variance + eps). Caffe's blobs are mean, variance and the factor that both
    were multiplied with; a Scale layer does gamma and beta."""

    blob_names = ("mean", "variance", "factor")

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        channels = _channels(bottoms[0])
        return [(channels,), (channels,), (1,)]


class BN(_Same):
    """Forks. SegNet: blobs scale and shift, already merged with the statistics. PSPNet (its
    parameters are slope_filler, bias_filler, momentum): slope, bias, mean and variance."""

    blob_names = ("scale", "shift", "mean", "variance")

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        p = layer.params.bn_param
        four = any(p.has(name) for name in ("slope_filler", "bias_filler", "momentum", "frozen"))
        return [(1, _channels(bottoms[0]), 1, 1)] * (4 if four else 2)


class LRN(_Same):
    """x / (k + alpha / n sum x^2)^beta over n channels, or an n x n window within a channel."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        size = layer.params.lrn_param.local_size
        if size % 2 == 0:
            raise layer.error(f"local_size is {size}, but Caffe takes odd sizes only")
        return super().shapes(layer, bottoms)


class MVN(_Same):
    """Zero mean and unit variance of each channel, or of each sample (across_channels)."""


class Normalize(_Same):
    """Forks (SSD): x / norm of its pixel's channels (or of the sample), times a learned scale."""

    blob_names = ("scale",)

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        shared = layer.params.norm_param.channel_shared
        return [()] if shared else [(_channels(bottoms[0]),)]


class PReLU(_Same):
    """x, or slope x below 0; a slope a channel, or one for all (channel_shared)."""

    blob_names = ("slope",)

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        shared = layer.params.prelu_param.channel_shared
        return [()] if shared else [(_channels(bottoms[0]),)]


class _ByAxis(LayerType, abstract=True):
    """What Scale and Bias share: a second operand that is a bottom or a blob, and stands along
    the axes from ``axis`` on."""

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 2)
        wanted = self._operand(layer, bottoms)
        axis = self._axis(layer, bottoms, wanted)
        if bottoms[0][axis : axis + len(wanted)] != wanted:
            raise layer.error(
                f'"{layer.bottoms[1]}" is {text(wanted)}, but axes {axis} and on of '
                f'"{layer.bottoms[0]}" are {text(bottoms[0][axis : axis + len(wanted)])}'
            )
        return [bottoms[0]]

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        return [self._operand(layer, bottoms)] if len(bottoms) == 1 else []

    def param(self, layer: Layer) -> Message:
        raise NotImplementedError

    def _axis(self, layer: Layer, bottoms: Sequence[Shape], operand: Shape) -> int:
        # Caffe takes axis 0 for a scalar, so that it fits a bottom without axes.
        return 0 if not operand else axis_of(layer, self.param(layer).axis, len(bottoms[0]))

    def _operand(self, layer: Layer, bottoms: Sequence[Shape]) -> Shape:
        if len(bottoms) == 2:
            return bottoms[1]
        p = self.param(layer)
        if p.num_axes == 0:
            return ()
        axis = axis_of(layer, p.axis, len(bottoms[0]))
        if p.num_axes == -1:
            return bottoms[0][axis:]
        if p.num_axes < -1 or axis + p.num_axes > len(bottoms[0]):
            raise layer.error(
                f"num_axes {p.num_axes} from axis {axis} is outside of a blob with "
                f"{len(bottoms[0])} axes"
            )
        return bottoms[0][axis : axis + p.num_axes]


class Scale(_ByAxis):
    """x times a blob or a second bottom, plus a bias with ``bias_term``."""

    def param(self, layer: Layer) -> Message:
        found: Message = layer.params.scale_param
        return found

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        bias = [self._operand(layer, bottoms)] if self.param(layer).bias_term else []
        return super().blobs(layer, bottoms) + bias

    def multiply_adds(
        self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape], blobs: Sequence[Shape]
    ) -> int:
        return math.prod(tops[0])


class Bias(_ByAxis):
    """x plus a blob or a second bottom."""

    blob_names = ("bias",)

    def param(self, layer: Layer) -> Message:
        found: Message = layer.params.bias_param
        return found
