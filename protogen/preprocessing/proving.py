"""What a net with preprocessing in it is, and the proof that it computes the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from protogen.errors import MismatchError
from protogen.net.net import Net
from protogen.running.runtime import run

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.preprocessing.transforms import Transform


TOLERANCE = 1e-4  # of a blob's largest value: two roundings through a net


@dataclass(frozen=True, slots=True)
class Border:
    """What folding changes where the first layer pads: its zeros stand for black, not for the mean.
    ``ring`` pixels at each border of the layer's output differ, by up to ``error``, where values reach
    ``largest``."""

    layer: str
    ring: int
    error: float
    largest: float


@dataclass(frozen=True)
class Preprocessed:
    """A net that eats raw data. ``layers`` are the new ones; ``folded`` those whose weights changed;
    ``border`` what changed where they pad."""

    net: Net
    layers: tuple[str, ...] = ()
    folded: tuple[str, ...] = ()
    border: list[Border] = field(default_factory=list)
    error: float | None = None


def value_of(net: Net, feeds: Mapping[str, NDArray[Any]], value: str) -> NDArray[np.float64]:
    """One value, computed with as many samples as are fed."""
    import numpy as np

    sized = net.with_inputs({name: array.shape for name, array in feeds.items()})
    return run(sized, feeds, [value])[value].astype(np.float64)


def verified(
    net: Net, made: Preprocessed, transform: Transform, name: str, data: NDArray[np.floating]
) -> float:
    """The largest error, a part of the largest value, at the outputs and right behind the steps:
    what a saturated output cannot show, the first value behind them does."""
    import numpy as np

    worst = 0.0
    shapes = {name: data.shape}
    ready = transform.apply(data)
    wanted = run(net.with_inputs(shapes), {name: ready})
    found = run(made.net.with_inputs(shapes), {name: data.astype(np.float32)})
    pairs = {
        blob: (found.get(blob, found.get(_last(made))), value) for blob, value in wanted.items()
    }
    pairs |= _behind(net, made, name, data, ready)
    for blob, (own, values) in pairs.items():
        assert own is not None
        error = np.abs(own.astype(np.float64) - values).max() / max(np.abs(values).max(), 1e-30)
        worst = max(worst, float(error))
        if error > TOLERANCE and not made.border:
            text = f"differs by {error:.2g} of its largest value from the net on preprocessed data"
            raise MismatchError(text, subject=f'blob "{blob}"')
    return worst


def _last(made: Preprocessed) -> str:
    return made.layers[-1] if made.layers else ""


def _behind(
    net: Net, made: Preprocessed, name: str, data: NDArray[np.floating], ready: NDArray[Any]
) -> dict[str, tuple[NDArray[Any] | None, NDArray[Any]]]:
    """What the new layers make, or the layers that the steps were folded into, in the new net and
    as it must be.

    Raises:
        MismatchError: it is the same for all data, and so proves nothing.
    """
    import numpy as np

    feeds = {name: data.astype(np.float32)}
    by_name = {layer.name: layer for layer in made.net.layers}
    pairs: dict[str, tuple[NDArray[Any] | None, NDArray[Any]]] = {}
    if made.layers:
        value = by_name[made.layers[-1]].writes[0]
        pairs[value] = (value_of(made.net, feeds, value), ready)
    for folded in made.folded:
        value = by_name[folded].writes[0]
        wanted = value_of(net, {name: ready}, value)
        if np.array_equal(wanted, value_of(net, {name: 0 * ready}, value)):
            raise MismatchError(
                "nothing is proved: it is the same whatever the data are",
                subject=f'blob "{value}"',
                advice="The layer's weights are 0.",
            )
        pairs[value] = (value_of(made.net, feeds, value), wanted)
    return pairs
