"""Writes an existing net for a toolchain."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from protogen._late import Shown
from protogen.errors import InputError, ProtogenWarning, UnsupportedError
from protogen.formats.caffemodel import write_pair
from protogen.geometry import Shape
from protogen.legalization.legalize import Legalized, legalize
from protogen.legalization.rounds import Change
from protogen.net.build import Reading
from protogen.net.cutting import begin
from protogen.net.net import Net
from protogen.net.parsers import text_for
from protogen.toolchains.toolchain import Toolchain, load_toolchain

if TYPE_CHECKING:
    from protogen.converting.comparison import Comparison


@dataclass(frozen=True, eq=False, repr=False)
class TargetNet(Shown):
    """A net in the forms of a toolchain.

    Attributes:
        legalized: the net, and what was replaced.
        checked: the comparison with the original net on random data; None if it was not possible.
        unchecked: why it was not possible; empty otherwise.
    """

    legalized: Legalized
    checked: Comparison | None = None
    unchecked: str = ""

    @property
    def net(self) -> Net:
        return self.legalized.net

    @property
    def toolchain(self) -> Toolchain:
        return self.legalized.toolchains[0]

    @property
    def changes(self) -> Sequence[Change]:
        return self.legalized.changes

    @property
    def text(self) -> str:
        """The prototxt."""
        return text_for(self.net.message, self.toolchain.schema)

    def save(self, prototxt_path: str | Path | None, caffemodel: str | Path | None = None) -> None:
        """Write the text, and a caffemodel of all layers with the toolchain's own field numbers.

        Raises:
            InputError: a path cannot be written.
        """
        with ExitStack() as stack:
            raw = self.text.encode("utf-8", "surrogateescape")
            entries = self.net.entries(self.toolchain.schema)
            write_pair(stack, (prototxt_path, raw), caffemodel, self.net.name, entries)


def rewrite_for(
    target: str | Path | Toolchain,
    path: str | Path,
    caffemodel: str | Path | None = None,
    *,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    input_shapes: Mapping[str, Shape] | None = None,
    seed: int = 0,
    **reading: Unpack[Reading],
) -> TargetNet:
    """Write a net for a toolchain: in layers that it takes and computes as Caffe does.

    The result and the original run on the same random data, and all blobs of the same name are
    compared.

    Args:
        target: the name of a toolchain, or a user's .toml file.
        path: a prototxt in any format. It is read in phase TEST.
        caffemodel: its weights. Without them, forms that are computed from weights are not possible.
        inputs: blobs that become inputs; what only they depend on is left out.
        outputs: blobs that become the outputs; what they do not depend on is left out.
        input_shapes: shapes by blob name; they override the shapes in the net.
        seed: the seed of the random data.
        reading: see ``convert``.

    Raises:
        InputError: a file is missing or invalid, or weights do not fit the net.
        UnsupportedError: the toolchain takes no form of a layer.
        MismatchError: the result differs (a fault of protogen).
    """
    from protogen.running.cutting import is_empty

    toolchain = target if isinstance(target, Toolchain) else load_toolchain(target)
    caffemodel = None if is_empty(caffemodel) else caffemodel
    net = begin(_loaded(path, caffemodel, input_shapes, reading), inputs, outputs)
    return target_net(net, toolchain, outputs, seed, bool(caffemodel))


def target_net(
    net: Net,
    toolchain: Toolchain,
    outputs: Sequence[str] = (),
    seed: int = 0,
    has_weights: bool = True,
) -> TargetNet:
    """Write a net that is in memory for a toolchain; see ``rewrite_for``.

    Raises:
        UnsupportedError: the toolchain takes no form of a layer.
        MismatchError: the result differs.
    """
    legalized = legalize(net, toolchain, outputs=outputs)
    if not has_weights and any(net.parameter_shapes.values()):
        return TargetNet(legalized, unchecked="the net has no weights")
    return TargetNet(legalized, *_checked(net, legalized, outputs, seed))


def _loaded(
    path: str | Path,
    caffemodel: str | Path | None,
    input_shapes: Mapping[str, Shape] | None,
    reading: Any,
) -> Net:
    from protogen.net.net import load

    return load(path, caffemodel, input_shapes=dict(input_shapes or {}), **reading)


def _checked(
    net: Net, legalized: Legalized, outputs: Sequence[str], seed: int
) -> tuple[Comparison | None, str]:
    """Compare the original with the result; or return why it is not possible."""
    from protogen.converting.comparison import TOLERANCE, verify

    tolerance = max(TOLERANCE, 10 * legalized.error)
    ends = list(outputs or net.outputs)
    names = {name: new for name, new in legalized.renamed.items() if name in ends}
    compare = partial(
        verify, net, legalized.net, outputs=ends, names=names, seed=seed, tolerance=tolerance
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ProtogenWarning)
            compared = compare(check=False)
            if compared.first is not None:
                compare(check=True)  # raises an error that names the first blob that differs
    except (UnsupportedError, InputError) as error:
        return None, error.diagnostic.message
    if not compared.proved:
        return None, "its values do not depend on the inputs, so equal numbers prove nothing"
    return compared, ""
