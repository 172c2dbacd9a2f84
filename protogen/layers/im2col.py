"""Im2col."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import MappingProxyType

from protogen import geometry
from protogen.geometry import Shape, shape_text
from protogen.layers.base import (
    LayerType,
    Window,
    axis_of,
    check_bottoms,
    check_room,
    fields,
)
from protogen.layers.convolution import WINDOW, window
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter


class Im2col(LayerType):
    """Caffe: each window becomes a column of channels. ``convolution_param`` as in Convolution."""

    reads = fields(convolution_param=f"{WINDOW} axis")

    harmless = MappingProxyType(
        dict.fromkeys(
            (f"convolution_param.{name}" for name in ("num_output", "bias_term", "group")),
            "Im2col has no weights: it copies windows into columns",
        )
    )

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 1)
        p = layer.params.convolution_param
        axis = axis_of(layer, p.axis, len(bottoms[0]))
        w = window(layer, p, len(bottoms[0]) - axis - 1)
        if not w.kernel:
            raise layer.error("its bottom has no spatial axes")
        shape = bottoms[0]
        sizes = zip(shape[axis + 1 :], w.kernel, w.stride, w.pad, w.dilation, strict=True)
        spatial = [geometry.conv_out(*size) for size in sizes]
        if min(spatial) < 1:
            raise layer.error(
                f"the kernel is larger than the input ({shape_text(shape[axis + 1 :])})"
            )
        return [(*shape[:axis], shape[axis] * math.prod(w.kernel), *spatial)]

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        p = layer.params.convolution_param
        axis = axis_of(layer, p.axis, len(bottoms[0]))
        return window(layer, p, len(bottoms[0]) - axis - 1)

    def lower(self, layer: Layer, e: Emitter) -> None:
        import numpy as np

        # A grouped convolution, with one kernel per window position: 1 there and 0 elsewhere.
        shape = e.shape(layer.reads[0])
        p = layer.params.convolution_param
        axis = axis_of(layer, p.axis, len(shape))
        w = window(layer, p, len(shape) - axis - 1)
        positions, channels = math.prod(w.kernel), shape[axis]
        check_room(layer, positions**2 * channels)
        one_hot = np.eye(positions, dtype=np.float32).reshape(positions, 1, *w.kernel)
        weight = e.array(np.tile(one_hot, (channels, *[1] * (len(w.kernel) + 1))))
        after = e.shape(layer.writes[0])
        sizes = (after[axis + 1 :], shape[axis + 1 :], w.kernel, w.stride, w.pad, w.dilation)
        attrs = {
            "kernel_shape": w.kernel,
            "strides": w.stride,
            "pads": (*w.pad, *map(geometry.end_pad, *sizes)),
            "dilations": w.dilation,
            "group": channels,
        }
        batch = math.prod(shape[:axis])
        x = e.reshape(layer.reads[0], shape, (batch, *shape[axis:]))
        x = e.value("Conv", x, weight, **attrs)
        e.op("Identity", [e.reshape(x, (batch, *after[axis:]), after)], [layer.writes[0]])
