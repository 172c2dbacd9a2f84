"""Other names that forks have for layer types: each is computed as the type of the other name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from protogen.layers.activation import ReLU, Sigmoid, TanH
from protogen.layers.base import LayerType
from protogen.layers.convolution import Convolution, Deconvolution
from protogen.layers.elementwise import Dropout
from protogen.layers.forks.volume_pooling import NdPooling
from protogen.layers.forks.volumes import NdConvolution
from protogen.layers.graph import Layer
from protogen.layers.normalization import LRN
from protogen.layers.pooling import Pooling
from protogen.layers.softmax import Softmax
from protogen.layers.writing import Rewriter


class _Alias(NamedTuple):
    """Another name of a layer type.

    Attributes:
        name: the type string.
        kind: the class of the type that it computes.
        summary: for the table of supported types.
        source: the public repository whose code registers the name.
    """

    name: str
    kind: type[LayerType]
    summary: str
    source: str


_CUDNN = "Forks: {} with the code for cuDNN, whatever the field engine."
_CAFFE = "NVIDIA/caffe"

ALIASES = (
    _Alias("CuDNNConvolution", Convolution, _CUDNN.format("Convolution"), _CAFFE),
    _Alias("CuDNNDeConvolution", Deconvolution, _CUDNN.format("Deconvolution"), _CAFFE),
    _Alias("CuDNNDeconvolution", Deconvolution, _CUDNN.format("Deconvolution"), _CAFFE),
    _Alias("CuDNNPooling", Pooling, _CUDNN.format("Pooling"), _CAFFE),
    _Alias("CuDNNReLU", ReLU, _CUDNN.format("ReLU"), _CAFFE),
    _Alias("CuDNNSigmoid", Sigmoid, _CUDNN.format("Sigmoid"), _CAFFE),
    _Alias("CuDNNTanH", TanH, _CUDNN.format("TanH"), _CAFFE),
    _Alias("CuDNNSoftmax", Softmax, _CUDNN.format("Softmax"), _CAFFE),
    _Alias("CuDNNLRN", LRN, _CUDNN.format("LRN"), _CAFFE),
    _Alias("CuDNNDropout", Dropout, _CUDNN.format("Dropout"), _CAFFE),
    _Alias(
        "CuDNNNdConvolution",
        NdConvolution,
        _CUDNN.format("NdConvolution"),
        "chuckcho/video-caffe",
    ),
    _Alias("CuDNNNdPooling", NdPooling, _CUDNN.format("NdPooling"), "chuckcho/video-caffe"),
)


def _renaming(kind: type[LayerType]) -> Callable[[LayerType, Layer, Rewriter], None]:
    """Return the ``rewrite`` of an alias: it gives the layer the type that it computes, and does what
    that type does with fields of forks."""

    def rewrite(self: LayerType, layer: Layer, r: Rewriter) -> None:
        if kind.rewrite is LayerType.rewrite:
            r.retype(kind.__name__)
        else:
            kind.rewrite(self, replace(layer, type=kind.__name__), r)

    return rewrite


def _define(alias: _Alias) -> None:
    """Define the class of an alias, which registers it."""
    members = {
        "__doc__": alias.summary,
        "__module__": __name__,
        "stock": False,
        "source": alias.source,
        "rewrite": _renaming(alias.kind),
    }
    type(alias.name, (alias.kind,), members)


for _alias in ALIASES:
    _define(_alias)
