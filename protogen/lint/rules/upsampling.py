"""PG30x: upsampling with Deconvolution layers, and the offsets of Crop."""

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
from protogen.lint.edits import added, added_after, removed, replaced, set_field
from protogen.lint.rule import Rule
from protogen.net.coordinates import CropCheck, crop_checks

_INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 8 dim: 8 dim: 8 } } }\n'


def _up(param: str, before: str = "param { lr_mult: 0 }") -> str:
    """Return a net with one Deconvolution: ``param`` has its fields, separated by "; "."""
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
    """Yield the Deconvolutions with a bilinear filler, each with its convolution_param."""
    for layer in net.layers:
        if layer.type == "Deconvolution":
            p: Message = layer.params.convolution_param
            if p.weight_filler.type == "bilinear":
                yield layer, p


def _edit(net: Context, layer: Layer, name: str, text: str) -> Edit | None:
    """Return the edit that sets a field of the layer's convolution_param."""
    blocks = layer.params.all("convolution_param")
    return set_field(net.source, blocks[-1], name, text) if blocks else None


def _window(layer: Layer, p: Message, axes: int) -> Window | None:
    """Return the window of a Deconvolution; None if it is invalid, which PG209 reports."""
    try:
        return window(layer, p, axes)
    except InputError:
        return None


class UpsamplingWindow(Rule):
    code = "PG301"
    what = (
        "A bilinear Deconvolution whose kernel, stride and pad do not match an upsampling factor."
    )
    why = (
        "The formula for a factor f is kernel_size 2f - f % 2, stride f, pad ceil((f - 1) / 2). Another "
        "kernel or pad shifts the image by a fraction of a pixel, or does not interpolate at all."
    )
    example = _up(_GOOD.replace("kernel_size: 4", "kernel_size: 3"))
    fixed = _up(_GOOD)
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
                f"stride {f} with kernel_size {w.kernel[0]} and pad {w.pad[0]} does not upsample by "
                f"exactly {f}: expected kernel_size {kernel} and pad {pad}.",
                *edits,
            )


def _crops(net: Context, layer: Layer, pad: int, kernel: int, factor: int) -> bool:
    """Return whether the layer upsamples as in FCN.

    FCN uses no pad, a kernel of 2f or 2f - f % 2, and a Crop after it that removes the border.
    """
    readers = net.readers_of(layer)
    return (
        pad == 0
        and kernel in (2 * factor, 2 * factor - factor % 2)
        and any(one.type == "Crop" for one in readers)
    )


def _rectangular(p: Message) -> bool:
    """Return whether the kernel is set with kernel_h or kernel_w."""
    return p.has("kernel_h") or p.has("kernel_w")


class MixedChannels(Rule):
    code = "PG302"
    what = "A bilinear Deconvolution whose group is not the number of channels."
    why = (
        "The filler writes the same kernel for every pair of channels, so that each output channel is "
        "the sum of all input channels."
    )
    example = _up(_GOOD.replace("group: 8; ", ""))
    fixed = _up(_GOOD.replace("group: 8; ", "") + "; group: 8")
    fixes = True

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for layer, p in _bilinear(net):
            shape = net.shape(layer)
            channels = shape[1] if shape and len(shape) > 1 else p.num_output
            if p.group != p.num_output and channels == p.num_output > 1:
                edit = _edit(net, layer, "group", str(p.num_output))
                mixed = channels // max(p.group, 1)
                yield net.diagnostic(
                    self,
                    layer,
                    f"group is {p.group}, so that every output channel is a sum of {mixed} input "
                    f"channels. Set group: {p.num_output}.",
                    edit,
                )


class UpsamplingBias(Rule):
    code = "PG303"
    what = "A bilinear Deconvolution with frozen weights and a bias."
    why = "The bias is always 0. It costs time, and tools that fold it may not expect it."
    example = _up(_GOOD.replace("; bias_term: false", ""))
    fixed = _up(_GOOD)
    fixes = True

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for layer, p in _bilinear(net):
            if p.bias_term and frozen(layer):
                edit = _edit(net, layer, "bias_term", "false")
                yield net.diagnostic(
                    self, layer, "the bias is always 0. Set bias_term: false.", edit
                )


class UnfrozenUpsampling(Rule):
    code = "PG304"
    what = "A bilinear Deconvolution in a training net whose weights have a learning rate."
    why = (
        "Training then changes the interpolation weights, and weight decay pulls them to 0. Ignore the "
        "rule where this is intended."
    )
    example = _up(_GOOD, "") + (
        'layer { name: "l" type: "EuclideanLoss" bottom: "up" bottom: "up" top: "l" }\n'
    )
    fixed = _up(_GOOD, "").replace(
        'top: "up"\n', 'top: "up"\n  param { lr_mult: 0 decay_mult: 0 }\n'
    ) + ('layer { name: "l" type: "EuclideanLoss" bottom: "up" bottom: "up" top: "l" }\n')
    fixes = True

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for layer, _ in _bilinear(net) if net.is_training else ():
            if layer.params.param and layer.params.param[0].has("lr_mult"):
                continue  # An explicit rate is intended.
            tops = layer.params.all("top")[-1:] if not layer.params.param else []
            edits = [
                added_after(net.source, top, "param { lr_mult: 0 decay_mult: 0 }") for top in tops
            ]
            yield net.diagnostic(
                self,
                layer,
                "the interpolation weights are trained. Set param { lr_mult: 0 decay_mult: 0 }.",
                *edits,
            )


class RectangularBilinear(Rule):
    code = "PG305"
    what = "A bilinear filler with different kernel_h and kernel_w."
    why = "Caffe's bilinear filler supports only square kernels, and aborts otherwise."
    example = _up(_GOOD.replace("kernel_size: 4", "kernel_h: 4; kernel_w: 2"))
    fixed = _up(_GOOD)

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for layer, p in _bilinear(net):
            if _rectangular(p) and p.kernel_h != p.kernel_w:
                yield net.diagnostic(
                    self,
                    layer,
                    f"the kernel is {p.kernel_h}x{p.kernel_w}, but Caffe's bilinear filler supports "
                    "only square kernels. Write the weights with protogen upsample --caffemodel.",
                )


class Checkerboard(Rule):
    code = "PG306"
    what = "A trained Deconvolution whose kernel is not a multiple of its stride."
    why = (
        "Output pixels are sums of different numbers of taps, so that a checkerboard pattern appears "
        "(Odena et al. 2016)."
    )
    example = _up('num_output: 8; kernel_size: 3; stride: 2; weight_filler { type: "msra" }', "")
    fixed = _up('num_output: 8; kernel_size: 4; stride: 2; weight_filler { type: "msra" }', "")

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
                        f"kernel {k} is not a multiple of stride {s}: output pixels are sums of "
                        f"{k // s} or {k // s + 1} taps.",
                    )
                    break


class TwoBilinears(Rule):
    code = "PG307"
    what = "A bilinear kernel whose size modulo 4 is 2 or 3."
    why = (
        "Caffe changed its filler in 2017, and forks still have the old one. For these sizes the two "
        "write different weights, so that a net is trained with one and run with the other."
    )
    example = _up(
        _GOOD.replace("kernel_size: 4; stride: 2; pad: 1", "kernel_size: 6; stride: 3; pad: 1")
    )
    fixed = _up(_GOOD)
    usual = False

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for layer, p in _bilinear(net):
            kernel = list(p.kernel_size) or [p.kernel_h]
            if kernel and kernel[0] % 4 in (2, 3):
                yield net.diagnostic(
                    self,
                    layer,
                    f"old and new versions of Caffe fill a kernel of size {kernel[0]} with different "
                    "weights. Write the weights with protogen upsample --caffemodel.",
                )


class ClassicBorder(Rule):
    code = "PG308"
    what = "A classic upsampling layer where exact interpolation is required (with --exact)."
    why = (
        "The Deconvolution reads pixels outside the image as 0, so that the values in a ring at the "
        "border decrease by up to half."
    )
    example = _up(_GOOD)
    fixed = (
        _INPUT
        + 'layer { name: "up" type: "Interp" bottom: "data" top: "up" interp_param { zoom_factor: 2 } }'
    )
    settings = {"exact": True}  # noqa: RUF012 (never changed)

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for layer, _ in _bilinear(net) if net.settings.exact else ():
            yield net.diagnostic(
                self,
                layer,
                "the values decrease at the border. protogen upsample --exact writes layers without this error.",
            )


class RectangularForms(Rule):
    code = "PG309"
    severity = "error"
    what = "kernel_size together with kernel_h or kernel_w, or stride or pad in both forms."
    why = "Caffe refuses a layer with both forms."
    example = _up("num_output: 8; kernel_size: 4; kernel_h: 4; kernel_w: 4; stride: 2")
    fixed = _up("num_output: 8; kernel_h: 4; kernel_w: 4; stride: 2")
    fixes = True

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for item in net.wires:
            for block in ("convolution_param", "pooling_param"):
                for field in item.value.all(block):
                    p: Message = field.value
                    for name, short in (
                        ("kernel_size", "kernel"),
                        ("stride", "stride"),
                        ("pad", "pad"),
                    ):
                        sides = p.has(f"{short}_h") + p.has(f"{short}_w")
                        if sides == 1 and (block, name) == ("pooling_param", "kernel_size"):
                            continue  # Caffe ignores the single side here.
                        if p.has(name) and sides:
                            square = p.all(name)[0]
                            yield net.diagnostic(
                                self,
                                square,
                                f"{name} cannot be combined with {short}_h or {short}_w.",
                                removed(net.source, square),
                            )


def _shifted(offset: str) -> str:
    """Return a net with a Crop of this offset; 1 is the right one."""
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
    what = "A Crop whose offset does not align its two bottoms."
    why = (
        "Strides, pads and kernels before both bottoms determine where each of their pixels lies in the "
        "input, and so which offset aligns them (19 in the first FCN nets). A net with another offset "
        "trains and runs, but its output is shifted by some pixels."
    )
    example = _shifted("2")
    fixed = _shifted("1")
    fixes = True

    def check(self, net: Context) -> Iterator[Diagnostic]:
        if not any(one.type == "Crop" for one in net.wires):
            return
        seen = {id(layer) for layer in net.layers}  # Each layer once, from all phases.
        for crop in (one for graph in net.graphs.values() for one in crop_checks(graph)):
            pairs = zip(crop.offsets, crop.expected, strict=True)
            if id(crop.layer) not in seen or all(abs(a - b) <= Fraction(1, 2) for a, b in pairs):
                continue
            actual, right = (
                " x ".join(map(str, dict.fromkeys(offsets)))
                for offsets in (crop.offsets, crop.expected)
            )
            yield net.diagnostic(
                self,
                crop.layer,
                f"offset is {actual}, but the two bottoms are aligned at offset {right}.",
                *_offsets(net, crop),
            )


def _offsets(net: Context, crop: CropCheck) -> list[Edit]:
    """Return the edits that set the right offsets.

    Empty if the offsets are not whole numbers, or if the Crop cuts other axes too.
    """
    right = list(dict.fromkeys(crop.expected))
    if any(one.denominator > 1 or one < 0 for one in right):
        return []
    text = "offset: " + " offset: ".join(map(str, right))
    blocks = crop.layer.params.all("crop_param")
    if not blocks:
        tops = crop.layer.params.all("top")[-1:]
        return [added_after(net.source, top, f"crop_param {{ {text} }}") for top in tops]
    p: Message = blocks[-1].value
    fields = p.all("offset")
    if p.axis not in (2, -2) or len(blocks) > 1:
        return []
    if not fields:
        return [added(net.source, blocks[-1], text)]
    if len(fields) == 1:
        return [replaced(fields[0], text.removeprefix("offset: "))]
    return [replaced(item, str(one)) for item, one in zip(fields, crop.expected, strict=True)]
