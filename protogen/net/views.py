"""Blobs that share memory in Caffe, and the effect of in-place layers on them.

Reshape, Flatten, Split and a few others make no copy: their tops are views of their bottom. A layer
that works in place on one of these blobs changes all of them. A layer that reads another of these
blobs later reads the changed values in Caffe, although the prototxt does not show it.
"""

from __future__ import annotations

from protogen.layers import kind_of
from protogen.layers.graph import Graph, Layer


def overwritten(graph: Graph) -> tuple[dict[str, Layer], list[tuple[Layer, str, Layer]]]:
    """Return the values whose memory a later layer changes, each with that layer; and the affected
    reads: the reading layer, the value, and the layer that changed it.
    """
    shared: dict[str, list[str]] = {}  # for each value, all values in the same memory at this point
    changed: dict[str, Layer] = {}
    affected = []
    for layer in graph.layers:
        affected += [(layer, read, changed[read]) for read in layer.reads if read in changed]
        kind = kind_of(layer)
        view = bool(layer.reads) and kind is not None and kind.is_view(layer)
        for top, write in zip(layer.tops, layer.writes, strict=True):
            if view:
                group = shared.setdefault(layer.reads[0], [layer.reads[0]])
                group.append(write)
            else:
                group = [write]
                if top in layer.bottoms:
                    source = layer.reads[layer.bottoms.index(top)]
                    changed |= dict.fromkeys(shared.pop(source, ()), layer)
                    changed.pop(source, None)  # the blob itself continues as the new value
            shared[write] = group
    return changed, affected
