"""Generates Deconvolution layers from upsampling specifications, with weights and error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, overload

from protogen import _late
from protogen._arguments import checked
from protogen._late import Shown
from protogen.errors import InputError, quantity
from protogen.formats import prototxt, render
from protogen.formats.picture import Picture
from protogen.generate.specification import (
    LIMIT_BYTES,
    Kernels,
    Mode,
    UpsampleSpec,
    parse_factor,
    parse_integer,
    parse_shape,
    size_text,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.generate.plan import Plan
    from protogen.geometry import Shape
    from protogen.net.net import Net
    from protogen.onnx import Model

_MOST_KERNELS = 12  # rows of a picture
_LARGEST_KERNEL = 256  # factor of a kernel in a picture
_SAMPLE_SIZE = 8  # height and width of a net without an input shape


@dataclass(frozen=True, slots=True)
class InterpolationError:
    """Largest possible error of an upsampling against interpolation, for data in [-1, 1].

    ``inside`` excludes a ring of ``ring`` (height, width) output pixels at each border.
    """

    inside: float
    border: float
    ring: tuple[int, int]


class Upsampling(Shown):
    """Upsampling layers as text, net, weights and ONNX.

    Attributes:
        specs: one UpsampleSpec per layer.
        prototxt: the text. That of a user's template is parsed and checked.
        net: the layers with their inputs as a Net.
        whole: whether ``prototxt`` has Input layers and is a complete net.
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
        if template or templates:  # protogen's own templates need no check
            self._check_rendered()

    @cached_property
    def _document(self) -> prototxt.Document:
        """The parsed text."""
        return self._parse(self.prototxt)

    @cached_property
    def net(self) -> Net:
        """The net. Without an input shape, the bottoms are inputs of 8x8 pixels.

        Raises:
            InputError: the user's template emitted a layer with another geometry.
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
        """Layers whose weights must come from a caffemodel: no filler of Caffe produces them."""
        return tuple(spec.name for spec in self.specs if spec.needs_weights)

    @cached_property
    def error(self) -> InterpolationError:
        """The largest error of all layers."""
        errors = [bound(spec) for spec in self.specs]
        worst = max(errors, key=lambda e: e.border)
        return InterpolationError(max(e.inside for e in errors), worst.border, worst.ring)

    def to_onnx(self, *, opset: int = 18) -> Model:
        """Return the layers as an ONNX model.

        Without an input shape, the axes of batch, height and width are free.

        Raises:
            InputError: ``opset`` is below 13, or the installed onnx does not support it.
        """
        from protogen.onnx import to_onnx

        descriptions = [spec.describe() for spec in self.specs]
        return to_onnx(
            self.net,
            opset=opset,
            free_axes=() if self.whole else (0, 2, 3),
            metadata={"protogen.upsample": descriptions},
        )

    @checked
    def plot(self, path: str | Path | None = None) -> Picture:
        """Return a picture of the kernels and of the error at the border, for a notebook. With ``path`` it
        is also written, as SVG or PNG, depending on the extension.

        Raises:
            InputError: the path cannot be written, its extension is neither .svg nor .png, the layers have
                more than 12 different kernels, or a factor is above 256.
        """
        picture: Picture = _late.plot(self, path)
        return picture

    def pictures(self) -> list[KernelPicture]:
        """Return the data for the pictures of the different kernels.

        Raises:
            InputError: there are more than 12, or a factor is above 256.
        """
        different = {(spec.factor, spec.mode): spec for spec in self.specs}
        if len(different) > _MOST_KERNELS:
            raise InputError(
                f"{len(different)} different kernels are too many for one drawing",
                subject="--plot",
                advice=f"Draw at most {_MOST_KERNELS}.",
            )
        for (factor, _), spec in different.items():
            if max(factor) > _LARGEST_KERNEL:
                raise InputError(
                    f"a kernel of {spec.kernel[0]}x{spec.kernel[1]} is too large to draw",
                    subject="--plot",
                    advice=f"Factors up to {_LARGEST_KERNEL} can be drawn.",
                )
        return [kernel_picture(spec) for spec in different.values()]

    def describe(self) -> list[dict[str, Any]]:
        """Return the specification and geometry of every layer as plain data."""
        return [spec.describe() for spec in self.specs]

    def _render(self, inputs: Mapping[str, Shape], name: str) -> str:
        values = {"net": name, "inputs": list(inputs.items()), "layers": self.specs}
        return render.render("upsample", values, **self._template)

    def _parse(self, text: str) -> prototxt.Document:
        template = self._template["file"] or self._template["directory"] or "built in"
        return prototxt.parse(text, f"text rendered by the template ({template})", strict=True)

    def _check_rendered(self) -> None:
        """Check that the text has every specified layer. A template may add other layers."""
        rendered = {params.name: params for params in self._document.layer}
        for spec in self.specs:
            params = rendered.get(spec.name)
            if params is None or params.type != "Deconvolution":
                raise InputError(
                    f"the template emits no Deconvolution named {spec.name!r}",
                    where=str(self._template["file"] or self._template["directory"] or ""),
                    advice="Write the name of the layer as: name: {{ layer.name }}.",
                )


class ClassicOptions(TypedDict, total=False):
    """Options of the classic layer. Fields of ``UpsampleSpec`` have the defaults of that class."""

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
    """Generate upsampling as stock Caffe layers.

    The result is the classic ``Deconvolution``, or with ``exact`` a plan that equals interpolation
    at the border too.

    The classic layer has kernel_size 2f - f mod 2, stride f and pad ceil((f - 1) / 2). Inside it
    equals half-pixel linear interpolation. In a ring of floor(f / 2) pixels at each border it
    differs, because Caffe treats pixels outside of the input as 0.

    Args:
        factor: f, or (height, width), or text such as "2" or "2x4"; integers unless ``exact``.
        exact: the other options are then those of ``resize``.
        channels: C; ``num_output`` and ``group`` are C. By default that of the input shape, or 3.
        name: the name of the layer. By default it is also the ``top``.
        mode: "bilinear", or "nearest" (kernel and stride f, all ones; exact).
        trainable: set lr_mult and decay_mult to 1; the weights are then only the initial values.
        weights: "channelwise", or "full" for C x C kernels that are zero off the diagonal, as FCN
            initialises a learned upsampling.
        input_shape: (N, C, H, W). With it the text is a complete net with an Input layer.
        template: a template file that replaces the built-in one.
        templates: a folder whose templates override the built-in ones by name.

    Raises:
        InputError: a value is invalid or out of range.
        UnsupportedError: with ``exact``, no exact plan exists.
    """
    if exact:
        from protogen.generate.resizing import resize

        return checked(resize, "upsample")(factor, **{"name": "upsample", **options})
    return checked(classic, "upsample")(factor, **options)


def classic(factor: object = 2, **options: Unpack[ClassicOptions]) -> Upsampling:
    """Generate the classic layer; see ``upsample``."""
    spec_options: dict[str, Any] = dict(options)
    files = {key: spec_options.pop(key, None) for key in ("template", "templates")}
    shape = spec_options.pop("input_shape", None)
    inputs = None if shape is None else {options.get("bottom", "data"): parse_shape(shape)}
    if spec_options.get("channels") is None:
        spec_options["channels"] = next(iter(inputs.values()))[1] if inputs else 3
    spec_options["channels"] = parse_integer("channels", spec_options["channels"])
    if spec_options.get("top") is None:
        spec_options["top"] = spec_options.get("name", "upsample")
    spec = UpsampleSpec(parse_factor(factor), **spec_options)
    return Upsampling([spec], inputs, **files)


def bound(spec: UpsampleSpec) -> InterpolationError:
    """Return the largest error of one layer for data in [-1, 1], computed from its matrices."""
    error = error_map(spec, (4, 4), corner=True)
    h, w = spec.ring
    return InterpolationError(float(error[h:, w:].max()), float(error.max()), spec.ring)


def error_map(
    spec: UpsampleSpec, size: tuple[int, int], *, corner: bool = False
) -> NDArray[np.float64]:
    """Return the largest error of every output pixel against interpolation, for data in [-1, 1].

    The weights of an output pixel are the outer product of one row of each axis' matrix. Its
    largest error is therefore the sum of the absolute differences of the two products. With
    ``corner`` the map has only the upper left quarter; the rest is its mirror image.
    """
    import numpy as np

    (actual_h, expected_h), (actual_w, expected_w) = spec.matrices(size)
    rows, columns = actual_h.shape[0], actual_w.shape[0]
    if corner:
        rows, columns = -(-rows // 2), -(-columns // 2)
    error = np.empty((rows, columns))
    for i in range(rows):
        actual = actual_h[i][None, :, None] * actual_w[:columns, None, :]
        expected = expected_h[i][None, :, None] * expected_w[:columns, None, :]
        error[i] = np.abs(actual - expected).sum(axis=(1, 2))
    return error


@dataclass(frozen=True, slots=True)
class KernelPicture:
    """Data for one row of the picture of kernels.

    ``error`` is the largest error of each output pixel for data in [-1, 1]. ``rows`` and
    ``columns`` are the profiles of the kernel.
    """

    title: str
    rows: NDArray[np.float32]
    columns: NDArray[np.float32]
    stride: tuple[int, int]
    error: NDArray[np.float64]
    ring: tuple[int, int]


def kernel_picture(spec: UpsampleSpec) -> KernelPicture:
    """Return the data for the picture of the kernel of one layer."""
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
        for key, value, used in (("name", spec.name, names), ("top", spec.top, tops)):
            if value in used:
                raise InputError(
                    f"{value!r} is already used by another layer",
                    subject=key,
                    advice="Choose another name.",
                )
            used.add(value)


def _free_inputs(specs: Sequence[UpsampleSpec]) -> dict[str, Shape]:
    """Return the bottoms that no earlier layer produces, with a sample shape for each."""
    tops: set[str] = set()
    inputs: dict[str, Shape] = {}
    for spec in specs:
        if spec.bottom not in tops:
            inputs.setdefault(spec.bottom, (1, spec.channels, _SAMPLE_SIZE, _SAMPLE_SIZE))
        tops.add(spec.top)
    return inputs


def _check_inputs(specs: Sequence[UpsampleSpec], inputs: Mapping[str, Shape]) -> None:
    """Check that channels agree along the chain, and that every top fits in 2 GiB."""
    shapes = dict(inputs) or _free_inputs(specs)
    for spec in specs:
        shape = shapes.get(spec.bottom)
        if shape is None:
            raise InputError(
                f"{spec.bottom!r} is neither an input nor the top of an earlier layer",
                subject="bottom",
            )
        if spec.top in inputs:
            raise InputError(
                f"{spec.top!r} is already the name of an input",
                subject="top",
                advice="Choose another name.",
            )
        if shape[1] != spec.channels:
            raise InputError(
                f"layer {spec.name!r} expects {quantity(spec.channels, 'channel')}, but its bottom "
                f"{spec.bottom!r} has {shape[1]}",
                subject="channels",
                advice=f"Use {quantity(shape[1], 'channel')}.",
            )
        top = (shape[0], spec.channels, shape[2] * spec.factor[0], shape[3] * spec.factor[1])
        count = top[0] * top[1] * top[2] * top[3]
        if count * 4 > LIMIT_BYTES and inputs:
            raise InputError(
                f"the top {spec.top!r} would have the shape {'x'.join(map(str, top))} and need "
                f"{size_text(count * 4)}, but at most 2 GiB is supported",
                subject="--input-shape",
                advice="Use a smaller input shape or factor.",
            )
        shapes[spec.top] = top
