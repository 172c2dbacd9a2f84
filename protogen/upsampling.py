"""From an upsampling specification to a Deconvolution layer, its weights and its error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from protogen import geometry, prototxt, render, resample
from protogen.errors import InputError, layout
from protogen.graph import Shape

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.net import Net
    from protogen.onnx import Model

Mode = Literal["bilinear", "nearest"]
Kernels = Literal["channelwise", "full"]
MODES = ("bilinear", "nearest")
KERNELS = ("channelwise", "full")

LIMIT_BYTES = 2**31 - 1  # what protobuf, and so a caffemodel, can hold
_SAMPLE = 8  # height and width of a net that was given no size


@dataclass(frozen=True, slots=True)
class Filler:
    """weight_filler: its type, and its value where it has one."""

    type: str
    value: float | None = None


@dataclass(frozen=True)
class Upsample:
    """One upsampling layer. Pairs are (height, width).

    Raises:
        InputError: a value is out of range, or its weights pass 2 GiB.
    """

    factor: tuple[int, int]
    channels: int = 3
    name: str = "upsample"
    bottom: str = "data"
    top: str = "upsample"
    mode: Mode = "bilinear"
    trainable: bool = False
    weights: Kernels = "channelwise"

    def __post_init__(self) -> None:
        for length in self.factor:
            if length < 1:
                raise _refuse("factor", f"{length} is below 1", "Upsampling takes 1, 2, 3, ...")
        if self.channels < 1:
            raise _refuse("channels", f"{self.channels} is below 1", "Give 1 or more.")
        for key, value, known in (("mode", self.mode, MODES), ("weights", self.weights, KERNELS)):
            if value not in known:
                raise _refuse(key, f"{value!r} is not known", f"Choose {' or '.join(known)}.")
        for key in ("name", "bottom", "top"):
            _check_text(key, getattr(self, key))
        if self.bottom == self.top:
            raise _refuse(
                "top", f"{self.top!r} is the bottom too", "A Deconvolution cannot work in place."
            )
        if self.weight_bytes > LIMIT_BYTES:
            raise _refuse(
                "factor",
                f"{self.factor[0]}x{self.factor[1]} with {self.channels} channels needs "
                f"{_size(self.weight_bytes)} of weights, more than the 2 GiB that Caffe reads",
                "Use smaller factors, one after the other.",
            )

    @property
    def square(self) -> bool:
        return self.factor[0] == self.factor[1]

    @property
    def kernel(self) -> tuple[int, int]:
        if self.mode == "nearest":
            return self.factor
        return (
            geometry.upsample_kernel(self.factor[0]),
            geometry.upsample_kernel(self.factor[1]),
        )

    @property
    def stride(self) -> tuple[int, int]:
        return (geometry.upsample_stride(self.factor[0]), geometry.upsample_stride(self.factor[1]))

    @property
    def pad(self) -> tuple[int, int]:
        if self.mode == "nearest":
            return (0, 0)
        return (geometry.upsample_pad(self.factor[0]), geometry.upsample_pad(self.factor[1]))

    @property
    def ring(self) -> tuple[int, int]:
        """Pixels at each border where the layer differs from interpolation."""
        if self.mode == "nearest":
            return (0, 0)
        return (geometry.border_ring(self.factor[0]), geometry.border_ring(self.factor[1]))

    @property
    def num_output(self) -> int:
        return self.channels

    @property
    def group(self) -> int:
        return 1 if self.weights == "full" else self.channels

    @property
    def lr_mult(self) -> int:
        return int(self.trainable)

    @property
    def decay_mult(self) -> int:
        return int(self.trainable)

    @property
    def filler(self) -> Filler:
        """What Caffe can fill the weights with; a constant 0 where only the caffemodel can."""
        if not self.needs_weights:
            return Filler("bilinear") if self.mode == "bilinear" else Filler("constant", 1)
        return Filler("constant", 0)

    @property
    def needs_weights(self) -> bool:
        """Whether no filler of Caffe makes these weights, so that a caffemodel must."""
        return self.group != self.channels or (self.mode == "bilinear" and not self.square)

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """Caffe's shape: (channels, num_output / group, kernel height, kernel width)."""
        return (self.channels, self.num_output // self.group, *self.kernel)

    @property
    def weight_bytes(self) -> int:
        count = 4
        for length in self.weight_shape:
            count *= length
        return count

    def profiles(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The kernel's vertical and horizontal profile, float32."""
        import numpy as np

        from protogen.fillers import bilinear_profile

        if self.mode == "nearest":
            return np.ones(self.factor[0], np.float32), np.ones(self.factor[1], np.float32)
        return bilinear_profile(self.kernel[0]), bilinear_profile(self.kernel[1])

    def weight(self) -> NDArray[np.float32]:
        """The weights, float32, of ``weight_shape``."""
        import numpy as np

        rows, columns = self.profiles()
        kernel: NDArray[np.float32] = np.multiply.outer(rows, columns)
        if self.group == self.channels:
            return np.broadcast_to(kernel, self.weight_shape)
        made = np.zeros(self.weight_shape, np.float32)
        channel = np.arange(self.channels)
        made[channel, channel] = kernel
        return made

    def matrices(
        self, size: Sequence[int]
    ) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """For height and width: what the layer computes, and what it should compute."""
        wanted = resample.linear_matrix if self.mode == "bilinear" else resample.nearest_matrix
        return [
            (resample.deconvolution_matrix(profile, n, s, p), wanted(n, f))
            for profile, n, s, p, f in zip(
                self.profiles(), size, self.stride, self.pad, self.factor, strict=True
            )
        ]


@dataclass(frozen=True, slots=True)
class Error:
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
        specs: Sequence[Upsample],
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
        from protogen.net import Net

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
    def error(self) -> Error:
        """The largest error of all layers; see ``Error``."""
        errors = [bound(spec) for spec in self.specs]
        worst = max(errors, key=lambda e: e.border)
        return Error(max(e.inside for e in errors), worst.border, worst.ring)

    def to_onnx(self, *, opset: int = 18) -> Model:
        """The layers as ONNX; batch, height and width are free where no shape was given.

        Raises:
            InputError: the installed onnx does not know ``opset``, or it is below 13.
        """
        from protogen.onnx import to_onnx

        described = [_describe(spec) for spec in self.specs]
        return to_onnx(
            self.net,
            opset=opset,
            free_axes=() if self.whole else (0, 2, 3),
            metadata={"protogen.upsample": described},
        )

    def describe(self) -> list[dict[str, Any]]:
        """Every layer's specification and geometry as plain data."""
        return [_describe(spec) for spec in self.specs]

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
                    layout(
                        f"the template makes no Deconvolution named {spec.name!r}",
                        where=str(self._template["file"] or self._template["directory"] or ""),
                        advice="Write the layer's own name: name: {{ layer.name }}.",
                    )
                )


def upsample(
    factor: int | str | tuple[int, int] = 2,
    *,
    channels: int | None = None,
    name: str = "upsample",
    bottom: str = "data",
    top: str | None = None,
    mode: Mode = "bilinear",
    trainable: bool = False,
    weights: Kernels = "channelwise",
    input_shape: Sequence[int] | str | None = None,
    template: str | Path | None = None,
    templates: str | Path | None = None,
) -> Upsampling:
    """Upsampling by whole factors as a ``Deconvolution`` layer.

    The classic layer: kernel_size 2f - f mod 2, stride f, pad ceil((f - 1) / 2). It equals
    half-pixel linear interpolation inside; in a ring of floor(f / 2) pixels at each border the
    outside counts as 0.

    Args:
        factor: f, or (height, width), or text such as "2" or "2x4".
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
    """
    inputs = None if input_shape is None else {bottom: parse_shape(input_shape)}
    if channels is None:
        channels = inputs[bottom][1] if inputs else 3
    spec = Upsample(
        parse_factor(factor),
        _whole("channels", channels),
        name,
        bottom,
        name if top is None else top,
        mode,
        trainable,
        weights,
    )
    return Upsampling([spec], inputs, template=template, templates=templates)


def bound(spec: Upsample) -> Error:
    """The largest error of one layer for data in [-1, 1], from its matrices."""
    error = error_map(spec, (4, 4), corner=True)
    h, w = spec.ring
    return Error(float(error[h:, w:].max()), float(error.max()), spec.ring)


def error_map(
    spec: Upsample, size: tuple[int, int], *, corner: bool = False
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


def parse_factor(value: object) -> tuple[int, int]:
    """(height, width) of a factor: a whole number, two of them, or text such as ``2`` and ``2x4``.

    Raises:
        InputError: it is anything else.
    """
    parts: list[object]
    if isinstance(value, str):
        parts = list(value.lower().split("x"))
    elif isinstance(value, (tuple, list)):
        parts = list(value)
    else:
        parts = [value]
    if len(parts) not in (1, 2):
        raise _refuse("factor", f"{value!r} has {len(parts)} parts", "Give N or HxW, such as 2x4.")
    numbers = [_whole("factor", part) for part in parts]
    return (numbers[0], numbers[-1])


def parse_shape(value: object, key: str = "input-shape") -> Shape:
    """(N, C, H, W) from four whole numbers or text such as ``1,3,8,8``.

    Raises:
        InputError: it is anything else, or a length is below 1.
    """
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, (tuple, list)) or len(parts) != 4:
        raise _refuse(key, f"{value!r} is no N,C,H,W", "Give four lengths, such as 1,3,8,8.")
    shape = tuple(_whole(key, part) for part in parts)
    if min(shape) < 1:
        raise _refuse(key, f"{min(shape)} is below 1", "Every length must be 1 or more.")
    return shape


def _whole(key: str, value: object) -> int:
    text = str(value).strip()
    if isinstance(value, (int, str)) and not isinstance(value, bool):
        digits = text.removeprefix("-").removeprefix("+")
        if digits.isascii() and digits.isdigit() and len(digits) < 20:
            return int(text)
        if digits.isascii() and digits.isdigit():
            raise _refuse(key, f"{text[:40]} is far too large", "Give a number such as 2.")
    raise _refuse(key, f"{text[:40]!r} is no whole number", "Give one such as 2.")


def _refuse(key: str, problem: str, advice: str) -> InputError:
    return InputError(layout(problem, subject=key, advice=advice))


def _check_text(key: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise _refuse(key, f"{value!r} is no name", "Give a text of at least one character.")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise _refuse(key, f"{value!r} is not valid Unicode", "Choose another name.") from None


def _check_names(specs: Sequence[Upsample]) -> None:
    names: set[str] = set()
    tops: set[str] = set()
    for spec in specs:
        for key, value, taken in (("name", spec.name, names), ("top", spec.top, tops)):
            if value in taken:
                raise _refuse(key, f"{value!r} is taken by another layer", "Choose another.")
            taken.add(value)


def _free_inputs(specs: Sequence[Upsample]) -> dict[str, Shape]:
    """Bottoms that no layer before them makes, with a size for probing."""
    made: set[str] = set()
    inputs: dict[str, Shape] = {}
    for spec in specs:
        if spec.bottom not in made:
            inputs.setdefault(spec.bottom, (1, spec.channels, _SAMPLE, _SAMPLE))
        made.add(spec.top)
    return inputs


def _check_inputs(specs: Sequence[Upsample], inputs: Mapping[str, Shape]) -> None:
    """Channels must agree along the chain, and nothing may need more memory than a blob holds."""
    shapes = dict(inputs) or _free_inputs(specs)
    for spec in specs:
        shape = shapes.get(spec.bottom)
        if shape is None:
            raise _refuse("bottom", f"{spec.bottom!r} is neither an input nor a top before it", "")
        if spec.top in inputs:
            raise _refuse("top", f"{spec.top!r} is the name of an input", "Choose another.")
        if shape[1] != spec.channels:
            raise _refuse(
                "channels",
                f"layer {spec.name!r} takes {spec.channels} channels, but {spec.bottom!r} has "
                f"{shape[1]}",
                f"Use {shape[1]} channels.",
            )
        top = (shape[0], spec.channels, shape[2] * spec.factor[0], shape[3] * spec.factor[1])
        count = top[0] * top[1] * top[2] * top[3]
        if count * 4 > LIMIT_BYTES and inputs:
            raise _refuse(
                "input-shape",
                f"the top {spec.top!r} would be {'x'.join(map(str, top))}, {_size(count * 4)}",
                "Use smaller sizes: 2 GiB is the most.",
            )
        shapes[spec.top] = top


def _size(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if size < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} EiB"


def _describe(spec: Upsample) -> dict[str, Any]:
    return {
        "name": spec.name,
        "bottom": spec.bottom,
        "top": spec.top,
        "mode": spec.mode,
        "factor": list(spec.factor),
        "channels": spec.channels,
        "trainable": spec.trainable,
        "weights": spec.weights,
        "kernel": list(spec.kernel),
        "stride": list(spec.stride),
        "pad": list(spec.pad),
        "group": spec.group,
    }
