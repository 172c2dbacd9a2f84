"""What is done to data before a net: subtract, scale, swap channels, decorrelate, whiten."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protogen.errors import InputError
from protogen.formats.message import Message
from protogen.geometry import shape_text
from protogen.preprocessing import meanfiles

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Transform:
    """y = M (s(x) - mean) for every pixel, where s swaps the channels' order if ``swap`` says so.

    ``mean`` is a number for each channel, or an array (C, H, W), in the order that the net eats.
    ``matrix`` (C, C) holds scale, 1 / deviation and whitening; (1, 1) is a number for all channels,
    None stands for 1. All float64.
    """

    mean: NDArray[np.float64] | None = None
    matrix: NDArray[np.float64] | None = None
    swap: bool = False

    @property
    def does_nothing(self) -> bool:
        return self.mean is None and self.matrix is None and not self.swap

    def apply(self, pictures: NDArray[np.floating]) -> NDArray[np.float32]:
        """The data (N, C, H, W) after the transform, as a net in float32 gets it.

        Raises:
            InputError: the mean has other channels or another size.
        """
        import numpy as np

        made = pictures[:, ::-1] if self.swap else pictures
        made = made.astype(np.float64)
        if self.mean is not None:
            made -= self.mean_for(made.shape[1:])
        if self.matrix is not None:
            made = np.einsum("oc,nchw->nohw", self.matrix_for(made.shape[1]), made)
        return made.astype(np.float32)

    def matrix_for(self, channels: int) -> NDArray[np.float64]:
        """The matrix (channels, channels): one number stands for that times the identity.

        Raises:
            InputError: it has other channels.
        """
        import numpy as np

        if self.matrix is None or self.matrix.size == 1:
            factor = 1.0 if self.matrix is None else float(self.matrix.reshape(()))
            return np.eye(channels) * factor
        if len(self.matrix) != channels:
            raise InputError(
                f"the factors are for {len(self.matrix)} channels, but the data has {channels}"
            )
        return self.matrix

    def mean_for(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """The mean as (C, 1, 1), or (C, H, W): one that is larger is cropped at its centre, as Caffe
        does.

        Raises:
            InputError: it has other channels, or is smaller.
        """
        assert self.mean is not None
        mean = self.mean
        if mean.ndim == 1 or mean.shape[1:] == (1, 1):
            mean = mean.reshape(-1, 1, 1)
        if len(mean) not in (1, shape[0]):
            raise InputError(
                f"the mean has {len(mean)} channels, but the data has {shape[0]}",
                advice="A grey mean fits no colour net.",
            )
        if mean.shape[1:] == (1, 1):
            return mean
        top, left = ((a - b) // 2 for a, b in zip(mean.shape[1:], shape[1:], strict=True))
        if top < 0 or left < 0:
            found, wanted = (shape_text(s) for s in (mean.shape[1:], shape[1:]))
            raise InputError(
                f"the mean is {found}, smaller than the data, {wanted}",
                advice="Make one of that size, or use a mean for each channel.",
            )
        return mean[:, top : top + shape[1], left : left + shape[2]]


def transform_of(net: Message, folder: str | Path = ".") -> Transform | None:
    """The transform of a training net's first data layer with a ``transform_param``.

    Raises:
        InputError: its mean file cannot be read.
    """
    import numpy as np

    for item in net.all("layer"):
        layer: Message = item.value
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
