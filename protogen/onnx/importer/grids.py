"""Constant linear maps of pictures: GridSample with a constant grid, and AffineGrid of any matrices."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from onnx import TensorProto, helper

from protogen.onnx.importer.arithmetic import floats
from protogen.onnx.importer.context import ImportContext
from protogen.onnx.importer.contraction import Operand, contracted, operand_of
from protogen.onnx.importer.finite import note_spread
from protogen.onnx.importer.forms import MOST_FACTORS, along_axis, reshaped
from protogen.onnx.importer.registry import imports
from protogen.onnx.session import run_model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_GRIDS = 8  # samples with different grids


@imports("GridSample")
def grid_sample(ctx: ImportContext, x: str, grid: str, **attributes: Any) -> None:
    """The product of the pixels of each channel with a matrix: an InnerProduct. Samples with different
    grids are sliced."""
    grids = floats(ctx, ctx.require_constant(grid, "grid"))
    batch, channels, *size = ctx.shape(x)
    pixels, places = prod(size), prod(grids.shape[1:-1])
    if pixels * places > MOST_FACTORS:
        raise ctx.unsupported(
            f"takes a matrix of {places} x {pixels} factors, but the limit is {MOST_FACTORS}"
        )
    is_one = bool((grids == grids[:1]).all())
    if batch > MOST_GRIDS and not is_one:
        raise ctx.unsupported(
            f"{batch} samples have different grids, but the limit is {MOST_GRIDS}"
        )
    note_spread(ctx)
    y = reshaped(ctx, x, (batch, channels, pixels), "pixels")
    parts = [y] if is_one else ctx.split(y, 0, range(1, batch), "sample")
    parts = [
        along_axis(ctx, part, 2, _matrix(ctx, size, grids[i : i + 1], attributes), "sampled")
        for i, part in enumerate(parts)
    ]
    if len(parts) > 1:
        parts = [ctx.add("Concat", parts, {"concat_param": {"axis": 0}}, role="joined")]
    reshaped(ctx, parts[0], (batch, channels, *grids.shape[1:-1]))


def _matrix(
    ctx: ImportContext, size: list[int], grid: NDArray[Any], attributes: dict[str, Any]
) -> NDArray[np.float32]:
    """Return the matrix (places, pixels): the samples of pictures with a 1 at one pixel each."""
    import numpy as np

    pixels = prod(size)
    pictures = np.eye(pixels, dtype=np.float32).reshape(1, pixels, *size)
    node = helper.make_node("GridSample", ["x", "grid"], ["y"], **attributes)
    feeds = {"x": pictures, "grid": grid.astype(np.float32)}
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape)
        for name, array in feeds.items()
    ]
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "grid", values, [result])
    imports_ = [helper.make_opsetid("", ctx.opset)]
    version = min(helper.find_min_ir_version_for(imports_, ignore_unknown=True), 10)
    model = helper.make_model(graph, opset_imports=imports_, ir_version=version)
    samples = run_model(model.SerializeToString(), feeds)["y"]
    return np.ascontiguousarray(samples.reshape(pixels, -1).T)


@imports("AffineGrid")
def affine_grid(ctx: ImportContext, theta: str, size: str, *, align_corners: int = 0) -> None:
    """The product of each sample's matrix with the coordinates of all places and 1."""
    import numpy as np

    lengths = (ctx.integers(None, size, "size") or [])[2:]
    if align_corners and 1 in lengths:
        raise ctx.unsupported(
            "align_corners leaves the coordinate of an axis of length 1 undefined"
        )
    lines = [
        np.linspace(-1, 1, n) if align_corners else (2 * np.arange(n) + 1) / n - 1 for n in lengths
    ]
    # The first coordinate is that of the last axis.
    coordinates = np.meshgrid(*lines, indexing="ij")[::-1]
    base = np.stack([*coordinates, np.ones(lengths)], -1).astype(np.float32)
    places = "dhw"[-len(lengths) :]
    operands = [operand_of(ctx, theta, "nij"), Operand(base, f"{places}j")]
    ctx.pass_through(contracted(ctx, operands, f"n{places}i"))
