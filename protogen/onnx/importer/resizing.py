"""Resize and Upsample: exact resampling of any axes with stock layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from protogen.onnx.importer.context import ImportContext
from protogen.onnx.importer.forms import reshaped
from protogen.onnx.importer.registry import imports

if TYPE_CHECKING:
    from protogen.resampling.forms import Resizing

_IGNORED_CROP = (
    "onnxruntime ignores roi for an axis that keeps its length; the net crops it, as ONNX defines"
)


@imports("Resize")
def resize(
    ctx: ImportContext,
    x: str,
    roi: str | None = None,
    scales: str | None = None,
    sizes: str | None = None,
    **attributes: Any,
) -> None:
    """In operator set 10 the scales are the second input. Only a crop reads ``roi``."""
    if ctx.opset < 11:
        roi, scales = None, roi
    if attributes.get("coordinate_transformation_mode") != "tf_crop_and_resize":
        roi = None
    _resize(ctx, x, scales, sizes, roi, attributes)


@imports("Upsample")
def upsample(ctx: ImportContext, x: str, scales_: str | None = None, **attributes: Any) -> None:
    """The scales are an attribute in operator set 7, and an input in operator set 9."""
    _resize(ctx, x, scales_, None, None, attributes)


def _resize(
    ctx: ImportContext,
    x: str,
    scales: str | None,
    sizes: str | None,
    roi: str | None,
    attributes: dict[str, Any],
) -> None:
    from protogen.resampling.forms import resizing_of

    def values(name: str | None, what: str) -> list[Any] | None:
        array = ctx.require_constant(name, what) if name else None
        return None if array is None or not array.size else array.reshape(-1).tolist()

    resizing = resizing_of(
        ctx.operator.type,
        ctx.shape(x),
        attributes,
        opset=ctx.opset,
        scales=values(scales, "scales"),
        sizes=values(sizes, "sizes"),
        roi=values(roi, "roi"),
    )
    if resizing.crops_without_resizing:
        ctx.notes[str(ctx.unsupported(_IGNORED_CROP))] = None
    _add(ctx, x, resizing)


def _add(ctx: ImportContext, x: str, resizing: Resizing) -> None:
    """Add the resizes of height and width, with Reshapes between them where the shapes differ."""
    parts = list(resizing.parts())
    if not parts:
        ctx.pass_through(x)
        return
    for number, (request, shape) in enumerate(parts, 1):
        view = (request.batch, request.channels, *(request.size or ()))
        role = str(number) if len(parts) > 1 else ""
        x = reshaped(ctx, x, view, f"view{role}")
        last = number == len(parts)
        after = (*view[:2], *request.output)
        top = "" if last and after == shape else ctx.new_value(f"resized{role}")
        ctx.resize(request, x, top, role)
        x = top
    if x:
        reshaped(ctx, x, resizing.out)
