"""Transforms of a net's input data: subtract, scale, swap channels, decorrelate, whiten."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protogen._late import Shown
from protogen.errors import ArgumentError, InputError, ProtogenWarning, quantity, warn
from protogen.formats.message import Message
from protogen.geometry import shape_text
from protogen.preprocessing import meanfiles

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, repr=False)
class Transform(Shown):
    """The transform y = M (s(x) - mean) of every pixel, where s reverses the order of channels.

    Attributes:
        mean: a number for each channel, or an array (C, H, W), in the channel order of the net;
            float64. None means 0.
        matrix: M (C, C): scale, 1 / deviation and whitening; float64. (1, 1) is a factor for all
            channels, None means 1.
        swap: whether s reverses the channels; otherwise s has no effect.
    """

    mean: NDArray[np.float64] | None = None
    matrix: NDArray[np.float64] | None = None
    swap: bool = False

    def __post_init__(self) -> None:
        import numpy as np

        for name in ("mean", "matrix"):
            value = getattr(self, name)
            if value is None or isinstance(value, np.ndarray):
                continue
            array = np.asarray(value)
            if array.dtype.kind not in "fiu":
                raise ArgumentError(
                    f"expected an array of numbers, got {type(value).__name__}", subject=name
                )
            least = {"mean": 1, "matrix": 2}[name]  # axes: a number is one for all channels
            sized = array.reshape((1,) * (least - array.ndim) + array.shape)
            object.__setattr__(self, name, sized.astype(np.float64))

    @property
    def does_nothing(self) -> bool:
        """Whether the transform has no effect."""
        return self.mean is None and self.matrix is None and not self.swap

    def apply(self, pictures: NDArray[np.floating]) -> NDArray[np.float32]:
        """Apply the transform to data (N, C, H, W); the result is float32.

        Raises:
            InputError: the mean or the matrix does not fit the data.
        """
        import numpy as np

        transformed = pictures[:, ::-1] if self.swap else pictures
        transformed = transformed.astype(np.float64)
        if self.mean is not None:
            transformed -= self.mean_for(transformed.shape[1:])
        if self.matrix is not None:
            transformed = np.einsum(
                "oc,nchw->nohw", self.matrix_for(transformed.shape[1]), transformed
            )
        return transformed.astype(np.float32)

    def matrix_for(self, channels: int) -> NDArray[np.float64]:
        """Return the matrix (channels, channels); a single factor multiplies the identity.

        Raises:
            InputError: the matrix has another number of channels.
        """
        import numpy as np

        if self.matrix is None or self.matrix.size == 1:
            factor = 1.0 if self.matrix is None else float(self.matrix.reshape(()))
            return np.eye(channels) * factor
        if len(self.matrix) != channels:
            raise InputError(
                f"the matrix has {quantity(len(self.matrix), 'channel')}, but the data has {channels}"
            )
        return self.matrix

    def mean_for(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Return the mean as (C, 1, 1), or (C, H, W); a larger mean is cropped to its centre, as Caffe
        does.

        Args:
            shape: the shape of an image (C, H, W).

        Raises:
            InputError: the mean has another number of channels, or is smaller than the data.
        """
        assert self.mean is not None
        mean = self.mean
        if mean.ndim == 1 or mean.shape[1:] == (1, 1):
            mean = mean.reshape(-1, 1, 1)
        if len(mean) != shape[0] and mean.shape[2] == shape[0] and mean.shape[1] > 1:
            warn(
                ProtogenWarning(
                    f"the mean has the shape {shape_text(mean.shape)}; its axes were read as height, "
                    "width, channels",
                    advice="Caffe's order is channels (blue, green, red), height, width.",
                ),
            )
            mean = mean.transpose(2, 0, 1)
        if len(mean) not in (1, shape[0]):
            raise InputError(
                f"the mean has {quantity(len(mean), 'channel')}, but the data has {shape[0]}",
                advice="A grey mean cannot be used for a colour net.",
            )
        if mean.shape[1:] == (1, 1):
            return mean
        top, left = ((a - b) // 2 for a, b in zip(mean.shape[1:], shape[1:], strict=True))
        if top < 0 or left < 0:
            mean_size, data_size = (shape_text(s) for s in (mean.shape[1:], shape[1:]))
            raise InputError(
                f"the mean image ({mean_size}) is smaller than the data ({data_size})",
                advice="Use a mean image of that size, or a mean for each channel.",
            )
        return mean[:, top : top + shape[1], left : left + shape[2]]


def transform_of(net: Message, folder: str | Path = ".") -> Transform | None:
    """Return the transform of the first data layer whose ``transform_param`` has a mean or a scale.

    Args:
        net: the message of a training net.
        folder: the folder to which the path of the mean file is relative.

    Raises:
        InputError: the mean file cannot be read.
    """
    import numpy as np

    for entry in net.all("layer"):
        layer: Message = entry.value
        if not layer.has("transform_param"):
            continue
        p: Any = layer.transform_param
        mean = None
        if p.mean_file:
            mean = meanfiles.read(Path(folder) / p.mean_file).astype(np.float64)
        elif p.mean_value:
            mean = np.array(list(p.mean_value), np.float64)
        scale = float(p.scale)
        if mean is None and scale == 1:
            continue
        return Transform(mean, None if scale == 1 else np.array([[scale]]))
    return None
