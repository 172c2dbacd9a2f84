"""Blobs that share memory in Caffe, and what a layer in place then does to the others.

Reshape, Flatten, Split and a few more make no copy: their tops are views of their bottom. A layer that
works in place on one of them changes all. A net that reads another of them afterwards reads the changed
values in Caffe, which its text does not tell.
"""

from __future__ import annotations

from protogen.layers import kind_of
from protogen.layers.graph import Graph, Layer


def overwritten(graph: Graph) -> tuple[dict[str, Layer], list[tuple[Layer, str, Layer]]]:
    """Values whose memory a later layer changes, with that layer; and the reads that see it: who
    reads, which value, who changed it.
    """
    shared: dict[str, list[str]] = {}  # for each value all that share its memory as it is now
    changed: dict[str, Layer] = {}
    seen = []
    for layer in graph.layers:
        seen += [(layer, read, changed[read]) for read in layer.reads if read in changed]
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
                    changed.pop(source, None)  # the blob itself goes on under its new value
            shared[write] = group
    return changed, seen
