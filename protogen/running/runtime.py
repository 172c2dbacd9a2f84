"""Running nets and ONNX models with onnxruntime."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protogen.errors import InputError, ProtogenWarning, warn
from protogen.geometry import shape_text
from protogen.memory import check_memory, end_at_lost_pages

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.geometry import Shape
    from protogen.layers.graph import Graph
    from protogen.net.net import Net
    from protogen.onnx import Model, Program

    Arrays = dict[str, NDArray[Any]]


def run(
    model: Net | Model | str | Path,
    feeds: Mapping[str, NDArray[Any]],
    blobs: Sequence[str] | None = None,
) -> Arrays:
    """Run a model with onnxruntime on the CPU and return blobs by name.

    Args:
        model: a net with its weights, an ONNX model, or the path of an ONNX file.
        feeds: an array for each input, of the input's shape.
        blobs: names of the blobs to compute, including inner ones; the outputs by default.

    Raises:
        InputError: an input is missing, unknown or of another shape, or a blob is unknown.
        UnsupportedError: a layer of the net cannot be exported to ONNX, or the run needs more
            memory than this machine has.
        ProtogenError: onnxruntime cannot load the model, or fails to run it.
    """
    from protogen.net.net import Net

    if isinstance(model, Net):
        from protogen.onnx import lower
        from protogen.onnx.session import check_feeds, check_known

        graph = model.graph
        check_known(graph.inputs, feeds)
        check_room(graph)
        if blobs is None:
            top_of = {
                value: top
                for layer in graph.layers
                for top, value in zip(layer.tops, layer.writes, strict=True)
            }
            names = [top_of[value] for value in graph.outputs if value not in graph.inputs]
        else:
            names = list(blobs)
        values = graph.last(names)
        targets = [value for value in values if value not in graph.inputs]
        inputs = {
            name: checked_input(name, feeds, graph.shapes[name])
            for name in graph.inputs
            if name in feeds
        }
        computed: Arrays = {}
        if blobs is None or targets:
            program = lower(model, outputs=targets)
            needed = [value.name for value in program.inputs]
            check_feeds(needed, feeds)
            computed = run_program(program, {name: inputs[name] for name in needed})
        return {
            name: computed[value] if value in computed else inputs[value]
            for name, value in zip(names, values, strict=True)
        }
    from protogen.onnx import WIDENED, exposed, load_model, runs_as_file
    from protogen.onnx.constants import check_constants
    from protogen.onnx.session import run_model

    if isinstance(model, (str, Path)):
        as_file = runs_as_file(model)
        if not as_file:
            warn(ProtogenWarning(WIDENED))
        if as_file and blobs is None:
            return run_model(str(model), feeds, known=True)
        model = load_model(model)
    else:
        check_constants(model, "")
    return run_model(exposed(model, blobs or ()).SerializeToString(), feeds, blobs, known=True)


def check_room(graph: Graph) -> None:
    """Check that the machine has enough memory to run a net.

    Any runtime holds all parameters, and the bottoms and tops of one layer, at the same time.

    Raises:
        UnsupportedError: not enough memory; the error names the layer and the amount of memory.
    """

    def size(names: Iterable[str]) -> int:
        return sum(4 * prod(graph.shapes.get(name) or (0,)) for name in set(names))

    if not graph.layers:
        return
    weights = sum(4 * prod(s) for blobs in graph.parameter_shapes.values() for s in blobs or ())
    largest = max(graph.layers, key=lambda layer: size((*layer.reads, *layer.writes)))
    needed = weights + max(size((*largest.reads, *largest.writes)), size(graph.inputs))
    check_memory(needed, "running the net needs at least", largest.subject, largest.place)


def check_inputs(shapes: Mapping[str, Shape]) -> None:
    """Check that the machine has enough memory for the inputs.

    Raises:
        UnsupportedError: not enough memory; the error names the largest input and the amount of memory.
    """
    sizes = {name: 4 * prod(shape) for name, shape in shapes.items()}
    largest = max(sizes, key=lambda name: sizes[name], default="")
    check_memory(sum(sizes.values()), "the inputs need", f'input "{largest}"')


class Runner:
    """A loaded model some of whose inputs are its large constants.

    protogen runs a net few times: onnxruntime's own copies of its constants would take memory. It reads
    them where they are, in memory or in a mapped file.

    Args:
        model: the model.
        constants: the arrays of these inputs.
        outputs: names of the values to compute; all outputs by default.
    """

    def __init__(
        self,
        model: Model,
        constants: Mapping[str, NDArray[Any]],
        outputs: Sequence[str] | None = None,
    ) -> None:
        import numpy as np

        from protogen.onnx.session import open_model

        end_at_lost_pages()
        self._run = open_model(model.SerializeToString(), outputs)
        self._constants = {name: np.ascontiguousarray(one) for name, one in constants.items()}

    def __call__(self, feeds: Mapping[str, NDArray[Any]]) -> Arrays:
        """Run the model and return its outputs by name.

        Raises:
            InputError: an input is missing, or a file of constants was changed since it was mapped.
        """
        from protogen.formats.mapped import check_unchanged

        outputs = self._run({**feeds, **self._constants})
        check_unchanged(self._constants.values())
        return outputs

    def release(self) -> None:
        """Release the memory of mapped constants; the next run reads them again."""
        from protogen.formats.mapped import release_arrays

        release_arrays(self._constants.values())


def run_program(program: Program, feeds: Mapping[str, NDArray[Any]]) -> Arrays:
    """Run a program once and return its outputs by name."""
    return opened(program)(feeds)


def every_value(program: Program, feeds: Mapping[str, NDArray[Any]]) -> Arrays:
    """Run a program once and return everything that its operators compute, by name."""
    from protogen.onnx import exposed, to_model_with_inputs, values

    model, constants = to_model_with_inputs(program)
    names = values(model)
    return Runner(exposed(model, names), constants, names)(feeds)


def opened(program: Program) -> Runner:
    """Load a program."""
    from protogen.onnx import to_model_with_inputs

    return Runner(*to_model_with_inputs(program))


def opened_model(
    model: Model, arrays: Mapping[str, NDArray[Any]], outputs: Sequence[str]
) -> Runner:
    """Load a model.

    Args:
        arrays: the values of the initializers that lack them.
        outputs: names of the values to compute.
    """
    from protogen.onnx.memory_mapped import as_inputs

    return Runner(*as_inputs(model, arrays), outputs)


def checked_input(
    name: str, feeds: Mapping[str, NDArray[Any]], shape: tuple[int, ...] | None
) -> NDArray[np.float32]:
    """Return the array of an input as float32; raise InputError if its shape is wrong."""
    import numpy as np

    from protogen.onnx.session import check_numbers

    check_numbers(name, np.asarray(feeds[name]), feeds[name])
    # Not ascontiguousarray, which would turn a scalar into an array of one axis.
    array = np.asarray(feeds[name], np.float32, order="C")
    if shape is not None and array.shape != shape:
        actual, expected = (shape_text(s) for s in (np.shape(feeds[name]), shape))
        raise InputError(
            f"expected an array of shape {expected}, got {actual}",
            subject=f'input "{name}"',
            advice="To use another size, load the net with input_shapes.",
        )
    return array


def newest_opset() -> int:
    """Return the newest operator set that the installed onnxruntime supports."""
    from protogen.onnx.session import library

    library()
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    newest = max(
        schema.since_version for schema in state.get_all_operator_schema() if not schema.domain
    )
    return int(newest)
