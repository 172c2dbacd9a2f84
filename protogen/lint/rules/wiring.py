"""PG2: the graph, that is, which layer produces and which layers read each blob."""

from __future__ import annotations

import re
from collections.abc import Iterator

from protogen.errors import Diagnostic, nearest
from protogen.layers import layer_type
from protogen.lint.context import Context, Wire, is_feed
from protogen.lint.rule import Rule

_INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }\n'
_CONV = 'layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 4 kernel_size: 3 %s } }\n'


HINTS = 20  # bottoms of one net that get a "Did you mean" hint


class UndefinedBottom(Rule):
    code = "PG201"
    severity = "error"
    what = "A bottom that no layer produces."
    why = "The net cannot be built."
    example = _INPUT + _CONV % "" + 'layer { name: "r" type: "ReLU" bottom: "cc" top: "r" }'
    fixed = _INPUT + _CONV % "" + 'layer { name: "r" type: "ReLU" bottom: "c" top: "r" }'

    def check(self, net: Context) -> Iterator[Diagnostic]:
        tops = dict.fromkeys(top for item in net.wires for top in item.tops)
        hints = HINTS
        for item, bottom in _bottoms(net):
            if bottom not in tops:
                # Each hint compares with all names: many of them would take minutes.
                suggestion = nearest(bottom, tops) if hints > 0 else ""
                hints -= 1
                advice = f". Did you mean {suggestion}?" if suggestion else "."
                yield net.diagnostic(self, item, f'no layer produces the bottom "{bottom}"{advice}')


def _bottoms(net: Context) -> Iterator[tuple[Wire, str]]:
    """Yield every bottom of every layer, with the layer."""
    for item in net.wires:
        for bottom in item.bottoms:
            yield item, bottom


class UnreadTop(Rule):
    code = "PG202"
    what = "A top that no layer reads, in a net with a loss."
    why = (
        "Caffe prints it as an output in every iteration. In most cases the layer that should read it "
        "was forgotten."
    )
    example = (
        _INPUT
        + _CONV % ""
        + 'layer { name: "s" type: "Slice" bottom: "c" top: "a" top: "b" slice_param { slice_point: 2 } }\n'
        'layer { name: "l" type: "EuclideanLoss" bottom: "a" bottom: "a" top: "l" }'
    )
    fixed = (
        _INPUT
        + _CONV % ""
        + 'layer { name: "s" type: "Slice" bottom: "c" top: "a" top: "b" slice_param { slice_point: 2 } }\n'
        'layer { name: "l" type: "EuclideanLoss" bottom: "a" bottom: "b" top: "l" }'
    )

    def check(self, net: Context) -> Iterator[Diagnostic]:
        if not net.is_training:
            return
        read = {bottom for _, bottom in _bottoms(net)}
        for item in net.wires:
            kind = item.type
            known = layer_type(kind)
            ends = known is not None and (known.top_may_be_unused or known.is_loss)
            if ends or is_feed(kind) or re.search("Loss|Output|Data|Accuracy|Evaluate", kind):
                continue
            if item.value.loss_weight:
                continue
            for top in item.tops:
                if top not in read:
                    yield net.diagnostic(
                        self,
                        item,
                        f'no layer reads the top "{top}". Add a Silence layer, or remove it.',
                    )


class DuplicateName(Rule):
    code = "PG203"
    what = "Two layers with the same name in one phase."
    why = (
        "A caffemodel stores weights by layer name: the second layer gets the weights of the first, "
        "or none."
    )
    example = _INPUT + _CONV % "" + 'layer { name: "c" type: "ReLU" bottom: "c" top: "c" }'
    fixed = _INPUT + _CONV % "" + 'layer { name: "r" type: "ReLU" bottom: "c" top: "c" }'

    def check(self, net: Context) -> Iterator[Diagnostic]:
        reported: set[int] = set()
        for phase in net.phases:
            seen: dict[str, Wire] = {}
            for item in net.in_phase(phase):
                name = item.name
                first = seen.setdefault(name, item)
                if first is not item and name and id(item) not in reported:
                    reported.add(id(item))
                    yield net.diagnostic(
                        self,
                        item,
                        f'the name "{name}" is already used by a layer of type {first.type}.',
                    )


class OverwrittenTop(Rule):
    code = "PG204"
    severity = "error"
    what = "A top that another layer already produces and that this layer does not read."
    why = "Caffe refuses the net: only a layer that reads a blob may overwrite it."
    example = _INPUT + _CONV % "" + 'layer { name: "r" type: "ReLU" bottom: "data" top: "c" }'
    fixed = _INPUT + _CONV % "" + 'layer { name: "r" type: "ReLU" bottom: "data" top: "r" }'

    def check(self, net: Context) -> Iterator[Diagnostic]:
        reported: set[int] = set()
        for phase in net.phases:
            producers: dict[str, Wire] = {}
            for item in net.in_phase(phase):
                bottoms = list(item.bottoms)
                for i, top in enumerate(item.tops):
                    in_place = i < len(bottoms) and bottoms[i] == top
                    if top in producers and not in_place and id(item) not in reported:
                        reported.add(id(item))
                        yield net.diagnostic(
                            self,
                            item,
                            f'the top "{top}" is already produced by layer "{producers[top].name}".',
                        )
                    producers[top] = item


class ManyMeanings(Rule):
    code = "PG205"
    severity = "error"
    what = "A layer that overwrites its bottom in place after another layer has read it."
    why = "Caffe treats the top as a second blob with the same name, and refuses the net."
    example = (
        _INPUT + _CONV % "" + 'layer { name: "a" type: "AbsVal" bottom: "c" top: "a" }\n'
        'layer { name: "r" type: "ReLU" bottom: "c" top: "c" }\n'
        'layer { name: "e" type: "Eltwise" bottom: "a" bottom: "c" top: "e" }'
    )
    fixed = (
        _INPUT + _CONV % "" + 'layer { name: "a" type: "AbsVal" bottom: "c" top: "a" }\n'
        'layer { name: "r" type: "ReLU" bottom: "c" top: "r" }\n'
        'layer { name: "e" type: "Eltwise" bottom: "a" bottom: "r" top: "e" }'
    )

    def check(self, net: Context) -> Iterator[Diagnostic]:
        reported: set[int] = set()
        for phase in net.phases:
            read: dict[str, str] = {}
            for item in net.in_phase(phase):
                tops = set(item.tops)
                for bottom in item.bottoms:
                    if bottom not in tops:
                        read.setdefault(bottom, item.name)
                    elif bottom in read and id(item) not in reported:
                        reported.add(id(item))
                        yield net.diagnostic(
                            self,
                            item,
                            f'the layer overwrites "{bottom}" after layer "{read[bottom]}" has read it. '
                            "Give the top another name.",
                        )


class InPlaceUnsupported(Rule):
    code = "PG206"
    severity = "error"
    what = "An in-place layer of a type that cannot work in place."
    why = (
        "It overwrites values that it still needs: the results are wrong, and no error is reported."
    )
    example = _INPUT + _CONV.replace('top: "c"', 'top: "data"') % "pad: 1"
    fixed = _INPUT + _CONV % "pad: 1"

    def check(self, net: Context) -> Iterator[Diagnostic]:
        from protogen.layers import kind_of
        from protogen.layers.graph import Layer

        for item in net.wires:
            same = set(item.bottoms) & set(item.tops)
            if not same:
                continue
            bottoms, tops = tuple(item.bottoms), tuple(item.tops)
            layer = Layer(item.name, item.type, bottoms, tops, item.value)
            kind = kind_of(layer)
            if kind is not None and not kind.in_place(layer):
                yield net.diagnostic(
                    self,
                    item,
                    f'{item.type} cannot work in place, but "{min(same)}" is both bottom and top.',
                )


class OtherPhase(Rule):
    code = "PG207"
    severity = "error"
    what = "A bottom that is produced only in the other phase."
    why = "The net can be built in one phase and fails in the other."
    example = (
        _INPUT
        + 'layer { name: "c" type: "AbsVal" bottom: "data" top: "c" include { phase: TRAIN } }\n'
        'layer { name: "r" type: "ReLU" bottom: "c" top: "r" }'
    )
    fixed = (
        _INPUT + 'layer { name: "c" type: "AbsVal" bottom: "data" top: "c" }\n'
        'layer { name: "r" type: "ReLU" bottom: "c" top: "r" }'
    )

    def check(self, net: Context) -> Iterator[Diagnostic]:
        everywhere = {top for item in net.wires for top in item.tops}
        feeds = {top for item in net.wires if not item.bottoms for top in item.tops}
        for phase in net.phases if len(net.phases) > 1 else ():
            items = net.in_phase(phase)
            tops = {top for item in items for top in item.tops}
            if feeds - tops:  # A net for one phase only has no data in the other phase.
                continue
            for item in items:
                for bottom in item.bottoms:
                    if bottom in everywhere and bottom not in tops:
                        yield net.diagnostic(
                            self, item, f'no layer produces the bottom "{bottom}" in phase {phase}.'
                        )


class ReadTooEarly(Rule):
    code = "PG208"
    severity = "error"
    what = "A bottom that a layer further down produces."
    why = "Caffe runs the layers in the order of the file, and refuses the net."
    example = _INPUT + 'layer { name: "r" type: "ReLU" bottom: "c" top: "r" }\n' + _CONV % ""
    fixed = _INPUT + _CONV % "" + 'layer { name: "r" type: "ReLU" bottom: "c" top: "r" }'

    def check(self, net: Context) -> Iterator[Diagnostic]:
        everywhere = {top for item in net.wires for top in item.tops}
        seen: set[str] = set()
        for item in net.wires:
            for bottom in item.bottoms:
                if bottom in everywhere and bottom not in seen:
                    yield net.diagnostic(
                        self, item, f'the bottom "{bottom}" is read before a layer produces it.'
                    )
            seen.update(item.tops)


class ShapeMismatch(Rule):
    code = "PG209"
    severity = "error"
    what = (
        "Bottom shapes that do not match (Eltwise, Concat, Crop), a window larger than its input, or "
        "any other violated check of Caffe for a layer (checks.md)."
    )
    why = "Caffe refuses the net in at least one phase."
    example = (
        _INPUT
        + _CONV % ""
        + 'layer { name: "e" type: "Eltwise" bottom: "data" bottom: "c" top: "e" }'
    )
    fixed = (
        _INPUT + _CONV % "" + 'layer { name: "e" type: "Eltwise" bottom: "c" bottom: "c" top: "e" }'
    )

    def check(self, net: Context) -> Iterator[Diagnostic]:
        starts = {item.field.start: item for item in net.wires}
        for one in dict.fromkeys(net.misfits) if net.graphs else ():
            yield net.diagnostic(self, starts.get(one.place.start), one.message)


class UnfedLoss(Rule):
    code = "PG210"
    severity = "error"
    what = "A loss with one bottom, although its type also needs labels."
    why = "Caffe refuses the net when training begins."
    example = _INPUT + 'layer { name: "l" type: "SoftmaxWithLoss" bottom: "data" top: "l" }'
    fixed = (
        _INPUT
        + 'layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 1 dim: 1 dim: 8 dim: 8 } } }\n'
        'layer { name: "l" type: "SoftmaxWithLoss" bottom: "data" bottom: "label" top: "l" }'
    )

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for item in net.wires:
            kind = layer_type(item.type)
            if kind is not None and kind.is_loss and len(item.bottoms) == 1:
                yield net.diagnostic(self, item, f"{item.type} needs two bottoms, got one.")


class BothRules(Rule):
    code = "PG211"
    severity = "error"
    what = "A layer with both include and exclude rules."
    why = "Caffe refuses the net, because it is undefined which of the two applies."
    example = (
        _INPUT
        + 'layer { name: "r" type: "ReLU" bottom: "data" top: "r" include { phase: TRAIN } exclude { phase: TEST } }'
    )
    fixed = (
        _INPUT + 'layer { name: "r" type: "ReLU" bottom: "data" top: "r" include { phase: TRAIN } }'
    )

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for item in net.wires:
            if item.value.include and item.value.exclude:
                yield net.diagnostic(
                    self, item, "include and exclude rules cannot be combined. Keep one kind."
                )


class GradientRefused(Rule):
    code = "PG212"
    severity = "error"
    what = "A bottom that accepts no gradient, such as labels, but depends on trained weights."
    why = "Caffe aborts the training in the first backward pass."
    example = (
        _INPUT + _CONV % "" + 'layer { name: "m" type: "ArgMax" bottom: "c" top: "m" }\n'
        'layer { name: "l" type: "Reduction" bottom: "m" top: "l" loss_weight: 1 }'
    )
    fixed = (
        _INPUT + _CONV % "" + 'layer { name: "m" type: "Softmax" bottom: "c" top: "m" }\n'
        'layer { name: "l" type: "Reduction" bottom: "m" top: "l" loss_weight: 1 }'
    )

    def check(self, net: Context) -> Iterator[Diagnostic]:
        from protogen.layers import kind_of
        from protogen.net.backward import gradients

        reported: set[tuple[int, int]] = set()
        for graph in net.graphs.values():
            for number, index in sorted(gradients(graph)):
                layer = graph.layers[number]
                kind, key = kind_of(layer), (id(layer.params), index)
                if kind is None or index not in kind.without_gradient(layer) or key in reported:
                    continue
                reported.add(key)
                yield net.diagnostic(
                    self,
                    layer,
                    f'the bottom "{layer.bottoms[index]}" needs a gradient, but {layer.type} cannot '
                    "compute it. Set propagate_down: false here, or lr_mult: 0 in the layers before it.",
                )
