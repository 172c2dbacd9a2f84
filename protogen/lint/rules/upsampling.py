"""PG30x: upsampling by a Deconvolution."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from protogen import geometry
from protogen.errors import Diagnostic, Edit, InputError
from protogen.formats.message import Message
from protogen.layers import Window
from protogen.layers.convolution import window
from protogen.layers.graph import Layer
from protogen.lint.context import Context, frozen
from protogen.lint.edits import added, added_behind, removed, replaced, set_field
from protogen.lint.rule import Rule
from protogen.net.coordinates import CropCheck, crop_checks

_INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 8 dim: 8 dim: 8 } } }\n'


def _up(param: str, before: str = "param { lr_mult: 0 }") -> str:
    return (
        f'{_INPUT}layer {{\n  name: "up"\n  type: "Deconvolution"\n  bottom: "data"\n  top: "up"\n'
        + (f"  {before}\n" if before else "")
        + "  convolution_param {\n"
        + "".join(f"    {line}\n" for line in param.split("; "))
        + "  }\n}\n"
    )


_GOOD = (
    'num_output: 8; kernel_size: 4; stride: 2; pad: 1; group: 8; weight_filler { type: "bilinear" }; '
    "bias_term: false"
)


def _bilinear(net: Context) -> Iterator[tuple[Layer, Message]]:
    """Deconvolutions whose weights interpolate."""
    for layer in net.layers:
        if layer.type == "Deconvolution":
            p: Message = layer.params.convolution_param
            if p.weight_filler.type == "bilinear":
                yield layer, p


def _edit(net: Context, layer: Layer, name: str, text: str) -> Edit | None:
    """The field of the layer's convolution_param with this value."""
    blocks = layer.params.all("convolution_param")
    return set_field(net.source, blocks[-1], name, text) if blocks else None


def _window(layer: Layer, p: Message, axes: int) -> Window | None:
    """The window of a Deconvolution; None where it is wrong, of which PG209 tells."""
    try:
        return window(layer, p, axes)
    except InputError:
        return None


class UpsamplingWindow(Rule):
    code = "PG301"
    what = "A bilinear Deconvolution whose kernel, stride and pad are not those of a factor."
    why = (
        "The formula for a factor f is kernel_size 2f - f % 2, stride f, pad ceil((f - 1) / 2). Another "
        "kernel or pad shifts the picture by a part of a pixel, or does not interpolate at all."
    )
    example = _up(_GOOD.replace("kernel_size: 4", "kernel_size: 3"))
    mended = _up(_GOOD)
    fixes = True

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for layer, p in _bilinear(net):
            w = _window(layer, p, 2) if not _rectangular(p) else None
            if w is None or len(set(w.stride)) > 1:
                continue
            f = w.stride[0]
            kernel, pad = geometry.upsample_kernel(f), geometry.upsample_pad(f)
            if (w.kernel[0], w.pad[0]) == (kernel, pad) or _crops(
                net, layer, w.pad[0], w.kernel[0], f
            ):
                continue
            edits = []
            if w.kernel[0] != kernel:
                edits.append(_edit(net, layer, "kernel_size", str(kernel)))
            if w.pad[0] != pad:
                edits.append(_edit(net, layer, "pad", str(pad)))
            yield net.diagnostic(
                self,
                layer,
                f"stride {f} with kernel_size {w.kernel[0]} and pad {w.pad[0]} is no factor: "
                f"{f} takes kernel_size {kernel}, pad {pad}.",
                *edits,
            )


def _crops(net: Context, layer: Layer, pad: int, kernel: int, factor: int) -> bool:
    """FCN's way: no pad, an even kernel of 2f, and a Crop behind that takes the border away."""
    readers = net.readers_of(layer)
    return (
        pad == 0
        and kernel in (2 * factor, 2 * factor - factor % 2)
        and any(one.type == "Crop" for one in readers)
    )


def _rectangular(p: Message) -> bool:
    return p.has("kernel_h") or p.has("kernel_w")


class MixedChannels(Rule):
    code = "PG302"
    what = "A bilinear Deconvolution without a group for each channel."
    why = (
        "The filler writes the same kernel for every pair of channels, so that each output is the sum of "
        "all inputs."
    )
    example = _up(_GOOD.replace("group: 8; ", ""))
    mended = _up(_GOOD.replace("group: 8; ", "") + "; group: 8")
    fixes = True

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for layer, p in _bilinear(net):
            shape = net.shape(layer)
            channels = shape[1] if shape and len(shape) > 1 else p.num_output
            if p.group != p.num_output and channels == p.num_output > 1:
                edit = _edit(net, layer, "group", str(p.num_output))
                yield net.diagnostic(
                    self,
                    layer,
                    f"group is {p.group}: every output mixes {channels} channels. "
                    f"Use group: {p.num_output}.",
                    edit,
                )


class UpsamplingBias(Rule):
    code = "PG303"
    what = "A bilinear Deconvolution that is not trained, with a bias."
    why = "The bias stays 0: it costs time, and tools that fold it may not expect it."
    example = _up(_GOOD.replace("; bias_term: false", ""))
    mended = _up(_GOOD)
    fixes = True

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for layer, p in _bilinear(net):
            if p.bias_term and frozen(layer):
                edit = _edit(net, layer, "bias_term", "false")
                yield net.diagnostic(
                    self, layer, "has a bias that stays 0. Use bias_term: false.", edit
                )


class UnfrozenUpsampling(Rule):
    code = "PG304"
    what = "A bilinear Deconvolution in a training net whose weights have a learning rate."
    why = (
        "Interpolation then turns into whatever training makes of it, and weight decay pulls it to 0. "
        "Leave the rule out where that is meant."
    )
    example = _up(_GOOD, "") + (
        'layer { name: "l" type: "EuclideanLoss" bottom: "up" bottom: "up" top: "l" }\n'
    )
    mended = _up(_GOOD, "").replace(
        'top: "up"\n', 'top: "up"\n  param { lr_mult: 0 decay_mult: 0 }\n'
    ) + ('layer { name: "l" type: "EuclideanLoss" bottom: "up" bottom: "up" top: "l" }\n')
    fixes = True

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for layer, _ in _bilinear(net) if net.is_training else ():
            if layer.params.param and layer.params.param[0].has("lr_mult"):
                continue  # a rate that somebody wrote is meant
            tops = layer.params.all("top")[-1:] if not layer.params.param else []
            edits = [
                added_behind(net.source, top, "param { lr_mult: 0 decay_mult: 0 }") for top in tops
            ]
            yield net.diagnostic(
                self,
                layer,
                "interpolates, and is trained. Use param { lr_mult: 0 decay_mult: 0 }.",
                *edits,
            )


class RectangularBilinear(Rule):
    code = "PG305"
    what = "A bilinear filler with kernel_h and kernel_w."
    why = "Caffe's filler takes square kernels given by kernel_size only, and stops otherwise."
    example = _up(_GOOD.replace("kernel_size: 4", "kernel_h: 4; kernel_w: 2"))
    mended = _up(_GOOD)

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for layer, p in _bilinear(net):
            if _rectangular(p) and p.kernel_h != p.kernel_w:
                yield net.diagnostic(
                    self,
                    layer,
                    "Caffe's bilinear filler takes square kernels only. protogen "
                    "upsample --caffemodel makes other weights.",
                )


class Checkerboard(Rule):
    code = "PG306"
    what = "A trained Deconvolution whose kernel is no multiple of its stride."
    why = (
        "Output pixels are sums of different numbers of taps, so that a pattern of squares appears "
        "(Odena et al. 2016)."
    )
    example = _up('num_output: 8; kernel_size: 3; stride: 2; weight_filler { type: "msra" }', "")
    mended = _up('num_output: 8; kernel_size: 4; stride: 2; weight_filler { type: "msra" }', "")

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for layer in net.layers:
            p: Message = layer.params.convolution_param
            if layer.type != "Deconvolution" or p.weight_filler.type == "bilinear":
                continue
            shape = net.shape(layer)
            w = _window(layer, p, len(shape) - 2 if shape else 2)
            if w is None:
                continue
            for k, s in zip(w.kernel, w.stride, strict=True):
                if s > 1 and k % s:
                    yield net.diagnostic(
                        self,
                        layer,
                        f"kernel {k} is no multiple of stride {s}: pixels get "
                        f"{k // s} or {k // s + 1} taps.",
                    )
                    break


class TwoBilinears(Rule):
    code = "PG307"
    what = "A bilinear kernel whose size leaves 2 or 3 when divided by 4."
    why = (
        "Caffe changed its filler in 2017, and forks have the old one: for these sizes the two write "
        "other weights, so that a net is trained with one and run with the other."
    )
    example = _up(
        _GOOD.replace("kernel_size: 4; stride: 2; pad: 1", "kernel_size: 6; stride: 3; pad: 1")
    )
    mended = _up(_GOOD)
    usual = False

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for layer, p in _bilinear(net):
            kernel = list(p.kernel_size) or [p.kernel_h]
            if kernel and kernel[0] % 4 in (2, 3):
                yield net.diagnostic(
                    self,
                    layer,
                    f"kernel_size {kernel[0]}: old and new Caffe fill it otherwise. "
                    "Write the weights with protogen upsample --caffemodel.",
                )


class ClassicBorder(Rule):
    code = "PG308"
    what = "A classic upsampling layer where exact interpolation is wanted (with --exact)."
    why = (
        "The Deconvolution counts what is outside of the picture as 0, so that a ring at the border fades "
        "by up to half."
    )
    example = _up(_GOOD)
    mended = (
        _INPUT
        + 'layer { name: "up" type: "Interp" bottom: "data" top: "up" interp_param { zoom_factor: 2 } }'
    )
    settings = {"exact": True}  # noqa: RUF012 (never changed)

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for layer, _ in _bilinear(net) if net.settings.exact else ():
            yield net.diagnostic(
                self,
                layer,
                "fades at the border. protogen upsample --exact writes layers that do not.",
            )


class RectangularForms(Rule):
    code = "PG309"
    severity = "error"
    what = "kernel_size together with kernel_h and kernel_w, or stride and pad so."
    why = "Caffe refuses both forms in one layer."
    example = _up("num_output: 8; kernel_size: 4; kernel_h: 4; kernel_w: 4; stride: 2")
    mended = _up("num_output: 8; kernel_h: 4; kernel_w: 4; stride: 2")
    fixes = True

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for item in net.wires:
            for block in ("convolution_param", "pooling_param"):
                for field in item.value.all(block):
                    p: Message = field.value
                    for one, short in (
                        ("kernel_size", "kernel"),
                        ("stride", "stride"),
                        ("pad", "pad"),
                    ):
                        sides = p.has(f"{short}_h") + p.has(f"{short}_w")
                        if sides == 1 and (block, one) == ("pooling_param", "kernel_size"):
                            continue  # Caffe then does not look at the one
                        if p.has(one) and sides:
                            given = p.all(one)[0]
                            yield net.diagnostic(
                                self,
                                given,
                                f"{one} and {short}_h, {short}_w are both given.",
                                removed(net.source, given),
                            )


def _shifted(offset: str) -> str:
    return (
        f'{_INPUT}layer {{\n  name: "half"\n  type: "Pooling"\n  bottom: "data"\n  top: "half"\n'
        "  pooling_param { kernel_size: 2 stride: 2 }\n}\n"
        'layer {\n  name: "up"\n  type: "Deconvolution"\n  bottom: "half"\n  top: "up"\n'
        "  param { lr_mult: 0 }\n  convolution_param {\n"
        + "".join(f"    {line}\n" for line in _GOOD.replace("pad: 1", "pad: 0").split("; "))
        + '  }\n}\nlayer {\n  name: "cut"\n  type: "Crop"\n  bottom: "up"\n  bottom: "data"\n'
        + f'  top: "cut"\n  crop_param {{ offset: {offset} }}\n}}\n'
    )


class CropOffset(Rule):
    code = "PG310"
    what = "A Crop whose offset lays one blob over another shifted by pixels."
    why = (
        "Strides, pads and kernels in front of both bottoms say where each of their pixels lies in the "
        "input, and so which offset makes them meet (19 in the first FCN nets). Another one trains and "
        "runs, with a picture that is moved aside."
    )
    example = _shifted("2")
    mended = _shifted("1")
    fixes = True

    def check(self, net: Context) -> Iterator[Diagnostic]:
        if not any(one.type == "Crop" for one in net.wires):
            return
        seen = {id(layer) for layer in net.layers}  # each layer once, of all phases
        for crop in (one for graph in net.graphs.values() for one in crop_checks(graph)):
            pairs = zip(crop.offsets, crop.expected, strict=True)
            if id(crop.layer) not in seen or all(abs(a - b) <= Fraction(1, 2) for a, b in pairs):
                continue
            given, right = (
                " x ".join(map(str, dict.fromkeys(two))) for two in (crop.offsets, crop.expected)
            )
            yield net.diagnostic(
                self,
                crop.layer,
                f"offset is {given}, but its bottoms meet at {right}.",
                *_offsets(net, crop),
            )


def _offsets(net: Context, crop: CropCheck) -> list[Edit]:
    """The right offsets written; none where they are no whole numbers, or other axes are cut too."""
    right = list(dict.fromkeys(crop.expected))
    if any(one.denominator > 1 or one < 0 for one in right):
        return []
    text = "offset: " + " offset: ".join(map(str, right))
    blocks = crop.layer.params.all("crop_param")
    if not blocks:
        tops = crop.layer.params.all("top")[-1:]
        return [added_behind(net.source, top, f"crop_param {{ {text} }}") for top in tops]
    p: Message = blocks[-1].value
    given = p.all("offset")
    if p.axis not in (2, -2) or len(blocks) > 1:
        return []
    if not given:
        return [added(net.source, blocks[-1], text)]
    if len(given) == 1:
        return [replaced(given[0], text.removeprefix("offset: "))]
    return [replaced(item, str(one)) for item, one in zip(given, crop.expected, strict=True)]
