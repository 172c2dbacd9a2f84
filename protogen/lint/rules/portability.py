"""PG4: portability to other tools and toolchains."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator

from protogen.errors import Diagnostic, InputError
from protogen.formats.message import Message
from protogen.layers import LayerType, kind_of
from protogen.lint.context import Context
from protogen.lint.rule import Rule
from protogen.toolchains.toolchain import parse_toolchain

_INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 dim: 8 dim: 8 } } }\n'


def _of_target(rule: Rule, net: Context, verdict: str, does: str) -> Iterator[Diagnostic]:
    """Yield a finding for each layer for which the target has this verdict."""
    report = net.target_report
    if isinstance(report, InputError) and verdict == "refused":
        problem = report.diagnostic
        yield problem._replace(code=rule.code, severity=rule.severity, lines=())
    if report is None or isinstance(report, InputError):
        return
    layers = {layer.name: layer for layer in net.layers}
    for one in report.rows:
        if one.verdict != verdict:
            continue
        layer = layers.get(one.layer)
        kind = kind_of(layer) if layer is not None else None
        advice = ""
        if verdict == "refused" and kind is not None and kind.resizes:
            advice = " protogen upsample --exact --target searches for layers within the limits."
        text = f"{report.toolchain.name} {does}: {one.reasons[0]}.{advice}"
        yield net.diagnostic(rule, layer, text)


_ACME = parse_toolchain(
    tomllib.loads("""
types_complete = true
sources.list = "its list of operators"
types.list = ["Input", "Deconvolution", "Eltwise"]
[[rule]]
layers = ["Deconvolution"]
must = "kernel <= 7"
[[rule]]
layers = ["Eltwise"]
when = "param.operation == 'SUM' and 'coeff' in written"
is = "wrong"
field = "coeff"
text = "reads no coeff"
"""),
    "acme.toml",
)


class TargetRefuses(Rule):
    code = "PG401"
    what = "A layer that a toolchain refuses (with --target)."
    why = (
        "The toolchain does not take the net: it does not have the layer type, a field, or a value, or it "
        "ends with an error. The message names the source."
    )
    example = _INPUT + (
        'layer { name: "d" type: "Deconvolution" bottom: "data" top: "d" convolution_param { num_output: 4 kernel_size: 9 stride: 2 } }'
    )
    fixed = _INPUT + (
        'layer { name: "d" type: "Deconvolution" bottom: "data" top: "d" convolution_param { num_output: 4 kernel_size: 7 stride: 2 } }'
    )
    settings = {"target": _ACME}  # noqa: RUF012 (never changed)
    severity = "error"

    def check(self, net: Context) -> Iterator[Diagnostic]:
        yield from _of_target(self, net, "refused", "refuses this")


class NoOnnxForm(Rule):
    code = "PG402"
    what = "A layer type without an ONNX equivalent."
    why = "The net cannot be exported to ONNX: protogen convert and protogen run refuse it."
    example = (
        _INPUT
        + 'layer { name: "p" type: "PassThrough" bottom: "data" top: "p" reorg_param { stride: 2 } }'
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


class TargetDiffers(Rule):
    code = "PG405"
    what = "A layer that a toolchain computes differently, without a message (with --target)."
    why = (
        "The toolchain takes the net and computes other numbers than Caffe: it ignores a field, or reads it "
        "in another way. The message names the source."
    )
    example = _INPUT + (
        'layer { name: "e" type: "Eltwise" bottom: "data" bottom: "data" top: "e" eltwise_param { coeff: 2 coeff: 1 } }'
    )
    fixed = _INPUT + ('layer { name: "e" type: "Eltwise" bottom: "data" bottom: "data" top: "e" }')
    settings = {"target": _ACME}  # noqa: RUF012 (never changed)
    severity = "error"

    def check(self, net: Context) -> Iterator[Diagnostic]:
        yield from _of_target(self, net, "wrong", "computes this differently")
