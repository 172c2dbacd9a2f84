"""Layers for which OpenCV 4's Caffe importer computes the same numbers as Caffe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from protogen.layers.graph import Layer
from protogen.layers.normalization import uses_batch_statistics

_ALWAYS = (
    "AbsVal", "BNLL", "Convolution", "Crop", "Dropout", "ELU", "Eltwise", "Exp",
    "Flatten", "HardSigmoid", "HardSwish", "Input", "Permute", "Power", "PriorBox", "ReLU", "ReLU6",
    "Sigmoid", "Softmax", "Split", "TanH",
)  # fmt: skip


def _pooling(p: Any) -> bool:
    """Return whether OpenCV reads this PoolingParameter as Caffe does."""
    fits = p.global_pooling or p.kernel_size >= max(p.stride, 1)
    return fits and not (p.has("round_mode") or p.has("ceil_mode") or p.has("kernel_h"))


# Layer types that OpenCV reads as Caffe does only under a condition.
_CONDITIONS: dict[str, Callable[[Layer], bool]] = {
    "BatchNorm": lambda x: not uses_batch_statistics(x),
    "Concat": lambda x: len(x.bottoms) > 1 and not x.params.concat_param.has("concat_dim"),
    "Deconvolution": lambda x: set(x.params.convolution_param.dilation) <= {1},
    "InnerProduct": lambda x: (
        x.params.inner_product_param.axis == 1 and not x.params.inner_product_param.transpose
    ),
    "LRN": lambda x: x.params.lrn_param.k == 1,
    "Pooling": lambda x: _pooling(x.params.pooling_param),
    "Scale": lambda x: (
        len(x.bottoms) == 1
        and x.params.scale_param.axis == 1
        and x.params.scale_param.num_axes == 1
    ),
}


def reads_right(layer: Layer) -> bool:
    """Return whether OpenCV supports the layer and, with these parameters, agrees with Caffe."""
    return layer.type in _ALWAYS or (layer.type in _CONDITIONS and _CONDITIONS[layer.type](layer))
