"""PG5: initial weights, and settings of training nets."""

from __future__ import annotations

from collections.abc import Iterator

from protogen.errors import Diagnostic
from protogen.layers import Filling, kind_of
from protogen.layers.fillers import DEVIATIONS, Fan
from protogen.layers.graph import Layer
from protogen.layers.recommending import passes_signal, role_of
from protogen.lint.context import Context, frozen
from protogen.lint.edits import added, set_field
from protogen.lint.rule import Rule
from protogen.training.initialisation import filler_of

_HEAD = (
    'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 4 dim: 100 } } }\n'
    'layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 4 } } }\n'
)
_TAIL = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "s" bottom: "label" top: "loss" }\n'
_DENSE = (
    'layer {\n  name: "i"\n  type: "InnerProduct"\n  bottom: "data"\n  top: "i"\n  inner_product_param {\n'
    "    num_output: 50\n    %s\n  }\n}\n"
)
_SCORE = (
    'layer { name: "s" type: "InnerProduct" bottom: "i" top: "s" inner_product_param { num_output: 10 '
    'weight_filler { type: "xavier" } } }\n'
)
_MAP = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 4 dim: 3 dim: 8 dim: 8 } } }\n'
TOO_SMALL, TOO_LARGE = 0.05, 10.0  # relative to the deviation that preserves the signal


def _weights(net: Context) -> Iterator[tuple[Layer, Filling]]:
    """Yield the layers with trainable weights, each with the filling of its first blob."""
    for layer in net.layers:
        kind, blobs = kind_of(layer), net.blobs(layer)
        shapes = [net.shape(layer, i) for i in range(len(layer.reads))]
        if kind is None or not blobs or None in shapes:
            continue
        filling = kind.fillings(layer, [s for s in shapes if s is not None], blobs)[0]
        if filling.fan_in and filling.field:
            yield layer, filling


def _has_filler(layer: Layer, filling: Filling) -> bool:
    """Return whether the layer sets the filler explicitly."""
    outer, _, name = filling.field.partition(".")
    return bool(getattr(layer.params, outer).has(name))


class ConstantWeights(Rule):
    code = "PG501"
    what = "Weights that are filled with a constant, in a layer with several units."
    why = "All units compute the same values and get the same gradients: they never differ."
    example = _HEAD + _DENSE % 'weight_filler { type: "constant" value: 0.1 }' + _SCORE + _TAIL
    fixed = _HEAD + _DENSE % 'weight_filler { type: "xavier" }' + _SCORE + _TAIL
    fixes = True

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for layer, filling in _weights(net) if net.is_training else ():
            if not _has_filler(layer, filling) or frozen(layer):
                continue
            filler = filler_of(layer, filling)
            grouped = layer.type == "Deconvolution" and layer.params.convolution_param.group > 1
            if filler.type == "constant" and net.blobs(layer)[0][0] > 1 and not grouped:
                outer, _, name = filling.field.partition(".")
                field = getattr(layer.params, outer).all(name)[-1]
                edit = (field.start, field.end, f'{name} {{ type: "xavier" }}')
                yield net.diagnostic(
                    self,
                    layer,
                    f"all weights start at {filler.value:g}, so that every unit learns the same.",
                    edit,
                )


class NoFiller(Rule):
    code = "PG502"
    what = "Weights without a filler, in a training net."
    why = (
        "Caffe's default is the constant 0: no signal passes the layer, and the layers before it never "
        "learn."
    )
    example = _HEAD + _DENSE % "bias_term: true" + _SCORE + _TAIL
    fixed = (
        _HEAD
        + (_DENSE % "bias_term: true").replace(
            "true\n  }", 'true\n    weight_filler { type: "xavier" }\n  }'
        )
        + _SCORE
        + _TAIL
    )
    fixes = True

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for layer, filling in _weights(net) if net.is_training else ():
            if _has_filler(layer, filling) or frozen(layer):
                continue
            outer, _, name = filling.field.partition(".")
            blocks = layer.params.all(outer)
            edits = (
                [added(net.source, blocks[-1], f'{name} {{ type: "xavier" }}')] if blocks else []
            )
            yield net.diagnostic(
                self,
                layer,
                f"{name} is not set: the weights start at 0, and the net does not learn, unless a "
                "caffemodel provides the weights.",
                *edits,
            )


class DeviationOff(Rule):
    code = "PG503"
    what = (
        "A gaussian or uniform filler whose standard deviation is far from the one that preserves the "
        "signal: more than 20 times too small, or more than 10 times too large."
    )
    why = "Signals vanish or saturate within a few layers. protogen health shows the effect."
    example = _HEAD + _DENSE % 'weight_filler { type: "gaussian" std: 5 }' + _SCORE + _TAIL
    fixed = _HEAD + _DENSE % 'weight_filler { type: "gaussian" std: 0.1 }' + _SCORE + _TAIL

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for layer, filling in _weights(net) if net.has_fillers else ():
            filler = filler_of(layer, filling)
            if filler.type not in ("gaussian", "uniform") or frozen(layer):
                continue
            if not _feeds_weights(net, layer):  # The scores of a last layer may start near 0.
                continue
            fan = Fan(filling.fan_in, filling.fan_out)
            deviation = DEVIATIONS[filler.type](filler, fan)
            preserving = DEVIATIONS["xavier"](filler, fan)
            ratio = deviation / preserving
            if deviation and not TOO_SMALL <= ratio <= TOO_LARGE:
                size = "small" if ratio < 1 else "large"
                yield net.diagnostic(
                    self,
                    layer,
                    f"standard deviation {deviation:.3g} is too {size} for {filling.fan_in:g} inputs: "
                    f"{preserving:.3g} preserves the signal.",
                )


def _feeds_weights(net: Context, layer: Layer) -> bool:
    """Return whether another layer with weights follows after this one."""
    pending, seen = [layer], set()
    while pending:
        current = pending.pop()
        for write in current.writes:
            for reader in net.readers.get(write, ()):
                if id(reader) in seen:
                    continue
                seen.add(id(reader))
                if net.blobs(reader) and not passes_signal(reader) and not role_of(reader):
                    return True
                pending.append(reader)
    return False


class FillerAgainstActivation(Rule):
    code = "PG504"
    what = "An msra filler before Sigmoid or TanH."
    why = (
        "msra is designed for rectifiers. Its doubled variance saturates Sigmoid and TanH; xavier suits "
        "them."
    )
    example = (
        _HEAD
        + _DENSE % 'weight_filler { type: "msra" }'
        + 'layer { name: "t" type: "TanH" bottom: "i" top: "i" }\n'
        + _SCORE
        + _TAIL
    )
    fixed = (
        _HEAD
        + _DENSE % 'weight_filler { type: "xavier" }'
        + 'layer { name: "t" type: "TanH" bottom: "i" top: "i" }\n'
        + _SCORE
        + _TAIL
    )
    fixes = True

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for layer, filling in _weights(net) if net.is_training else ():
            readers = net.readers_of(layer)
            if filler_of(layer, filling).type != "msra" or not readers:
                continue
            if role_of(readers[0]) == "saturating":
                outer, _, name = filling.field.partition(".")
                field = getattr(layer.params, outer).all(name)[-1].value.all("type")[-1]
                yield net.diagnostic(
                    self,
                    layer,
                    f"the filler is msra, but the next layer is {readers[0].type}. Use xavier.",
                    (field.start, field.end, 'type: "xavier"'),
                )


class BiasBeforeBatchNorm(Rule):
    code = "PG505"
    what = "A convolution or dense layer with a bias, directly followed by BatchNorm."
    why = "BatchNorm subtracts the mean, and the bias with it: the bias costs memory and has no effect."
    example = _MAP + (
        'layer { name: "l" type: "EuclideanLoss" bottom: "data" bottom: "data" top: "l" }\n'
        'layer {\n  name: "c"\n  type: "Convolution"\n  bottom: "data"\n  top: "c"\n  convolution_param {\n'
        '    num_output: 4\n    kernel_size: 3\n    weight_filler { type: "msra" }\n  }\n}\n'
        'layer { name: "b" type: "BatchNorm" bottom: "c" top: "c" }\n'
        'layer { name: "s" type: "Scale" bottom: "c" top: "c" scale_param { bias_term: true } }\n'
    )
    fixed = example.replace('"msra" }\n', '"msra" }\n    bias_term: false\n')
    fixes = True

    def check(self, net: Context) -> Iterator[Diagnostic]:
        blocks = {"Convolution": "convolution_param", "InnerProduct": "inner_product_param"}
        for layer in net.layers if net.is_training else ():  # Trained weights depend on the bias.
            block = blocks.get(layer.type)
            if block is None or not getattr(layer.params, block).bias_term:
                continue
            readers = net.readers_of(layer)
            if len(readers) == 1 and readers[0].type == "BatchNorm" and net.weights is None:
                fields = layer.params.all(block)
                # With two params, the one of the bias would remain: no automatic fix.
                edits = []
                if fields and len(layer.params.param) < 2:
                    edits = [set_field(net.source, fields[-1], "bias_term", "false")]
                yield net.diagnostic(
                    self,
                    layer,
                    f'the BatchNorm layer "{readers[0].name}" removes the bias again. Set bias_term: false.',
                    *edits,
                )


class NoScale(Rule):
    code = "PG506"
    what = "BatchNorm without a Scale layer after it."
    why = (
        "Caffe's BatchNorm only normalises: without Scale there is no gamma and no beta, which most nets "
        "are intended to have."
    )
    example = (
        _MAP
        + 'layer { name: "b" type: "BatchNorm" bottom: "data" top: "b" }\nlayer { name: "r" type: "ReLU" bottom: "b" top: "b" }'
    )
    fixed = _MAP + (
        'layer { name: "b" type: "BatchNorm" bottom: "data" top: "b" }\n'
        'layer { name: "s" type: "Scale" bottom: "b" top: "b" scale_param { bias_term: true } }\n'
        'layer { name: "r" type: "ReLU" bottom: "b" top: "b" }'
    )

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for layer in net.layers:
            if layer.type != "BatchNorm":
                continue
            readers = net.readers_of(layer)
            if readers and not any(one.type in ("Scale", "Bias") for one in readers):
                yield net.diagnostic(
                    self,
                    layer,
                    f'the next layer is "{readers[0].name}" ({readers[0].type}), not a Scale.',
                )


class BatchNormPhase(Rule):
    code = "PG507"
    what = "BatchNorm in a deploy net that uses the statistics of the current batch."
    why = "The result for an input then depends on the other inputs in the batch."
    example = _MAP + (
        'layer { name: "b" type: "BatchNorm" bottom: "data" top: "b" batch_norm_param { use_global_stats: false } }\n'
        'layer { name: "s" type: "Scale" bottom: "b" top: "b" }'
    )
    fixed = example.replace("false", "true")
    fixes = True

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for layer in net.layers if net.is_deploy else ():
            p = layer.params.batch_norm_param
            if layer.type == "BatchNorm" and p.has("use_global_stats") and not p.use_global_stats:
                field = p.all("use_global_stats")[-1]
                yield net.diagnostic(
                    self,
                    layer,
                    "use_global_stats is false in a deploy net.",
                    (field.start, field.end, "use_global_stats: true"),
                )


class FrozenStatistics(Rule):
    code = "PG508"
    what = "A BatchNorm in a training net whose blobs have a learning rate."
    why = (
        "The blobs are statistics, not weights: Caffe's solver would change them too (older versions of "
        "Caffe do)."
    )
    example = (
        _HEAD
        + _MAP.replace('"data"', '"map"')
        + (
            'layer { name: "b" type: "BatchNorm" bottom: "map" top: "b" param { lr_mult: 1 } }\n'
            'layer { name: "z" type: "Scale" bottom: "b" top: "b" }\n'
        )
        + (_DENSE % 'weight_filler { type: "xavier" }').replace('"data"', '"b"')
        + _SCORE
        + _TAIL
    )
    fixed = example.replace("lr_mult: 1", "lr_mult: 0")
    fixes = True

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for layer in net.layers if net.is_training else ():
            if layer.type != "BatchNorm":
                continue
            for spec in layer.params.param:
                rates = spec.all("lr_mult")
                if rates and rates[-1].value != 0:
                    yield net.diagnostic(
                        self,
                        layer,
                        f"the statistics have lr_mult {rates[-1].value:g}. Set lr_mult: 0.",
                        (rates[-1].start, rates[-1].end, "lr_mult: 0"),
                    )
                    break


_MOVED = (
    _HEAD
    + _SCORE.replace('"i"', '"data"').replace(
        "inner_product_param", "param { lr_mult: 0 } %sinner_product_param"
    )
    + _TAIL
)


class HalfFrozen(Rule):
    code = "PG509"
    what = (
        "A layer whose weights are frozen, but whose bias is not, because it has no param block of its "
        "own."
    )
    why = (
        "Each param block applies to one blob, and a blob without one learns at the full rate: the layer "
        "keeps changing although it was intended to be frozen."
    )
    example = _MOVED % ""
    fixed = _MOVED % "param { lr_mult: 0 } "
    fixes = True

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for layer in net.layers if net.is_training else ():
            specs = layer.params.all("param")
            if len(specs) != 1 or layer.params.param[0].lr_mult != 0:
                continue
            if layer.params.param[0].has("lr_mult") and len(net.blobs(layer)) == 2:
                end = specs[0].end
                yield net.diagnostic(
                    self,
                    layer,
                    "the weights have lr_mult 0, but the bias still learns. Add a second "
                    "param { lr_mult: 0 } for the bias.",
                    (end, end, " param { lr_mult: 0 }"),
                )


class BiasDecay(Rule):
    code = "PG510"
    what = "A bias with weight decay, in a layer that has a param block for weights and bias."
    why = (
        "Decay keeps weights small, so that the function stays smooth. A bias only shifts the function: "
        "reference nets set lr_mult 2 and decay_mult 0 for it."
    )
    example = (_MOVED % "param { lr_mult: 2 } ").replace("lr_mult: 0", "lr_mult: 1")
    fixed = example.replace("lr_mult: 2 }", "lr_mult: 2 decay_mult: 0 }")
    fixes = True
    usual = False

    def check(self, net: Context) -> Iterator[Diagnostic]:
        for layer in net.layers if net.is_training else ():
            specs = layer.params.all("param")
            if len(specs) != 2 or len(net.blobs(layer)) != 2 or layer.type == "Scale":
                continue
            bias = layer.params.param[1]
            if bias.lr_mult and bias.decay_mult:
                yield net.diagnostic(
                    self,
                    layer,
                    f"the bias has decay_mult {bias.decay_mult:g}, but the usual value is 0.",
                    set_field(net.source, specs[1], "decay_mult", "0"),
                )
