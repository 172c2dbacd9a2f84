"""PG2: who makes and who reads each blob."""

from __future__ import annotations

import re
from collections.abc import Iterator

from protogen.errors import Diagnostic, nearest
from protogen.layers import layer_type
from protogen.lint.context import FEEDS, Context, Wire
from protogen.lint.rule import Rule

_INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }\n'
_CONV = 'layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 4 kernel_size: 3 %s } }\n'


HINTS = 20  # bottoms of one net that get a hint


class UndefinedBottom(Rule):
    code = "PG201"
    severity = "error"
    what = "A bottom that no layer makes."
    why = "The net cannot be built."
    example = _INPUT + _CONV % "" + 'layer { name: "r" type: "ReLU" bottom: "cc" top: "r" }'
    mended = _INPUT + _CONV % "" + 'layer { name: "r" type: "ReLU" bottom: "c" top: "r" }'

    def check(self, net: Context) -> Iterator[Diagnostic]:
        made = dict.fromkeys(top for item in net.wires for top in item.tops)
        hints = HINTS
        for item, bottom in _bottoms(net):
            if bottom not in made:
                # Each is a look at all names: a text full of these must not take minutes.
                meant = nearest(bottom, made) if hints > 0 else ""
                hints -= 1
                advice = f". Did you mean {meant}?" if meant else "."
                yield net.diagnostic(self, item, f'reads "{bottom}", but no layer makes it{advice}')


def _bottoms(net: Context) -> Iterator[tuple[Wire, str]]:
    for item in net.wires:
        for bottom in item.bottoms:
            yield item, bottom


class UnreadTop(Rule):
    code = "PG202"
    what = "A top that nobody reads, in a net with a loss."
    why = "It becomes an output that Caffe prints in every iteration, and is mostly a forgotten layer."
    example = (
        _INPUT
        + _CONV % ""
        + 'layer { name: "s" type: "Slice" bottom: "c" top: "a" top: "b" slice_param { slice_point: 2 } }\n'
        'layer { name: "l" type: "EuclideanLoss" bottom: "a" bottom: "a" top: "l" }'
    )
    mended = (
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
            if ends or kind in FEEDS or re.search("Loss|Output|Data|Accuracy|Evaluate", kind):
                continue
            if item.value.loss_weight:
                continue
            for top in item.tops:
                if top not in read:
                    yield net.diagnostic(
                        self, item, f'nobody reads its top "{top}". Silence it, or leave it out.'
                    )


class DuplicateName(Rule):
    code = "PG203"
    what = "Two layers of one name in one phase."
    why = (
        "A caffemodel holds weights by name: the second layer gets those of the first, or nothing."
    )
    example = _INPUT + _CONV % "" + 'layer { name: "c" type: "ReLU" bottom: "c" top: "c" }'
    mended = _INPUT + _CONV % "" + 'layer { name: "r" type: "ReLU" bottom: "c" top: "c" }'

    def check(self, net: Context) -> Iterator[Diagnostic]:
        told: set[int] = set()
        for phase in net.phases:
            seen: dict[str, Wire] = {}
            for item in net.in_phase(phase):
                name = item.name
                first = seen.setdefault(name, item)
                if first is not item and name and id(item) not in told:
                    told.add(id(item))
                    yield net.diagnostic(
                        self, item, f'the name "{name}" is taken by a {first.type}.'
                    )


class OverwrittenTop(Rule):
    code = "PG204"
    severity = "error"
    what = "A top that another layer has made, and that this one does not read."
    why = "Caffe refuses it: only a layer that reads a blob may write over it."
    example = _INPUT + _CONV % "" + 'layer { name: "r" type: "ReLU" bottom: "data" top: "c" }'
    mended = _INPUT + _CONV % "" + 'layer { name: "r" type: "ReLU" bottom: "data" top: "r" }'

    def check(self, net: Context) -> Iterator[Diagnostic]:
        told: set[int] = set()
        for phase in net.phases:
            made: dict[str, Wire] = {}
            for item in net.in_phase(phase):
                bottoms = list(item.bottoms)
                for i, top in enumerate(item.tops):
                    own = i < len(bottoms) and bottoms[i] == top
                    if top in made and not own and id(item) not in told:
                        told.add(id(item))
                        yield net.diagnostic(
                            self, item, f'its top "{top}" is made by {made[top].name} already.'
                        )
                    made[top] = item


class ManyMeanings(Rule):
    code = "PG205"
    severity = "error"
    what = "A blob that one layer reads before it is written in place, and another one behind."
    why = "Caffe takes the top for a second blob of the same name, and refuses the net."
    example = (
        _INPUT + _CONV % "" + 'layer { name: "a" type: "AbsVal" bottom: "c" top: "a" }\n'
        'layer { name: "r" type: "ReLU" bottom: "c" top: "c" }\n'
        'layer { name: "e" type: "Eltwise" bottom: "a" bottom: "c" top: "e" }'
    )
    mended = (
        _INPUT + _CONV % "" + 'layer { name: "a" type: "AbsVal" bottom: "c" top: "a" }\n'
        'layer { name: "r" type: "ReLU" bottom: "c" top: "r" }\n'
        'layer { name: "e" type: "Eltwise" bottom: "a" bottom: "r" top: "e" }'
    )

    def check(self, net: Context) -> Iterator[Diagnostic]:
        told: set[int] = set()
        for phase in net.phases:
            read: dict[str, str] = {}
            for item in net.in_phase(phase):
                tops = set(item.tops)
                for bottom in item.bottoms:
                    if bottom not in tops:
                        read.setdefault(bottom, item.name)
                    elif bottom in read and id(item) not in told:
                        told.add(id(item))
                        yield net.diagnostic(
                            self,
                            item,
                            f'writes over "{bottom}", which {read[bottom]} read '
                            "before: give its top another name.",
                        )


class InPlaceUnsupported(Rule):
    code = "PG206"
    severity = "error"
    what = "A layer that writes over its bottom, of a type that cannot."
    why = "It overwrites what it still reads: the numbers are wrong, and nothing says so."
    example = _INPUT + _CONV.replace('top: "c"', 'top: "data"') % "pad: 1"
    mended = _INPUT + _CONV % "pad: 1"

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
                    self, item, f'a {item.type} cannot work in place on "{min(same)}".'
                )


class OtherPhase(Rule):
    code = "PG207"
    severity = "error"
    what = "A bottom that is made in the other phase only."
    why = "The net can be built in one phase, and fails in the other."
    example = (
        _INPUT
        + 'layer { name: "c" type: "AbsVal" bottom: "data" top: "c" include { phase: TRAIN } }\n'
        'layer { name: "r" type: "ReLU" bottom: "c" top: "r" }'
    )
    mended = (
        _INPUT + 'layer { name: "c" type: "AbsVal" bottom: "data" top: "c" }\n'
        'layer { name: "r" type: "ReLU" bottom: "c" top: "r" }'
    )

    def check(self, net: Context) -> Iterator[Diagnostic]:
        everywhere = {top for item in net.wires for top in item.tops}
        feeds = {top for item in net.wires if not item.bottoms for top in item.tops}
        for phase in net.phases if len(net.phases) > 1 else ():
            items = net.in_phase(phase)
            made = {top for item in items for top in item.tops}
            if feeds - made:  # a net for one phase only has no data in the other
                continue
            for item in items:
                for bottom in item.bottoms:
                    if bottom in everywhere and bottom not in made:
                        yield net.diagnostic(
                            self, item, f'in phase {phase} nobody makes "{bottom}".'
                        )


class ReadTooEarly(Rule):
    code = "PG208"
    severity = "error"
    what = "A bottom that is made by a layer further down."
    why = "Caffe runs layers in the order of the file, and refuses this one."
    example = _INPUT + 'layer { name: "r" type: "ReLU" bottom: "c" top: "r" }\n' + _CONV % ""
    mended = _INPUT + _CONV % "" + 'layer { name: "r" type: "ReLU" bottom: "c" top: "r" }'

    def check(self, net: Context) -> Iterator[Diagnostic]:
        everywhere = {top for item in net.wires for top in item.tops}
        seen: set[str] = set()
        for item in net.wires:
            for bottom in item.bottoms:
                if bottom in everywhere and bottom not in seen:
                    yield net.diagnostic(self, item, f'reads "{bottom}" before it is made.')
            seen.update(item.tops)


class ShapeMismatch(Rule):
    code = "PG209"
    severity = "error"
    what = (
        "Shapes that do not fit, of Eltwise, Concat, Crop, a window larger than its input; and "
        "whatever else Caffe checks of a layer (checks.md)."
    )
    why = "Caffe refuses the net, in one of its phases at least."
    example = (
        _INPUT
        + _CONV % ""
        + 'layer { name: "e" type: "Eltwise" bottom: "data" bottom: "c" top: "e" }'
    )
    mended = (
        _INPUT + _CONV % "" + 'layer { name: "e" type: "Eltwise" bottom: "c" bottom: "c" top: "e" }'
    )

    def check(self, net: Context) -> Iterator[Diagnostic]:
        starts = {item.field.start: item for item in net.wires}
        for one in dict.fromkeys(net.misfits) if net.graphs else ():
            yield net.diagnostic(self, starts.get(one.place.start), one.message)


class UnfedLoss(Rule):
    code = "PG210"
    severity = "error"
    what = "A loss with one bottom, where its type needs the labels too."
    why = "Caffe refuses it when training begins."
    example = _INPUT + 'layer { name: "l" type: "SoftmaxWithLoss" bottom: "data" top: "l" }'
    mended = (
        _INPUT
        + 'layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 1 dim: 1 dim: 8 dim: 8 } } }\n'
        'layer { name: "l" type: "SoftmaxWithLoss" bottom: "data" bottom: "label" top: "l" }'
    )

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for item in net.wires:
            kind = layer_type(item.type)
            if kind is not None and kind.is_loss and len(item.bottoms) == 1:
                yield net.diagnostic(self, item, f"a {item.type} reads two blobs, here is one.")


class BothRules(Rule):
    code = "PG211"
    severity = "error"
    what = "A layer with include and exclude rules."
    why = "Caffe refuses it: which of them should count is not said."
    example = (
        _INPUT
        + 'layer { name: "r" type: "ReLU" bottom: "data" top: "r" include { phase: TRAIN } exclude { phase: TEST } }'
    )
    mended = (
        _INPUT + 'layer { name: "r" type: "ReLU" bottom: "data" top: "r" include { phase: TRAIN } }'
    )

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for item in net.wires:
            if item.value.include and item.value.exclude:
                yield net.diagnostic(self, item, "has include and exclude rules: keep one kind.")


class GradientRefused(Rule):
    code = "PG212"
    severity = "error"
    what = (
        "A bottom that takes no gradient, such as labels, and depends on weights that are trained."
    )
    why = "Caffe ends the training in its first backward pass."
    example = (
        _INPUT + _CONV % "" + 'layer { name: "m" type: "ArgMax" bottom: "c" top: "m" }\n'
        'layer { name: "l" type: "Reduction" bottom: "m" top: "l" loss_weight: 1 }'
    )
    mended = (
        _INPUT + _CONV % "" + 'layer { name: "m" type: "Softmax" bottom: "c" top: "m" }\n'
        'layer { name: "l" type: "Reduction" bottom: "m" top: "l" loss_weight: 1 }'
    )

    def check(self, net: Context) -> Iterator[Diagnostic]:
        from protogen.layers import kind_of
        from protogen.net.backward import gradients

        told: set[tuple[int, int]] = set()
        for graph in net.graphs.values():
            for number, index in sorted(gradients(graph)):
                layer = graph.layers[number]
                kind, key = kind_of(layer), (id(layer.params), index)
                if kind is None or index not in kind.without_gradient(layer) or key in told:
                    continue
                told.add(key)
                yield net.diagnostic(
                    self,
                    layer,
                    f'a gradient goes to "{layer.bottoms[index]}", and a {layer.type} has none for it: '
                    "give propagate_down: false there, or lr_mult: 0 to what is before it.",
                )
