"""Weights on the report page: histograms, and the first filters as images."""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from protogen.formats.pairs import check_ids
from protogen.formats.weightfiles import read_with_id
from protogen.net.net import Net, load

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.formats.weightfiles import Weights
    from protogen.layers.graph import Layer
    from protogen.net.build import BuildOptions

BARS = 31  # bars of a histogram
SAMPLE = 1 << 20  # values of a blob that a histogram counts at most
FILTERS = 128  # filters of the first layer that are shown at most


class StoredWeights:
    """The weights of a file for one or several pages. The file is read at most once, and each of its
    histograms is computed once.

    Args:
        path: a caffemodel, or a file of Caffe's HDF5 format.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path
        self._histograms: dict[tuple[Any, ...], dict[str, Any]] = {}

    @cached_property
    def _stored(self) -> tuple[Weights, str]:
        return read_with_id(self.path)

    @property
    def arrays(self) -> Weights:
        """The blobs by the name of the layer.

        Raises:
            InputError: the file cannot be read or is damaged.
        """
        return self._stored[0]

    @cached_property
    def _owners(self) -> set[int]:
        """The identities of the objects whose memory the arrays use."""
        return {id(_owner(array)) for arrays in self.arrays.values() for array in arrays}

    def load(self, path: str | Path, **options: Unpack[BuildOptions]) -> Net:
        """Load a net with these weights, as ``pg.load`` does.

        Raises:
            InputError: the net is invalid, the weights do not fit it, or the two files were not written
                together.
        """
        shapes = {name: [array.shape for array in arrays] for name, arrays in self.arrays.items()}
        options["weight_shapes"] = shapes
        net = load(path, **options)
        if net.source is not None:
            check_ids(net.source, self._stored[1], self.path)
        if self.arrays:
            net.take_weights(self.arrays)
            net.fill_diagonals()
        return net

    def histogram(self, array: NDArray[np.floating]) -> dict[str, Any]:
        """Return the histogram of an array of a net of ``load``."""
        if id(_owner(array)) not in self._owners:  # a blob in the text of the net
            return histogram(array)
        key = (array.ctypes.data, array.shape, array.strides, array.dtype.str)
        if key not in self._histograms:
            self._histograms[key] = histogram(array)
        return self._histograms[key]


def _owner(array: Any) -> Any:
    """Return the object whose memory an array uses."""
    while True:
        base = array.obj if isinstance(array, memoryview) else getattr(array, "base", None)
        if base is None:
            return array
        array = base


def histogram(array: NDArray[np.floating]) -> dict[str, Any]:
    """Return the histogram of an array's values.

    ``bars`` counts at most 2^20 values at equal distances, in bins of equal width from ``low`` to
    ``high``. ``mean`` and ``std`` are those of all finite values. ``bad`` is the number of values
    that are NaN or infinite. An array without finite values has only ``bad``.
    """
    import numpy as np

    from protogen.formats.mapped import pieces

    low, high, total, squares, bad = math.inf, -math.inf, 0.0, 0.0, 0
    for piece in pieces(array):
        flat = np.asarray(piece, np.float32).ravel()
        finite = np.isfinite(flat)
        if not finite.all():
            bad += int(flat.size - finite.sum())
            flat = flat[finite]
        if flat.size:
            low, high = min(low, float(flat.min())), max(high, float(flat.max()))
            total += float(flat.sum(dtype=np.float64))
            squares += float(np.square(flat, dtype=np.float64).sum())
    count = array.size - bad
    if not count:
        return {"bad": bad}
    mean = total / count
    flat = array.reshape(-1)[:: -(-array.size // SAMPLE)]
    flat = flat[np.isfinite(flat)].astype(np.float64)
    ends = (low, high) if low < high else (low - 0.5, high + 0.5)
    bars = np.histogram(flat, BARS, ends)[0]
    return {
        "bars": bars.tolist(),
        "low": ends[0],
        "high": ends[1],
        "mean": mean,
        "std": math.sqrt(max(squares / count - mean * mean, 0.0)),
        "bad": bad,
    }


def first_filters(net: Net) -> tuple[Layer, str] | None:
    """Return the first Convolution and its filters as an image.

    None if there is none, or if its filters do not have 1 or 3 channels and at least 2 rows.
    """
    import numpy as np

    from protogen.report.maps import contact_sheet
    from protogen.report.page import picture_of

    for layer in net.layers:
        if layer.type != "Convolution":
            continue
        arrays = net.weights.get(layer.name)
        if not arrays or arrays[0].ndim != 4 or arrays[0].shape[1] not in (1, 3):
            return None
        kernels = np.asarray(arrays[0][:FILTERS], np.float32)
        if kernels.shape[2] < 2 or not np.isfinite(kernels).all():
            return None
        low, high = float(kernels.min()), float(kernels.max())
        kernels = (kernels - low) / (high - low or 1.0)
        kernels = np.repeat(np.repeat(kernels, 4, axis=2), 4, axis=3)
        # The channel order of Caffe is blue, green, red; that of the image is red, green, blue.
        sheets = [contact_sheet(kernels[:, c]) for c in range(kernels.shape[1])][::-1]
        sheet = sheets[0] if len(sheets) == 1 else np.stack(sheets, axis=2)
        return layer, picture_of(sheet)
    return None
