"""Runs nets and ONNX models with onnxruntime."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protogen.errors import InputError, UnsupportedError
from protogen.geometry import shape_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.geometry import Shape
    from protogen.layers.graph import Graph
    from protogen.net.net import Net
    from protogen.onnx import Model, Program

    Arrays = dict[str, NDArray[Any]]

IN_MEMORY = 10**9  # bytes of weights: above, the model goes through a file


def run(
    model: Net | Model | str | Path,
    feeds: Mapping[str, NDArray[Any]],
    blobs: Sequence[str] | None = None,
) -> Arrays:
    """Values of blobs by name, computed by onnxruntime on the CPU.

    Args:
        model: a net with its weights, an ONNX model, or the path of an ONNX file.
        feeds: an array for each input, of its shape.
        blobs: which to give, inner ones too; the outputs where it is left out.

    Raises:
        InputError: an input is missing or of another shape, or there is no such blob.
        UnsupportedError: a layer of the net has no form in ONNX.
        ProtogenError: onnxruntime refuses the model or fails to run it.
    """
    from protogen.net.net import Net

    if isinstance(model, Net):
        from protogen.onnx import lower
        from protogen.onnx.session import check_feeds

        graph = model.graph
        check_room(graph)
        if blobs is None:
            top_of = {v: t for x in graph.layers for t, v in zip(x.tops, x.writes, strict=True)}
            names = [top_of[value] for value in graph.outputs if value not in graph.inputs]
        else:
            names = list(blobs)
        values = graph.last(names)
        computed = [value for value in values if value not in graph.inputs]
        given = {
            name: _fitting(name, feeds, graph.shapes[name])
            for name in graph.inputs
            if name in feeds
        }
        found: Arrays = {}
        if blobs is None or computed:
            program = lower(model, outputs=computed)
            needed = [value.name for value in program.inputs]
            check_feeds(needed, feeds)
            found = run_program(program, {name: given[name] for name in needed})
        return {
            name: found[value] if value in found else given[value]
            for name, value in zip(names, values, strict=True)
        }
    from protogen.onnx import check_places, exposed, load_model
    from protogen.onnx.session import run_model

    if isinstance(model, (str, Path)):
        check_places(model)  # onnxruntime opens the files that a model names
        if blobs is None:
            return run_model(str(model), feeds)
        model = load_model(model)
    return run_model(exposed(model, blobs or ()).SerializeToString(), feeds, blobs)


def check_room(graph: Graph) -> None:
    """Refuses a net whose run needs more memory than this machine has.

    What one layer reads and writes, and all parameters, are there at once whatever a runtime does.

    Raises:
        UnsupportedError: with the number, and the layer.
    """

    def size(names: Iterable[str]) -> int:
        return sum(4 * prod(graph.shapes.get(name) or (0,)) for name in set(names))

    there = _memory()
    if not graph.layers or there is None:
        return
    weights = sum(4 * prod(s) for blobs in graph.parameter_shapes.values() for s in blobs or ())
    worst = max(graph.layers, key=lambda layer: size((*layer.reads, *layer.writes)))
    need = weights + max(size((*worst.reads, *worst.writes)), size(graph.inputs))
    if need > there:
        raise worst.unsupported(
            f"running the net needs {_amount(need)} of memory at least, and this machine has "
            f"{_amount(there)}",
            "Use smaller inputs.",
        )


def check_inputs(shapes: Mapping[str, Shape]) -> None:
    """Refuses inputs that need more memory than this machine has.

    Raises:
        UnsupportedError: with the number, and the largest input.
    """
    sizes = {name: 4 * prod(shape) for name, shape in shapes.items()}
    there = _memory()
    if there is not None and sum(sizes.values()) > there:
        raise UnsupportedError(
            f"the inputs need {_amount(sum(sizes.values()))} of memory, and this machine has "
            f"{_amount(there)}",
            subject=f'input "{max(sizes, key=lambda name: sizes[name])}"',
            advice="Use smaller inputs.",
        )


def _memory() -> int | None:
    """Bytes of this machine's memory; None where the system does not say."""
    if not hasattr(os, "sysconf"):
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _amount(count: int) -> str:
    return f"{count / 1e12:.3g} TB" if count >= 1e12 else f"{count / 1e9:.3g} GB"


def run_program(program: Program, feeds: Mapping[str, NDArray[Any]]) -> Arrays:
    """Outputs of a program; one with large weights goes through a file of its own."""
    return opened(program)(feeds)


def opened(program: Program) -> Callable[[Mapping[str, NDArray[Any]]], Arrays]:
    """A program that is ready to run, any number of times."""
    from protogen.onnx import to_model
    from protogen.onnx.session import open_model
    from protogen.onnx.stream import write

    if program.weight_bytes <= IN_MEMORY:
        return open_model(to_model(program).SerializeToString())
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "net.onnx"
        with path.open("wb") as file, path.with_suffix(".data").open("wb") as weights:
            write(program, file, weights, "net.data")
        return open_model(str(path))


def _fitting(
    name: str, feeds: Mapping[str, NDArray[Any]], shape: tuple[int, ...] | None
) -> NDArray[np.float32]:
    import numpy as np

    array = np.asarray(feeds[name], np.float32, order="C")  # ascontiguousarray makes scalars 1-D
    if shape is not None and array.shape != shape:
        found, wanted = (shape_text(s) for s in (np.shape(feeds[name]), shape))
        raise InputError(
            f"the array is {found}, but must be {wanted}",
            subject=f'input "{name}"',
            advice="Load the net with input_shapes for another size.",
        )
    return array


def newest_opset() -> int:
    """The newest operator set that the installed onnxruntime runs."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    found = max(
        schema.since_version for schema in state.get_all_operator_schema() if not schema.domain
    )
    return int(found)
