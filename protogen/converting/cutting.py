"""Cutting of nets and models: a part of a file as a file, and the rest as another one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Unpack, overload

from protogen.converting.comparison import TOLERANCE
from protogen.converting.parts import Cut, PartFile, Runnable, Value, verify_parts
from protogen.errors import InputError, quantity
from protogen.formats import contents, files
from protogen.formats.caffemodel import write_pair
from protogen.formats.mapped import counted
from protogen.formats.prototxt import Document
from protogen.net.build import Reading
from protogen.net.cost import costs
from protogen.net.cutting import NetPart, computed_twice, cut_net, rest_of_net
from protogen.net.net import Net, load
from protogen.running.cutting import is_empty

if TYPE_CHECKING:
    from protogen.geometry import Shape
    from protogen.onnx import Model

Blobs = Sequence[str]


@overload
def cut(net: Net, *, inputs: Blobs = (), outputs: Blobs = ()) -> Net: ...
@overload
def cut(net: Model, *, inputs: Blobs = (), outputs: Blobs = ()) -> Model: ...
def cut(net: Net | Model, *, inputs: Blobs = (), outputs: Blobs = ()) -> Net | Model:
    """Return the part of a net or model from some blobs to others.

    What the outputs do not depend on is left out. An input of the net stays an input if an output still
    depends on it. Running the part and then the rest (``rest_of``) gives the values of the whole net.

    Args:
        net: a net with its weights, or an ONNX model.
        inputs: blobs (values of a model) that become inputs, with their shapes. Of a blob that layers
            change in place, it is the last value; ``BLOB@LAYER`` is the value that an earlier layer writes.
        outputs: blobs that become the outputs; by default the outputs of the net.

    Returns:
        A net: its inputs are Input layers, tops that nobody reads get a Silence layer, and an output
        that a layer of the part reads is a copy by a Split layer. Its text, with the comments of the layers
        that stay, is the source of ``message``. Or a model, with the metadata, operator sets and
        functions of the whole one.

    Raises:
        InputError: a blob is unknown, the shape of a new input is unknown, it is a constant of a model or no
            output depends on it, or an output is an input or depends on none.
        UnsupportedError: a layer of the part reads a blob that a layer outside of it changes in place.
    """
    if isinstance(net, Net):
        return cut_net(net, inputs=inputs, outputs=outputs).net
    from protogen.onnx.parts import cut_model

    return cut_model(_sound(net), inputs=inputs, outputs=outputs).model


@overload
def rest_of(net: Net, *, outputs: Blobs, inputs: Blobs = ()) -> Net: ...
@overload
def rest_of(net: Model, *, outputs: Blobs, inputs: Blobs = ()) -> Model: ...
def rest_of(net: Net | Model, *, outputs: Blobs, inputs: Blobs = ()) -> Net | Model:
    """Return what ``cut`` leaves out after its outputs: its inputs are these blobs, and its outputs the
    other outputs of the net.

    Where it needs an input of the net, or a blob of ``inputs``, it has this input, too; layers between
    them are then in both parts.

    Args:
        net: a net with its weights, or an ONNX model.
        outputs, inputs: those of ``cut``.

    Raises:
        InputError: a blob is unknown, or every output of the net is in ``outputs``.
        UnsupportedError: see ``cut``.
    """
    if isinstance(net, Net):
        return rest_of_net(net, outputs=outputs, inputs=inputs).net
    from protogen.onnx.parts import rest_of_model

    return rest_of_model(_sound(net), outputs=outputs, inputs=inputs).model


def _sound(model: Model) -> Model:
    """Return a checked copy of a model, whose operators are in order."""
    from protogen.onnx import Model as ModelProto
    from protogen.onnx.constants import check_constants
    from protogen.onnx.soundness import check_sound

    copy = ModelProto()
    copy.CopyFrom(model)
    check_constants(copy, "")
    check_sound(copy, "")
    return copy


def cut_file(
    source: str | Path,
    weights: str | Path | None,
    output: str | Path,
    caffemodel: str | Path | None = None,
    *,
    inputs: Blobs = (),
    outputs: Blobs = (),
    rest: str | Path | None = None,
    rest_caffemodel: str | Path | None = None,
    input_shapes: Mapping[str, Shape] | None = None,
    external_data: bool | None = None,
    verify: bool = False,
    seed: int = 0,
    tolerance: float = TOLERANCE,
    progress: Callable[[int, int], object] | None = None,
    **reading: Unpack[Reading],
) -> Cut:
    """Cut a file: write the part of a Caffe net or ONNX model from some blobs to others. Weights are copied
    from file to file, never into memory.

    Args:
        source: a prototxt in any of Caffe's formats, or an ONNX model (see ``is_onnx``).
        weights: the caffemodel of the prototxt, if it has one.
        output: the prototxt or the ONNX model to write.
        caffemodel: the caffemodel to write; by default ``output`` with the suffix ``.caffemodel``.
        inputs, outputs: see ``cut``. At least one blob.
        rest: a prototxt or an ONNX model for what comes after ``outputs``; see ``rest_of``.
        rest_caffemodel: the caffemodel of the rest.
        input_shapes: shapes by blob that replace those of the net.
        external_data: write the weights of an ONNX model to ``output``.data next to it; None means only
            above 2 GB.
        verify: run the whole, and the part and the rest one after the other, on the same random inputs,
            and compare the outputs.
        seed: seed of the random inputs of ``verify``.
        tolerance: the largest error relative to a blob's largest magnitude.
        progress: called with the bytes of weights written so far and the total.
        reading: see ``convert``; not for an ONNX model.

    Raises:
        InputError: see ``cut``; a file or an option is invalid, or there is nothing to cut.
        UnsupportedError: see ``cut``; ``verify`` cannot run a layer.
        MismatchError: ``verify`` found a difference, or proved nothing; then no file is written.

    Warns:
        ProtogenWarning: ``verify`` found blobs that prove nothing.
    """
    if not (inputs or outputs):
        raise InputError("nothing to cut", advice="Name a blob with --from-blob or --to-blob.")
    if rest is not None and not outputs:
        raise InputError(
            "--rest needs --to-blob: it is what comes after these blobs",
            advice="To write what comes before a blob, name it with --to-blob.",
        )
    if rest_caffemodel is not None and rest is None:
        raise InputError("--rest-caffemodel needs --rest")
    proof = (seed, tolerance) if verify else None
    model = is_onnx(source)
    for path in (output, rest):
        _check_suffix(path, model)
    named = [("--output", output), ("--caffemodel", caffemodel), ("--rest", rest)]
    named.append(("--rest-caffemodel", rest_caffemodel))
    files.distinct(named, [source, weights])
    if not model:
        if external_data is not None:
            raise InputError(
                "--external-data does not apply to a net: its weights are in a caffemodel"
            )
        weights = None if is_empty(weights) else weights
        net = load(source, weights, input_shapes=input_shapes, **reading)
        written = [(output, caffemodel)]
        if rest is not None:
            written.append((rest, rest_caffemodel))
        return _cut_net(net, weights, written, inputs, outputs, proof, progress)
    extra = next((one for one in (weights, caffemodel, rest_caffemodel) if one), None)
    if extra is not None:
        raise InputError("an ONNX model needs no caffemodel: it has its weights", where=str(extra))
    from protogen.converting.cutting_models import cut_model_file

    paths = [output] if rest is None else [output, rest]
    shapes = input_shapes or {}
    return cut_model_file(source, paths, inputs, outputs, shapes, external_data, proof, progress)


def _check_suffix(path: str | Path | None, model: bool) -> None:
    """Check that a part of a model is not called a prototxt, nor a part of a net a model."""
    suffix = Path(path).suffix if path is not None else ""
    if suffix == (".prototxt" if model else ".onnx"):
        raise InputError(
            f"a part of {'an ONNX model' if model else 'a Caffe net'} is written in the same format",
            where=str(path),
            advice="To convert the part, use protogen convert with --from-blob and --to-blob.",
        )


def is_onnx(path: str | Path) -> bool:
    """Return whether a file is an ONNX model: by its content, or else by its name.

    Raises:
        InputError: the file cannot be read.
    """
    kind = contents.kind_of(path)
    return kind == "onnx" or (kind in ("", "text", "empty") and Path(path).suffix == ".onnx")


def _cut_net(
    net: Net,
    weights: str | Path | None,
    written: Sequence[tuple[str | Path, str | Path | None]],
    inputs: Blobs,
    outputs: Blobs,
    proof: tuple[int, float] | None,
    progress: Callable[[int, int], object] | None,
) -> Cut:
    """Write the parts of a net: for each a prototxt, and a caffemodel if the net has weights."""
    parts = [cut_net(net, inputs=inputs, outputs=outputs)]
    if len(written) > 1:
        parts.append(rest_of_net(net, outputs=outputs, inputs=inputs))
    written = [
        (path, _weights_file(part.net, weights, path, own, option))
        for part, (path, own), option in zip(parts, written, ("", "rest-"), strict=False)
    ]
    checked = None
    if proof is not None:
        runnable = [Runnable(part.net, part.begins, part.ends) for part in parts]
        checked = verify_parts(net, runnable, *proof)
    sizes = [sum(4 * blob.size for one in x.net.weights.values() for blob in one) for x in parts]
    count_up = counted(progress, sum(sizes))
    with ExitStack() as stack:
        for part, (path, caffemodel) in zip(parts, written, strict=True):
            entries = part.net.entries()
            write_pair(stack, (path, _text(part)), caffemodel, net.name, entries, count_up)
    results = [
        PartFile(
            Path(path),
            Path(caffemodel) if caffemodel is not None else None,
            _values(part.net, part.net.inputs),
            _values(part.net, [name for name in part.net.outputs if name not in part.net.inputs]),
            part.layers,
            _multiply_adds(part.net),
            size,
            part.silenced,
        )
        for part, (path, caffemodel), size in zip(parts, written, sizes, strict=True)
    ]
    rest = results[1] if len(results) > 1 else None
    twice = computed_twice(net, *parts) if rest is not None else ()
    return Cut(results[0], rest, len(net.layers), _multiply_adds(net), checked, twice)


def _weights_file(
    net: Net,
    weights: str | Path | None,
    path: str | Path,
    caffemodel: str | Path | None,
    option: str,
) -> str | Path | None:
    """Return the file for the weights of a part, by default beside its prototxt; check that it gets all of
    them."""
    if weights is None and caffemodel is not None:
        raise InputError(
            f"--{option}caffemodel needs the weights of the net",
            where=str(caffemodel),
            advice="Give its caffemodel as the second argument.",
        )
    if weights is None:
        return None
    net.check_weights()
    if caffemodel is not None or not net.weights:
        return caffemodel
    if str(path) == files.STDOUT:
        raise InputError(
            f"the part has {quantity(len(net.weights), 'layer')} with weights, but no file for them",
            advice=f"Name it: --{option}caffemodel part.caffemodel.",
        )
    own = files.beside(path, ".caffemodel", f"--{option}caffemodel")
    if os.path.realpath(own) == os.path.realpath(weights):
        raise InputError(
            f"the weights of the part would overwrite {weights}",
            advice=f"Name their file: --{option}caffemodel part.caffemodel.",
        )
    return own


def _text(part: NetPart) -> bytes:
    message = part.net.message
    assert isinstance(message, Document)
    mark = b"\xef\xbb\xbf" if message.source.bom else b""
    return mark + message.source.text.encode("utf-8", "surrogateescape")


def _values(net: Net, names: Sequence[str]) -> tuple[Value, ...]:
    return tuple((name, net.graph.shapes[name] or ()) for name in names)


def _multiply_adds(net: Net) -> int | None:
    """Return the sum over all layers; None if it is unknown for one."""
    work = [cost.multiply_adds for cost in costs(net.graph)]
    return None if None in work else sum(filter(None, work))
