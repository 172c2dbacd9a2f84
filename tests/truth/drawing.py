"""Random small nets for real Caffe: every layer type with unusual parameters, valid and invalid.

A ``Spec`` defines the bottoms of a type (shapes and values) and its parameters. Sizes are small and
include 1; ranks are 1 to 5; axes may be negative or out of range. About one net in eight has an
in-place layer, and one in four is in phase TRAIN.
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
MOST = 3000  # maximum number of values of a blob


# Values


def normal(rng: np.random.Generator, shape: Shape) -> NDArray[np.float32]:
    return rng.standard_normal(shape, np.float32)


def positive(rng: np.random.Generator, shape: Shape) -> NDArray[np.float32]:
    return np.abs(rng.standard_normal(shape, np.float32)) + np.float32(0.1)


def ties(rng: np.random.Generator, shape: Shape) -> NDArray[np.float32]:
    """Return whole numbers from -2 to 2, so that many are equal."""
    return rng.integers(-2, 3, shape).astype(np.float32)


def below(count: int, *more: int) -> Values:
    """Return whole numbers below ``count`` and the numbers in ``more``: labels or indexes."""
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
    """Parameters of a layer.

    Attributes:
        text: the text of the layer after its bottoms and tops.
        tops: the number of tops.
        values: values that bottoms need for these parameters, by index.
    """

    text: str = ""
    tops: int = 1
    values: Mapping[int, Values] = field(default_factory=dict)


@dataclass(frozen=True)
class Spec:
    """How to draw a layer of a type.

    Attributes:
        params: draws the parameters for bottoms of these shapes.
        bottoms: draws the bottoms; None for types with one bottom of any shape.
        judges: names of the Caffes to compare with; the first that has the type is used.
        dialect: the dialect in which protogen reads the net.
    """

    params: Callable[[Draw, list[Shape]], Params]
    bottoms: Callable[[Draw], list[Bottom]] | None = None
    judges: tuple[str, ...] = NAMES
    dialect: str = "bvlc"


SPECS: dict[str, Spec] = {}


def spec(
    *types: str,
    bottoms: Callable[[Draw], list[Bottom]] | None = None,
    judges: tuple[str, ...] = NAMES,
    dialect: str = "bvlc",
) -> Callable[[Callable[..., Params]], Callable[..., Params]]:
    """Register a function that draws the parameters of these types.

    The function gets the name of the type as an argument if there are several types.
    """

    def register(function: Callable[..., Params]) -> Callable[..., Params]:
        for type_ in types:
            of_type = (
                function
                if len(types) == 1
                else lambda draw, shapes, type_=type_: function(draw, shapes, type_)
            )
            SPECS[type_] = Spec(of_type, bottoms, judges, dialect)
        return function

    return register


# Parts of a net


def shapes(least: int = 1, most: int = 5) -> st.SearchStrategy[Shape]:
    """Return a strategy for shapes of these ranks, mostly of four axes."""
    ranks = [r for r in (1, 2, 3, 4, 4, 4, 5) if least <= r <= most]
    of_rank = st.sampled_from(ranks).flatmap(lambda r: st.tuples(*[SIZES] * r))
    return of_rank.filter(lambda s: math.prod(s) <= MOST)


def like(draw: Draw, shape: Shape) -> Shape:
    """Return the shape, or sometimes another."""
    return draw(shapes()) if rarely(draw) else shape


def rarely(draw: Draw, one_in: int = 8) -> bool:
    """Return True about once in ``one_in`` calls."""
    # hypothesis shrinks the integer to 0, which gives False.
    return bool(draw(st.integers(0, one_in - 1)) == one_in - 1)


def axis(draw: Draw, rank: int) -> int:
    """Return an axis of a blob, positive or negative, or sometimes one that is out of range."""
    if rarely(draw, 12):
        return int(draw(st.sampled_from([-rank - 1, rank])))
    return int(draw(st.integers(-rank, rank - 1)))


def value_text(value: Any) -> str:
    """Return a value as prototxt."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def random_fields(draw: Draw, **choices: Sequence[Any]) -> str:
    """Return fields, each with one of its values; each field is left out once in three times."""
    parts = []
    for name, values in choices.items():
        if draw(st.integers(0, 2)):
            parts.append(f"{name}: {value_text(draw(st.sampled_from(list(values))))}")
    return " ".join(parts)


def block(name: str, content: str) -> str:
    """Return a nested message; empty if it has no content."""
    return f"{name} {{ {content} }}" if content.strip() else ""


def four_axes(draw: Draw) -> list[Bottom]:
    """Draw one bottom of four axes, as layers of forks need."""
    return [Bottom(draw(shapes(4, 4)))]


def of_rank(*ranks: int) -> Callable[[Draw], list[Bottom]]:
    """Return a function that draws one bottom, mostly of these ranks."""

    def draws(draw: Draw) -> list[Bottom]:
        if rarely(draw):
            return [Bottom(draw(shapes()))]
        return [Bottom(draw(shapes(min(ranks), max(ranks))))]

    return draws


# Elementwise layers

PLAIN = ("AbsVal", "BNLL", "Sigmoid", "TanH", "Mish")


@spec(*PLAIN)
def plain(draw: Draw, shapes: list[Shape], type_: str) -> Params:
    return Params()


@spec("ReLU")
def relu(draw: Draw, shapes: list[Shape]) -> Params:
    return Params(
        block("relu_param", random_fields(draw, negative_slope=[0.0, 0.1, 1.0, 2.0, -0.5]))
    )


@spec("ReLU6")
def relu6(draw: Draw, shapes: list[Shape]) -> Params:
    return Params()


@spec("ELU")
def elu(draw: Draw, shapes: list[Shape]) -> Params:
    return Params(block("elu_param", random_fields(draw, alpha=[1.0, 0.5, 0.0, -1.0])))


@spec("Swish")
def swish(draw: Draw, shapes: list[Shape]) -> Params:
    return Params(block("swish_param", random_fields(draw, beta=[1.0, 0.5, 0.0, -1.0])))


@spec("Threshold")
def threshold(draw: Draw, shapes: list[Shape]) -> Params:
    return Params(block("threshold_param", random_fields(draw, threshold=[0.0, 0.5, -1.0])))


@spec("Clip")
def clip(draw: Draw, shapes: list[Shape]) -> Params:
    low, high = (draw(st.sampled_from([-1.0, -0.2, 0.0, 0.3, 1.0])) for _ in range(2))
    return Params(f"clip_param {{ min: {low} max: {high} }}")


@spec("Exp")
def exp(draw: Draw, shapes: list[Shape]) -> Params:
    return Params(
        block(
            "exp_param",
            random_fields(
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
            random_fields(
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
            random_fields(
                draw,
                power=[0.0, 1.0, 2.0, 3.0, -1.0, -2.0, 0.5],
                scale=[1.0, 0.0, -1.0, 0.5, 2.0],
                shift=[0.0, 1.0, -1.0, 0.5],
            ),
        )
    )


@spec("Dropout")
def dropout(draw: Draw, shapes: list[Shape]) -> Params:
    return Params(block("dropout_param", random_fields(draw, dropout_ratio=[0.5, 0.3, 0.0])))


# Layers with weights


def window(draw: Draw, sizes: Sequence[int], needed: Sequence[str] = ()) -> str:
    """Return kernel, stride, pad and dilation for spatial axes of these lengths.

    Each field has one of its forms. Kernels are never longer than the axes in three of four cases.

    Args:
        needed: fields that must not be left out.
    """
    axes = len(sizes)
    fits = [k for k in (1, 2, 3, 4) if k <= min(sizes, default=4)] or [1]
    kernels = fits if draw(st.integers(0, 3)) else [1, 2, 3, 4]

    def field_text(name: str, short: str, values: Sequence[int]) -> str:
        form = draw(st.integers(0, 5))
        if axes == 2 and form > 3:
            return f"{short}_h: {draw(st.sampled_from(values))} {short}_w: {draw(st.sampled_from(values))}"
        count = 1 if form < 3 else axes
        if not needed and rarely(draw, 24):
            count = axes + 1
        return " ".join(f"{name}: {draw(st.sampled_from(values))}" for _ in range(count))

    parts = [] if rarely(draw, 24) else [field_text("kernel_size", "kernel", kernels)]
    for name, values in (("stride", [1, 2, 3]), ("pad", [0, 1, 2, 3])):
        if name in needed or draw(st.booleans()):
            parts.append(field_text(name, name, [0, *values] if rarely(draw, 24) else values))
    if draw(st.integers(0, 2)) == 2:
        parts.append(f"dilation: {draw(st.integers(1, 3))}")
    return " ".join(parts)


def convolved(draw: Draw) -> list[Bottom]:
    shape = draw(shapes(3, 5)) if not rarely(draw) else draw(shapes())
    if rarely(draw):
        return [Bottom(shape), Bottom(like(draw, shape))]
    return [Bottom(shape)]


def channel_axis(draw: Draw, shape: Shape) -> tuple[int, str]:
    """Draw the axis of channels, and the field that sets it."""
    rank = len(shape)
    if rank < 2 or rarely(draw, 4):
        at = axis(draw, rank)
        return min(max(at % rank if -rank <= at < rank else 0, 0), rank - 1), f"axis: {at}"
    return 1, draw(st.sampled_from(["", "axis: 1", f"axis: {1 - rank}"]))


FILLERS = 'weight_filler { type: "gaussian" std: 1 } bias_filler { type: "gaussian" std: 1 }'


@spec("Convolution", "Deconvolution", bottoms=convolved)
def convolution(draw: Draw, shapes: list[Shape], type_: str) -> Params:
    at, fields = channel_axis(draw, shapes[0])
    channels = shapes[0][at]
    group = draw(st.sampled_from([g for g in (1, 1, 2, 3, channels) if channels % g == 0]))
    out = group * draw(st.integers(1, 3))
    if rarely(draw):
        group = draw(st.integers(0, 3))
    more = random_fields(
        draw, bias_term=[True, False], group=[group], force_nd_im2col=[False, True]
    )
    content = f"num_output: {out} {fields} {more} {window(draw, shapes[0][at + 1 :])} {FILLERS}"
    return Params(f"convolution_param {{ {content} }}", len(shapes))


@spec("ConvolutionDepthwise", bottoms=four_axes)
def depthwise(draw: Draw, shapes: list[Shape]) -> Params:
    channels = shapes[0][1]
    more = random_fields(draw, bias_term=[True, False], group=[channels])
    # tpucaffe reads out of bounds if stride or pad is missing.
    windows = window(draw, shapes[0][2:], ("stride", "pad"))
    return Params(f"convolution_param {{ num_output: {channels} {more} {windows} {FILLERS} }}")


@spec("Im2col", bottoms=lambda draw: convolved(draw)[: 2 if rarely(draw, 16) else 1])
def im2col(draw: Draw, shapes: list[Shape]) -> Params:
    at, fields = channel_axis(draw, shapes[0])
    more = random_fields(draw, force_nd_im2col=[False, True])
    content = f"{fields} {more} {window(draw, shapes[0][at + 1 :])}"
    return Params(f"convolution_param {{ {content} }}", len(shapes))


@spec("InnerProduct")
def inner_product(draw: Draw, shapes: list[Shape]) -> Params:
    rank = len(shapes[0])
    content = random_fields(draw, bias_term=[True, False], transpose=[True, False])
    at = f"axis: {axis(draw, rank)}" if rank < 2 or draw(st.booleans()) else ""
    out = draw(st.sampled_from([1, 2, 3, 5]))
    return Params(f"inner_product_param {{ num_output: {out} {at} {content} {FILLERS} }}")


def indexes(draw: Draw) -> list[Bottom]:
    return [Bottom(draw(shapes(1, 3)), below(4))]


@spec("Embed", bottoms=indexes)
def embed(draw: Draw, shapes: list[Shape]) -> Params:
    content = random_fields(draw, bias_term=[True, False])
    out = draw(st.sampled_from([1, 2, 3, 5, 0 if rarely(draw) else 4]))
    return Params(f"embed_param {{ input_dim: {draw(st.sampled_from([4, 5]))} num_output: {out} {content} {FILLERS} }}")  # fmt: skip


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
    fields = ""
    if len(shapes) == 2 and not rarely(draw, 4):  # an axis at which the second bottom fits
        n = len(shapes[1])
        fits = [i for i in range(rank - n + 1) if shapes[0][i : i + n] == shapes[1]]
        if fits:
            at = draw(st.sampled_from(fits))
            fields = f"axis: {draw(st.sampled_from([at, at - rank]))}"
    elif draw(st.booleans()) or rank < 2:
        fields = f"axis: {axis(draw, rank)}"
    count = [] if len(shapes) == 2 else [-1, 0, 1, 2, 3]
    content = random_fields(draw, num_axes=count) if count and draw(st.booleans()) else ""
    filler = 'filler { type: "gaussian" std: 1 }'
    if type_ == "Scale":
        content += " " + random_fields(draw, bias_term=[True, False])
        filler += ' bias_filler { type: "gaussian" std: 1 }'
    return Params(f"{type_.lower()}_param {{ {fields} {content} {filler} }}")


# BVLC's prebuilt Caffe ignores use_global_stats: false.
@spec("BatchNorm", judges=("tpucaffe",))
def batch_norm(draw: Draw, shapes: list[Shape]) -> Params:
    return Params(
        block(
            "batch_norm_param",
            random_fields(
                draw,
                use_global_stats=[True, False],
                eps=[1e-5, 1e-3, 0.1],
                moving_average_fraction=[0.999, 0.5],
            ),
        )
    )


@spec("PReLU")
def prelu(draw: Draw, shapes: list[Shape]) -> Params:
    return Params(block("prelu_param", random_fields(draw, channel_shared=[True, False])))


@spec("Normalize", bottoms=four_axes)
def normalize(draw: Draw, shapes: list[Shape]) -> Params:
    # Without norm_param, the type is ambiguous: happynear's fork has no learned scale.
    content = random_fields(draw, across_spatial=[True, False], channel_shared=[True, False])
    return Params(f"norm_param {{ {content} }}")


@spec("Parameter", bottoms=lambda draw: [])
def parameter(draw: Draw, bottoms: list[Shape]) -> Params:
    dims = " ".join(f"dim: {n}" for n in draw(shapes()))
    return Params(f"parameter_param {{ shape {{ {dims} }} }}")


# Windows


def pair_of(draw: Draw, name: str, single: str, values: Sequence[int], any_form: bool) -> str:
    """Return a field of two axes in one of its forms; with ``any_form`` also forms that Caffe refuses."""
    first, second = values
    form = draw(st.integers(0, 5 if any_form else 3))
    if form < 2:
        return f"{single}: {min(values) if name == 'pad' else first}"
    both = f"{name}_h: {first} {name}_w: {second}"
    one = f"{name}_{draw(st.sampled_from('hw'))}: {first}"
    return {4: one, 5: f"{single}: {first} {both}"}.get(form, both)


@spec("Pooling", bottoms=of_rank(4))
def pooling(draw: Draw, shapes: list[Shape]) -> Params:
    pool = draw(st.sampled_from(["MAX", "AVE", "AVE"]))
    fields = [f"pool: {pool}" if pool == "AVE" or draw(st.booleans()) else ""]
    if rarely(draw, 5):
        fields.append("global_pooling: true")
        fields.append(random_fields(draw, stride=[1, 2], pad=[0, 1]) if draw(st.booleans()) else "")
    else:
        # One net in four has any window; in the others the window fits the bottom.
        any_window = rarely(draw, 4)
        largest = 4 if any_window else min(shapes[0][2:], default=4)
        kernel = [
            draw(st.sampled_from([k for k in (1, 2, 3, 4) if k <= largest])) for _ in range(2)
        ]
        gaps = rarely(draw, 4)  # the stride is larger than the kernel
        strides = [max(kernel) + 1, 5] if gaps else [1, 2, 2, 3]
        pads = [0, 1, 2] if any_window else range(min(kernel))
        fields.append(pair_of(draw, "kernel", "kernel_size", kernel, any_window))
        for name, values in (("stride", strides), ("pad", pads)):
            if (gaps and name == "stride") or draw(st.booleans()):
                pair = [draw(st.sampled_from(values)) for _ in range(2)]
                fields.append(pair_of(draw, name, name, pair, any_window))
    fields.append(random_fields(draw, round_mode=["CEIL", "FLOOR"]) if draw(st.booleans()) else "")
    tops = 2 if pool == "MAX" and rarely(draw, 4) else 1
    return Params(block("pooling_param", " ".join(fields)), tops)


@spec("SPP", bottoms=of_rank(4))
def spp(draw: Draw, shapes: list[Shape]) -> Params:
    height = draw(st.sampled_from([1, 1, 2, 2, 3]))
    return Params(
        f"spp_param {{ pyramid_height: {height} {random_fields(draw, pool=['MAX', 'AVE'])} }}"
    )


@spec("LRN", bottoms=of_rank(4))
def lrn(draw: Draw, shapes: list[Shape]) -> Params:
    return Params(
        block(
            "lrn_param",
            random_fields(
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
            random_fields(
                draw,
                across_channels=[True, False],
                normalize_variance=[True, False],
                eps=[1e-9, 1e-3, 0.5],
            ),
        )
    )


# Layers that copy or reorder values


@spec("Softmax")
def softmax(draw: Draw, shapes: list[Shape]) -> Params:
    rank = len(shapes[0])
    fields = f"axis: {axis(draw, rank)}" if rank < 2 or draw(st.booleans()) else ""
    return Params(block("softmax_param", fields))


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
    fields = [f"axis: {at}"] if rank < 2 or draw(st.booleans()) else []
    fields += [f"end_axis: {end}"] if draw(st.booleans()) else []
    return Params(block("flatten_param", " ".join(fields)))


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
    content = "shape { " + " ".join(f"dim: {n}" for n in dims) + " }"
    if start or draw(st.booleans()):
        content += f" axis: {draw(st.sampled_from([start, start - rank - 1]))}"
    if end < rank or rarely(draw):
        content += f" num_axes: {end - start}"
    return Params(f"reshape_param {{ {content} }}")


def cropped(draw: Draw) -> list[Bottom]:
    shape = draw(shapes())
    if rarely(draw):
        return [Bottom(shape), Bottom(draw(shapes()))]
    return [Bottom(shape), Bottom(tuple(draw(st.integers(1, n)) for n in shape))]


@spec("Crop", bottoms=cropped)
def crop(draw: Draw, shapes: list[Shape]) -> Params:
    rank = len(shapes[0])
    at = draw(st.integers(0, rank - 1))
    fields = f"axis: {draw(st.sampled_from([at, at - rank]))}"
    if rank > 2 and rarely(draw, 4):
        at, fields = 2, ""
    elif rarely(draw, 16):
        fields = f"axis: {axis(draw, rank)}"
    room = [max(a - b, 0) for a, b in zip(shapes[0], shapes[1], strict=False)][at:]
    form = draw(st.integers(0, 4))
    if form in (1, 2) and room:
        fields += "".join(f" offset: {draw(st.integers(0, n))}" for n in room)
    elif form == 3:
        fields += f" offset: {draw(st.integers(0, min(room, default=0)))}"
    elif form == 4:
        fields += f" offset: {draw(st.integers(0, 3))}" * draw(st.integers(1, 3))
    return Params(block("crop_param", fields))


@spec("Tile")
def tile(draw: Draw, shapes: list[Shape]) -> Params:
    rank = len(shapes[0])
    fields = f"axis: {axis(draw, rank)}" if rank < 2 or draw(st.booleans()) else ""
    tiles = "" if rarely(draw) else f"tiles: {draw(st.integers(1, 3))}"
    return Params(block("tile_param", f"{fields} {tiles}"))


def joined(draw: Draw) -> list[Bottom]:
    shape = draw(shapes())
    count = draw(st.integers(1, 4))
    at = draw(st.integers(0, len(shape) - 1))
    joined_shapes = [shape]
    for _ in range(count - 1):
        joined_shapes.append((*shape[:at], draw(SIZES), *shape[at + 1 :]))
    if rarely(draw):
        joined_shapes[-1] = draw(shapes())
    return [Bottom(s) for s in joined_shapes]


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
    fields = f"axis: {at}" if form < 8 else f"concat_dim: {max(at, 0)}"
    if form == 9 and rarely(draw, 2):
        fields += " axis: 1"
    return Params(f"concat_param {{ {fields} }}")


@spec("Slice")
def slice_(draw: Draw, shapes: list[Shape]) -> Params:
    shape = shapes[0]
    at = draw(st.integers(0, len(shape) - 1))
    n = shape[at]
    fields = f"axis: {draw(st.sampled_from([at, at - len(shape)]))}"
    if rarely(draw):
        at = axis(draw, len(shape))
        fields = f"axis: {at}" if draw(st.booleans()) else f"slice_dim: {max(at, 0)}"
    tops = draw(st.integers(1, min(n, 4)))
    if n % tops or draw(st.booleans()):
        points = sorted(draw(st.lists(st.integers(1, max(n - 1, 1)), min_size=tops - 1,
                                      max_size=tops - 1, unique=not rarely(draw))
                             if n > 1 or tops == 1 else st.just([1] * (tops - 1))))  # fmt: skip
        fields += "".join(f" slice_point: {p}" for p in points)
    return Params(f"slice_param {{ {fields} }}", tops)


def reindexed(draw: Draw) -> list[Bottom]:
    shape = draw(shapes())
    return [Bottom(shape), Bottom(draw(shapes(1, 1 if not rarely(draw) else 2)), below(shape[0]))]


@spec("BatchReindex", bottoms=reindexed)
def batch_reindex(draw: Draw, shapes: list[Shape]) -> Params:
    return Params()


def filtered(draw: Draw) -> list[Bottom]:
    shape = draw(shapes())
    n = shape[0]
    bottoms = [Bottom(shape)]
    if draw(st.booleans()):
        bottoms.append(Bottom((n, *draw(shapes(1, 3)))))
    selector = draw(st.sampled_from([(n,), (n,), (n, 1), (n, 1, 1, 1), (n, 2), (n + 1,)]))
    return [*bottoms, Bottom(selector, below(2))]


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


@spec("ShuffleChannel", bottoms=four_axes)
def shuffle_channel(draw: Draw, shapes: list[Shape]) -> Params:
    return Params(block("shuffle_channel_param", random_fields(draw, group=[1, 2, 3])))


@spec("Reverse")
def reverse(draw: Draw, shapes: list[Shape]) -> Params:
    rank = len(shapes[0])
    at = rank if rarely(draw) else draw(st.integers(0, rank - 1))
    return Params(f"reverse_param {{ axis: {at} }}")


@spec("Padding", bottoms=four_axes)
def padding(draw: Draw, shapes: list[Shape]) -> Params:
    sizes = range(4)
    fields = random_fields(draw, pad_l=sizes, pad_r=sizes, pad_t=sizes, pad_b=sizes)
    fields += " " + random_fields(draw, pad_value=[0, 1, -3], pad_method=["CONSTANT"])
    return Params(block("padding_param", fields))


def multiplied(draw: Draw) -> list[Bottom]:
    return [Bottom(draw(shapes())), Bottom(draw(shapes()))]


@spec("MatMul", bottoms=multiplied)
def matmul(draw: Draw, shapes: list[Shape]) -> Params:
    """Sizes for which both bottoms have values enough: Caffe reads past their ends without a check."""
    most = [math.prod(shape) for shape in shapes]
    k = draw(st.integers(1, min(7, *most)))
    rows, columns = (draw(st.integers(1, max(1, count // k))) for count in most)
    return Params(f"matmul_param {{ dim_1: {rows} dim_2: {k} dim_3: {columns} }}")


def up_to_four_axes(draw: Draw) -> list[Bottom]:
    return [Bottom(draw(shapes(2, 4)))]


@spec("BN", bottoms=up_to_four_axes)
def bn(draw: Draw, shapes: list[Shape]) -> Params:
    filler = '{ type: "gaussian" std: 1 }'
    fields = random_fields(draw, eps=[1e-5, 1e-3, 0.5], momentum=[0.9], frozen=[True, False])
    return Params(f"bn_param {{ slope_filler {filler} bias_filler {filler} {fields} }}")


@spec("Reorg", bottoms=of_rank(4), judges=("tpucaffe",), dialect="tpumlir")
def reorg(draw: Draw, shapes: list[Shape]) -> Params:
    fields = f"stride: {draw(st.integers(1, 3))}" * (not rarely(draw, 16))
    return Params(
        block("reorg_param", f"{fields} {random_fields(draw, reverse=['true', 'false'])}")
    )


# Several bottoms


def several(draw: Draw) -> list[Bottom]:
    """Draw several bottoms, mostly of the same shape."""
    shape = draw(shapes())
    count = draw(st.integers(2, 4)) if not rarely(draw, 12) else 1
    values = draw(st.sampled_from([normal, normal, ties]))
    bottoms = [Bottom(shape, values) for _ in range(count)]
    if rarely(draw):
        bottoms[-1] = Bottom(draw(shapes()))
    return bottoms


@spec("Eltwise", bottoms=several)
def eltwise(draw: Draw, shapes: list[Shape]) -> Params:
    operation = draw(st.sampled_from(["", "SUM", "SUM", "PROD", "MAX"]))
    fields = f"operation: {operation}" if operation else ""
    if (operation in ("SUM", "") and draw(st.booleans())) or rarely(draw):
        count = len(shapes) if not rarely(draw) else 1
        fields += "".join(
            f" coeff: {draw(st.sampled_from([1.0, -1.0, 0.5, 0.0, 2.0]))}" for _ in range(count)
        )
    fields += " " + random_fields(draw, stable_prod_grad=[True, False])
    return Params(block("eltwise_param", fields))


def axpy_bottoms(draw: Draw) -> list[Bottom]:
    shape = draw(shapes(4, 4))
    factor = (*shape[:2], 1, 1) if draw(st.booleans()) else shape[:2]
    # Factors of three axes are not drawn: Caffe reads them as if they had two.
    other = draw(shapes(4, 4)) if rarely(draw) else factor
    return [Bottom(other), Bottom(shape), Bottom(like(draw, shape))]


@spec("Axpy", bottoms=axpy_bottoms)
def axpy(draw: Draw, shapes: list[Shape]) -> Params:
    return Params()


# Reductions


@spec("Reduction")
def reduction(draw: Draw, shapes: list[Shape]) -> Params:
    rank = len(shapes[0])
    fields = f"axis: {axis(draw, rank)} " if draw(st.booleans()) else ""
    fields += random_fields(
        draw, operation=["SUM", "ASUM", "SUMSQ", "MEAN"], coeff=[1.0, -0.5, 0.0, 3.0]
    )
    return Params(block("reduction_param", fields))


def with_ties(draw: Draw) -> list[Bottom]:
    return [Bottom(draw(shapes()), draw(st.sampled_from([normal, ties])))]


@spec("ArgMax", bottoms=with_ties)
def argmax(draw: Draw, shapes: list[Shape]) -> Params:
    rank = len(shapes[0])
    fields = f"axis: {axis(draw, rank)} " if draw(st.booleans()) else ""
    fields += random_fields(draw, top_k=[1, 2, 3], out_max_val=[True, False])
    return Params(block("argmax_param", fields))


# Losses and accuracy


def score_axis(draw: Draw, shape: Shape) -> int:
    return 1 if len(shape) > 1 and draw(st.booleans()) else axis(draw, len(shape))


def labelled(draw: Draw) -> list[Bottom]:
    """Draw scores, and labels for one of their axes as the class axis."""
    shape = draw(shapes(2, 4))
    at = draw(st.sampled_from([1, 1, 1, 0, len(shape) - 1]))
    rest = (*shape[:at], *shape[at + 1 :])
    label = draw(st.sampled_from([rest, rest, (*shape[:at], 1, *shape[at + 1 :])])) or (1,)
    if rarely(draw, 12):
        label = draw(shapes(1, 2))
    bottoms = [Bottom(shape, draw(st.sampled_from([normal, ties]))), Bottom(label)]
    return [*bottoms, Bottom(label)] if rarely(draw, 16) else bottoms


def labels(draw: Draw, classes: int) -> tuple[str, Values]:
    """Return ``ignore_label``, if any, and valid labels; Caffe reads out of bounds at other labels.

    Sometimes all labels are ignored.
    """
    ignored = draw(st.sampled_from([None, None, 0, 1, 255, -1]))
    if ignored is None:
        return "", below(classes)
    values = below(classes, ignored, ignored) if not rarely(draw) else below(0, ignored)
    return f"ignore_label: {ignored}", values


def losses(draw: Draw, shapes: list[Shape], classes: int = 0) -> tuple[str, dict[int, Values]]:
    """Return loss_param and valid labels, for classes on any axis."""
    ignore, values = labels(draw, classes or min(shapes[0]))
    fields = ignore
    if draw(st.booleans()):
        fields += " " + random_fields(
            draw,
            normalization=["FULL", "VALID", "BATCH_SIZE", "NONE"],
            normalize=[True, False],
        )
    return block("loss_param", fields), {1: values}


def guessed_axis(draw: Draw, shapes: list[Shape]) -> str:
    """Return an axis for which the labels fit the scores, if there is one."""
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
    """Return the number of tops, and no loss_weight, one, or one for each top."""
    tops = draw(st.integers(0, most)) if rarely(draw, 3) else 1
    weights = draw(st.sampled_from(["", "", "", "loss_weight: 2", "loss_weight: 1 loss_weight: 0"]))
    return tops, weights


@spec("SoftmaxWithLoss", bottoms=labelled)
def softmax_with_loss(draw: Draw, shapes: list[Shape]) -> Params:
    tops, weights = top_count(draw)
    tops = max(tops, len(shapes) - 2)  # a net without outputs computes nothing
    fields = block("softmax_param", guessed_axis(draw, shapes))
    loss, values = losses(draw, shapes)
    return Params(f"{fields} {loss} {weights}", tops, values)


@spec("Accuracy", bottoms=labelled)
def accuracy(draw: Draw, shapes: list[Shape]) -> Params:
    ignore, values = labels(draw, min(shapes[0]))
    fields = f"{random_fields(draw, top_k=[1, 2, 3])} {ignore} {guessed_axis(draw, shapes)}"
    return Params(block("accuracy_param", fields), 2 if rarely(draw, 4) else 1, {1: values})


def gained(draw: Draw) -> list[Bottom]:
    bottoms = labelled(draw)[:2]
    n = draw(st.sampled_from(bottoms[0].shape)) if rarely(draw) else bottoms[0].shape[1]
    return [*bottoms, Bottom((1, 1, n, n), positive)]


@spec("InfogainLoss", bottoms=gained)
def infogain(draw: Draw, shapes: list[Shape]) -> Params:
    tops, weights = top_count(draw)
    fields = block("infogain_loss_param", guessed_axis(draw, shapes))
    loss, values = losses(draw, shapes)
    return Params(f"{fields} {loss} {weights}", tops, values)


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
    """Draw scores (N, classes) and N labels."""
    shape = draw(shapes(1, 4))
    classes = math.prod(shape[1:])
    label = (shape[0],) if not rarely(draw, 4) else (shape[0], 1, 1, 1)
    return [Bottom(shape, positive), Bottom(like(draw, label) if rarely(draw) else label,
                                            below(classes))]  # fmt: skip


@spec("HingeLoss", bottoms=classes_first)
def hinge(draw: Draw, shapes: list[Shape]) -> Params:
    return Params(
        block("hinge_loss_param", random_fields(draw, norm=["L1", "L2"])) + top_count(draw, 1)[1]
    )


@spec("MultinomialLogisticLoss", bottoms=classes_first)
def multinomial(draw: Draw, shapes: list[Shape]) -> Params:
    return Params(top_count(draw, 1)[1])


def pairs(draw: Draw) -> list[Bottom]:
    shape = (*draw(st.tuples(SIZES, SIZES)), 1, 1) if draw(st.booleans()) else draw(shapes(2, 4))
    label = draw(st.sampled_from([(shape[0],), (shape[0], 1, 1, 1), (shape[0], 1)]))
    return [Bottom(shape), Bottom(like(draw, shape)), Bottom(label, below(2))]


@spec("ContrastiveLoss", bottoms=pairs)
def contrastive(draw: Draw, shapes: list[Shape]) -> Params:
    fields = random_fields(draw, margin=[1.0, 3.0, 0.5], legacy_version=[True, False])
    return Params(block("contrastive_loss_param", fields))


# Recurrent layers


WIDTH = 3  # of hidden states as bottoms


def are_last(indices: list[int], count: int, bottoms: int) -> bool:
    """Return whether the indices contain those of the last ``count`` bottoms."""
    return set(range(bottoms - count, bottoms)) <= set(indices)


def sequence(draw: Draw) -> list[Bottom]:
    t, n = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    x = (t, n, *draw(st.sampled_from([(3,), (2, 2), (1,), ()] if rarely(draw) else [(3,), (2, 2)])))
    cont = (t, n) if not rarely(draw) else draw(shapes(1, 2))
    bottoms = [Bottom(x), Bottom(cont, below(2))]
    if draw(st.booleans()):
        bottoms.append(
            Bottom((n if not rarely(draw) else n + 1, *draw(st.sampled_from([(2,), (3, 2)]))))
        )
    # expose_hidden: the final states of the previous sequence.
    states = draw(st.sampled_from([0, 0, 1, 2]))
    return bottoms + [Bottom((1, n, WIDTH))] * states


@spec("LSTM", "RNN", bottoms=sequence)
def recurrent(draw: Draw, shapes: list[Shape], type_: str) -> Params:
    states = 2 if type_ == "LSTM" else 1
    hidden = [i for i, shape in enumerate(shapes) if shape == (1, shapes[0][1], WIDTH)]
    exposed = len(hidden) >= states and len(shapes) > 2 and are_last(hidden, states, len(shapes))
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


def clipped_sequence(draw: Draw) -> list[Bottom]:
    t, n = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    # TPU-MLIR's Lstm reads wrong values from a bottom of four axes.
    more = draw(st.sampled_from([(3,), (1,), (2, 1)]))
    bottoms = [Bottom((t, n, *more) if not rarely(draw, 12) else (t, n))]
    # With fewer values the Caffes read past the end of clip.
    clip = draw(st.sampled_from([(t * n,), (t + n - 1,), (t * n, 1, 1, 1)]))
    if rarely(draw):
        clip = draw(st.sampled_from([(t + 1, n + 1), (t * n, 1, 1, 1, 1)]))
    return [*bottoms, Bottom(clip, below(2))] if draw(st.booleans()) else bottoms


@spec("Lstm", bottoms=clipped_sequence, judges=("tpucaffe",))
def forks_lstm(draw: Draw, shapes: list[Shape]) -> Params:
    more = random_fields(draw, clipping_threshold=[0.0, 1.0], batch_size=[1, 2])
    size = draw(st.sampled_from([1, 2, 3])) if not rarely(draw, 12) else 0
    return Params(f"lstm_param {{ num_output: {size} {more} {FILLERS} }}")


def labelled(draw: Draw) -> list[Bottom]:
    """Scores (T, N, C) and labels (N, L), not all of them blank. The prebuilt Caffe needs as many
    samples as steps."""

    def values(rng: np.random.Generator, shape: Shape) -> NDArray[np.float32]:
        labels = below(c)(rng, shape)
        labels.flat[0] = 1
        return labels

    t, c = draw(st.integers(2, 6)), draw(st.integers(3, 5))
    labels = (t, draw(st.integers(1, 4)))
    if rarely(draw, 12):
        labels = draw(st.sampled_from([(t + 1, 2), (t,)]))
    return [Bottom((t, t, c, *draw(st.sampled_from([(), (1,)])))), Bottom(labels, values)]


@spec("CtcLoss", bottoms=labelled, judges=("caffe",))
def ctc_loss(draw: Draw, shapes: list[Shape]) -> Params:
    t, c = shapes[0][0], shapes[0][2]
    used = draw(st.sampled_from([t, t, max(1, t - 1)]))
    blank = draw(st.sampled_from([0, 0, c - 1]))
    fields = (
        f"alphabet_size: {c if not rarely(draw, 12) else 0} time_step: {used} blank_label: {blank}"
    )
    return Params(f"ctc_loss_param {{ {fields} }}")


def read_samples(draw: Draw) -> list[Bottom]:
    n, t, c = draw(st.integers(1, 4)), draw(st.integers(1, 5)), draw(st.integers(1, 3))
    labels = (n if not rarely(draw) else n + 1, draw(st.integers(1, 3)))
    scores = Bottom((n, t, c, *draw(st.sampled_from([(), (1,)]))), ties)
    return [scores, Bottom(labels, below(c, -1))]


@spec("LabelsequenceAccuracy", bottoms=read_samples, judges=("caffe",))
def labelsequence_accuracy(draw: Draw, shapes: list[Shape]) -> Params:
    return Params(
        block("labelsequence_accuracy_param", random_fields(draw, blank_label=[0, 1, -1]))
    )


# Data layers


@spec("ContinuationIndicator", bottoms=lambda draw: [])
def continuation_indicator(draw: Draw, bottoms: list[Shape]) -> Params:
    fields = f"time_step: {draw(st.integers(0, 4))} "
    fields += f"batch_size: {draw(st.integers(0, 3))}" if not rarely(draw) else ""
    return Params(f"continuation_indicator_param {{ {fields} }}")


# tpucaffe's DummyData does not run its fillers.
@spec("DummyData", bottoms=lambda draw: [], judges=("caffe",))
def dummy_data(draw: Draw, bottoms: list[Shape]) -> Params:
    tops = draw(st.integers(1, 3))
    count = draw(st.sampled_from([1, tops, tops + 1 if rarely(draw) else tops]))
    if draw(st.booleans()):
        fields = " ".join(
            "shape { " + " ".join(f"dim: {n}" for n in draw(shapes())) + " }" for _ in range(count)
        )
    else:
        fields = " ".join(
            f"{name}: {draw(SIZES)}"
            for name in ("num", "channels", "height", "width")
            for _ in range(count)
        )
    fillers = draw(st.sampled_from([0, 1, tops]))
    values = (f"value: {draw(st.sampled_from([0.0, 0.5, -2.0]))}" for _ in range(fillers))
    fields += "".join(f' data_filler {{ type: "constant" {value} }}' for value in values)
    return Params(f"dummy_data_param {{ {fields} }}", tops)


# Layers of forks that both tpucaffe and protogen have


@spec("Interp", bottoms=four_axes)
def interp(draw: Draw, shapes: list[Shape]) -> Params:
    form = draw(st.integers(0, 3))
    if form == 0:
        fields = f"height: {draw(st.integers(1, 9))} width: {draw(st.integers(1, 9))}"
    elif form == 1:
        fields = f"zoom_factor: {draw(st.integers(1, 4))}"
    elif form == 2:
        fields = f"shrink_factor: {draw(st.integers(1, 3))}"
    else:
        fields = f"zoom_factor: {draw(st.integers(1, 3))} shrink_factor: {draw(st.integers(1, 3))}"
    if rarely(draw, 4):
        fields += f" pad_beg: {draw(st.integers(-1, 0))} pad_end: {draw(st.integers(-1, 0))}"
    return Params(f"interp_param {{ {fields} }}")


def places(rng: np.random.Generator, shape: Shape) -> NDArray[np.float32]:
    """Return a mask as a MAX Pooling of 2x2 computes it, whose last windows may be clipped.

    Each value of a channel has another index.
    """
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
    fields = draw(st.sampled_from(["scale: 2", f"upsample_h: {h} upsample_w: {w}", "scale: 2 pad_out_h: true",
                                 f"scale: 2 upsample_h: {h} upsample_w: {w}"]))  # fmt: skip
    return Params(f"upsample_param {{ {fields} }}")


def two_maps(draw: Draw) -> list[Bottom]:
    return [
        Bottom(draw(shapes(4, 4))),
        Bottom((1, 3, draw(st.integers(20, 90)), draw(st.integers(20, 90)))),
    ]


@spec("PriorBox", bottoms=two_maps)
def prior_box(draw: Draw, shapes: list[Shape]) -> Params:
    sizes = draw(st.lists(st.sampled_from([4.0, 10.0, 15.5]), min_size=1, max_size=2, unique=True))
    fields = "".join(f" min_size: {s}" for s in sizes)
    if draw(st.booleans()):
        fields += "".join(f" max_size: {s + 6}" for s in sizes)
    ratios = draw(st.lists(st.sampled_from([1.0, 2.0, 3.0]), max_size=2, unique=True))
    fields += "".join(f" aspect_ratio: {r}" for r in ratios)
    fields += " " + random_fields(draw, flip=[True, False], clip=[True, False], offset=[0.5, 0.0])
    count = draw(st.sampled_from([0, 1, 4]))
    fields += "".join(f" variance: {draw(st.sampled_from([0.1, 0.2, 0.5]))}" for _ in range(count))
    fields += draw(
        st.sampled_from(
            ["", "", " step: 8", " step_h: 6 step_w: 9", " img_size: 70", " img_h: 60 img_w: 80"]
        )
    )
    if rarely(draw):  # Caffe refuses these, some of them only together with the others
        wrong = ["min_size: 0", "max_size: 9", "variance: 0", "img_h: 9", "step_w: 3", "step: 0"]
        fields += f" {draw(st.sampled_from(wrong))}"
    return Params(f"prior_box_param {{ {fields} }}")


def prior_values(rng: np.random.Generator, shape: Shape) -> NDArray[np.float32]:
    """Return boxes, of which some overlap much, and variances."""
    count = shape[2] // 4
    low = rng.random((count, 2)) * rng.choice([0.1, 0.7])
    corners = np.concatenate([low, low + rng.uniform(0.05, 0.5, (count, 2))], 1)
    both = np.stack([corners, rng.uniform(0.05, 0.3, (count, 4))])
    return both.reshape(shape).astype(np.float32)


def scored_boxes(draw: Draw) -> list[Bottom]:
    """Draw locations and scores of 4 classes or fewer: as many numbers as there are priors times 1 to
    4. Their numbers of channels define share_location and num_classes."""
    images, priors = draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 3, 5, 9, 13]))
    classes = draw(st.integers(1, 4))
    sets = draw(st.sampled_from([1, classes]))
    return [
        Bottom((images, priors * sets * 4)),
        Bottom((images, priors * classes)),
        Bottom((1, 2, priors * 4), prior_values),
    ]


# tpucaffe selects boxes as Intel's Caffe does.
@spec("DetectionOutput", bottoms=scored_boxes, judges=("tpucaffe",), dialect="intel")
def detection_output(draw: Draw, shapes: list[Shape]) -> Params:
    priors = shapes[2][2] // 4
    classes, sets = shapes[1][1] // priors, shapes[0][1] // (4 * priors)
    fields = f"num_classes: {classes} share_location: {str(sets == 1).lower()} "
    if rarely(draw, 12):
        fields = random_fields(draw, num_classes=[classes], share_location=[True, False])
    fields += " " + random_fields(
        draw,
        background_label_id=[0, 0, 1, -1, -2, 9],
        code_type=["CORNER", "CENTER_SIZE", "CORNER_SIZE"],
        keep_top_k=[-1, 0, 1, 3, 8, 50],
        confidence_threshold=[0.0, 0.01, 0.3, 0.9, 2.5, -0.5],
        variance_encoded_in_target=[True, False],
    )
    nms = random_fields(
        draw,
        nms_threshold=[0.0, 0.1, 0.45, 0.6, 0.8, 0.95, 1.0, 1.5, -0.1 if rarely(draw) else 0.3],
        top_k=[-1, 0, 1, 2, 4, 7, 100],
        eta=[0.5, 0.7, 0.9, 0.97, 1.0, 0.0 if rarely(draw) else 0.8],
    )
    # Of more than 16 equal scores, the order of C++'s sort is undefined: no ties with more.
    tied = draw(st.booleans()) and priors * classes <= 16
    values = {1: ties if tied else draw(st.sampled_from([normal, positive]))}
    return Params(f"detection_output_param {{ {fields} {block('nms_param', nms)} }}", values=values)


def rows_of_boxes(rng: np.random.Generator, shape: Shape) -> NDArray[np.float32]:
    """Return rows of DetectionOutput, or of labels with 8 columns, of two images and classes 1 to 3.
    Corners are on a coarse grid, so that many boxes overlap."""
    count = shape[2]
    low = rng.integers(0, 3, (count, 2)) / 4
    corners = np.concatenate([low, low + rng.integers(1, 3, (count, 2)) / 4], 1)
    columns = [rng.integers(0, 2, count), rng.integers(1, 4, count), rng.permutation(count) / count]
    columns += [*corners.T, *[rng.integers(0, 2, count)] * (shape[3] - 7)]
    return np.stack(columns, 1).reshape(shape).astype(np.float32)


def boxes_and_labels(draw: Draw) -> list[Bottom]:
    boxes, labels = draw(st.sampled_from([1, 3, 8, 20])), draw(st.sampled_from([1, 2, 6, 12]))
    width = 9 if rarely(draw) else 8
    return [Bottom((1, 1, boxes, 7), rows_of_boxes), Bottom((1, 1, labels, width), rows_of_boxes)]


@spec("DetectionEvaluate", bottoms=boxes_and_labels, judges=("tpucaffe",), dialect="intel")
def detection_evaluate(draw: Draw, shapes: list[Shape]) -> Params:
    fields = random_fields(
        draw,
        background_label_id=[0],
        overlap_threshold=[0.1, 0.3, 0.5, 0.9, 0.0 if rarely(draw) else 0.2],
        evaluate_difficult_gt=[True, False],
    )
    return Params(f"detection_evaluate_param {{ num_classes: 4 {fields} }}")


def rows_of_regions(images: int, size: int) -> Values:
    """Return rows of image, x0, y0, x1 and y1, for maps of at most ``size`` pixels, some beyond them."""

    def values(rng: np.random.Generator, shape: Shape) -> NDArray[np.float32]:
        count = math.prod(shape) // 5
        corners = rng.uniform(-2, size + 2, (count, 4))
        rows = np.concatenate([rng.integers(0, images, (count, 1)), corners], 1)
        return rows.reshape(shape).astype(np.float32)

    return values


def map_and_regions(draw: Draw) -> list[Bottom]:
    images, channels, height, width = (draw(st.integers(1, n)) for n in (3, 3, 8, 8))
    rows = draw(st.integers(1, 4))
    single = draw(st.booleans())
    shape = (images + draw(st.integers(0, 2)), 5, 1, 1) if single else (images, 1, rows, 5)
    return [
        Bottom((images, channels, height, width)),
        Bottom(shape, rows_of_regions(images, 2 * max(height, width))),
    ]


@spec("ROIPooling", bottoms=map_and_regions, judges=("tpucaffe",), dialect="tpumlir")
def roi_pooling(draw: Draw, shapes: list[Shape]) -> Params:
    size = st.integers(0 if rarely(draw, 16) else 1, 5)
    fields = f"pooled_h: {draw(size)} pooled_w: {draw(size)} "
    return Params(
        block("roi_pooling_param", fields + random_fields(draw, spatial_scale=[0.5, 0.25]))
    )


def proposal_maps(draw: Draw) -> list[Bottom]:
    images, height, width = (draw(st.integers(1, n)) for n in (2, 6, 6))
    # Its nine anchors need 18 channels; with fewer, tpucaffe reads beyond the bottom.
    return [
        Bottom((images, 18, height, width), positive),
        Bottom((images, 36, height, width)),
    ]


@spec("Proposal", bottoms=proposal_maps, judges=("tpucaffe",), dialect="tpumlir")
def proposal(draw: Draw, shapes: list[Shape]) -> Params:
    # Without any score of at least rpn_obj_threshold, tpucaffe's loop does not end.
    fields = random_fields(
        draw,
        feat_stride=[4, 16],
        anchor_base_size=[4, 8, 16],
        rpn_nms_threshold=[0.1, 0.4, 0.7],
        rpn_nms_post_top_n=[1, 7, 40],
    )
    low = draw(st.sampled_from([0.0, 0.05, 0.1]))
    fields += f" net_input_h: {16 * shapes[0][2]} net_input_w: {16 * shapes[0][3]}"
    return Params(block("proposal_param", f"{fields} rpn_obj_threshold: {low}"))


def yolo_maps(draw: Draw) -> list[Bottom]:
    images, classes = draw(st.integers(1, 2)), draw(st.integers(1, 4))
    size = st.integers(1, 4)
    return [
        Bottom((images, 3 * (5 + classes), draw(size), draw(size)))
        for _ in range(draw(st.integers(1, 3)))
    ]


def thresholds(draw: Draw) -> str:
    keep = draw(st.sampled_from([1, 3, 20]))
    return f"nms_threshold: {draw(st.sampled_from([0, 0.1, 0.45]))} keep_topk: {keep}"


@spec("YoloDetection", bottoms=yolo_maps, judges=("tpucaffe",), dialect="tpumlir")
def yolo_detection(draw: Draw, shapes: list[Shape]) -> Params:
    fields = f"{thresholds(draw)} obj_threshold: {draw(st.sampled_from([0.05, 0.3, 0.6]))}"
    fields += f" class_num: {shapes[0][1] // 3 - 5} net_input_h: 32 net_input_w: 48 "
    fields += random_fields(draw, spp_net=[True], yolo_v4=[True, False])
    if draw(st.booleans()):
        anchors = draw(st.lists(st.integers(4, 60), min_size=18, max_size=18))
        fields += f' anchors: "{",".join(map(str, anchors))}"'
    elif len(shapes) < 3:
        fields += " " + random_fields(draw, tiny=[True, False])
    return Params(f"yolo_detection_param {{ {fields} }}")


def shares(rng: np.random.Generator, shape: Shape) -> NDArray[np.float32]:
    """Return probabilities of classes: with more candidates than regions, Caffe writes out of bounds."""
    powers = np.exp(3 * rng.standard_normal(shape, np.float32))
    return powers / powers.sum(axis=1, keepdims=True)


def corners(rng: np.random.Generator, shape: Shape) -> NDArray[np.float32]:
    """Return regions: image, x0, y0, x1, y1."""
    low, size = (rng.uniform(0, 40, (*shape[:3], 2)) for _ in range(2))
    image = np.zeros((*shape[:3], 1))
    return np.concatenate([image, low, low + size], 3).astype(np.float32)


def regions_with_classes(draw: Draw) -> list[Bottom]:
    n, r, classes = draw(st.integers(1, 2)), draw(st.integers(1, 8)), draw(st.integers(2, 4))
    return [
        Bottom((n * r, 4 * classes)),
        Bottom((n * r, classes), shares),
        Bottom((n, 1, r, 5), corners),
    ]


@spec("FrcnDetection", bottoms=regions_with_classes, judges=("tpucaffe",), dialect="tpumlir")
def frcn_detection(draw: Draw, shapes: list[Shape]) -> Params:
    fields = f"{thresholds(draw)} obj_threshold: {draw(st.sampled_from([0.5, 0.7]))}"
    return Params(f"frcn_detection_param {{ {fields} class_num: {shapes[1][1]} }}")


def face_maps(draw: Draw) -> list[Bottom]:
    images, size = draw(st.integers(1, 2)), st.integers(1, 3)
    bottoms = []
    for _ in range(3):
        h, w = draw(size), draw(size)
        bottoms += [Bottom((images, channels, h, w)) for channels in (4, 8, 20)]
    return bottoms


@spec("RetinaFaceDetection", bottoms=face_maps, judges=("tpucaffe",), dialect="tpumlir")
def retinaface_detection(draw: Draw, shapes: list[Shape]) -> Params:
    fields = f"{thresholds(draw)} confidence_threshold: {draw(st.sampled_from([-0.5, 0.3, 1]))}"
    return Params(f"retinaface_detection_param {{ {fields} }}")


# Whole nets


@dataclass(frozen=True)
class Drawn:
    """A net with its inputs, phase, seed of the weights, the Caffes to compare with, and its dialect."""

    text: str
    feeds: dict[str, NDArray[np.float32]] = field(compare=False)
    phase: str
    seed: int
    judges: tuple[str, ...] = NAMES
    dialect: str = "bvlc"

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
    """Draw inputs and one layer of a type; one layer in eight is in-place, or every one."""
    type_spec = SPECS[type_]
    bottoms = type_spec.bottoms(draw) if type_spec.bottoms else [Bottom(draw(shapes()))]
    params = type_spec.params(draw, [bottom.shape for bottom in bottoms])
    names = [f"x{i}" for i in range(len(bottoms))]
    tops = [f"y{i}" for i in range(params.tops)]
    first_bottom = names[0] if names else ""
    if names and tops and (in_place or rarely(draw)):
        first_bottom = tops[0] = draw(st.sampled_from([names[0], "computed"]))
    phase = draw(st.sampled_from(["TEST", "TEST", "TEST", "TRAIN"]))
    seed = draw(st.integers(0, 999))
    rng = np.random.default_rng(seed)
    feeds = {
        name: params.values.get(i, bottom.values)(rng, bottom.shape)
        for i, (name, bottom) in enumerate(zip(names, bottoms, strict=True))
    }
    lines = [input_layer(name, bottom.shape) for name, bottom in zip(names, bottoms, strict=True)]
    if first_bottom == "computed":  # in-place on the top of a layer, not on an input
        lines.append(layer_text("before", "Power", names[:1], ["computed"], ""))
    lines.append(
        layer_text("l", type_, [first_bottom, *names[1:]][: len(names)], tops, params.text)
    )
    text = "\n".join(lines) + "\n"
    return Drawn(text, feeds, phase, seed, type_spec.judges, type_spec.dialect)


# Types with one bottom of any shape, for nets of several layers.
CHAIN = [
    *PLAIN, "ReLU", "ELU", "Swish", "Threshold", "Clip", "Exp", "Power", "Dropout", "Convolution",
    "Deconvolution", "Im2col", "InnerProduct", "Scale", "Bias", "BatchNorm", "PReLU", "Pooling",
    "SPP", "LRN", "MVN", "Softmax", "Split", "Silence", "Flatten", "Reshape", "Tile", "Slice",
    "Permute", "Reduction", "ArgMax",
]  # fmt: skip
SEVERAL_BOTTOMS = ["Eltwise", "Concat", "EuclideanLoss"]  # all of the same shape


class Builder:
    """Builder of nets of several layers.

    It adds only layers that protogen accepts. Nets of one layer test whether Caffe refuses the others.
    """

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        # BatchNorm in phase TRAIN differs in BVLC's prebuilt Caffe, and Pooling in tpucaffe.
        self.judge = draw(st.sampled_from(["caffe", "tpucaffe"]))
        without = {"caffe": ("BatchNorm", "Clip", "Mish"), "tpucaffe": ("Pooling", "SPP")}[
            self.judge
        ]
        self.types = [type_ for type_ in CHAIN if type_ not in without]
        self.lines: list[str] = []
        self.blobs: dict[str, Shape] = {}
        self.shared: list[tuple[str, Shape, str, str]] = []  # type, bottom, parameters, names

    def add(self, line: str) -> bool:
        """Add a layer if protogen accepts the net with it, and return whether it does."""
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
        """Draw a layer and try to add it, in-place or with a new top."""
        draw = self.draw
        index = len(self.lines)
        names = list(self.blobs)[-4:]
        bottom = draw(st.sampled_from(names))
        shape = self.blobs[bottom]
        if rarely(draw, 3):
            type_ = draw(st.sampled_from(SEVERAL_BOTTOMS))
            same_shape = [name for name, other in self.blobs.items() if other == shape]
            bottoms = [bottom, draw(st.sampled_from(same_shape))]
        else:
            type_ = draw(st.sampled_from(self.types))
            bottoms = [bottom]
        params = SPECS[type_].params(draw, [self.blobs[name] for name in bottoms])
        text = params.text
        shareable = [entry for entry in self.shared if entry[:2] == (type_, shape)]
        if shareable and draw(st.booleans()):  # share the parameters of an earlier layer
            text = " ".join(draw(st.sampled_from(shareable))[2:])
        elif type_ in ("Convolution", "InnerProduct", "PReLU"):
            names_text = f'param {{ name: "w{index}" }} param {{ name: "b{index}" }}'
            if "bias_term: false" in text or type_ == "PReLU":
                names_text = names_text.split(" param")[0]
            if draw(st.booleans()):
                self.shared.append((type_, shape, text, names_text))
                text += f" {names_text}"
        tops = [f"b{index}" if i == 0 else f"b{index}_{i}" for i in range(params.tops)]
        if tops and draw(st.booleans()):
            tops[0] = bottom
        if not self.add(layer_text(f"l{index}", type_, bottoms, tops, text)) and tops:
            self.add(layer_text(f"l{index}", type_, bottoms, [f"b{index}", *tops[1:]], text))


@st.composite
def several_layers(draw: Draw) -> Drawn:
    """Draw one or two inputs and two to eight layers.

    Layers may be in-place or share parameters, and several layers may read the same blob.
    """
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
