"""PG1: what the schema says of a text."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher
from functools import cache

from protogen.errors import Diagnostic, nearest
from protogen.formats.prototxt import quote
from protogen.formats.schema import caffe
from protogen.layers import LayerType, layer_type
from protogen.layers.reading import unread
from protogen.lint.context import Context
from protogen.lint.edits import removed, renamed_field, replaced
from protogen.lint.rule import Rule
from protogen.net.build import params_too_many
from protogen.toolchains.dialects import ONLY_NAMED


class UnknownField(Rule):
    code = "PG101"
    severity = "error"
    what = "A field that no published caffe.proto has in this place."
    why = (
        "Caffe refuses the whole file; tools that skip the field compute something else in silence."
    )
    example = (
        'layer { name: "c" type: "ReLU" bottom: "x" top: "x" relu_param { negativ_slope: 0.1 } }'
    )
    mended = (
        'layer { name: "c" type: "ReLU" bottom: "x" top: "x" relu_param { negative_slope: 0.1 } }'
    )
    fixes = True

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for _, holder, item in net.walk():
            if item.type is None and holder.kind is not None:
                known = list(holder.kind.fields)
                meant = nearest(item.name, known)
                advice = f". Did you mean {meant}?" if meant else "."
                yield net.diagnostic(
                    self,
                    item,
                    f"{holder.kind.name} has no field {item.name}{advice}",
                    *([renamed_field(item, meant)] if meant else []),
                )


class OldForm(Rule):
    code = "PG102"
    what = "A net of Caffe's first forms, with `layers` and types in capitals."
    why = (
        "Many tools drop such layers in silence, and where both forms are mixed Caffe does so too."
    )
    example = 'layers { name: "r" type: RELU bottom: "data" top: "r" }'
    mended = 'layer { name: "r" type: "ReLU" bottom: "data" top: "r" }'

    def check(self, net: Context) -> Iterator[Diagnostic]:
        old = net.document.all("layers")
        if old:
            yield net.diagnostic(
                self,
                old[0],
                f"{len(old)} layers are of the old form. protogen upgrade writes today's.",
            )


class ForkLayer(Rule):
    code = "PG103"
    severity = "error"
    what = "A layer type that the chosen dialect does not have (with --dialect)."
    why = "The net loads only in the fork that it was written for."
    example = 'layer { name: "p" type: "Permute" bottom: "data" top: "p" }'
    mended = 'layer { name: "p" type: "Flatten" bottom: "data" top: "p" }'
    settings = {"dialect": "bvlc"}  # noqa: RUF012 (never changed)

    def check(self, net: Context) -> Iterator[Diagnostic]:
        from protogen.toolchains.dialects import forks_of

        if not net.settings.dialect:
            return
        forks = forks_of(net.settings.dialect)
        for item in net.wires:
            kind = layer_type(item.type)
            if kind is not None and not kind.stock and item.type not in forks:
                yield net.diagnostic(
                    self,
                    item,
                    f"{item.type} is a fork's layer, which {net.settings.dialect} "
                    "lacks. protogen rewrite writes many of them in stock layers.",
                )


class TooManyParams(Rule):
    code = "PG104"
    severity = "error"
    what = "More `param` blocks than the layer has parameter blobs."
    why = "Caffe refuses the net: one block belongs to one blob."
    example = (
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 } } }\n'
        'layer { name: "i" type: "InnerProduct" bottom: "data" top: "i" param { lr_mult: 1 } param { lr_mult: 2 } '
        "inner_product_param { num_output: 2 bias_term: false } }"
    )
    mended = example.replace(" param { lr_mult: 2 }", "")
    fixes = True
    safe = True

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for layer in net.layers:
            given, blobs = layer.params.all("param"), net.blobs(layer)
            if params_too_many(layer, net.known_blobs(layer)):
                edits = [removed(net.source, one) for one in given[len(blobs) :]]
                yield net.diagnostic(
                    self,
                    given[len(blobs)],
                    f"{layer.name} has {len(given)} param blocks for {len(blobs)} blobs.",
                    *edits,
                )


class StrayParameter(Rule):
    code = "PG105"
    what = "A parameter block of another layer type."
    why = "Nothing reads it: what it says is not done."
    example = (
        'layer { name: "r" type: "ReLU" bottom: "x" top: "x" pooling_param { kernel_size: 2 } }'
    )
    mended = 'layer { name: "r" type: "ReLU" bottom: "x" top: "x" }'
    fixes = True

    def check(self, net: Context) -> Iterator[Diagnostic]:
        blocks = _owners()
        for item in net.wires:
            kind = layer_type(item.type)
            if kind is None:
                continue
            for field in item.value.fields:
                if field.name in blocks and field.name not in kind.reads:
                    problem = f"{field.name} says nothing to a {item.type}."
                    yield net.diagnostic(self, field, problem, removed(net.source, field))


@cache
def _owners() -> frozenset[str]:
    """The parameter blocks that some type reads, and that belong to one family of types."""
    kinds = LayerType.registry.values()
    return frozenset(block for kind in kinds if not kind.user_defined for block in kind.reads) - {
        "transform_param"
    }


def _types() -> list[str]:
    return [name for name, kind in LayerType.registry.items() if not kind.user_defined]


class UnreadField(Rule):
    code = "PG109"
    severity = "error"
    what = "A field, or an enum's value, that is set and that the layer does not read."
    why = (
        "It changes what some fork computes. Tools that skip it compute something else in silence: "
        "protogen refuses to convert such a net."
    )
    example = (
        'layer { name: "d" type: "Convolution" bottom: "x" top: "d" '
        "convolution_param { num_output: 1 kernel_size: 1 width_group: 2 } }"
    )
    mended = (
        'layer { name: "d" type: "Convolution" bottom: "x" top: "d" '
        "convolution_param { num_output: 1 kernel_size: 1 } }"
    )

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for item in net.wires:
            for one in unread(item.value, layer_type(item.type)):
                if one.known:  # PG101 tells of the others
                    yield net.diagnostic(self, one.item, f"{one.problem(item.type)}.")


class ForkField(Rule):
    code = "PG110"
    severity = "error"
    what = "A field, or an enum's value, that the chosen dialect does not have (with --dialect)."
    why = "The dialect's parser refuses the whole file."
    example = 'layer { name: "d" type: "Dropout" bottom: "x" top: "d" dropout_param { scale_train: true } }'
    mended = 'layer { name: "d" type: "Dropout" bottom: "x" top: "d" }'
    settings = {"dialect": "bvlc"}  # noqa: RUF012 (never changed)

    def check(self, net: Context) -> Iterator[Diagnostic]:
        dialect = net.settings.dialect
        if not dialect:
            return
        for _, holder, item in net.walk():
            known = item.type
            if known is None or holder.kind is None:
                continue
            value = str(item.value) if known.enum is not None else ""
            forks = known.dialects or (known.enum.dialects.get(value, ()) if known.enum else ())
            if forks and dialect not in forks:
                what = f"{item.name}: {value}" if value and not known.dialects else item.name
                yield net.diagnostic(
                    self,
                    item,
                    f"{what} of {holder.kind.name} is of {', '.join(forks)}; {dialect} lacks it.",
                )


class NoEffect(Rule):
    code = "PG106"
    what = (
        "A layer that hands on what it gets: Power, Eltwise, Concat, Slice, Dropout with ratio 0."
    )
    why = "It costs time and memory, and readers look for what it does."
    example = 'layer { name: "p" type: "Power" bottom: "x" top: "p" power_param { scale: 1 } }'
    mended = 'layer { name: "p" type: "Power" bottom: "x" top: "p" power_param { scale: 2 } }'

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for item in net.wires:
            kind = layer_type(item.type)
            if kind is not None and kind.does_nothing(item.value):
                yield net.diagnostic(self, item, f"this {item.type} does nothing.")


class UnknownType(Rule):
    code = "PG107"
    severity = "error"
    what = "A layer type that neither BVLC Caffe nor a known fork has."
    why = "A typing mistake, or a layer that only its author can run."
    example = 'layer { name: "c" type: "Convolutoin" bottom: "data" top: "c" convolution_param { num_output: 1 kernel_size: 1 } }'
    mended = 'layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 1 kernel_size: 1 } }'
    fixes = True

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for item in net.wires:
            kind = item.type
            if layer_type(kind) is not None or not item.value.has("type") or _of_a_fork(kind):
                continue
            meant = nearest(kind, _types())
            advice = f". Did you mean {meant}?" if meant else "."
            given = item.value.all("type")
            edits = [replaced(given[0], quote(meant))] if meant and _near(kind, meant) else []
            yield net.diagnostic(self, given[0], f"{kind} is no known layer type{advice}", *edits)


def _near(kind: str, wanted: str) -> bool:
    """Whether it can be a slip of the hand: a fork's own type may look like another one."""
    return SequenceMatcher(None, kind, wanted).ratio() > 0.87


def _of_a_fork(kind: str) -> bool:
    """Whether a published fork knows the type: one that protogen has no more of than its name."""
    return kind.lower() in _blocks() or kind in ONLY_NAMED


@cache
def _blocks() -> frozenset[str]:
    fields = caffe().messages["LayerParameter"].fields
    return frozenset(
        name.removesuffix("_param").replace("_", "") for name in fields if name.endswith("_param")
    )


class NoType(Rule):
    code = "PG108"
    severity = "error"
    what = "A layer without a type."
    why = "Caffe cannot make it."
    example = 'layer { name: "c" bottom: "data" top: "c" }'
    mended = 'layer { name: "c" type: "ReLU" bottom: "data" top: "c" }'

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for item in net.wires:
            if not item.type:
                yield net.diagnostic(self, item, "the layer has no type.")
