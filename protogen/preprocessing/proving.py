"""A net with built-in preprocessing, and the check that its outputs equal the original net's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from protogen._late import Shown
from protogen.errors import MismatchError
from protogen.net.net import Net
from protogen.running.runtime import run

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.preprocessing.transforms import Transform


TOLERANCE = 1e-4  # of a blob's largest value: rounding differs in two runs of a net


@dataclass(frozen=True, slots=True)
class Border:
    """Difference that folding causes at the border of a padded layer.

    Before folding a padding zero means the mean, afterwards it means black.

    Attributes:
        ring: the number of pixels at each border of the layer's output that differ.
        error: the largest difference.
        largest: the largest value of the output.
    """

    layer: str
    ring: int
    error: float
    largest: float


@dataclass(frozen=True, repr=False)
class Preprocessed(Shown):
    """A net whose input is raw data.

    Attributes:
        layers: names of the new layers.
        folded: names of the layers whose weights contain the transform.
        border: differences at the border of layers with padding.
        error: the largest error of the check, as a share of the largest value; None without a check.
    """

    net: Net
    layers: tuple[str, ...] = ()
    folded: tuple[str, ...] = ()
    border: list[Border] = field(default_factory=list)
    error: float | None = None


def value_of(net: Net, feeds: Mapping[str, NDArray[Any]], value: str) -> NDArray[np.float64]:
    """Compute one value of a net, with as many samples as the data has."""
    import numpy as np

    sized = net.with_inputs({name: array.shape for name, array in feeds.items()})
    return run(sized, feeds, [value])[value].astype(np.float64)


def verified(
    net: Net, result: Preprocessed, transform: Transform, name: str, data: NDArray[np.floating]
) -> float:
    """Return the largest error, as a share of the largest value.

    It compares the outputs, and the first values after the transform: a saturated output would hide
    an error there.

    Raises:
        MismatchError: an error is above ``TOLERANCE``, or a value does not depend on the data.
    """
    import numpy as np

    worst = 0.0
    shapes = {name: data.shape}
    transformed = transform.apply(data)
    expected = run(net.with_inputs(shapes), {name: transformed})
    actual = run(result.net.with_inputs(shapes), {name: data.astype(np.float32)})
    pairs = {
        blob: (actual.get(blob, actual.get(_last(result))), value)
        for blob, value in expected.items()
    }
    pairs |= _first_values(net, result, name, data, transformed)
    for blob, (actual_value, expected_value) in pairs.items():
        assert actual_value is not None
        largest = max(np.abs(expected_value).max(), 1e-30)
        error = np.abs(actual_value.astype(np.float64) - expected_value).max() / largest
        worst = max(worst, float(error))
        if error > TOLERANCE and not result.border:
            raise MismatchError(
                f"differs by {error:.2g} of its largest value from the original net on "
                "preprocessed data",
                subject=f'blob "{blob}"',
            )
    return worst


def _last(result: Preprocessed) -> str:
    return result.layers[-1] if result.layers else ""


def _first_values(
    net: Net,
    result: Preprocessed,
    name: str,
    data: NDArray[np.floating],
    transformed: NDArray[Any],
) -> dict[str, tuple[NDArray[Any] | None, NDArray[Any]]]:
    """Return (actual, expected) of the output of the new layers, or of each layer with folded weights.

    Raises:
        MismatchError: a value does not depend on the data, so that the comparison has no meaning.
    """
    import numpy as np

    feeds = {name: data.astype(np.float32)}
    by_name = {layer.name: layer for layer in result.net.layers}
    pairs: dict[str, tuple[NDArray[Any] | None, NDArray[Any]]] = {}
    if result.layers:
        value = by_name[result.layers[-1]].writes[0]
        pairs[value] = (value_of(result.net, feeds, value), transformed)
    for folded in result.folded:
        value = by_name[folded].writes[0]
        expected = value_of(net, {name: transformed}, value)
        if np.array_equal(expected, value_of(net, {name: 0 * transformed}, value)):
            raise MismatchError(
                "cannot be verified: its value does not depend on the data",
                subject=f'blob "{value}"',
                advice="The layer's weights are 0.",
            )
        pairs[value] = (value_of(result.net, feeds, value), expected)
    return pairs
