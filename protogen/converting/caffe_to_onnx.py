"""Conversion of a prototxt and a caffemodel to an ONNX file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Unpack

from protogen._late import Shown
from protogen._version import __version__
from protogen.converting.comparison import (
    HALF_TOLERANCE,
    TOLERANCE,
    compare_outputs,
    verify_conversion,
)
from protogen.errors import InputError
from protogen.formats import files
from protogen.formats.mapped import counted
from protogen.geometry import Shape
from protogen.layers.graph import cut
from protogen.net.build import Reading, plain_reading
from protogen.net.cutting import begin
from protogen.net.net import Net, load
from protogen.net.rules import USUAL, is_usual
from protogen.running import opencv
from protogen.running.drawing import random_inputs, wanted_inputs

if TYPE_CHECKING:
    from protogen.onnx import Preprocessing, Program

EXTERNAL_FROM = 2 * 10**9  # bytes of weights; one protobuf message cannot hold more
Progress = Callable[[int, int], object]
Sources = tuple[str | Path, str | Path | None]  # prototxt and caffemodel


@dataclass(frozen=True, slots=True, repr=False)
class Converted(Shown):
    """A written model. ``external`` is the file of its weights; None if the model contains them."""

    path: Path
    external: Path | None
    net: Net
    program: Program
    receipt: dict[str, Any]

    @property
    def weight_bytes(self) -> int:
        """Size in bytes of all constants."""
        return self.program.weight_bytes


def convert(
    prototxt: str | Path,
    caffemodel: str | Path | None,
    output: str | Path,
    *,
    opset: int = 18,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    input_shapes: Mapping[str, Shape] | None = None,
    dynamic_batch: bool = False,
    fold: bool = True,
    expand: bool = False,
    half: bool = False,
    external_data: bool | None = None,
    preprocessing: Preprocessing | None = None,
    receipt: str | Path | None = None,
    verify: bool = False,
    seed: int = 0,
    tolerance: float | None = None,
    progress: Progress | None = None,
    **reading: Unpack[Reading],
) -> Converted:
    """Convert a Caffe net to an ONNX file. Weights are copied from file to file, never into memory.

    Args:
        prototxt: the net, in the current or an older format.
        caffemodel: its weights; None for a net without parameters.
        output: the ONNX file to write.
        opset: the operator set of the model, 13 or newer.
        inputs: blobs that become inputs of the model; what only they depend on is left out. Of a blob
            that layers change in place, it is the last value. The shape is the one that the blob has.
        outputs: blobs that become the model's outputs; the net is cut after them.
        input_shapes: shapes of inputs by blob, where the net has none or they are to be replaced.
            A data layer whose top has such a shape becomes an input.
        dynamic_batch: leave the first axis of the inputs free.
        fold: fold BatchNorm and Scale into the convolution before them, and remove layers without
            effect; exact to 1e-5.
        expand: write LRN and PReLU as operators that onnxruntime computes faster.
        half: store weights as float16; the model computes in float32.
        external_data: write the weights to ``output``.data next to the model; None means only above
            2 GB.
        preprocessing: steps before the net that become part of the model.
        receipt: a JSON file to write. It records how the model was converted, with hashes, and the
            result of the comparison: the largest error of each blob, the seeds of the inputs, and
            the blobs that prove nothing.
        verify: compare the written model with the net, and with OpenCV's Caffe reader if it is
            installed and reads all layers of the net correctly.
        seed: seed of the random inputs of ``verify``.
        tolerance: the largest error relative to a blob's largest magnitude; None means 1e-4, or
            2e-2 with ``half``.
        progress: called with the bytes written so far and the total.
        reading: phase (TEST or TRAIN), level and stages, which select the layers of the net;
            identities, names or types of layers that pass their first bottom through unchanged;
            ignored_fields, ``block.field`` of fields that protogen does not read and that have no
            effect on the result.

    Raises:
        InputError: a file, an option or the weights are invalid.
        UnsupportedError: the net has layers without an ONNX equivalent; the message names all of them.
        MismatchError: ``verify`` found a difference, or proved nothing; then no file is written.

    Warns:
        ProtogenWarning: ``verify`` found blobs that prove nothing.
    """
    from protogen.onnx import lower

    whole = load(prototxt, caffemodel, input_shapes=input_shapes, **reading)
    net = begin(whole, inputs, outputs)
    part = {"opset": opset, "inputs": [*inputs], "outputs": [*outputs]}
    sources, contents = (prototxt, caffemodel), dict[str, Any]()
    how = dict[str, Any](fold=fold, expand=expand, half=half)
    options = {
        **part,
        "input_shapes": _known_inputs(whole, input_shapes or {}),
        "dynamic_batch": dynamic_batch,
        **how,
        "preprocessing": _preprocessing_options(preprocessing),
        **plain_reading(reading),
    }
    program = lower(
        net,
        opset=opset,
        outputs=outputs,
        **how,
        free_axes=(0,) if dynamic_batch else (),
        preprocessing=preprocessing,
        metadata=_metadata(*sources, options),
        check_values=False,
    )
    weights_file = _weights_file(output, program, external_data, receipt, sources)
    with ExitStack() as stack:
        report = stack.enter_context(files.replacing(receipt)) if receipt else None
        model = stack.enter_context(files.replacing(output))
        weights = stack.enter_context(files.replacing(weights_file)) if weights_file else None
        _write(net, outputs, program, model, weights, weights_file, progress)
        if report or verify:
            readable, proof = _readable_model(model, weights_file) or program, (seed, tolerance)
            checked = _verify(net, readable, preprocessing, options, proof, sources, reading)
            contents = _receipt(sources, options, program, checked)
            if report:
                report.write(files.json_bytes(contents))
    return Converted(Path(output), weights_file, net, program, contents)


def _weights_file(
    output: str | Path,
    program: Program,
    external: bool | None,
    receipt: str | Path | None,
    sources: Sources,
) -> Path | None:
    """Return the file for the weights; None if the model contains them. Check that all files differ."""
    outside = external if external is not None else program.weight_bytes > EXTERNAL_FROM
    weights = files.external_data(output) if outside else None
    written = (("--output", output), ("the weights file", weights), ("--receipt", receipt))
    files.distinct(written, sources)
    return weights


def _readable_model(model: IO[bytes], weights_file: Path | None) -> Path | None:
    """Return the written file; None if its weights are still in a file with a temporary name."""
    model.flush()
    path = Path(model.name)
    return path if weights_file is None and path.is_file() else None


def _verify(
    net: Net,
    written: Path | Program,
    how: Preprocessing | None,
    options: Mapping[str, Any],
    proof: tuple[int, float | None],
    sources: Sources,
    reading: Reading,
) -> dict[str, Any]:
    """Compare the written model, and OpenCV's reader, with the net without folding; ``proof`` has the
    seed and the tolerance."""
    outputs: Sequence[str] = options["outputs"]
    seed, tolerance = proof
    if tolerance is None:
        tolerance = HALF_TOLERANCE if options["half"] else TOLERANCE
    comparison = verify_conversion(
        net, written, how, outputs=outputs, seed=seed, tolerance=tolerance
    )
    checked: dict[str, Any] = {"onnxruntime": comparison.plain()}
    graph = cut(net.graph, outputs) if outputs else net.graph
    shapes = {name: graph.shapes[name] or () for name in graph.inputs}
    feeds = random_inputs(shapes, seed, wanted_inputs(graph, seed))
    opencv_outputs: Any = "not run: OpenCV reads nets only in phase TEST, without level and stages"
    if options["inputs"]:
        opencv_outputs = "not run: OpenCV reads only whole nets"
    elif is_usual(reading):
        opencv_outputs = opencv.outputs(*sources, graph, feeds)
    if isinstance(opencv_outputs, str):
        checked["opencv"] = opencv_outputs
    else:
        checked["opencv"] = compare_outputs(net, feeds, opencv_outputs, TOLERANCE).plain()
    return checked


def _write(
    net: Net,
    outputs: Sequence[str],
    program: Program,
    model: Any,
    weights: Any,
    weights_file: Path | None,
    progress: Progress | None,
) -> None:
    """Check the model, and write it while another thread checks that no weight is NaN."""
    from concurrent.futures import ThreadPoolExecutor

    from protogen.onnx import check
    from protogen.onnx.stream import write

    check(program)
    graph = cut(net.graph, outputs) if outputs else net.graph
    with ThreadPoolExecutor(1) as pool:
        checked = pool.submit(net.check_finite, graph)
        write(
            program,
            model,
            weights,
            weights_file.name if weights_file else "",
            counted(progress, program.weight_bytes),
        )
        checked.result()


def _known_inputs(net: Net, input_shapes: Mapping[str, Shape]) -> dict[str, list[int]]:
    """Return the input shapes as data for JSON.

    A shape for a blob that is not an input is an error: it would have no effect, or break the net.
    """
    from protogen.errors import did_you_mean

    for name in input_shapes:
        if name not in net.inputs and name not in {t for x in net.layers for t in x.tops}:
            known = ", ".join(net.inputs) or "none"
            raise InputError(
                f"unknown input (inputs: {known})",
                subject=f'"{name}"',
                advice=did_you_mean(name, net.inputs),
            )
    return {name: list(shape) for name, shape in input_shapes.items()}


def _preprocessing_options(how: Preprocessing | None) -> dict[str, Any] | None:
    if how is None:
        return None
    mean = how.mean
    mean_text = (
        None if mean is None else mean.reshape(-1).tolist() if mean.size <= 16 else "from a file"
    )
    return {
        "mean": mean_text,
        "scale": how.scale,
        "swap_channels": how.swap_channels,
        "nhwc": how.nhwc,
        "uint8": how.uint8,
    }


def _metadata(
    prototxt: str | Path, caffemodel: str | Path | None, options: Mapping[str, Any]
) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "caffe_prototxt": Path(prototxt).name,
        "caffe_prototxt_sha256": sha256(prototxt),
        "protogen_options": {k: v for k, v in options.items() if v and v != USUAL.get(k)},
    }
    if caffemodel is not None:
        metadata["caffe_caffemodel"] = Path(caffemodel).name
        metadata["caffe_caffemodel_bytes"] = str(os.stat(files.regular(caffemodel)).st_size)
    return metadata


def _receipt(
    sources: Sources,
    options: Mapping[str, Any],
    program: Program,
    checked: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the contents of the receipt: hashes of the inputs, versions, options, comparison."""
    import platform
    from importlib.metadata import version

    inputs = [path for path in sources if path is not None]
    return {
        "inputs": [
            {
                "file": Path(path).name,
                "bytes": os.stat(files.regular(path)).st_size,
                "sha256": sha256(path),
            }
            for path in inputs
        ],
        "options": dict(options),
        "versions": {
            "protogen": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "onnx", "onnxruntime")},
        },
        "nodes": len(program.nodes),
        "weight_bytes": program.weight_bytes,
        "checked": dict(checked),
    }


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with files.opened(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise files.unreadable(path, error) from None
