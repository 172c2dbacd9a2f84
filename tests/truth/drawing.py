"""Draws small nets for real Caffe: every layer type with odd parameters, legal and illegal.

A ``Spec`` says for one type which bottoms it gets (shapes, and what their values are) and which
parameters. Sizes are small and include 1; ranks go from 1 to 5; axes may be negative or outside;
about one net in eight works in place, one in four is in phase TRAIN.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from judge import NAMES
from numpy.typing import NDArray

import protogen as pg
from protogen.formats import prototxt
from protogen.net.net import Net

Shape = tuple[int, ...]
Draw = Callable[[st.SearchStrategy[Any]], Any]
Values = Callable[[np.random.Generator, Shape], NDArray[np.float32]]

SIZES = st.sampled_from([1, 1, 2, 3, 4, 5, 6, 7])
MOST = 3000  # values of a bottom


# Values


def normal(rng: np.random.Generator, shape: Shape) -> NDArray[np.float32]:
    return rng.standard_normal(shape, np.float32)


def positive(rng: np.random.Generator, shape: Shape) -> NDArray[np.float32]:
    return np.abs(rng.standard_normal(shape, np.float32)) + np.float32(0.1)


def ties(rng: np.random.Generator, shape: Shape) -> NDArray[np.float32]:
    """Few whole numbers: many are equal."""
    return rng.integers(-2, 3, shape).astype(np.float32)


def below(count: int, *more: int) -> Values:
    """Whole numbers from 0 to ``count`` - 1, as labels and indexes are, and those in ``more``."""
    values = [*range(count), *more]

    def values_of(rng: np.random.Generator, shape: Shape) -> NDArray[np.float32]:
        return rng.choice(values, shape).astype(np.float32)

    return values_of


@dataclass(frozen=True)
class Bottom:
    shape: Shape
    values: Values = normal


@dataclass(frozen=True)
class Params:
    """A layer's text behind its bottoms and tops, how many tops it has, and which values some
    bottoms must have because of it."""

    text: str = ""
    tops: int = 1
    values: Mapping[int, Values] = field(default_factory=dict)


@dataclass(frozen=True)
class Spec:
    """How layers of a type are drawn.

    bottoms: draws the bottoms; None for types that take any one blob.
    params: draws the parameters for bottoms of these shapes.
    judges: which Caffe is asked, the first that has the type.
    """

    params: Callable[[Draw, list[Shape]], Params]
    bottoms: Callable[[Draw], list[Bottom]] | None = None
    judges: tuple[str, ...] = NAMES


SPECS: dict[str, Spec] = {}


def spec(
    *types: str,
    bottoms: Callable[[Draw], list[Bottom]] | None = None,
    judges: tuple[str, ...] = NAMES,
) -> Callable[[Callable[..., Params]], Callable[..., Params]]:
    """Registers a function that draws the parameters of these types; it gets the type's name where
    they are several."""

    def register(function: Callable[..., Params]) -> Callable[..., Params]:
        for type_ in types:
            named = (
                function
                if len(types) == 1
                else lambda draw, shapes, type_=type_: function(draw, shapes, type_)
            )
            SPECS[type_] = Spec(named, bottoms, judges)
        return function

    return register


# Parts of a net


def shapes(least: int = 1, most: int = 5) -> st.SearchStrategy[Shape]:
    """Shapes of these ranks, four axes most often."""
    ranks = [r for r in (1, 2, 3, 4, 4, 4, 5) if least <= r <= most]
    sized = st.sampled_from(ranks).flatmap(lambda r: st.tuples(*[SIZES] * r))
    return sized.filter(lambda s: math.prod(s) <= MOST)


def like(draw: Draw, shape: Shape) -> Shape:
    """The shape, or now and then another."""
    return draw(shapes()) if rarely(draw) else shape


def rarely(draw: Draw, one_in: int = 8) -> bool:
    # True stands first among few: hypothesis shrinks to False.
    return bool(draw(st.integers(0, one_in - 1)) == one_in - 1)


def axis(draw: Draw, rank: int) -> int:
    """Any axis of a blob, counted from either end, or the first outside."""
    if rarely(draw, 12):
        return int(draw(st.sampled_from([-rank - 1, rank])))
    return int(draw(st.integers(-rank, rank - 1)))


def word(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def some(draw: Draw, **choices: Sequence[Any]) -> str:
    """Fields with one of their values each; each is left out now and then."""
    chosen = []
    for name, values in choices.items():
        if draw(st.integers(0, 2)):
            chosen.append(f"{name}: {word(draw(st.sampled_from(list(values))))}")
    return " ".join(chosen)


def block(name: str, inside: str) -> str:
    return f"{name} {{ {inside} }}" if inside.strip() else ""


def four(draw: Draw) -> list[Bottom]:
    """One bottom of four axes: what forks' layers take."""
    return [Bottom(draw(shapes(4, 4)))]


def one(*ranks: int) -> Callable[[Draw], list[Bottom]]:
    """One bottom, of these ranks most often."""

    def draws(draw: Draw) -> list[Bottom]:
        if rarely(draw):
            return [Bottom(draw(shapes()))]
        return [Bottom(draw(shapes(min(ranks), max(ranks))))]

    return draws


# Layers that work on each value alone

PLAIN = ("AbsVal", "BNLL", "Sigmoid", "TanH", "Mish")


@spec(*PLAIN)
def plain(draw: Draw, shapes: list[Shape], type_: str) -> Params:
    return Params()


@spec("ReLU")
def relu(draw: Draw, shapes: list[Shape]) -> Params:
    return Params(block("relu_param", some(draw, negative_slope=[0.0, 0.1, 1.0, 2.0, -0.5])))


@spec("ReLU6")
def relu6(draw: Draw, shapes: list[Shape]) -> Params:
    return Params()


@spec("ELU")
def elu(draw: Draw, shapes: list[Shape]) -> Params:
    return Params(block("elu_param", some(draw, alpha=[1.0, 0.5, 0.0, -1.0])))


@spec("Swish")
def swish(draw: Draw, shapes: list[Shape]) -> Params:
    return Params(block("swish_param", some(draw, beta=[1.0, 0.5, 0.0, -1.0])))


@spec("Threshold")
def threshold(draw: Draw, shapes: list[Shape]) -> Params:
    return Params(block("threshold_param", some(draw, threshold=[0.0, 0.5, -1.0])))


@spec("Clip")
def clip(draw: Draw, shapes: list[Shape]) -> Params:
    low, high = (draw(st.sampled_from([-1.0, -0.2, 0.0, 0.3, 1.0])) for _ in range(2))
    return Params(f"clip_param {{ min: {low} max: {high} }}")


@spec("Exp")
def exp(draw: Draw, shapes: list[Shape]) -> Params:
    return Params(
        block(
            "exp_param",
            some(
                draw,
                base=[-1.0, 2.0, 0.5, 10.0, 1.0, 0.0, -2.0],
                scale=[1.0, 0.5, -1.0, 0.0],
                shift=[0.0, 0.5, -1.0],
            ),
        )
    )


def signed_or_positive(draw: Draw) -> list[Bottom]:
    return [Bottom(draw(shapes()), draw(st.sampled_from([positive, positive, normal])))]


@spec("Log", bottoms=signed_or_positive)
def log(draw: Draw, shapes: list[Shape]) -> Params:
    return Params(
        block(
            "log_param",
            some(
                draw,
                base=[-1.0, 2.0, 0.5, 10.0, 1.0, 0.0, -2.0],
                scale=[1.0, 0.5, -1.0, 0.0],
                shift=[0.0, 0.5, 2.0],
            ),
        )
    )


@spec("Power", bottoms=signed_or_positive)
def power(draw: Draw, shapes: list[Shape]) -> Params:
    return Params(
        block(
            "power_param",
            some(
                draw,
                power=[0.0, 1.0, 2.0, 3.0, -1.0, -2.0, 0.5],
                scale=[1.0, 0.0, -1.0, 0.5, 2.0],
                shift=[0.0, 1.0, -1.0, 0.5],
            ),
        )
    )


@spec("Dropout")
def dropout(draw: Draw, shapes: list[Shape]) -> Params:
    return Params(block("dropout_param", some(draw, dropout_ratio=[0.5, 0.3, 0.0])))


# Layers with weights


def window(draw: Draw, sizes: Sequence[int], needed: Sequence[str] = ()) -> str:
    """kernel, stride, pad and dilation for spatial axes of these lengths, in one of their forms.
    Kernels fit the axes but for one time in four. ``needed``: fields that must not be left out."""
    axes = len(sizes)
    fits = [k for k in (1, 2, 3, 4) if k <= min(sizes, default=4)] or [1]
    kernels = fits if draw(st.integers(0, 3)) else [1, 2, 3, 4]

    def said(name: str, short: str, values: Sequence[int]) -> str:
        form = draw(st.integers(0, 5))
        if axes == 2 and form > 3:
            return f"{short}_h: {draw(st.sampled_from(values))} {short}_w: {draw(st.sampled_from(values))}"
        count = 1 if form < 3 else axes
        if not needed and rarely(draw, 24):
            count = axes + 1
        return " ".join(f"{name}: {draw(st.sampled_from(values))}" for _ in range(count))

    parts = [] if rarely(draw, 24) else [said("kernel_size", "kernel", kernels)]
    for name, values in (("stride", [1, 2, 3]), ("pad", [0, 1, 2, 3])):
        if name in needed or draw(st.booleans()):
            parts.append(said(name, name, [0, *values] if rarely(draw, 24) else values))
    if draw(st.integers(0, 2)) == 2:
        parts.append(f"dilation: {draw(st.integers(1, 3))}")
    return " ".join(parts)


def convolved(draw: Draw) -> list[Bottom]:
    shape = draw(shapes(3, 5)) if not rarely(draw) else draw(shapes())
    if rarely(draw):
        return [Bottom(shape), Bottom(like(draw, shape))]
    return [Bottom(shape)]


def where_windows_begin(draw: Draw, shape: Shape) -> tuple[int, str]:
    """Channels' axis, and how a net says it."""
    rank = len(shape)
    if rank < 2 or rarely(draw, 4):
        at = axis(draw, rank)
        return min(max(at % rank if -rank <= at < rank else 0, 0), rank - 1), f"axis: {at}"
    return 1, draw(st.sampled_from(["", "axis: 1", f"axis: {1 - rank}"]))


FILLERS = 'weight_filler { type: "gaussian" std: 1 } bias_filler { type: "gaussian" std: 1 }'


@spec("Convolution", "Deconvolution", bottoms=convolved)
def convolution(draw: Draw, shapes: list[Shape], type_: str) -> Params:
    at, said = where_windows_begin(draw, shapes[0])
    channels = shapes[0][at]
    group = draw(st.sampled_from([g for g in (1, 1, 2, 3, channels) if channels % g == 0]))
    out = group * draw(st.integers(1, 3))
    if rarely(draw):
        group = draw(st.integers(0, 3))
    more = some(draw, bias_term=[True, False], group=[group], force_nd_im2col=[False, True])
    inside = f"num_output: {out} {said} {more} {window(draw, shapes[0][at + 1 :])} {FILLERS}"
    return Params(f"convolution_param {{ {inside} }}", len(shapes))


@spec("ConvolutionDepthwise", bottoms=four)
def depthwise(draw: Draw, shapes: list[Shape]) -> Params:
    channels = shapes[0][1]
    more = some(draw, bias_term=[True, False], group=[channels])
    # tpucaffe reads beyond its memory where stride or pad is left out.
    windows = window(draw, shapes[0][2:], ("stride", "pad"))
    return Params(f"convolution_param {{ num_output: {channels} {more} {windows} {FILLERS} }}")


@spec("Im2col", bottoms=lambda draw: convolved(draw)[: 2 if rarely(draw, 16) else 1])
def im2col(draw: Draw, shapes: list[Shape]) -> Params:
    at, said = where_windows_begin(draw, shapes[0])
    more = some(draw, force_nd_im2col=[False, True])
    inside = f"{said} {more} {window(draw, shapes[0][at + 1 :])}"
    return Params(f"convolution_param {{ {inside} }}", len(shapes))


@spec("InnerProduct")
def inner_product(draw: Draw, shapes: list[Shape]) -> Params:
    rank = len(shapes[0])
    inside = some(draw, bias_term=[True, False], transpose=[True, False])
    at = f"axis: {axis(draw, rank)}" if rank < 2 or draw(st.booleans()) else ""
    out = draw(st.sampled_from([1, 2, 3, 5]))
    return Params(f"inner_product_param {{ num_output: {out} {at} {inside} {FILLERS} }}")


def indexes(draw: Draw) -> list[Bottom]:
    return [Bottom(draw(shapes(1, 3)), below(4))]


@spec("Embed", bottoms=indexes)
def embed(draw: Draw, shapes: list[Shape]) -> Params:
    inside = some(draw, bias_term=[True, False])
    out = draw(st.sampled_from([1, 2, 3, 5, 0 if rarely(draw) else 4]))
    return Params(f"embed_param {{ input_dim: {draw(st.sampled_from([4, 5]))} num_output: {out} {inside} {FILLERS} }}")  # fmt: skip


def scaled(draw: Draw) -> list[Bottom]:
    shape = draw(shapes())
    if draw(st.booleans()):
        return [Bottom(shape)]
    if rarely(draw):
        return [Bottom(shape), Bottom(draw(shapes()))]
    low = draw(st.integers(0, len(shape) - 1))
    high = draw(st.integers(low + 1, len(shape)))
    return [Bottom(shape), Bottom(shape[low:high])]


@spec("Scale", "Bias", bottoms=scaled)
def scale(draw: Draw, shapes: list[Shape], type_: str) -> Params:
    rank = len(shapes[0])
    said = ""
    if len(shapes) == 2 and not rarely(draw, 4):  # where the second bottom fits
        n = len(shapes[1])
        fits = [i for i in range(rank - n + 1) if shapes[0][i : i + n] == shapes[1]]
        if fits:
            at = draw(st.sampled_from(fits))
            said = f"axis: {draw(st.sampled_from([at, at - rank]))}"
    elif draw(st.booleans()) or rank < 2:
        said = f"axis: {axis(draw, rank)}"
    count = [] if len(shapes) == 2 else [-1, 0, 1, 2, 3]
    inside = some(draw, num_axes=count) if count and draw(st.booleans()) else ""
    filler = 'filler { type: "gaussian" std: 1 }'
    if type_ == "Scale":
        inside += " " + some(draw, bias_term=[True, False])
        filler += ' bias_filler { type: "gaussian" std: 1 }'
    return Params(f"{type_.lower()}_param {{ {said} {inside} {filler} }}")


# BVLC's prebuilt Caffe ignores use_global_stats: false.
@spec("BatchNorm", judges=("tpucaffe",))
def batch_norm(draw: Draw, shapes: list[Shape]) -> Params:
    return Params(
        block(
            "batch_norm_param",
            some(
                draw,
                use_global_stats=[True, False],
                eps=[1e-5, 1e-3, 0.1],
                moving_average_fraction=[0.999, 0.5],
            ),
        )
    )


@spec("PReLU")
def prelu(draw: Draw, shapes: list[Shape]) -> Params:
    return Params(block("prelu_param", some(draw, channel_shared=[True, False])))


@spec("Normalize", bottoms=four)
def normalize(draw: Draw, shapes: list[Shape]) -> Params:
    return Params(
        block("norm_param", some(draw, across_spatial=[True, False], channel_shared=[True, False]))
    )


@spec("Parameter", bottoms=lambda draw: [])
def parameter(draw: Draw, bottoms: list[Shape]) -> Params:
    dims = " ".join(f"dim: {n}" for n in draw(shapes()))
    return Params(f"parameter_param {{ shape {{ {dims} }} }}")


# Windows


def pair_of(draw: Draw, name: str, single: str, values: Sequence[int], wild: bool) -> str:
    """A setting of two axes in one of its forms; with ``wild`` in one that Caffe refuses too."""
    first, second = values
    form = draw(st.integers(0, 5 if wild else 3))
    if form < 2:
        return f"{single}: {min(values) if name == 'pad' else first}"
    both = f"{name}_h: {first} {name}_w: {second}"
    one = f"{name}_{draw(st.sampled_from('hw'))}: {first}"
    return {4: one, 5: f"{single}: {first} {both}"}.get(form, both)


@spec("Pooling", bottoms=one(4))
def pooling(draw: Draw, shapes: list[Shape]) -> Params:
    pool = draw(st.sampled_from(["MAX", "AVE", "AVE"]))
    said = [f"pool: {pool}" if pool == "AVE" or draw(st.booleans()) else ""]
    if rarely(draw, 5):
        said.append("global_pooling: true")
        said.append(some(draw, stride=[1, 2], pad=[0, 1]) if draw(st.booleans()) else "")
    else:
        # One net in four is of any windows; the others fit their bottom.
        wild = rarely(draw, 4)
        least = 4 if wild else min(shapes[0][2:], default=4)
        kernel = [draw(st.sampled_from([k for k in (1, 2, 3, 4) if k <= least])) for _ in range(2)]
        gaps = rarely(draw, 4)  # windows further apart than they are wide
        strides = [max(kernel) + 1, 5] if gaps else [1, 2, 2, 3]
        pads = [0, 1, 2] if wild else range(min(kernel))
        said.append(pair_of(draw, "kernel", "kernel_size", kernel, wild))
        for name, values in (("stride", strides), ("pad", pads)):
            if (gaps and name == "stride") or draw(st.booleans()):
                pick = [draw(st.sampled_from(values)) for _ in range(2)]
                said.append(pair_of(draw, name, name, pick, wild))
    said.append(some(draw, round_mode=["CEIL", "FLOOR"]) if draw(st.booleans()) else "")
    tops = 2 if pool == "MAX" and rarely(draw, 4) else 1
    return Params(block("pooling_param", " ".join(said)), tops)


@spec("SPP", bottoms=one(4))
def spp(draw: Draw, shapes: list[Shape]) -> Params:
    height = draw(st.sampled_from([1, 1, 2, 2, 3]))
    return Params(f"spp_param {{ pyramid_height: {height} {some(draw, pool=['MAX', 'AVE'])} }}")


@spec("LRN", bottoms=one(4))
def lrn(draw: Draw, shapes: list[Shape]) -> Params:
    return Params(
        block(
            "lrn_param",
            some(
                draw,
                local_size=[1, 3, 5, 7, 2],
                alpha=[1.0, 0.1, 1e-4, 2.0],
                beta=[0.75, 0.5, 1.0, 2.0],
                k=[1.0, 2.0, 0.5],
                norm_region=["ACROSS_CHANNELS", "WITHIN_CHANNEL"],
            ),
        )
    )


@spec("MVN")
def mvn(draw: Draw, shapes: list[Shape]) -> Params:
    return Params(
        block(
            "mvn_param",
            some(
                draw,
                across_channels=[True, False],
                normalize_variance=[True, False],
                eps=[1e-9, 1e-3, 0.5],
            ),
        )
    )


# Layers that move values


@spec("Softmax")
def softmax(draw: Draw, shapes: list[Shape]) -> Params:
    rank = len(shapes[0])
    said = f"axis: {axis(draw, rank)}" if rank < 2 or draw(st.booleans()) else ""
    return Params(block("softmax_param", said))


@spec("Split")
def split(draw: Draw, shapes: list[Shape]) -> Params:
    return Params("", draw(st.integers(1, 3)))


@spec("Silence")
def silence(draw: Draw, shapes: list[Shape]) -> Params:
    return Params("", 0)


@spec("Flatten")
def flatten(draw: Draw, shapes: list[Shape]) -> Params:
    rank = len(shapes[0])
    at, end = axis(draw, rank), axis(draw, rank)
    said = [f"axis: {at}"] if rank < 2 or draw(st.booleans()) else []
    said += [f"end_axis: {end}"] if draw(st.booleans()) else []
    return Params(block("flatten_param", " ".join(said)))


@spec("Reshape")
def reshape(draw: Draw, shapes: list[Shape]) -> Params:
    shape = shapes[0]
    rank = len(shape)
    start = draw(st.integers(0, rank)) if draw(st.booleans()) else 0
    end = draw(st.integers(start, rank)) if draw(st.booleans()) else rank
    part = list(shape[start:end])
    kind = draw(st.integers(0, 4))
    if kind == 1 and part:
        part = [math.prod(part)]
    elif kind == 2 and len(part) > 1:
        part = [part[0] * part[1], *part[2:]]
    elif kind == 3:
        part.insert(draw(st.integers(0, len(part))), 1)
    elif kind == 4 and part:
        part = part[::-1]
    dims = list(part)
    if dims and draw(st.booleans()):
        dims[draw(st.integers(0, len(dims) - 1))] = -1
    for i, n in enumerate(dims):
        if start + i < rank and n == shape[start + i] and draw(st.booleans()):
            dims[i] = 0
    if dims and rarely(draw):
        dims[draw(st.integers(0, len(dims) - 1))] = draw(st.sampled_from([-1, 0, 2, 3, -2]))
    inside = "shape { " + " ".join(f"dim: {n}" for n in dims) + " }"
    if start or draw(st.booleans()):
        inside += f" axis: {draw(st.sampled_from([start, start - rank - 1]))}"
    if end < rank or rarely(draw):
        inside += f" num_axes: {end - start}"
    return Params(f"reshape_param {{ {inside} }}")


def cropped(draw: Draw) -> list[Bottom]:
    shape = draw(shapes())
    if rarely(draw):
        return [Bottom(shape), Bottom(draw(shapes()))]
    return [Bottom(shape), Bottom(tuple(draw(st.integers(1, n)) for n in shape))]


@spec("Crop", bottoms=cropped)
def crop(draw: Draw, shapes: list[Shape]) -> Params:
    rank = len(shapes[0])
    at = draw(st.integers(0, rank - 1))
    said = f"axis: {draw(st.sampled_from([at, at - rank]))}"
    if rank > 2 and rarely(draw, 4):
        at, said = 2, ""
    elif rarely(draw, 16):
        said = f"axis: {axis(draw, rank)}"
    room = [max(a - b, 0) for a, b in zip(shapes[0], shapes[1], strict=False)][at:]
    form = draw(st.integers(0, 4))
    if form in (1, 2) and room:
        said += "".join(f" offset: {draw(st.integers(0, n))}" for n in room)
    elif form == 3:
        said += f" offset: {draw(st.integers(0, min(room, default=0)))}"
    elif form == 4:
        said += f" offset: {draw(st.integers(0, 3))}" * draw(st.integers(1, 3))
    return Params(block("crop_param", said))


@spec("Tile")
def tile(draw: Draw, shapes: list[Shape]) -> Params:
    rank = len(shapes[0])
    said = f"axis: {axis(draw, rank)}" if rank < 2 or draw(st.booleans()) else ""
    tiles = "" if rarely(draw) else f"tiles: {draw(st.integers(1, 3))}"
    return Params(block("tile_param", f"{said} {tiles}"))


def joined(draw: Draw) -> list[Bottom]:
    shape = draw(shapes())
    count = draw(st.integers(1, 4))
    at = draw(st.integers(0, len(shape) - 1))
    made = [shape]
    for _ in range(count - 1):
        made.append((*shape[:at], draw(SIZES), *shape[at + 1 :]))
    if rarely(draw):
        made[-1] = draw(shapes())
    return [Bottom(s) for s in made]


@spec("Concat", bottoms=joined)
def concat(draw: Draw, shapes: list[Shape]) -> Params:
    first = shapes[0]
    rank = len(first)
    differ = [
        i for i in range(rank)
        if any(len(s) == rank and s[i] != first[i] for s in shapes)
    ]  # fmt: skip
    at = differ[0] if differ else draw(st.integers(0, rank - 1))
    if rarely(draw):
        at = axis(draw, rank)
    elif draw(st.booleans()):
        at -= rank
    form = draw(st.integers(0, 9))
    said = f"axis: {at}" if form < 8 else f"concat_dim: {max(at, 0)}"
    if form == 9 and rarely(draw, 2):
        said += " axis: 1"
    return Params(f"concat_param {{ {said} }}")


@spec("Slice")
def slice_(draw: Draw, shapes: list[Shape]) -> Params:
    shape = shapes[0]
    at = draw(st.integers(0, len(shape) - 1))
    n = shape[at]
    said = f"axis: {draw(st.sampled_from([at, at - len(shape)]))}"
    if rarely(draw):
        at = axis(draw, len(shape))
        said = f"axis: {at}" if draw(st.booleans()) else f"slice_dim: {max(at, 0)}"
    tops = draw(st.integers(1, min(n, 4)))
    if n % tops or draw(st.booleans()):
        points = sorted(draw(st.lists(st.integers(1, max(n - 1, 1)), min_size=tops - 1,
                                      max_size=tops - 1, unique=not rarely(draw))
                             if n > 1 or tops == 1 else st.just([1] * (tops - 1))))  # fmt: skip
        said += "".join(f" slice_point: {p}" for p in points)
    return Params(f"slice_param {{ {said} }}", tops)


def reindexed(draw: Draw) -> list[Bottom]:
    shape = draw(shapes())
    return [Bottom(shape), Bottom(draw(shapes(1, 1 if not rarely(draw) else 2)), below(shape[0]))]


@spec("BatchReindex", bottoms=reindexed)
def batch_reindex(draw: Draw, shapes: list[Shape]) -> Params:
    return Params()


def filtered(draw: Draw) -> list[Bottom]:
    shape = draw(shapes())
    n = shape[0]
    made = [Bottom(shape)]
    if draw(st.booleans()):
        made.append(Bottom((n, *draw(shapes(1, 3)))))
    selector = draw(st.sampled_from([(n,), (n,), (n, 1), (n, 1, 1, 1), (n, 2), (n + 1,)]))
    return [*made, Bottom(selector, below(2))]


@spec("Filter", bottoms=filtered)
def filter_(draw: Draw, shapes: list[Shape]) -> Params:
    return Params("", len(shapes) - (0 if rarely(draw, 16) else 1))


@spec("Permute")
def permute(draw: Draw, shapes: list[Shape]) -> Params:
    rank = len(shapes[0])
    order = draw(st.permutations(range(rank)))[: draw(st.integers(0, rank))]
    if rarely(draw, 12):
        order = [*order, draw(st.sampled_from([0, rank]))]
    return Params(block("permute_param", " ".join(f"order: {i}" for i in order)))


@spec("ShuffleChannel", bottoms=four)
def shuffle_channel(draw: Draw, shapes: list[Shape]) -> Params:
    return Params(block("shuffle_channel_param", some(draw, group=[1, 2, 3])))


# Several bottoms


def several(draw: Draw) -> list[Bottom]:
    shape = draw(shapes())
    count = draw(st.integers(2, 4)) if not rarely(draw, 12) else 1
    values = draw(st.sampled_from([normal, normal, ties]))
    made = [Bottom(shape, values) for _ in range(count)]
    if rarely(draw):
        made[-1] = Bottom(draw(shapes()))
    return made


@spec("Eltwise", bottoms=several)
def eltwise(draw: Draw, shapes: list[Shape]) -> Params:
    operation = draw(st.sampled_from(["", "SUM", "SUM", "PROD", "MAX"]))
    said = f"operation: {operation}" if operation else ""
    if (operation in ("SUM", "") and draw(st.booleans())) or rarely(draw):
        count = len(shapes) if not rarely(draw) else 1
        said += "".join(
            f" coeff: {draw(st.sampled_from([1.0, -1.0, 0.5, 0.0, 2.0]))}" for _ in range(count)
        )
    said += " " + some(draw, stable_prod_grad=[True, False])
    return Params(block("eltwise_param", said))


def axpy_bottoms(draw: Draw) -> list[Bottom]:
    shape = draw(shapes(4, 4))
    factor = (*shape[:2], 1, 1) if draw(st.booleans()) else shape[:2]
    # A factor of three axes is read as if it had two, whatever it holds: not drawn.
    other = draw(shapes(4, 4)) if rarely(draw) else factor
    return [Bottom(other), Bottom(shape), Bottom(like(draw, shape))]


@spec("Axpy", bottoms=axpy_bottoms)
def axpy(draw: Draw, shapes: list[Shape]) -> Params:
    return Params()


# One value of many


@spec("Reduction")
def reduction(draw: Draw, shapes: list[Shape]) -> Params:
    rank = len(shapes[0])
    said = f"axis: {axis(draw, rank)} " if draw(st.booleans()) else ""
    said += some(draw, operation=["SUM", "ASUM", "SUMSQ", "MEAN"], coeff=[1.0, -0.5, 0.0, 3.0])
    return Params(block("reduction_param", said))


def with_ties(draw: Draw) -> list[Bottom]:
    return [Bottom(draw(shapes()), draw(st.sampled_from([normal, ties])))]


@spec("ArgMax", bottoms=with_ties)
def argmax(draw: Draw, shapes: list[Shape]) -> Params:
    rank = len(shapes[0])
    said = f"axis: {axis(draw, rank)} " if draw(st.booleans()) else ""
    said += some(draw, top_k=[1, 2, 3], out_max_val=[True, False])
    return Params(block("argmax_param", said))


# Losses and measures


def score_axis(draw: Draw, shape: Shape) -> int:
    return 1 if len(shape) > 1 and draw(st.booleans()) else axis(draw, len(shape))


def labelled(draw: Draw) -> list[Bottom]:
    """Scores, and labels for a class axis that the parameters may name."""
    shape = draw(shapes(2, 4))
    at = draw(st.sampled_from([1, 1, 1, 0, len(shape) - 1]))
    rest = (*shape[:at], *shape[at + 1 :])
    label = draw(st.sampled_from([rest, rest, (*shape[:at], 1, *shape[at + 1 :])])) or (1,)
    if rarely(draw, 12):
        label = draw(shapes(1, 2))
    made = [Bottom(shape, draw(st.sampled_from([normal, ties]))), Bottom(label)]
    return [*made, Bottom(label)] if rarely(draw, 16) else made


def labels(draw: Draw, classes: int) -> tuple[str, Values]:
    """``ignore_label``, if any, and labels that fit it: Caffe reads beyond its memory at others.
    Now and then all are ignored."""
    ignored = draw(st.sampled_from([None, None, 0, 1, 255, -1]))
    if ignored is None:
        return "", below(classes)
    some_of = below(classes, ignored, ignored) if not rarely(draw) else below(0, ignored)
    return f"ignore_label: {ignored}", some_of


def losses(draw: Draw, shapes: list[Shape], classes: int = 0) -> tuple[str, dict[int, Values]]:
    """loss_param, and labels that fit. The classes may stand on any axis."""
    ignore, values = labels(draw, classes or min(shapes[0]))
    said = ignore
    if draw(st.booleans()):
        said += " " + some(
            draw,
            normalization=["FULL", "VALID", "BATCH_SIZE", "NONE"],
            normalize=[True, False],
        )
    return block("loss_param", said), {1: values}


def guessed_axis(draw: Draw, shapes: list[Shape]) -> str:
    """An axis for which the labels fit the scores, as far as there is one."""
    scores, label = shapes[:2]
    fits = [
        i for i in range(len(scores))
        if math.prod(scores) // scores[i] == math.prod(label)
    ]  # fmt: skip
    if not fits or rarely(draw, 12):
        return f"axis: {axis(draw, len(scores))}"
    at = draw(st.sampled_from(fits))
    return (
        f"axis: {draw(st.sampled_from([at, at - len(scores)]))}"
        if at != 1 or rarely(draw, 2)
        else ""
    )


def top_count(draw: Draw, most: int = 2) -> tuple[int, str]:
    """Tops, and a loss_weight of its own for each or one for all."""
    tops = draw(st.integers(0, most)) if rarely(draw, 3) else 1
    weights = draw(st.sampled_from(["", "", "", "loss_weight: 2", "loss_weight: 1 loss_weight: 0"]))
    return tops, weights


@spec("SoftmaxWithLoss", bottoms=labelled)
def softmax_with_loss(draw: Draw, shapes: list[Shape]) -> Params:
    tops, weights = top_count(draw)
    tops = max(tops, len(shapes) - 2)  # nothing is computed of a net without outputs
    said = block("softmax_param", guessed_axis(draw, shapes))
    loss, values = losses(draw, shapes)
    return Params(f"{said} {loss} {weights}", tops, values)


@spec("Accuracy", bottoms=labelled)
def accuracy(draw: Draw, shapes: list[Shape]) -> Params:
    ignore, values = labels(draw, min(shapes[0]))
    said = f"{some(draw, top_k=[1, 2, 3])} {ignore} {guessed_axis(draw, shapes)}"
    return Params(block("accuracy_param", said), 2 if rarely(draw, 4) else 1, {1: values})


def gained(draw: Draw) -> list[Bottom]:
    made = labelled(draw)[:2]
    n = draw(st.sampled_from(made[0].shape)) if rarely(draw) else made[0].shape[1]
    return [*made, Bottom((1, 1, n, n), positive)]


@spec("InfogainLoss", bottoms=gained)
def infogain(draw: Draw, shapes: list[Shape]) -> Params:
    tops, weights = top_count(draw)
    said = block("infogain_loss_param", guessed_axis(draw, shapes))
    loss, values = losses(draw, shapes)
    return Params(f"{said} {loss} {weights}", tops, values)


def same_count(draw: Draw) -> list[Bottom]:
    shape = draw(shapes())
    other = (shape[0], math.prod(shape[1:])) if rarely(draw) else like(draw, shape)
    return [Bottom(shape), Bottom(other)]


@spec("EuclideanLoss", bottoms=same_count)
def euclidean(draw: Draw, shapes: list[Shape]) -> Params:
    return Params(top_count(draw, 1)[1])


def targets(draw: Draw) -> list[Bottom]:
    shape = draw(shapes())
    other = (shape[0], math.prod(shape[1:])) if rarely(draw) else like(draw, shape)
    return [Bottom(shape), Bottom(other)]


@spec("SigmoidCrossEntropyLoss", bottoms=targets)
def sigmoid_cross_entropy(draw: Draw, shapes: list[Shape]) -> Params:
    tops, weights = top_count(draw)
    loss, values = losses(draw, shapes, 2)
    return Params(f"{loss} {weights}", tops, values)


def classes_first(draw: Draw) -> list[Bottom]:
    """Scores (N, classes) and N labels."""
    shape = draw(shapes(1, 4))
    classes = math.prod(shape[1:])
    label = (shape[0],) if not rarely(draw, 4) else (shape[0], 1, 1, 1)
    return [Bottom(shape, positive), Bottom(like(draw, label) if rarely(draw) else label,
                                            below(classes))]  # fmt: skip


@spec("HingeLoss", bottoms=classes_first)
def hinge(draw: Draw, shapes: list[Shape]) -> Params:
    return Params(block("hinge_loss_param", some(draw, norm=["L1", "L2"])) + top_count(draw, 1)[1])


@spec("MultinomialLogisticLoss", bottoms=classes_first)
def multinomial(draw: Draw, shapes: list[Shape]) -> Params:
    return Params(top_count(draw, 1)[1])


def pairs(draw: Draw) -> list[Bottom]:
    shape = (*draw(st.tuples(SIZES, SIZES)), 1, 1) if draw(st.booleans()) else draw(shapes(2, 4))
    label = draw(st.sampled_from([(shape[0],), (shape[0], 1, 1, 1), (shape[0], 1)]))
    return [Bottom(shape), Bottom(like(draw, shape)), Bottom(label, below(2))]


@spec("ContrastiveLoss", bottoms=pairs)
def contrastive(draw: Draw, shapes: list[Shape]) -> Params:
    said = some(draw, margin=[1.0, 3.0, 0.5], legacy_version=[True, False])
    return Params(block("contrastive_loss_param", said))


# Recurrent layers


WIDTH = 3  # of hidden states that are bottoms


def i_last(places: list[int], count: int, bottoms: int) -> bool:
    """Whether the last ``count`` of so many bottoms stand at these places."""
    return set(range(bottoms - count, bottoms)) <= set(places)


def sequence(draw: Draw) -> list[Bottom]:
    t, n = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    x = (t, n, *draw(st.sampled_from([(3,), (2, 2), (1,), ()] if rarely(draw) else [(3,), (2, 2)])))
    cont = (t, n) if not rarely(draw) else draw(shapes(1, 2))
    made = [Bottom(x), Bottom(cont, below(2))]
    if draw(st.booleans()):
        made.append(
            Bottom((n if not rarely(draw) else n + 1, *draw(st.sampled_from([(2,), (3, 2)]))))
        )
    # The last states of a sequence before: expose_hidden.
    states = draw(st.sampled_from([0, 0, 1, 2]))
    return made + [Bottom((1, n, WIDTH))] * states


@spec("LSTM", "RNN", bottoms=sequence)
def recurrent(draw: Draw, shapes: list[Shape], type_: str) -> Params:
    states = 2 if type_ == "LSTM" else 1
    hidden = [i for i, shape in enumerate(shapes) if shape == (1, shapes[0][1], WIDTH)]
    exposed = len(hidden) >= states and len(shapes) > 2 and i_last(hidden, states, len(shapes))
    size = WIDTH if exposed else draw(st.sampled_from([1, 2, 3]))
    more = "expose_hidden: true" if exposed else ""
    tops = 1 + states if exposed else 1
    return Params(f"recurrent_param {{ num_output: {size} {more} {FILLERS} }}", tops)


def unit(draw: Draw) -> list[Bottom]:
    n, d = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    wide = 4 * d if not rarely(draw) else draw(st.integers(1, 9))
    return [Bottom((1, n, d)), Bottom((1, n, wide)),
            Bottom(like(draw, (1, n)), below(2))]  # fmt: skip


@spec("LSTMUnit", bottoms=unit)
def lstm_unit(draw: Draw, shapes: list[Shape]) -> Params:
    return Params("", 2)


# Sources


# tpucaffe's DummyData does not run its fillers.
@spec("DummyData", bottoms=lambda draw: [], judges=("caffe",))
def dummy_data(draw: Draw, bottoms: list[Shape]) -> Params:
    tops = draw(st.integers(1, 3))
    count = draw(st.sampled_from([1, tops, tops + 1 if rarely(draw) else tops]))
    if draw(st.booleans()):
        said = " ".join(
            "shape { " + " ".join(f"dim: {n}" for n in draw(shapes())) + " }" for _ in range(count)
        )
    else:
        said = " ".join(
            f"{name}: {draw(SIZES)}"
            for name in ("num", "channels", "height", "width")
            for _ in range(count)
        )
    fillers = draw(st.sampled_from([0, 1, tops]))
    values = (f"value: {draw(st.sampled_from([0.0, 0.5, -2.0]))}" for _ in range(fillers))
    said += "".join(f' data_filler {{ type: "constant" {value} }}' for value in values)
    return Params(f"dummy_data_param {{ {said} }}", tops)


# Forks' layers: what tpucaffe and protogen both have


@spec("Interp", bottoms=four)
def interp(draw: Draw, shapes: list[Shape]) -> Params:
    form = draw(st.integers(0, 3))
    if form == 0:
        said = f"height: {draw(st.integers(1, 9))} width: {draw(st.integers(1, 9))}"
    elif form == 1:
        said = f"zoom_factor: {draw(st.integers(1, 4))}"
    elif form == 2:
        said = f"shrink_factor: {draw(st.integers(1, 3))}"
    else:
        said = f"zoom_factor: {draw(st.integers(1, 3))} shrink_factor: {draw(st.integers(1, 3))}"
    if rarely(draw, 4):
        said += f" pad_beg: {draw(st.integers(-1, 0))} pad_end: {draw(st.integers(-1, 0))}"
    return Params(f"interp_param {{ {said} }}")


def places(rng: np.random.Generator, shape: Shape) -> NDArray[np.float32]:
    """A mask as MAX Pooling of 2x2 makes it, of maps that may end with half a window: another place for
    each value of a plane."""
    h, w = shape[2:]
    planes = [
        rng.permutation((2 * h - 1) * (2 * w - 1))[: h * w] for _ in range(shape[0] * shape[1])
    ]
    return np.array(planes, np.float32).reshape(shape)


def pooled(draw: Draw) -> list[Bottom]:
    shape = draw(shapes(4, 4))
    mask = Bottom(like(draw, shape) if rarely(draw, 12) else shape, places)
    masked = draw(st.booleans()) and len(mask.shape) == 4 and min(mask.shape[2:]) > 1
    return [Bottom(shape), mask] if masked else [Bottom(shape)]


@spec("Upsample", bottoms=pooled)
def upsample(draw: Draw, shapes: list[Shape]) -> Params:
    if len(shapes) == 1:
        return Params(f"upsample_param {{ scale: {draw(st.integers(2, 4))} }}")
    h, w = (2 * n - draw(st.integers(0, 1)) for n in shapes[0][2:])
    said = draw(st.sampled_from(["scale: 2", f"upsample_h: {h} upsample_w: {w}", "scale: 2 pad_out_h: true",
                                 f"scale: 2 upsample_h: {h} upsample_w: {w}"]))  # fmt: skip
    return Params(f"upsample_param {{ {said} }}")


def two_maps(draw: Draw) -> list[Bottom]:
    return [
        Bottom(draw(shapes(4, 4))),
        Bottom((1, 3, draw(st.integers(20, 90)), draw(st.integers(20, 90)))),
    ]


@spec("PriorBox", bottoms=two_maps)
def prior_box(draw: Draw, shapes: list[Shape]) -> Params:
    sizes = draw(st.lists(st.sampled_from([4.0, 10.0, 15.5]), min_size=1, max_size=2, unique=True))
    said = "".join(f" min_size: {s}" for s in sizes)
    if draw(st.booleans()):
        said += "".join(f" max_size: {s + 6}" for s in sizes)
    ratios = draw(st.lists(st.sampled_from([1.0, 2.0, 3.0]), max_size=2, unique=True))
    said += "".join(f" aspect_ratio: {r}" for r in ratios)
    said += " " + some(draw, flip=[True, False], clip=[True, False], offset=[0.5, 0.0])
    count = draw(st.sampled_from([0, 1, 4]))
    said += "".join(f" variance: {draw(st.sampled_from([0.1, 0.2, 0.5]))}" for _ in range(count))
    said += draw(
        st.sampled_from(
            ["", "", " step: 8", " step_h: 6 step_w: 9", " img_size: 70", " img_h: 60 img_w: 80"]
        )
    )
    return Params(f"prior_box_param {{ {said} }}")


# Whole nets


@dataclass(frozen=True)
class Drawn:
    """A net, its inputs, what else decides its numbers, and which Caffe is asked."""

    text: str
    feeds: dict[str, NDArray[np.float32]] = field(compare=False)
    phase: str
    seed: int
    judges: tuple[str, ...] = NAMES

    def __repr__(self) -> str:
        shapes = {name: array.shape for name, array in self.feeds.items()}
        return f"phase {self.phase}, seed {self.seed}, {shapes}\n{self.text}"


def input_layer(name: str, shape: Shape) -> str:
    dims = " ".join(f"dim: {n}" for n in shape)
    return f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}'  # fmt: skip


def layer_text(name: str, type_: str, bottoms: Sequence[str], tops: Sequence[str], params: str) -> str:  # fmt: skip
    blobs = [f'bottom: "{b}"' for b in bottoms] + [f'top: "{t}"' for t in tops]
    return f'layer {{ name: "{name}" type: "{type_}" {" ".join(blobs)} {params} }}'


@st.composite
def one_layer(draw: Draw, type_: str, in_place: bool = False) -> Drawn:
    """Inputs and one layer of a type; one in eight, or each, works in place."""
    chosen = SPECS[type_]
    bottoms = chosen.bottoms(draw) if chosen.bottoms else [Bottom(draw(shapes()))]
    params = chosen.params(draw, [bottom.shape for bottom in bottoms])
    names = [f"x{i}" for i in range(len(bottoms))]
    tops = [f"y{i}" for i in range(params.tops)]
    first = names[0] if names else ""
    if names and tops and (in_place or rarely(draw)):
        first = tops[0] = draw(st.sampled_from([names[0], "made"]))
    phase = draw(st.sampled_from(["TEST", "TEST", "TEST", "TRAIN"]))
    seed = draw(st.integers(0, 999))
    rng = np.random.default_rng(seed)
    feeds = {
        name: params.values.get(i, bottom.values)(rng, bottom.shape)
        for i, (name, bottom) in enumerate(zip(names, bottoms, strict=True))
    }
    lines = [input_layer(name, bottom.shape) for name, bottom in zip(names, bottoms, strict=True)]
    if first == "made":  # in place on what a layer makes, not on an input
        lines.append(layer_text("before", "Power", names[:1], ["made"], ""))
    lines.append(layer_text("l", type_, [first, *names[1:]][: len(names)], tops, params.text))
    return Drawn("\n".join(lines) + "\n", feeds, phase, seed, chosen.judges)


# Types with one bottom of any shape that a net of several layers is made of.
CHAIN = [
    *PLAIN, "ReLU", "ELU", "Swish", "Threshold", "Clip", "Exp", "Power", "Dropout", "Convolution",
    "Deconvolution", "Im2col", "InnerProduct", "Scale", "Bias", "BatchNorm", "PReLU", "Pooling",
    "SPP", "LRN", "MVN", "Softmax", "Split", "Silence", "Flatten", "Reshape", "Tile", "Slice",
    "Permute", "Reduction", "ArgMax",
]  # fmt: skip
MANY = ["Eltwise", "Concat", "EuclideanLoss"]  # of bottoms that have one shape


class Builder:
    """Layers one after the other. Each is drawn until protogen accepts it: whether Caffe agrees on
    the rest, the nets of one layer show."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        # BVLC's prebuilt Caffe has another BatchNorm in phase TRAIN, tpucaffe another Pooling.
        self.judge = draw(st.sampled_from(["caffe", "tpucaffe"]))
        without = {"caffe": ("BatchNorm", "Clip", "Mish"), "tpucaffe": ("Pooling", "SPP")}[
            self.judge
        ]
        self.types = [type_ for type_ in CHAIN if type_ not in without]
        self.lines: list[str] = []
        self.blobs: dict[str, Shape] = {}
        self.shared: list[tuple[str, Shape, str, str]] = []  # type, bottom, parameters, names

    def add(self, line: str) -> bool:
        """Whether the net with this layer is sound; then it has it."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", pg.ProtogenWarning)
                net = Net(prototxt.parse("\n".join([*self.lines, line]), "net.prototxt"))
        except pg.ProtogenError:
            return False
        if any(math.prod(shape) > MOST for shape in net.shapes.values() if shape):
            return False
        self.lines.append(line)
        self.blobs = {name: shape for name, shape in net.shapes.items() if shape}
        return True

    def step(self) -> None:
        draw = self.draw
        index = len(self.lines)
        names = list(self.blobs)[-4:]
        bottom = draw(st.sampled_from(names))
        shape = self.blobs[bottom]
        if rarely(draw, 3):
            type_ = draw(st.sampled_from(MANY))
            alike = [name for name, other in self.blobs.items() if other == shape]
            bottoms = [bottom, draw(st.sampled_from(alike))]
        else:
            type_ = draw(st.sampled_from(self.types))
            bottoms = [bottom]
        params = SPECS[type_].params(draw, [self.blobs[name] for name in bottoms])
        text = params.text
        fitting = [one for one in self.shared if one[:2] == (type_, shape)]
        if fitting and draw(st.booleans()):  # the parameters of a layer before it
            text = " ".join(draw(st.sampled_from(fitting))[2:])
        elif type_ in ("Convolution", "InnerProduct", "PReLU"):
            own = f'param {{ name: "w{index}" }} param {{ name: "b{index}" }}'
            own = (
                own
                if "bias_term: false" not in text and type_ != "PReLU"
                else own.split(" param")[0]
            )
            if draw(st.booleans()):
                self.shared.append((type_, shape, text, own))
                text += f" {own}"
        tops = [f"b{index}" if i == 0 else f"b{index}_{i}" for i in range(params.tops)]
        if tops and draw(st.booleans()):
            tops[0] = bottom
        if not self.add(layer_text(f"l{index}", type_, bottoms, tops, text)) and tops:
            self.add(layer_text(f"l{index}", type_, bottoms, [f"b{index}", *tops[1:]], text))


@st.composite
def several_layers(draw: Draw) -> Drawn:
    """One or two inputs and two to eight layers: in place, with shared parameters, with blobs that
    several layers read."""
    builder = Builder(draw)
    for i in range(draw(st.integers(1, 2))):
        builder.add(
            input_layer(f"x{i}", draw(shapes(4, 4) if i or not rarely(draw, 3) else shapes()))
        )
    inputs = dict(builder.blobs)
    least = len(builder.lines) + 2
    for _ in range(draw(st.integers(2, 8))):
        builder.step()
    assume(len(builder.lines) >= least)
    seed = draw(st.integers(0, 999))
    rng = np.random.default_rng(seed)
    feeds = {name: normal(rng, shape) for name, shape in inputs.items()}
    phase = draw(st.sampled_from(["TEST", "TEST", "TEST", "TRAIN"]))
    return Drawn("\n".join(builder.lines) + "\n", feeds, phase, seed, (builder.judge,))
