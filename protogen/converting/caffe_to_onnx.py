"""File to file: prototxt and caffemodel to ONNX."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Unpack

from protogen._version import __version__
from protogen.converting.comparison import TOLERANCE, compare_outputs, verify_conversion
from protogen.errors import InputError
from protogen.formats import files
from protogen.formats.mapped import counted
from protogen.geometry import Shape
from protogen.layers.graph import cut
from protogen.net.build import Reading, plain_reading
from protogen.net.net import Net, load
from protogen.net.rules import USUAL, is_usual
from protogen.running import opencv
from protogen.running.drawing import random_inputs, wanted_inputs

if TYPE_CHECKING:
    from protogen.onnx import Preprocessing, Program

HALF_TOLERANCE = 2e-2  # weights of 11 bits are off by 5e-4 each; through a deep net that adds up
EXTERNAL_FROM = 2 * 10**9  # bytes of weights: above, protobuf cannot hold them in one message
Progress = Callable[[int, int], object]
Sources = tuple[str | Path, str | Path | None]  # prototxt and caffemodel


@dataclass(frozen=True, slots=True)
class Converted:
    """A written model. ``external`` is the file of its weights, where they stand in their own."""

    path: Path
    external: Path | None
    net: Net
    program: Program
    receipt: dict[str, Any]

    @property
    def weight_bytes(self) -> int:
        """Bytes of all constants."""
        return self.program.weight_bytes


def convert(
    prototxt: str | Path,
    caffemodel: str | Path | None,
    output: str | Path,
    *,
    opset: int = 18,
    outputs: Sequence[str] = (),
    input_shapes: Mapping[str, Shape] | None = None,
    dynamic_batch: bool = False,
    fold: bool = True,
    half: bool = False,
    external_data: bool | None = None,
    preprocessing: Preprocessing | None = None,
    receipt: str | Path | None = None,
    verify: bool = False,
    tolerance: float | None = None,
    progress: Progress | None = None,
    **reading: Unpack[Reading],
) -> Converted:
    """Writes a Caffe net as an ONNX file. Weights go from file to file and never into memory.

    Args:
        prototxt: the net, of any age.
        caffemodel: its weights; None for a net without parameters.
        output: the ONNX file.
        opset: version of ONNX's operators, from 13 on.
        outputs: blobs that the model gives out; the net ends there.
        input_shapes: shapes of inputs by blob, where the net does not say them or others are
            wanted; data layers become inputs so.
        dynamic_batch: the inputs' first axis stays free.
        fold: BatchNorm and Scale go into the convolution before them, what does nothing is left
            out; exact to 1e-5.
        half: weights as float16, computing in float32.
        external_data: weights in ``output``.data beside the model; None does it above 2 GB.
        preprocessing: steps before the net that become part of the model.
        receipt: a JSON file that says how the model came to be, with hashes, and what was proved: the
            largest error of each blob, the seeds of the inputs, and blobs that prove nothing.
        verify: run the written model against the net, and OpenCV's Caffe reader against both where
            it is installed and has the net's layers right.
        tolerance: largest error, as a part of a blob's largest magnitude; None is 1e-4, and 2e-2
            with ``half``.
        progress: is told bytes written and bytes in all.
        reading: phase (TEST or TRAIN), level and stages, which decide which layers take part;
            identities, names or types of layers that hand on their first bottom; ignored_fields,
            ``block.field`` of fields that are set, not read, and change nothing, as the user says.

    Raises:
        InputError: a file, an option or the weights are wrong.
        UnsupportedError: a layer has no form in ONNX; all of them are named.
        MismatchError: ``verify`` found a difference, or nothing that proves anything; no file is
            then written.

    Warns:
        ProtogenWarning: ``verify`` found blobs that prove nothing.
    """
    from protogen.onnx import check, lower

    net = load(prototxt, caffemodel, input_shapes=input_shapes, **reading)
    options = {
        "opset": opset,
        "outputs": list(outputs),
        "input_shapes": _known_inputs(net, input_shapes or {}),
        "dynamic_batch": dynamic_batch,
        "fold": fold,
        "half": half,
        "preprocessing": _plain(preprocessing),
        **plain_reading(reading),
    }
    program = lower(
        net,
        opset=opset,
        outputs=outputs,
        fold=fold,
        half=half,
        free_axes=(0,) if dynamic_batch else (),
        preprocessing=preprocessing,
        metadata=_metadata(prototxt, caffemodel, options),
    )
    check(program)
    beside = _weights_file(output, program, external_data)
    written = [("-o", output), ("its weights", beside), ("--receipt", receipt)]
    sources = (prototxt, caffemodel)
    files.distinct(written, sources)
    told: dict[str, Any] = {}
    with ExitStack() as stack:
        report = stack.enter_context(files.replacing(receipt)) if receipt else None
        model = stack.enter_context(files.replacing(output))
        weights = stack.enter_context(files.replacing(beside)) if beside else None
        _write(program, model, weights, beside, progress)
        if report or verify:
            made = _readable(model, beside) or program
            found = _checked(net, made, preprocessing, options, tolerance, sources, reading)
            told = _receipt(sources, options, program, found)
        if report:
            report.write(json.dumps(told, indent=2, ensure_ascii=False).encode() + b"\n")
    return Converted(Path(output), beside, net, program, told)


def _weights_file(output: str | Path, program: Program, external: bool | None) -> Path | None:
    """The file for the weights; None where they stand in the model itself."""
    outside = external if external is not None else program.weight_bytes > EXTERNAL_FROM
    return Path(f"{output}.data") if outside else None


def _readable(model: IO[bytes], beside: Path | None) -> Path | None:
    """The written file, unless its weights are still under another name."""
    model.flush()
    path = Path(model.name)
    return path if beside is None and path.is_file() else None


def _checked(
    net: Net,
    made: Path | Program,
    how: Preprocessing | None,
    options: Mapping[str, Any],
    tolerance: float | None,
    sources: Sources,
    reading: Reading,
) -> dict[str, Any]:
    """Runs what was written against the net without folding, and OpenCV's reader."""
    outputs: Sequence[str] = options["outputs"]
    if tolerance is None:
        tolerance = HALF_TOLERANCE if options["half"] else TOLERANCE
    found = verify_conversion(net, made, how, outputs=outputs, tolerance=tolerance)
    told: dict[str, Any] = {"onnxruntime": found.plain()}
    graph = cut(net.graph, outputs) if outputs else net.graph
    shapes = {name: graph.shapes[name] or () for name in graph.inputs}
    feeds = random_inputs(shapes, 0, wanted_inputs(graph, 0))
    theirs: Any = "not asked: it reads nets in phase TEST alone, without level and stages"
    if is_usual(reading):
        theirs = opencv.outputs(*sources, graph, feeds)
    if isinstance(theirs, str):
        told["opencv"] = theirs
    else:
        told["opencv"] = compare_outputs(net, feeds, theirs, TOLERANCE).plain()
    return told


def _write(
    program: Program,
    model: Any,
    weights: Any,
    beside: Path | None,
    progress: Progress | None,
) -> None:
    from protogen.onnx.stream import write

    write(
        program,
        model,
        weights,
        beside.name if beside else "",
        counted(progress, program.weight_bytes),
    )


def _known_inputs(net: Net, given: Mapping[str, Shape]) -> dict[str, list[int]]:
    """The shapes, as data for JSON. One for a blob that is no input is refused: it would do
    nothing, or break the net."""
    from protogen.errors import did_you_mean

    for name in given:
        if name not in net.inputs and name not in {t for x in net.layers for t in x.tops}:
            known = ", ".join(net.inputs) or "none"
            raise InputError(
                f"the net has no such input (inputs: {known})",
                subject=f'"{name}"',
                advice=did_you_mean(name, net.inputs),
            )
    return {name: list(shape) for name, shape in given.items()}


def _plain(how: Preprocessing | None) -> dict[str, Any] | None:
    if how is None:
        return None
    mean = how.mean
    short = (
        None if mean is None else mean.reshape(-1).tolist() if mean.size <= 16 else "from a file"
    )
    return {
        "mean": short,
        "scale": how.scale,
        "swap_channels": how.swap_channels,
        "nhwc": how.nhwc,
        "uint8": how.uint8,
    }


def _metadata(
    prototxt: str | Path, caffemodel: str | Path | None, options: Mapping[str, Any]
) -> dict[str, Any]:
    made: dict[str, Any] = {
        "caffe_prototxt": Path(prototxt).name,
        "caffe_prototxt_sha256": sha256(prototxt),
        "protogen_options": {k: v for k, v in options.items() if v and v != USUAL.get(k)},
    }
    if caffemodel is not None:
        made["caffe_caffemodel"] = Path(caffemodel).name
        made["caffe_caffemodel_bytes"] = str(Path(caffemodel).stat().st_size)
    return made


def _receipt(
    sources: Sources,
    options: Mapping[str, Any],
    program: Program,
    checked: Mapping[str, Any],
) -> dict[str, Any]:
    """How the model came to be: the inputs' hashes, versions, options."""
    import platform
    from importlib.metadata import version

    inputs = [path for path in sources if path is not None]
    return {
        "inputs": [
            {"file": Path(path).name, "bytes": Path(path).stat().st_size, "sha256": sha256(path)}
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
    """The SHA-256 of a file, in hexadecimal.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where=str(path)) from None
