"""One class per Caffe layer type, a module per family."""

from protogen.layers import convolution, endpoints
from protogen.layers.base import Emitter, LayerType, layer_type

__all__ = ["Emitter", "LayerType", "convolution", "endpoints", "layer_type"]
