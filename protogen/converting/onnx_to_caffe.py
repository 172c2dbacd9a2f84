"""File to file: ONNX to prototxt and caffemodel."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from protogen.converting.comparison import TOLERANCE, Comparison
from protogen.converting.comparison import verify as compare
from protogen.errors import InputError, UnsupportedError
from protogen.formats import files, prototxt
from protogen.formats.caffemodel import LIMIT, write_weights
from protogen.formats.mapped import counted
from protogen.onnx.importer.net import ImportedNet, import_model


@dataclass(frozen=True, slots=True)
class Imported:
    """A written net. ``names`` is the file of the map of names, where there is one; ``checked``
    what ``verify`` found."""

    prototxt: Path
    caffemodel: Path | None
    names: Path | None
    lifted: ImportedNet
    checked: Comparison | None

    @property
    def weight_bytes(self) -> int:
        """Bytes of all parameter blobs as Caffe stores them."""
        blobs = self.lifted.net.weights.values()
        return sum(4 * blob.size for one in blobs for blob in one)


def convert_onnx(
    model: str | Path,
    output: str | Path,
    caffemodel: str | Path | None = None,
    *,
    dialect: str = "bvlc",
    fold: bool = False,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    names: str | Path | None = None,
    verify: bool = False,
    tolerance: float | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Imported:
    """Writes an ONNX model as a Caffe net. Weights go from file to file and never into memory.

    Args:
        model: the ONNX file; weights in a file beside it are found.
        output: the prototxt.
        caffemodel: its weights; may be left out for a model that has none.
        dialect, fold, input_shapes: see ``from_onnx``.
        names: a JSON file of what became of the model's names. Where a name is one that Caffe
            cannot hold it is written in any case, as ``output`` with the suffix ``.names.json``.
        verify: run the model and the net on random numbers, and compare all values of one name.
        tolerance: largest error, as a part of a value's largest magnitude; None is 1e-4.
        progress: is told bytes written and bytes in all.

    Raises:
        InputError: a file or an option is wrong.
        UnsupportedError: operators have no form in Caffe; all of them are named.
        MismatchError: ``verify`` found a difference, or nothing that proves anything; no file is
            then written.

    Warns:
        ProtogenWarning: ``verify`` found values that prove nothing.
    """
    made = import_model(model, dialect=dialect, fold=fold, input_shapes=input_shapes)
    net = made.net
    if net.weights and caffemodel is None:
        raise InputError(
            f"the net has {len(net.weights)} layers with weights, and no file for them",
            where=str(model),
            advice="Name one: --caffemodel net.caffemodel.",
        )
    beside = Path(names) if names else None
    if beside is None and made.renamed:
        beside = Path(output).with_suffix(".names.json")
    weights = Path(caffemodel) if caffemodel is not None and net.weights else None
    files.distinct([("-o", output), ("--caffemodel", caffemodel), ("--names", beside)], [model])
    size = sum(4 * blob.size for one in net.weights.values() for blob in one)
    if size > LIMIT:
        raise UnsupportedError(
            f"its weights take {size / 2**30:.1f} GiB, but Caffe reads 2 GiB at most",
            where=str(model),
        )
    checked = (
        _verified(model, made, input_shapes, TOLERANCE if tolerance is None else tolerance)
        if verify
        else None
    )
    with ExitStack() as stack:
        text = prototxt.write(net.message).encode("utf-8", "surrogateescape")
        stack.enter_context(files.replacing(output)).write(text)
        if weights is not None:
            file = stack.enter_context(files.replacing(weights))
            write_weights(file, net.name, net.entries(), progress=counted(progress, size))
        if beside is not None:
            told = json.dumps(made.names(), indent=2, ensure_ascii=False).encode() + b"\n"
            stack.enter_context(files.replacing(beside)).write(told)
    return Imported(Path(output), weights, beside, made, checked)


def _verified(
    model: str | Path,
    made: ImportedNet,
    input_shapes: Mapping[str, Sequence[int]] | None,
    tolerance: float,
) -> Comparison:
    """The model against the net, value by value."""
    from protogen.onnx import with_inputs

    ends = {*made.source.inputs, *made.source.outputs}
    names = {value: blob for value, blob in made.blobs.items() if value in ends}
    model = with_inputs(model, input_shapes or {})
    return compare(model, made.net, names=names, tolerance=tolerance)
