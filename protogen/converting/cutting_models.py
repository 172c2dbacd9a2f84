"""Cutting of the file of an ONNX model, whose large constants stay in the file until they are copied."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protogen.converting.caffe_to_onnx import EXTERNAL_FROM
from protogen.converting.comparison import Comparison
from protogen.converting.parts import Cut, PartFile, Runnable, verify_parts
from protogen.formats import files
from protogen.formats.mapped import counted, locate
from protogen.onnx.memory_mapped import read_memory_mapped
from protogen.onnx.parts import (
    ModelPart,
    computed_twice,
    cut_model,
    embedded,
    rest_of_model,
    weight_bytes,
)
from protogen.onnx.soundness import check_sound
from protogen.onnx.stream import write_model
from protogen.onnx.types import reshaped, shapes_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from protogen.geometry import Shape
    from protogen.onnx import Model

    Arrays = Mapping[str, NDArray[Any]]


def cut_model_file(
    source: str | Path,
    written: Sequence[str | Path],
    inputs: Sequence[str],
    outputs: Sequence[str],
    shapes: Mapping[str, Shape],
    external_data: bool | None,
    proof: tuple[int, float] | None,
    progress: Callable[[int, int], object] | None,
) -> Cut:
    """Write the part of a model, and the rest if ``written`` has two paths; see ``cut_file``.

    Args:
        proof: the seed and the tolerance of ``verify``; None without it.
    """
    where = str(source)
    loaded, arrays = read_memory_mapped(source)
    check_sound(loaded, where)
    model = reshaped(loaded, shapes, [*inputs, *outputs], where)
    parts = [cut_model(model, inputs=inputs, outputs=outputs, shapes=shapes, where=where)]
    if len(written) > 1:
        rest = rest_of_model(model, outputs=outputs, inputs=inputs, shapes=shapes, where=where)
        parts.append(rest)
    sizes = [weight_bytes(part.model, arrays) for part in parts]
    outside = [
        files.external_data(path)
        if external_data or (external_data is None and size > EXTERNAL_FROM)
        else None
        for path, size in zip(written, sizes, strict=True)
    ]
    _check_files(source, arrays, written, outside)
    checked = _verified(model, parts, arrays, *proof) if proof is not None else None
    count_up = counted(progress, sum(sizes))
    with ExitStack() as stack:
        for part, path, data in zip(parts, written, outside, strict=True):
            file = stack.enter_context(files.replacing(path))
            external = stack.enter_context(files.replacing(data)) if data is not None else None
            own = _own(part.model, arrays)
            write_model(part.model, own, file, external, data.name if data else "", count_up)
    results = [
        PartFile(
            Path(path),
            data,
            tuple(shapes_of(part.model).items()),
            tuple(shapes_of(part.model, outputs=True).items()),
            part.operators,
            None,
            size,
        )
        for part, path, data, size in zip(parts, written, outside, sizes, strict=True)
    ]
    count = len(model.graph.node)
    twice = computed_twice(model, *parts) if len(parts) > 1 else ()
    return Cut(results[0], (*results, None)[1], count, None, checked, twice, True)


def _check_files(
    source: str | Path,
    arrays: Arrays,
    written: Sequence[str | Path],
    outside: Sequence[Path | None],
) -> None:
    """Check that all files are different, also from the model's files of external data."""
    places = [locate(array) for array in arrays.values()]
    read = {place.map.path for place in places if place is not None}
    names = [("--output", "the weights file"), ("--rest", "the weights file of the rest")]
    outputs: list[tuple[str, str | Path | None]] = []
    for (model, weights), path, data in zip(names, written, outside, strict=False):
        outputs += [(model, path), (weights, data)]
    files.distinct(outputs, [source, *read])


def _own(model: Model, arrays: Arrays) -> dict[str, NDArray[Any]]:
    """Return the large constants of a part."""
    names = [tensor.name for tensor in model.graph.initializer if tensor.name in arrays]
    return {name: arrays[name] for name in names}


def _verified(
    model: Model, parts: Sequence[ModelPart], arrays: Arrays, seed: int, tolerance: float
) -> Comparison:
    """Compare the parts with the whole model. All of them are in memory for it, and compute in float32
    where the model computes in bfloat16, which numpy does not have."""
    runnable = [
        Runnable(
            embedded(part.model, arrays),
            {name: name for name in part.begins},
            {name: name for name in part.ends},
        )
        for part in parts
    ]
    return verify_parts(embedded(model, arrays), runnable, seed, tolerance)
