"""Conversion of an ONNX file to a prototxt and a caffemodel."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from protogen.converting.comparison import TOLERANCE, Comparison
from protogen.converting.comparison import verify as compare
from protogen.errors import InputError, UnsupportedError, quantity
from protogen.formats import files, prototxt
from protogen.formats.caffemodel import LIMIT, write_weights
from protogen.formats.mapped import counted
from protogen.legalization.legalize import Legalized, check_dialect, legalize
from protogen.net.net import Net
from protogen.onnx.importer.net import ImportedNet, import_model
from protogen.toolchains.toolchain import load_toolchain


@dataclass(frozen=True, slots=True)
class Imported:
    """A written net.

    Attributes:
        prototxt, caffemodel: the written files; ``caffemodel`` is None for a net without weights.
        names: the JSON file with the map of names; None if it is not written.
        imported: the imported net.
        checked: the result of ``verify``; None without it.
        legalized: the net in the forms of the target; None without a target.
    """

    prototxt: Path
    caffemodel: Path | None
    names: Path | None
    imported: ImportedNet
    checked: Comparison | None
    legalized: Legalized | None = None

    @property
    def weight_bytes(self) -> int:
        """Size in bytes of all parameter blobs as Caffe stores them."""
        blobs = self.imported.net.weights.values()
        return sum(4 * blob.size for one in blobs for blob in one)


def convert_onnx(
    model: str | Path,
    output: str | Path,
    caffemodel: str | Path | None = None,
    *,
    dialect: str = "",
    target: str | Path | None = None,
    fold: bool = False,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    outputs: Sequence[str] = (),
    names: str | Path | None = None,
    verify: bool = False,
    seed: int = 0,
    tolerance: float | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Imported:
    """Convert an ONNX file to a Caffe net. Weights are copied from file to file, never into memory.

    Args:
        model: the ONNX file; external data files next to it are read.
        output: the prototxt to write.
        caffemodel: the caffemodel to write; optional for a model without weights.
        dialect, fold, input_shapes, outputs: see ``from_onnx``.
        target: the toolchain that the net is for, by name or file; see ``legalize``. It decides the
            dialect.
        names: a JSON file to write, with the map from the model's names to the net's. If a name is
            invalid in Caffe it is written by default, as ``output`` with the suffix
            ``.names.json``.
        verify: run the model and the net on random inputs and compare all values of the same name.
        seed: seed of the random inputs of ``verify``.
        tolerance: the largest error relative to a value's largest magnitude; None means 1e-4.
        progress: called with the bytes written so far and the total.

    Raises:
        InputError: a file or an option is invalid.
        UnsupportedError: the model has unsupported operators; the message names all of them.
        MismatchError: ``verify`` found a difference, or proved nothing; then no file is written.

    Warns:
        ProtogenWarning: ``verify`` found values that prove nothing.
    """
    imported, legalized = _imported(model, dialect, target, fold, input_shapes, outputs)
    net = imported.net
    size = _check_weights(net, model, caffemodel)
    names_file = Path(names) if names else None
    if names_file is None and imported.renamed:
        names_file = Path(output).with_suffix(".names.json")
    weights = Path(caffemodel) if caffemodel is not None else None
    files.distinct(
        [("--output", output), ("--caffemodel", caffemodel), ("--names", names_file)], [model]
    )
    comparison = (
        _verify_import(
            model,
            imported,
            input_shapes,
            outputs,
            seed,
            TOLERANCE if tolerance is None else tolerance,
        )
        if verify
        else None
    )
    with ExitStack() as stack:
        text = prototxt.write(net.message).encode("utf-8", "surrogateescape")
        stack.enter_context(files.replacing(output)).write(text)
        if weights is not None:
            file = stack.enter_context(files.replacing(weights))
            schema = legalized.schema if legalized is not None else None
            write_weights(file, net.name, net.entries(schema), progress=counted(progress, size))
        if names_file is not None:
            text_of_names = (
                json.dumps(imported.names(), indent=2, ensure_ascii=False).encode() + b"\n"
            )
            stack.enter_context(files.replacing(names_file)).write(text_of_names)
    return Imported(Path(output), weights, names_file, imported, comparison, legalized)


def _imported(
    model: str | Path,
    dialect: str,
    target: str | Path | None,
    fold: bool,
    input_shapes: Mapping[str, Sequence[int]] | None,
    outputs: Sequence[str],
) -> tuple[ImportedNet, Legalized | None]:
    """Import a model, for a dialect or for a target."""
    if target is None:
        imported = import_model(
            model, dialect=dialect or "bvlc", fold=fold, input_shapes=input_shapes, outputs=outputs
        )
        return imported, None
    toolchain = load_toolchain(target)
    check_dialect(dialect, toolchain)
    imported = import_model(
        model, fold=fold, input_shapes=input_shapes, outputs=outputs, richest=True
    )
    legalized = legalize(imported.net, toolchain)
    return replace(imported, net=legalized.net), legalized


def _check_weights(net: Net, model: str | Path, caffemodel: str | Path | None) -> int:
    """Check that the weights have a file and fit it; returns their size in bytes."""
    if net.weights and caffemodel is None:
        raise InputError(
            f"the net has {quantity(len(net.weights), 'layer')} with weights, but no file for them",
            where=str(model),
            advice="Name it: --caffemodel net.caffemodel.",
        )
    size = sum(4 * blob.size for one in net.weights.values() for blob in one)
    if size > LIMIT:
        raise UnsupportedError(
            f"the weights take {size / 2**30:.1f} GiB, but Caffe reads at most 2 GiB",
            where=str(model),
        )
    return size


def _verify_import(
    model: str | Path,
    imported: ImportedNet,
    input_shapes: Mapping[str, Sequence[int]] | None,
    outputs: Sequence[str],
    seed: int,
    tolerance: float,
) -> Comparison:
    """Compare the model with the net, value by value."""
    from protogen.onnx import with_inputs

    ends = {*imported.source.inputs, *imported.source.outputs}
    names = {value: blob for value, blob in imported.blobs.items() if value in ends}
    model = with_inputs(model, input_shapes or {})
    return compare(
        model, imported.net, names=names, outputs=outputs, seed=seed, tolerance=tolerance
    )
