"""PG32x: layers with an unexpected result, or without effect."""

from __future__ import annotations

import math
from collections.abc import Iterator

from protogen import geometry
from protogen.errors import Diagnostic
from protogen.formats.message import Message
from protogen.formats.prototxt import quote
from protogen.layers import kind_of
from protogen.lint.context import Context
from protogen.lint.edits import removed, replaced
from protogen.lint.rule import Rule

_INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 dim: %s dim: %s } } }\n'
_LABEL = 'layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 1 dim: 8 dim: 8 } } }\n'
_POOL = 'layer { name: "p" type: "Pooling" bottom: "data" top: "p" pooling_param { pool: %s } }'
LARGE_DENSE = 200_000_000  # parameters; the largest layer of VGG has fewer


class PoolingCeiling(Rule):
    code = "PG321"
    what = "A pooling layer whose last window is cut off, because Caffe rounds the number of windows up."
    why = "Frameworks that round down compute a map with one row and one column less."
    example = (_INPUT % (8, 8)) + _POOL % "MAX kernel_size: 3 stride: 2"
    fixed = (_INPUT % (9, 9)) + _POOL % "MAX kernel_size: 3 stride: 2"
    usual = False

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for layer in net.layers:
            shape = net.shape(layer)
            p: Message = layer.params.pooling_param
            if (
                layer.type != "Pooling"
                or len(shape or ()) != 4
                or p.global_pooling
                or p.round_mode == "FLOOR"
            ):
                continue
            kernels, strides, pads = _pooling(p)
            if not all(strides):
                continue
            sizes = (shape or ())[2:]
            counts = (
                geometry.pool_windows(sizes, kernels, strides, pads, ceil) for ceil in (True, False)
            )
            for n, k, s, up, down in zip(sizes, kernels, strides, *counts, strict=True):
                if up != down:
                    yield net.diagnostic(
                        self,
                        layer,
                        f"{n} pixels with kernel {k} and stride {s} give {up} windows in Caffe, but "
                        f"{down} windows in frameworks that round down.",
                    )
                    break


def _pooling(p: Message) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Return kernel, stride and pad, each as (height, width)."""
    kernel = (p.kernel_h or p.kernel_size, p.kernel_w or p.kernel_size)
    stride = (p.stride_h or p.stride, p.stride_w or p.stride)
    return kernel, stride, (p.pad_h or p.pad, p.pad_w or p.pad)


class WindowInPadding(Rule):
    code = "PG322"
    severity = "error"
    what = "A pooling layer whose pad is not smaller than its kernel."
    why = "A window would cover only padding. Caffe refuses the net."
    example = (_INPUT % (8, 8)) + _POOL % "MAX kernel_size: 2 stride: 2 pad: 2"
    fixed = (_INPUT % (8, 8)) + _POOL % "MAX kernel_size: 2 stride: 2 pad: 1"

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for item in net.wires:
            p: Message = item.value.pooling_param
            if item.type == "Pooling" and not p.global_pooling:
                kernels, _, pads = _pooling(p)
                if any(pad >= k > 0 for k, pad in zip(kernels, pads, strict=True)):
                    yield net.diagnostic(
                        self,
                        item,
                        f"pad {max(pads)} is not smaller than kernel {min(kernels)}: a window would "
                        "cover only padding.",
                    )


class EvenLrn(Rule):
    code = "PG323"
    severity = "error"
    what = "A local response normalisation (LRN) with an even local_size."
    why = "An even window has no centre. Caffe refuses the net."
    example = (
        _INPUT % (8, 8)
    ) + 'layer { name: "n" type: "LRN" bottom: "data" top: "n" lrn_param { local_size: 4 } }'
    fixed = (
        _INPUT % (8, 8)
    ) + 'layer { name: "n" type: "LRN" bottom: "data" top: "n" lrn_param { local_size: 5 } }'

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for item in net.wires:
            if item.type == "LRN" and item.value.lrn_param.local_size % 2 == 0:
                yield net.diagnostic(
                    self, item, f"local_size must be odd, got {item.value.lrn_param.local_size}."
                )


class DropoutInDeploy(Rule):
    code = "PG324"
    what = "Dropout in a deploy net, that is, a net without data layers and without a loss."
    why = "It has no effect there. Some tools copy the blob, and others scale the values a second time."
    example = (_INPUT % (8, 8)) + 'layer { name: "d" type: "Dropout" bottom: "data" top: "data" }'
    fixed = (_INPUT % (8, 8)) + 'layer { name: "d" type: "ReLU" bottom: "data" top: "data" }'
    usual = False

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for item in net.wires if net.is_deploy else ():
            if item.type == "Dropout":
                yield net.diagnostic(self, item, "Dropout has no effect in a deploy net.")


def _applied_twice(rule: Rule, net: Context, before: str, loss: str) -> Iterator[Diagnostic]:
    """Find losses after a layer of the type ``before``, which the loss already includes."""
    producers = {top: item for item in net.wires for top in item.value.top}
    for item in net.wires:
        layer: Message = item.value
        first = producers.get(layer.bottom[0]) if layer.type == loss and layer.bottom else None
        if first is None or first.value.type != before:
            continue
        edits = []
        for read in first.value.bottom[:1]:
            if read not in first.value.top:
                edits.append(replaced(layer.all("bottom")[0], quote(read)))
        yield net.diagnostic(
            rule,
            item,
            f"{loss} already includes {before}. Applying it twice flattens the gradient.",
            *edits,
        )


class SoftmaxTwice(Rule):
    code = "PG325"
    what = "A Softmax layer before SoftmaxWithLoss."
    why = (
        "The loss already includes the Softmax. Applied twice, it flattens the scores, and the net "
        "hardly learns."
    )
    example = (
        (_INPUT % (8, 8)) + _LABEL + 'layer { name: "s" type: "Softmax" bottom: "data" top: "s" }\n'
        'layer { name: "l" type: "SoftmaxWithLoss" bottom: "s" bottom: "label" top: "l" }'
    )
    fixed = (
        (_INPUT % (8, 8)) + _LABEL + 'layer { name: "s" type: "Softmax" bottom: "data" top: "s" }\n'
        'layer { name: "l" type: "SoftmaxWithLoss" bottom: "data" bottom: "label" top: "l" }'
    )
    fixes = True

    def check(self, net: Context) -> Iterator[Diagnostic]:
        return _applied_twice(self, net, "Softmax", "SoftmaxWithLoss")


class SigmoidTwice(Rule):
    code = "PG326"
    what = "A Sigmoid layer before SigmoidCrossEntropyLoss."
    why = (
        "The loss already includes the Sigmoid. Applied twice, it flattens the scores, and the net "
        "hardly learns."
    )
    example = (
        (_INPUT % (8, 8)) + 'layer { name: "s" type: "Sigmoid" bottom: "data" top: "s" }\n'
        'layer { name: "l" type: "SigmoidCrossEntropyLoss" bottom: "s" bottom: "data" top: "l" }'
    )
    fixed = (
        (_INPUT % (8, 8)) + 'layer { name: "s" type: "Sigmoid" bottom: "data" top: "s" }\n'
        'layer { name: "l" type: "SigmoidCrossEntropyLoss" bottom: "data" bottom: "data" top: "l" }'
    )
    fixes = True

    def check(self, net: Context) -> Iterator[Diagnostic]:
        return _applied_twice(self, net, "Sigmoid", "SigmoidCrossEntropyLoss")


class HugeDense(Rule):
    code = "PG327"
    what = "A dense layer (InnerProduct) with more than 200 million parameters."
    why = (
        "Its bottom is a large map: pool the map first, or use a convolution. A file of Caffe cannot "
        "be larger than 2 GB."
    )
    example = (_INPUT % (512, 512)) + (
        'layer { name: "i" type: "InnerProduct" bottom: "data" top: "i" inner_product_param { num_output: 1000 } }'
    )
    fixed = (_INPUT % (8, 8)) + (
        'layer { name: "i" type: "InnerProduct" bottom: "data" top: "i" inner_product_param { num_output: 1000 } }'
    )

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for layer in net.layers:
            blobs = net.blobs(layer)
            if layer.type == "InnerProduct" and blobs and math.prod(blobs[0]) > LARGE_DENSE:
                shape = net.shape(layer) or ()
                yield net.diagnostic(
                    self,
                    layer,
                    f"the layer has {math.prod(blobs[0]):,} parameters for a bottom of shape "
                    f"{'x'.join(map(str, shape))}.",
                )


class DeadDilation(Rule):
    code = "PG328"
    what = "A dilation with a kernel of one pixel."
    why = "It has no effect: a larger kernel was intended, or the line is a leftover."
    example = (_INPUT % (8, 8)) + (
        'layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 2 kernel_size: 1 dilation: 2 } }'
    )
    fixed = (_INPUT % (8, 8)) + (
        'layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 2 kernel_size: 1 } }'
    )
    fixes = True
    safe = True

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for item in net.wires:
            p: Message = item.value.convolution_param
            if list(p.kernel_size) == [1] and any(d > 1 for d in p.dilation):
                field = p.all("dilation")[0]
                edits = [removed(net.source, field)] if len(p.dilation) == 1 else []
                yield net.diagnostic(
                    self, field, "dilation has no effect on a kernel of size 1.", *edits
                )


class SkippedPixels(Rule):
    code = "PG329"
    what = "A stride larger than the kernel, in pooling or in a convolution with a kernel larger than 1."
    why = "Pixels between the windows are never read. Several toolchains refuse the layer."
    example = (_INPUT % (8, 8)) + _POOL % "MAX kernel_size: 2 stride: 3"
    fixed = (_INPUT % (8, 8)) + _POOL % "MAX kernel_size: 3 stride: 3"

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for item in net.wires:
            kind = item.type
            if kind == "Pooling" and not item.value.pooling_param.global_pooling:
                kernels, strides, _ = _pooling(item.value.pooling_param)
            elif kind == "Convolution":
                p = item.value.convolution_param
                kernels = tuple(p.kernel_size) or (p.kernel_h, p.kernel_w)
                strides = tuple(p.stride) or (p.stride_h or 1, p.stride_w or 1)
            else:
                continue
            if max(kernels) > 1 and any(s > k for k, s in zip(kernels, strides, strict=False)):
                yield net.diagnostic(
                    self,
                    item,
                    f"stride {max(strides)} with kernel {min(kernels)} skips the pixels between the windows.",
                )


class RepeatedActivation(Rule):
    code = "PG330"
    what = "The same rectifier twice, one directly after the other."
    why = "The second one has no effect. A layer between them may be missing."
    example = (_INPUT % (8, 8)) + (
        'layer { name: "a" type: "ReLU" bottom: "data" top: "a" }\nlayer { name: "b" type: "ReLU" bottom: "a" top: "b" }'
    )
    fixed = (_INPUT % (8, 8)) + (
        'layer { name: "a" type: "ReLU" bottom: "data" top: "a" }\nlayer { name: "b" type: "TanH" bottom: "a" top: "b" }'
    )

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for layer in net.layers:
            kind = kind_of(layer)
            if kind is None or not kind.dies(layer):
                continue
            before = net.producers.get(layer.reads[0]) if layer.reads else None
            if before is not None and before.type == layer.type:
                yield net.diagnostic(
                    self, layer, f'layer "{before.name}" before it already applies {layer.type}.'
                )
