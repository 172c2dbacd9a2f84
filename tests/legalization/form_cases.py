"""Layers that have forms: type, parameters and shapes of the bottoms, one case a line.

After the shapes may follow a kind of values of the inputs: positive, small, or gap (the two largest
channels differ).
"""

from __future__ import annotations

from dataclasses import dataclass

_TABLE = """
Clip | clip_param { min: -1.5 max: 4 } | 2x3x4x5
Clip | clip_param { min: 0 max: 6 } | 2x3x4x5
Clip | clip_param { min: -3.4e38 max: 1 } | 2x3
Clip | clip_param { min: 0.5 max: 3.4e38 } | 2x3x4
ReLU6 | | 2x3x4x5
ReLU6 | relu6_param { threshold: 2 } | 1x3
ReLU6 | relu6_param { negative_slope: 0.1 } | 1x3x2x2
ReLU | relu_param { negative_slope: 0.1 } | 2x3x4x5
ReLU | relu_param { negative_slope: 1 } | 2x3x4x5
PReLU | | 2x3x4x5
PReLU | prelu_param { channel_shared: true } | 2x3x4x5
AbsVal | | 2x3x4x5
Swish | | 2x3x4x5
Swish | swish_param { beta: 1.7 } | 2x3x4x5
HardSigmoid | hardsigmoid_param { alpha: 0.2 beta: 0.4 } | 2x3x4x5
HardSwish | | 2x3x4x5
Mish | | 2x3x4x5
ELU | elu_param { alpha: 0.7 } | 2x3x4x5
BNLL | | 2x3x4x5
TanH | | 2x3x4x5
Sigmoid | | 2x3x4x5
Exp | | 2x3x4x5
Exp | exp_param { base: 2 scale: 0.5 shift: 0.3 } | 2x3x4x5
Log | | 2x3x4x5 positive
Log | log_param { base: 10 scale: 2 shift: 0.5 } | 2x3x4x5 positive
Power | power_param { scale: 2 shift: 0.5 } | 2x3x4x5
Power | power_param { power: 2 } | 2x3x4x5
Power | power_param { power: 3 scale: 2 shift: 0.1 } | 2x3
Power | power_param { power: 4 } | 2x3
Power | power_param { power: -1 } | 2x3x4x5 positive
Power | power_param { power: 0.5 } | 2x3 positive
Power | power_param { power: 1.5 } | 2x3 positive
Power | power_param { power: 2.5 scale: 2 shift: 0.5 } | 2x3 positive
Power | power_param { power: -0.5 shift: 0.1 } | 2x3x4x5 positive
Scale | | 2x3x4x5
Scale | scale_param { bias_term: true } | 2x3x4x5
Scale | scale_param { axis: 2 num_axes: 2 bias_term: true } | 2x3x4x5
Scale | scale_param { axis: 1 num_axes: 3 } | 2x3x4x5
Scale | scale_param { axis: 3 } | 2x3x4x5
Scale | scale_param { axis: 2 } | 2x3x4
Scale | scale_param { num_axes: 0 } | 2x3x4x5
Scale | scale_param { axis: 0 } | 2x3x4x5 2x3
Scale | scale_param { axis: 0 } | 2x3x4x5 2x3x4x5
Scale | scale_param { axis: 2 } | 2x3x4x5 4x5
Scale | scale_param { axis: 1 } | 1x3x4x5 3
Bias | | 2x3x4x5
Bias | bias_param { axis: 2 num_axes: 2 } | 2x3x4x5
Bias | bias_param { axis: 0 } | 2x3x4x5 2x3
Bias | bias_param { axis: 0 } | 2x3x4x5 2x3x4x5
Eltwise | eltwise_param { coeff: 1 coeff: -2 } | 2x3x4x5 2x3x4x5
Eltwise | eltwise_param { coeff: 0.5 coeff: 2 coeff: 1 } | 2x3x4x5 2x3x4x5 2x3x4x5
Eltwise | eltwise_param { operation: PROD } | 2x3x4x5 2x3x4x5 2x3x4x5
Eltwise | eltwise_param { operation: MAX } | 2x3x4x5 2x3x4x5 2x3x4x5 2x3x4x5
Eltwise | eltwise_param { operation: MIN } | 2x3x4x5 2x3x4x5
Eltwise | eltwise_param { operation: DIV } | 2x3x4x5 2x3x4x5 positive
Eltwise | eltwise_param { operation: SUB } | 2x3x4x5 2x3x4x5
Axpy | | 2x3x1x1 2x3x4x5 2x3x4x5
BatchNorm | | 2x3x4x5
BatchNorm | batch_norm_param { use_global_stats: false } | 1x3x4x5
BatchNorm | batch_norm_param { use_global_stats: false eps: 1e-3 } | 1x6x7
Convolution | convolution_param { num_output: 4 kernel_size: 3 pad: 1 bias_term: false } | 2x3x6x7
Convolution | convolution_param { num_output: 4 kernel_size: 3 dilation: 2 pad: 2 } | 2x3x8x9
Convolution | convolution_param { num_output: 4 kernel_size: 3 dilation: 1 dilation: 2 } | 2x3x8x9
Convolution | convolution_param { num_output: 4 kernel_size: 3 stride_h: 2 stride_w: 1 } | 2x3x8x9
Convolution | convolution_param { num_output: 4 kernel_size: 1 pad: 1 } | 2x3x5x6
Convolution | convolution_param { num_output: 6 kernel_size: 3 group: 2 pad: 1 } | 2x4x5x6
Convolution | convolution_param { num_output: 6 kernel_size: 3 group: 3 pad: 1 bias_term: false } | 2x3x5x6
Convolution | convolution_param { num_output: 7 kernel_size: 1 axis: 2 } | 2x3x5x6
Convolution | convolution_param { num_output: 7 axis: 3 } | 2x3x5x6
ConvolutionDepthwise | convolution_param { num_output: 3 kernel_size: 3 pad: 1 } | 2x3x5x6
DepthwiseConvolution | convolution_param { num_output: 3 kernel_size: 3 pad: 1 } | 2x3x5x6
Deconvolution | convolution_param { num_output: 4 kernel_size: 4 stride: 2 pad: 1 group: 2 } | 2x6x4x5
Deconvolution | convolution_param { num_output: 4 kernel_size: 3 dilation: 2 } | 2x3x4x5
Deconvolution | convolution_param { num_output: 4 kernel_size: 2 stride: 2 } | 2x3x4x5
Deconvolution | convolution_param { num_output: 3 kernel_size: 3 bias_term: false } | 2x3x4x5
InnerProduct | inner_product_param { num_output: 4 transpose: true } | 2x3x4x5
InnerProduct | inner_product_param { num_output: 4 axis: 2 } | 2x3x4
InnerProduct | inner_product_param { num_output: 4 axis: 3 } | 2x3x4x5
InnerProduct | inner_product_param { num_output: 4 axis: 2 } | 2x3x4x5
InnerProduct | inner_product_param { num_output: 4 } | 2x3x4x5
InnerProduct | inner_product_param { num_output: 4 } | 2x7
Pooling | pooling_param { pool: MAX kernel_size: 3 stride: 2 pad: 1 round_mode: FLOOR } | 2x3x12x16
Pooling | pooling_param { pool: MAX kernel_size: 2 stride: 2 round_mode: FLOOR } | 2x3x11x16
Pooling | pooling_param { pool: AVE kernel_size: 2 stride: 2 round_mode: FLOOR } | 2x3x11x15
Pooling | pooling_param { pool: MAX kernel_size: 3 stride: 2 } | 2x3x7x9
Pooling | pooling_param { pool: AVE kernel_size: 3 stride: 1 pad: 1 } | 2x3x6x7
Pooling | pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 } | 2x3x6x6
Pooling | pooling_param { pool: AVE kernel_size: 3 stride: 2 } | 2x3x8x8
Pooling | pooling_param { pool: MAX kernel_size: 5 stride: 1 pad: 2 } | 2x3x4x5
Pooling | pooling_param { pool: MAX kernel_size: 9 stride: 1 pad: 4 } | 2x3x6x5
Pooling | pooling_param { pool: MAX kernel_size: 1 stride: 2 } | 2x3x7x9
Pooling | pooling_param { pool: AVE global_pooling: true } | 2x3x4x5
Pooling | pooling_param { pool: MAX kernel_h: 4 kernel_w: 5 } | 2x3x4x5
Permute | permute_param { order: 0 order: 2 order: 3 order: 1 } | 2x3x4x5
Permute | permute_param { order: 0 order: 2 order: 1 order: 3 } | 2x3x4x5
Permute | permute_param { order: 0 order: 3 order: 2 order: 1 } | 2x3x4x5
Permute | permute_param { order: 1 order: 0 order: 2 } | 2x3x4
Permute | permute_param { order: 0 order: 2 order: 1 order: 3 } | 2x3x1x5
Permute | permute_param { order: 0 order: 1 order: 4 order: 2 order: 5 order: 3 } | 1x2x3x3x4x5
ShuffleChannel | shuffle_channel_param { group: 2 } | 2x6x4x5
ShuffleChannel | shuffle_channel_param { group: 3 } | 2x6x4x5
PixelShuffle | pixelshuffle_param { upscale_factor: 2 } | 2x8x3x4
PixelShuffle | pixelshuffle_param { upscale_factor: 3 } | 1x18x3x4
Slice | slice_param { axis: 1 slice_point: 1 slice_point: 3 } | 2x6x4x5 | 3
Slice | slice_param { axis: 2 slice_point: 1 } | 2x6x4x5 | 2
Slice | slice_param { slice_dim: 1 } | 2x6x4x5 | 2
Slice | slice_param { axis: 3 } | 2x6x4x9 | 3
Flatten | | 2x3x4x5
Flatten | flatten_param { axis: 2 } | 2x3x4x5
Reshape | reshape_param { shape { dim: 0 dim: -1 } } | 2x3x4x5
Reshape | reshape_param { shape { dim: -1 dim: 4 } axis: 1 num_axes: 1 } | 2x12x5
Crop | crop_param { axis: 2 offset: 1 offset: 2 } | 2x3x7x8 2x3x4x5
Crop | crop_param { axis: 1 offset: 1 } | 2x6x7x8 2x3x4x5
Split | | 2x3x4x5
Tile | tile_param { axis: 1 tiles: 3 } | 2x4x5x6
Tile | tile_param { axis: 2 tiles: 4 } | 2x3x1x5
Tile | tile_param { axis: 3 tiles: 4 } | 2x3x2x1
Tile | tile_param { axis: 1 tiles: 4 } | 2x1x6
Concat | concat_param { concat_dim: 1 } | 2x3x4x5 2x1x4x5
Concat | concat_param { axis: 2 } | 2x3x4x5 2x3x1x5 2x3x2x5
MVN | | 2x3x4x5
MVN | mvn_param { normalize_variance: false } | 2x3x4x5
MVN | mvn_param { across_channels: true eps: 1e-4 } | 2x3x4x5
Normalize | norm_param { across_spatial: false channel_shared: false } | 2x3x4x5
Normalize | norm_param { across_spatial: false channel_shared: true } | 2x3x4x5
Normalize | norm_param { across_spatial: true } | 2x3x4x5
LRN | lrn_param { local_size: 3 alpha: 0.5 beta: 0.75 } | 2x6x4x5
LRN | lrn_param { local_size: 3 alpha: 0.5 beta: 0.75 k: 2 } | 2x6x4x5
LRN | lrn_param { local_size: 3 alpha: 0.5 norm_region: WITHIN_CHANNEL } | 2x3x5x6
Reduction | reduction_param { operation: MEAN axis: 1 } | 2x3x4x5
Reduction | reduction_param { operation: SUM axis: 2 coeff: 0.5 } | 2x3x4x5
Reduction | reduction_param { operation: SUMSQ axis: 1 } | 2x7
Reduction | reduction_param { operation: ASUM axis: 2 } | 2x3x4
Reduction | reduction_param { operation: MAX axis: 2 } | 2x3x4x5
ArgMax | argmax_param { axis: 1 } | 2x7x4x5 gap
Interp | interp_param { zoom_factor: 2 } | 2x3x4x5
Interp | interp_param { height: 7 width: 3 } | 2x3x4x5
Interp | interp_param { height: 7 width: 9 pad_beg: -1 } | 2x3x6x6
BilinearInterpolate | bilinear_interpolate_param { dst_h: 7 dst_w: 9 align_corners: true } | 2x3x4x5
BilinearInterpolate | bilinear_interpolate_param { dst_h: 8 dst_w: 10 align_corners: false } | 2x3x4x5
Upsample | upsample_param { scale: 2 } | 2x3x4x5
ExactResize | exact_resize_param { height: 8 width: 10 } | 2x3x4x5
ExactResize | exact_resize_param { height: 7 width: 9 mode: "nearest" align: "asymmetric" rounding: "floor" } | 2x3x4x5
ExactResize | exact_resize_param { height: 8 width: 10 mode: "nearest" } | 2x3x4x5
ExactResize | exact_resize_param { height: 9 width: 10 mode: "cubic" } | 1x3x4x5
ExactResize | exact_resize_param { height: 7 width: 9 align: "align_corners" } | 2x3x4x5
ExactResize | exact_resize_param { height: 2 width: 3 } | 2x3x4x6
ExactResize | exact_resize_param { height: 8 width: 10 scale_h: 2.1 scale_w: 2.1 mode: "nearest" align: "asymmetric" rounding: "floor" } | 2x3x4x5
ExactResize | exact_resize_param { height: 2 width: 3 scale_h: 0.6 scale_w: 0.6 mode: "nearest" align: "asymmetric" rounding: "floor_or_ceil" } | 2x3x4x5
ExactResize | exact_resize_param { height: 7 width: 9 scale_h: 1.75 scale_w: 1.75 } | 2x3x4x5
ExactResize | exact_resize_param { height: 7 width: 7 scale_h: 1.5 scale_w: 1.5 align: "align_corners" } | 2x3x5x5
Dropout | dropout_param { dropout_ratio: 0.4 scale_train: false } | 2x3x4x5
"""


@dataclass(frozen=True)
class Case:
    """One layer: its type, its parameters, the shapes of its bottoms, the number of its tops, and the
    kind of the values of its inputs."""

    type: str
    params: str
    shapes: tuple[tuple[int, ...], ...]
    tops: int = 1
    values: str = ""

    @property
    def id(self) -> str:
        return f"{self.type} {self.params} {' '.join(map(str, self.shapes))}"


def cases() -> list[Case]:
    """Return the cases of the table."""
    result = []
    for line in _TABLE.strip().splitlines():
        type_, params, rest, *tops = (part.strip() for part in line.split("|"))
        words = rest.split()
        shapes = [word.strip("x") for word in words if word[0].isdigit()]
        result.append(
            Case(
                type_,
                params,
                tuple(tuple(map(int, word.split("x"))) for word in shapes),
                int(tops[0]) if tops else 1,
                next((word for word in words if not word[0].isdigit()), ""),
            )
        )
    return result
