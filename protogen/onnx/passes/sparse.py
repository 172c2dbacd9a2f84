"""Replaces sparse constants of a model by dense ones."""

from __future__ import annotations

from math import prod

from onnx import GraphProto, numpy_helper

from protogen.errors import UnsupportedError
from protogen.net.shapes import MAX_COUNT


def store_densely(graph: GraphProto) -> None:
    """Replace sparse initializers by dense ones, in place.

    Raises:
        UnsupportedError: a constant has more values than a blob of Caffe can have.
    """
    import numpy as np

    for sparse in graph.sparse_initializer:
        name, shape = sparse.values.name, tuple(sparse.dims)
        if prod(shape) > MAX_COUNT:
            raise UnsupportedError(
                f"has {prod(shape)} values, but a blob of Caffe has at most {MAX_COUNT}",
                subject=f'sparse constant "{name}"',
            )
        values, indices = (numpy_helper.to_array(one) for one in (sparse.values, sparse.indices))
        dense = np.zeros(shape, values.dtype)
        if indices.ndim == 2:  # one row of coordinates per value
            dense[tuple(indices.T)] = values
        else:
            dense.reshape(-1)[indices] = values
        graph.initializer.append(numpy_helper.from_array(dense, name))
    del graph.sparse_initializer[:]
