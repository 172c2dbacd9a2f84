"""Conversion of an ONNX file to a prototxt and a caffemodel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from protogen._late import Shown
from protogen.converting.comparison import HALF_TOLERANCE, TOLERANCE, Comparison
from protogen.converting.comparison import verify as compare
from protogen.errors import InputError, UnsupportedError, quantity
from protogen.formats import files
from protogen.formats.caffemodel import LIMIT, write_pair
from protogen.formats.mapped import counted
from protogen.legalization.legalize import Legalized, check_dialect, legalize
from protogen.net.net import Net
from protogen.net.parsers import text_for
from protogen.onnx.importer.net import ImportedNet, import_model
from protogen.toolchains.toolchain import load_toolchain


@dataclass(frozen=True, slots=True, repr=False)
class Imported(Shown):
    """A written net.

    Attributes:
        prototxt, caffemodel: the written files; ``caffemodel`` is None for a net without weights.
        names: the JSON file with the map of names; None if it is not written.
        imported: the imported net.
        checked: the result of ``verify``; None without it.
        scales: the JSON file with the scales of a quantised model; None if it is not written.
        legalized: the net in the forms of the target; None without a target.
    """

    prototxt: Path
    caffemodel: Path | None
    names: Path | None
    imported: ImportedNet
    checked: Comparison | None
    legalized: Legalized | None = None
    scales: Path | None = None

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
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    names: str | Path | None = None,
    drop_quantisation: bool = False,
    scales: str | Path | None = None,
    verify: bool = False,
    seed: int = 0,
    tolerance: float | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Imported:
    """Convert an ONNX file to a Caffe net. Weights are copied from file to file, never into memory.

    Args:
        model: the ONNX file; external data files next to it are read.
        output: the prototxt to write.
        caffemodel: the caffemodel to write; by default ``output`` with the suffix ``.caffemodel``. A
            model without weights has none.
        dialect, fold, input_shapes, inputs, outputs: see ``from_onnx``.
        target: the toolchain that the net is for, by name or file; see ``legalize``. It decides the
            dialect.
        names: a JSON file to write, with the map from the model's names to the net's. If a name is
            invalid in Caffe it is written by default, as ``output`` with the suffix
            ``.names.json``.
        drop_quantisation: for a quantised model: compute with the real values, in float32. Constants keep
            their rounded values. ``verify`` compares with the model without its quantisation.
        scales: a JSON file to write, with the scale and the zero point of each blob and constant that
            the model quantises; by default ``output`` with the suffix ``.scales.json``.
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
    scales_file = _scales_file(output, scales, drop_quantisation)
    part = {
        "input_shapes": input_shapes,
        "inputs": inputs,
        "outputs": outputs,
        "drop_quantisation": drop_quantisation,
    }
    imported, legalized = _imported(model, dialect, target, fold, part)
    net = imported.net
    weights = _weights_file(net, model, output, caffemodel)
    size = check_size(net, str(model))
    names_file = Path(names) if names else None
    if names_file is None and imported.renamed:
        names_file = files.with_ending(output, ".names.json")
    files.distinct(
        [
            ("--output", output),
            ("--caffemodel", weights),
            ("--names", names_file),
            ("--scales", scales_file),
        ],
        [model],
    )
    comparison = None
    if verify:
        # A toolchain without Silence gets the values that no layer reads as further outputs.
        must = () if legalized is None else imported.source.outputs
        comparison = _verify_import(model, imported, {**part, "must": must}, seed, tolerance)
    written = {names_file: imported.names, scales_file: imported.scales}
    with ExitStack() as stack:
        text = text_for(net.message, net.schema).encode("utf-8", "surrogateescape")
        for path, data in written.items():
            if path is not None:
                stack.enter_context(files.replacing(path)).write(files.json_bytes(data()))
        entries = net.entries(net.schema)
        write_pair(stack, (output, text), weights, net.name, entries, counted(progress, size))
    return Imported(Path(output), weights, names_file, imported, comparison, legalized, scales_file)


def _scales_file(
    output: str | Path, scales: str | Path | None, drop_quantisation: bool
) -> Path | None:
    if scales is not None and not drop_quantisation:
        raise InputError("--scales needs --drop-quantisation")
    if not drop_quantisation:
        return None
    return Path(scales) if scales else files.with_ending(output, ".scales.json")


def _imported(
    model: str | Path,
    dialect: str,
    target: str | Path | None,
    fold: bool,
    part: Mapping[str, Any],
) -> tuple[ImportedNet, Legalized | None]:
    """Import a model, for a dialect or for a target."""
    if target is None:
        return import_model(model, dialect=dialect or "bvlc", fold=fold, **part), None
    toolchain = load_toolchain(target)
    check_dialect(dialect, toolchain)
    imported = import_model(model, fold=fold, richest=True, **part)
    legalized = legalize(imported.net, toolchain)
    return replace(imported, net=legalized.net), legalized


def _weights_file(
    net: Net, model: str | Path, output: str | Path, caffemodel: str | Path | None
) -> Path | None:
    """Return the file for the weights; None for a net without weights.

    Raises:
        InputError: the file was not named, and ``output`` is a stream, or the file of the default name
            exists without a prototxt and so does not belong to this net.
    """
    if caffemodel is not None:
        return Path(caffemodel)
    if not net.weights:
        return None
    if str(output) == files.STDOUT:
        raise InputError(
            f"the net has {quantity(len(net.weights), 'layer')} with weights, but no file for them",
            where=str(model),
            advice="Name it: --caffemodel net.caffemodel.",
        )
    return files.beside(output, ".caffemodel", "--caffemodel")


def check_size(net: Net, where: str) -> int:
    """Return the size of the weights in bytes.

    Raises:
        UnsupportedError: Caffe cannot read a file of this size.
    """
    size = sum(4 * blob.size for one in net.weights.values() for blob in one)
    if size > LIMIT:
        raise UnsupportedError(
            f"the weights take {size / 2**30:.1f} GiB, but Caffe reads at most 2 GiB",
            where=where,
        )
    return size


def _verify_import(
    model: str | Path,
    imported: ImportedNet,
    part: Mapping[str, Any],
    seed: int,
    tolerance: float | None,
) -> Comparison:
    """Compare the model with the net, value by value.

    A model that computes in float16 has its roundings, so its default tolerance is that of ``--half``.
    """
    from protogen.onnx import with_inputs
    from protogen.onnx.parts import begun
    from protogen.onnx.quantized import without_quantization

    default = HALF_TOLERANCE if "FLOAT16" in imported.source.kinds.values() else TOLERANCE
    ends = {*imported.source.inputs, *imported.source.outputs}
    names = imported.compared(ends)
    outputs, by_user = part["outputs"], part["input_shapes"] or {}
    shapes = {name: shape for name, shape in by_user.items() if name not in part["inputs"]}
    whole = without_quantization(model) if part["drop_quantisation"] else model
    source = begun(
        with_inputs(whole, shapes), part["inputs"], outputs, {**by_user, **imported.source.inputs}
    )
    return compare(
        source,
        imported.net,
        names=names,
        outputs=outputs or part["must"],
        seed=seed,
        tolerance=default if tolerance is None else tolerance,
    )
