"""PG4: portability to other tools and toolchains."""

from __future__ import annotations

from collections.abc import Iterator

from protogen.errors import Diagnostic
from protogen.formats.message import Message
from protogen.layers import LayerType, kind_of
from protogen.layers.graph import Layer
from protogen.lint.context import Context
from protogen.lint.rule import Rule
from protogen.resampling.steps import Step
from protogen.toolchains.limits import parse_limits

_INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 dim: 8 dim: 8 } } }\n'


class TargetLimit(Rule):
    code = "PG401"
    what = "A layer that violates a limit of a toolchain (with --target)."
    why = (
        "The toolchain's compiler refuses the net, or moves the layer to the CPU. The message names the "
        "source of the limit."
    )
    example = _INPUT + (
        'layer { name: "d" type: "Deconvolution" bottom: "data" top: "d" convolution_param { num_output: 4 kernel_size: 9 stride: 2 } }'
    )
    fixed = _INPUT + (
        'layer { name: "d" type: "Deconvolution" bottom: "data" top: "d" convolution_param { num_output: 4 kernel_size: 7 stride: 2 } }'
    )
    settings = {"target": parse_limits("kernel <= 7")}  # noqa: RUF012 (never changed)

    def check(self, net: Context) -> Iterator[Diagnostic]:
        target = net.settings.target
        for layer in net.layers if target is not None else ():
            step = _step(net, layer)
            for rule in target.rules if target is not None and step is not None else ():
                problem = rule.broken(step) if step is not None else ""
                if problem:
                    source = f" ({rule.source})" if rule.source else ""
                    advice = ""
                    kind = kind_of(layer)
                    if kind is not None and kind.resizes:
                        advice = " protogen upsample --exact --target searches for layers within the limits."
                    yield net.diagnostic(self, layer, f"{problem}{source}.{advice}")
                    break


def _step(net: Context, layer: Layer) -> Step | None:
    """Return the layer in the form that target limits check; None if a shape is unknown."""
    before, after = net.shape(layer), net.top_shape(layer)
    if before is None or after is None:
        return None
    params = {
        key: {k: v[0] if isinstance(v, list) and v else v for k, v in value.items()}
        for key, value in layer.params.plain().items()
        if key.endswith("_param") and isinstance(value, dict)
    }
    p = layer.params.convolution_param
    features = {"group"} if p.group > 1 else set()
    if p.has("axis") and p.axis != 1:
        features.add("axis")
    return Step(
        layer.type,
        layer.name,
        layer.bottoms,
        layer.tops,
        params,
        (),
        None,
        before,
        after,
        frozenset(features),
    )


class NoOnnxForm(Rule):
    code = "PG402"
    what = "A layer type without an ONNX equivalent."
    why = "The net cannot be exported to ONNX: protogen convert and protogen run refuse it."
    example = (
        _INPUT
        + 'layer { name: "p" type: "Reorg" bottom: "data" top: "p" reorg_param { stride: 2 } }'
    )
    fixed = (
        _INPUT
        + 'layer { name: "p" type: "Pooling" bottom: "data" top: "p" pooling_param { kernel_size: 2 stride: 2 } }'
    )
    usual = False

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for layer in net.layers:
            kind = kind_of(layer)
            if kind is not None and type(kind).lower is LayerType.lower and not kind.is_source:
                yield net.diagnostic(
                    self, layer, f"{layer.type} has no ONNX equivalent: {kind.refusal[0]}."
                )


class AverageInPadding(Rule):
    code = "PG403"
    what = "An average pooling layer with a pad."
    why = (
        "Caffe divides by the number of window positions inside the padded map. Other tools divide by "
        "the number of pixels inside the map, or by the kernel size. The values at the border differ."
    )
    example = _INPUT + (
        'layer { name: "p" type: "Pooling" bottom: "data" top: "p" pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 } }'
    )
    fixed = example.replace(" pad: 1", "")
    usual = False

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for item in net.wires:
            p: Message = item.value.pooling_param
            if item.type == "Pooling" and p.pool == "AVE" and (p.pad or p.pad_h or p.pad_w):
                yield net.diagnostic(
                    self,
                    item,
                    "average pooling with a pad: tools divide by different counts at the border.",
                )


class NegativeAxis(Rule):
    code = "PG404"
    what = "A negative axis."
    why = (
        "Toolchains count axes from 0. They refuse a negative axis, or read it as a different axis."
    )
    example = (
        _INPUT
        + 'layer { name: "s" type: "Softmax" bottom: "data" top: "s" softmax_param { axis: -1 } }'
    )
    fixed = (
        _INPUT
        + 'layer { name: "s" type: "Softmax" bottom: "data" top: "s" softmax_param { axis: 3 } }'
    )
    fixes = True
    safe = True
    usual = False

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for layer in net.layers:
            shape = net.shape(layer)
            for field in layer.params.fields:
                if not isinstance(field.value, Message) or not field.name.endswith("_param"):
                    continue
                for axis in field.value.all("axis"):
                    if shape is not None and axis.value < 0:
                        positive = axis.value + len(shape)
                        edit = (axis.start, axis.end, f"axis: {positive}")
                        yield net.diagnostic(
                            self,
                            layer,
                            f"axis {axis.value} is negative. With {len(shape)} axes it is axis "
                            f"{positive}.",
                            edit,
                        )
