"""PG1: syntax and schema."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher
from functools import cache
from typing import TYPE_CHECKING

from protogen.errors import Diagnostic, nearest
from protogen.formats.prototxt import quote
from protogen.formats.schema import caffe
from protogen.formats.schema.dialect import BVLC, facts, in_words
from protogen.layers import LayerType, layer_type
from protogen.layers.reading import unread
from protogen.lint.context import Context
from protogen.lint.edits import removed, renamed_field, replaced
from protogen.lint.rule import Rule
from protogen.net.build import params_too_many
from protogen.toolchains.dialects import registering

FORKS = "protogen.layers.forks"

if TYPE_CHECKING:
    from protogen.toolchains.detection import Use


class UnknownField(Rule):
    code = "PG101"
    severity = "error"
    what = "A field that no published caffe.proto defines in this message."
    why = "Caffe refuses the whole file. Tools that skip the field silently compute something else."
    example = (
        'layer { name: "c" type: "ReLU" bottom: "x" top: "x" relu_param { negativ_slope: 0.1 } }'
    )
    fixed = (
        'layer { name: "c" type: "ReLU" bottom: "x" top: "x" relu_param { negative_slope: 0.1 } }'
    )
    fixes = True

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for _, holder, item in net.walk():
            if item.type is None and holder.kind is not None:
                known = list(holder.kind.fields)
                suggestion = nearest(item.name, known)
                advice = f". Did you mean {suggestion}?" if suggestion else "."
                yield net.diagnostic(
                    self,
                    item,
                    f"unknown field {item.name} in {holder.kind.name}{advice}",
                    *([renamed_field(item, suggestion)] if suggestion else []),
                )


class OldForm(Rule):
    code = "PG102"
    what = "A net in an old format of Caffe, with `layers` blocks and type names in capitals."
    why = "Many tools silently drop such layers, and Caffe refuses a file that mixes both formats."
    example = 'layers { name: "r" type: RELU bottom: "data" top: "r" }'
    fixed = 'layer { name: "r" type: "ReLU" bottom: "data" top: "r" }'

    def check(self, net: Context) -> Iterator[Diagnostic]:
        old = net.document.all("layers")
        if old:
            yield net.diagnostic(
                self,
                old[0],
                f"{len(old)} layer{'s' if len(old) != 1 else ''} in the old format. Run protogen "
                "upgrade to convert the net to the current format.",
            )


def _lacked(net: Context, *kinds: str) -> Iterator[Use]:
    """Yield the types, fields or values of a net that the chosen dialect lacks."""
    from protogen.toolchains.detection import lacked

    if net.settings.dialect:
        yield from (use for use in lacked(net.document, net.settings.dialect) if use.kind in kinds)


class ForkLayer(Rule):
    code = "PG103"
    severity = "error"
    what = "A layer type that the chosen dialect does not have (with --dialect)."
    why = (
        "The net can be loaded only by a Caffe that has the type: the fork that it was written for, or "
        "a newer one."
    )
    example = 'layer { name: "p" type: "Permute" bottom: "data" top: "p" }'
    fixed = 'layer { name: "p" type: "Flatten" bottom: "data" top: "p" }'
    settings = {"dialect": "bvlc"}  # noqa: RUF012 (never changed)

    def check(self, net: Context) -> Iterator[Diagnostic]:
        dialect = net.settings.dialect
        for use in _lacked(net, "type"):
            type_ = use.text.removeprefix("type ")
            kind, has = layer_type(type_), registering(type_)
            if kind is None and not has:
                continue  # PG107 reports it
            if BVLC in has:
                text = f"the dialect {dialect} does not have the layer type {type_} of BVLC Caffe."
                if facts().with_field("NetParameter", "layer") & facts().bits.get(dialect, 0):
                    text += f" protogen rewrite --target {dialect} finds another form."
            else:
                text = (
                    f"{type_} is a layer type of a fork, and the dialect {dialect} does not have "
                )
                text += "it. protogen rewrite can replace many fork layers with stock layers."
            yield net.diagnostic(self, use.layer, text)


class TooManyParams(Rule):
    code = "PG104"
    severity = "error"
    what = "More `param` blocks than the layer has parameter blobs."
    why = "Caffe refuses the net: each block belongs to one blob."
    example = (
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 } } }\n'
        'layer { name: "i" type: "InnerProduct" bottom: "data" top: "i" param { lr_mult: 1 } param { lr_mult: 2 } '
        "inner_product_param { num_output: 2 bias_term: false } }"
    )
    fixed = example.replace(" param { lr_mult: 2 }", "")
    fixes = True
    safe = True

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for layer in net.layers:
            specs, blobs = layer.params.all("param"), net.blobs(layer)
            if params_too_many(layer, net.known_blobs(layer)):
                edits = [removed(net.source, spec) for spec in specs[len(blobs) :]]
                yield net.diagnostic(
                    self,
                    specs[len(blobs)],
                    f'layer "{layer.name}" has {len(specs)} param blocks, but {len(blobs)} '
                    f"parameter blob{'s' if len(blobs) != 1 else ''}.",
                    *edits,
                )


class StrayParameter(Rule):
    code = "PG105"
    what = "A parameter block that belongs to another layer type."
    why = "The layer does not read the block, so its settings have no effect."
    example = (
        'layer { name: "r" type: "ReLU" bottom: "x" top: "x" pooling_param { kernel_size: 2 } }'
    )
    fixed = 'layer { name: "r" type: "ReLU" bottom: "x" top: "x" }'
    fixes = True

    def check(self, net: Context) -> Iterator[Diagnostic]:
        blocks = _owners()
        for item in net.wires:
            kind = layer_type(item.type)
            if kind is None:
                continue
            for field in item.value.fields:
                if field.name in blocks and field.name not in kind.reads:
                    problem = f"{field.name} has no effect: {item.type} layers do not read it."
                    yield net.diagnostic(self, field, problem, removed(net.source, field))


@cache
def _owners() -> frozenset[str]:
    """Return the names of the parameter blocks that layer types outside of ``layers.forks`` read. The
    others are unread fields (PG109) in any layer that does not read them."""
    kinds = [
        kind
        for _, kind in LayerType.registry.items_now()
        if not (kind.user_defined or type(kind).__module__.startswith(FORKS))
    ]
    return frozenset(block for kind in kinds for block in kind.reads) - {"transform_param"}


def _types() -> list[str]:
    return [name for name, kind in LayerType.registry.items() if not kind.user_defined]


class UnreadField(Rule):
    code = "PG109"
    severity = "error"
    what = "A field or an enum value that is set, but that the layer type does not read."
    why = (
        "The field changes what some fork computes. Tools that skip it silently compute something "
        "else, so protogen refuses to convert such a net."
    )
    example = (
        'layer { name: "d" type: "Convolution" bottom: "x" top: "d" '
        "convolution_param { num_output: 1 kernel_size: 1 width_group: 2 } }"
    )
    fixed = (
        'layer { name: "d" type: "Convolution" bottom: "x" top: "d" '
        "convolution_param { num_output: 1 kernel_size: 1 } }"
    )

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for item in net.wires:
            for one in unread(item.value, layer_type(item.type)):
                if one.known:  # PG101 reports the unknown fields.
                    yield net.diagnostic(self, one.item, f"{one.problem(item.type)}.")


class ForkField(Rule):
    code = "PG110"
    severity = "error"
    what = "A field or an enum value that the chosen dialect does not have (with --dialect)."
    why = "The dialect's parser refuses the whole file."
    example = 'layer { name: "d" type: "Dropout" bottom: "x" top: "d" dropout_param { scale_train: true } }'
    fixed = 'layer { name: "d" type: "Dropout" bottom: "x" top: "d" }'
    settings = {"dialect": "bvlc"}  # noqa: RUF012 (never changed)

    def check(self, net: Context) -> Iterator[Diagnostic]:
        seen: set[str] = set()
        for use in _lacked(net, "field", "value"):
            if use.item.type is None:
                continue  # PG101 reports it
            if use.text == "layer":  # one finding for the format of the net
                if use.text not in seen:
                    text = (
                        f"the dialect {net.settings.dialect} reads only nets in the V1 format. Run "
                    )
                    yield net.diagnostic(self, use.item, f"{text}protogen upgrade --to v1.")
                seen.add(use.text)
                continue
            text = f"the dialect {net.settings.dialect} does not have {use.text}."
            if others := facts().names_of(use.having):
                text += f" Supported by: {in_words(others)}."
            yield net.diagnostic(self, use.item, text)


class NoEffect(Rule):
    code = "PG106"
    what = (
        "A layer that passes its bottom through unchanged: Power, Eltwise, Concat, Slice, or "
        "Dropout with ratio 0."
    )
    why = "It costs time and memory, and readers of the net expect it to have an effect."
    example = 'layer { name: "p" type: "Power" bottom: "x" top: "p" power_param { scale: 1 } }'
    fixed = 'layer { name: "p" type: "Power" bottom: "x" top: "p" power_param { scale: 2 } }'

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for item in net.wires:
            kind = layer_type(item.type)
            if kind is not None and kind.does_nothing(item.value):
                yield net.diagnostic(
                    self, item, f"this {item.type} layer passes its bottom through unchanged."
                )


class UnknownType(Rule):
    code = "PG107"
    severity = "error"
    what = "A layer type that neither BVLC Caffe nor a known fork has."
    why = "It is a typing error, or a layer that only its author can run."
    example = 'layer { name: "c" type: "Convolutoin" bottom: "data" top: "c" convolution_param { num_output: 1 kernel_size: 1 } }'
    fixed = 'layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 1 kernel_size: 1 } }'
    fixes = True

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for item in net.wires:
            kind = item.type
            if layer_type(kind) is not None or not item.value.has("type") or _of_a_fork(kind):
                continue
            suggestion = nearest(kind, _types())
            advice = f". Did you mean {suggestion}?" if suggestion else "."
            field = item.value.all("type")[0]
            typo = suggestion and _is_typo(kind, suggestion)
            edits = [replaced(field, quote(suggestion))] if typo else []
            yield net.diagnostic(self, field, f"unknown layer type {kind}{advice}", *edits)


def _is_typo(kind: str, suggestion: str) -> bool:
    """Return whether the names are close enough for a typing error.

    The limit is high because the type of an unknown fork may resemble a known type.
    """
    return SequenceMatcher(None, kind, suggestion).ratio() > 0.87


def _of_a_fork(kind: str) -> bool:
    """Return whether a published fork has the type, although protogen knows only its name."""
    return bool(registering(kind)) or kind.lower() in _blocks()


@cache
def _blocks() -> frozenset[str]:
    """Return the names of the parameter blocks, without the suffix and the underscores."""
    fields = caffe().messages["LayerParameter"].fields
    return frozenset(
        name.removesuffix("_param").replace("_", "") for name in fields if name.endswith("_param")
    )


class NoType(Rule):
    code = "PG108"
    severity = "error"
    what = "A layer without a type."
    why = "Caffe cannot create the layer."
    example = 'layer { name: "c" bottom: "data" top: "c" }'
    fixed = 'layer { name: "c" type: "ReLU" bottom: "data" top: "c" }'

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for item in net.wires:
            if not item.type:
                yield net.diagnostic(self, item, "the type is missing.")
