"""From an upsampling specification to a Deconvolution layer, its weights and its error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, overload

from protogen.errors import InputError
from protogen.formats import prototxt, render
from protogen.generate.specification import (
    LIMIT_BYTES,
    Kernels,
    Mode,
    UpsampleSpec,
    parse_factor,
    parse_shape,
    size_text,
    whole,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.generate.plan import Plan
    from protogen.geometry import Shape
    from protogen.net.net import Net
    from protogen.onnx import Model

_SAMPLE = 8  # height and width of a net that was given no size


@dataclass(frozen=True, slots=True)
class InterpolationError:
    """Largest possible error of an upsampling against true interpolation, for data in [-1, 1].

    ``inside`` leaves out a ring of ``ring`` (height, width) pixels at each border.
    """

    inside: float
    border: float
    ring: tuple[int, int]


class Upsampling:
    """Upsampling layers as text, net, weights and ONNX.

    Attributes:
        specs: one Upsample per layer.
        prototxt: the text, parsed and checked.
        net: the layers with their inputs as a Net.
        whole: whether ``prototxt`` has its inputs, and so is a net by itself.
    """

    def __init__(
        self,
        specs: Sequence[UpsampleSpec],
        inputs: Mapping[str, Shape] | None = None,
        *,
        name: str = "",
        template: str | Path | None = None,
        templates: str | Path | None = None,
    ) -> None:
        _check_names(specs)
        self.specs = tuple(specs)
        self.whole = bool(inputs)
        self.name = name
        self._template = {"file": template, "directory": templates}
        self._inputs = dict(inputs or {})
        _check_inputs(self.specs, self._inputs)
        self.prototxt = self._render(self._inputs, name)
        self._document = self._parse(self.prototxt)
        self._check_rendered()

    @cached_property
    def net(self) -> Net:
        """The net; a bare layer's bottoms are inputs of 8x8 pixels here.

        Raises:
            InputError: a template of the user's made a layer of another geometry.
        """
        from protogen.net.net import Net

        document = self._document
        if not self.whole:
            inputs = _free_inputs(self.specs)
            document = self._parse(self._render(inputs, self.name))
        net = Net(document, {spec.name: [spec.weight()] for spec in self.specs})
        net.check_weights()
        return net

    @property
    def weights(self) -> dict[str, list[NDArray[np.float32]]]:
        """Weights by layer name."""
        return self.net.weights

    @property
    def weights_needed(self) -> tuple[str, ...]:
        """Layers that no filler of Caffe can fill: their weights must come from a caffemodel."""
        return tuple(spec.name for spec in self.specs if spec.needs_weights)

    @cached_property
    def error(self) -> InterpolationError:
        """The largest error of all layers; see ``Error``."""
        errors = [bound(spec) for spec in self.specs]
        worst = max(errors, key=lambda e: e.border)
        return InterpolationError(max(e.inside for e in errors), worst.border, worst.ring)

    def to_onnx(self, *, opset: int = 18) -> Model:
        """The layers as ONNX; batch, height and width are free where no shape was given.

        Raises:
            InputError: the installed onnx does not know ``opset``, or it is below 13.
        """
        from protogen.onnx import to_onnx

        described = [spec.describe() for spec in self.specs]
        return to_onnx(
            self.net,
            opset=opset,
            free_axes=() if self.whole else (0, 2, 3),
            metadata={"protogen.upsample": described},
        )

    def describe(self) -> list[dict[str, Any]]:
        """Every layer's specification and geometry as plain data."""
        return [spec.describe() for spec in self.specs]

    def _render(self, inputs: Mapping[str, Shape], name: str) -> str:
        values = {"net": name, "inputs": list(inputs.items()), "layers": self.specs}
        return render.render("upsample", values, **self._template)

    def _parse(self, text: str) -> prototxt.Document:
        chosen = self._template["file"] or self._template["directory"] or "built in"
        return prototxt.parse(text, f"text rendered by the template ({chosen})", strict=True)

    def _check_rendered(self) -> None:
        """A template may add to what was asked for, but it must hold it."""
        found = {params.name: params for params in self._document.layer}
        for spec in self.specs:
            params = found.get(spec.name)
            if params is None or params.type != "Deconvolution":
                raise InputError(
                    f"the template makes no Deconvolution named {spec.name!r}",
                    where=str(self._template["file"] or self._template["directory"] or ""),
                    advice="Write the layer's own name: name: {{ layer.name }}.",
                )


class ClassicOptions(TypedDict, total=False):
    """Options of the classic layer; those of ``UpsampleSpec`` have its defaults."""

    name: str
    channels: int | None
    bottom: str
    top: str | None
    mode: Mode
    trainable: bool
    weights: Kernels
    input_shape: Sequence[int] | str | None
    template: str | Path | None
    templates: str | Path | None


@overload
def upsample(
    factor: int | str | tuple[int, int] = 2,
    *,
    exact: Literal[False] = False,
    **options: Unpack[ClassicOptions],
) -> Upsampling: ...


@overload
def upsample(
    factor: float | str | Sequence[float] | None = 2, *, exact: Literal[True], **options: Any
) -> Plan: ...


def upsample(factor: Any = 2, *, exact: bool = False, **options: Any) -> Upsampling | Plan:
    """Upsampling as stock Caffe layers: the classic ``Deconvolution``, or with ``exact`` a plan
    that equals interpolation at the border too.

    The classic layer: kernel_size 2f - f mod 2, stride f, pad ceil((f - 1) / 2). It equals
    half-pixel linear interpolation inside; in a ring of floor(f / 2) pixels at each border the
    outside counts as 0.

    Args:
        factor: f, or (height, width), or text such as "2" or "2x4"; whole numbers unless exact.
        exact: every other option is then that of ``resize``.
        channels: C; ``num_output`` and ``group`` are C. The input shape's unless given, or 3.
        name: the layer's name. ``top`` is the same unless given.
        mode: "bilinear", or "nearest" (kernel and stride f, all ones; exact).
        trainable: learning rate on; the weights are then only the start.
        weights: "channelwise", or "full" for C x C kernels with the diagonal filled, as FCN
            starts a learned upsampling.
        input_shape: (N, C, H, W) makes a whole net with an Input layer.
        template: a template file in place of ours; templates: a folder that overrides by name.

    Raises:
        InputError: a value is wrong or out of range.
        UnsupportedError: with ``exact``, nothing exact is possible.
    """
    if exact:
        from protogen.generate.resizing import resize

        return resize(factor, **{"name": "upsample", **options})
    return classic(factor, **options)


def classic(factor: object = 2, **options: Unpack[ClassicOptions]) -> Upsampling:
    """The classic layer; see ``upsample``."""
    given: dict[str, Any] = dict(options)
    files = {key: given.pop(key, None) for key in ("template", "templates")}
    shape = given.pop("input_shape", None)
    inputs = None if shape is None else {options.get("bottom", "data"): parse_shape(shape)}
    if given.get("channels") is None:
        given["channels"] = next(iter(inputs.values()))[1] if inputs else 3
    given["channels"] = whole("channels", given["channels"])
    if given.get("top") is None:
        given["top"] = given.get("name", "upsample")
    spec = UpsampleSpec(parse_factor(factor), **given)
    return Upsampling([spec], inputs, **files)


def bound(spec: UpsampleSpec) -> InterpolationError:
    """The largest error of one layer for data in [-1, 1], from its matrices."""
    error = error_map(spec, (4, 4), corner=True)
    h, w = spec.ring
    return InterpolationError(float(error[h:, w:].max()), float(error.max()), spec.ring)


def error_map(
    spec: UpsampleSpec, size: tuple[int, int], *, corner: bool = False
) -> NDArray[np.float64]:
    """The largest error of every output pixel against true interpolation, for data in [-1, 1].

    An output pixel's weights are the outer product of a row of each axis' matrix, so its largest
    error is the sum of that product's absolute differences. ``corner`` gives the upper left
    quarter only: the rest is its mirror image.
    """
    import numpy as np

    (own_h, true_h), (own_w, true_w) = spec.matrices(size)
    rows, columns = own_h.shape[0], own_w.shape[0]
    if corner:
        rows, columns = -(-rows // 2), -(-columns // 2)
    made = np.empty((rows, columns))
    for i in range(rows):
        own = own_h[i][None, :, None] * own_w[:columns, None, :]
        true = true_h[i][None, :, None] * true_w[:columns, None, :]
        made[i] = np.abs(own - true).sum(axis=(1, 2))
    return made


@dataclass(frozen=True, slots=True)
class KernelPicture:
    """What one row shows. ``error`` is the largest error of each output pixel for data in
    [-1, 1]; ``rows`` and ``columns`` are the kernel's profiles."""

    title: str
    rows: NDArray[np.float32]
    columns: NDArray[np.float32]
    stride: tuple[int, int]
    error: NDArray[np.float64]
    ring: tuple[int, int]


def kernel_picture(spec: UpsampleSpec) -> KernelPicture:
    """What a picture of one layer's kernel shows."""
    size = tuple(8 if f <= 4 else 6 if f <= 8 else 4 for f in spec.factor)
    times = "\u00d7"
    factors = times.join(map(str, dict.fromkeys(spec.factor)))
    title = f"{spec.mode} {times}{factors}, kernel {spec.kernel[0]}{times}{spec.kernel[1]}"
    rows, columns = spec.profiles()
    error = error_map(spec, (size[0], size[1]))
    return KernelPicture(title, rows, columns, spec.stride, error, spec.ring)


def _check_names(specs: Sequence[UpsampleSpec]) -> None:
    names: set[str] = set()
    tops: set[str] = set()
    for spec in specs:
        for key, value, taken in (("name", spec.name, names), ("top", spec.top, tops)):
            if value in taken:
                raise InputError(
                    f"{value!r} is taken by another layer", subject=key, advice="Choose another."
                )
            taken.add(value)


def _free_inputs(specs: Sequence[UpsampleSpec]) -> dict[str, Shape]:
    """Bottoms that no layer before them makes, with a size for probing."""
    made: set[str] = set()
    inputs: dict[str, Shape] = {}
    for spec in specs:
        if spec.bottom not in made:
            inputs.setdefault(spec.bottom, (1, spec.channels, _SAMPLE, _SAMPLE))
        made.add(spec.top)
    return inputs


def _check_inputs(specs: Sequence[UpsampleSpec], inputs: Mapping[str, Shape]) -> None:
    """Channels must agree along the chain, and nothing may need more memory than a blob holds."""
    shapes = dict(inputs) or _free_inputs(specs)
    for spec in specs:
        shape = shapes.get(spec.bottom)
        if shape is None:
            raise InputError(
                f"{spec.bottom!r} is neither an input nor a top before it", subject="bottom"
            )
        if spec.top in inputs:
            raise InputError(
                f"{spec.top!r} is the name of an input", subject="top", advice="Choose another."
            )
        if shape[1] != spec.channels:
            raise InputError(
                f"layer {spec.name!r} takes {spec.channels} channels, but {spec.bottom!r} has "
                f"{shape[1]}",
                subject="channels",
                advice=f"Use {shape[1]} channels.",
            )
        top = (shape[0], spec.channels, shape[2] * spec.factor[0], shape[3] * spec.factor[1])
        count = top[0] * top[1] * top[2] * top[3]
        if count * 4 > LIMIT_BYTES and inputs:
            raise InputError(
                f"the top {spec.top!r} would be {'x'.join(map(str, top))}, {size_text(count * 4)}",
                subject="input-shape",
                advice="Use smaller sizes: 2 GiB is the most.",
            )
        shapes[spec.top] = top
