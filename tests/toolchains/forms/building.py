"""Forms of layers: small nets, written as tables, with their weights and inputs.

A table of one type has a form per line: slug, shapes of the bottoms, and the parameters. A ``+`` before the
slug adds the same layer between two convolutions, because toolchains fuse neighbours. A table of
nets has a line ``slug | type | text | inputs | option`` per net, and an indented line per layer:
``top top = Type(bottom, bottom) parameters ! further fields``, with ``name:`` in front if it is not the top's.
A kind of values may follow a shape: ``1x4x6x8:positive``.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

BLOCKS = {
    "AbsVal": "", "Convolution": "convolution_param", "Deconvolution": "convolution_param",
    "ConvolutionDepthwise": "convolution_param", "DepthwiseConvolution": "convolution_param",
    "DepthwiseConv": "convolution_param", "Im2col": "convolution_param", "ELU": "elu_param",
    "ReLU": "relu_param", "LRN": "lrn_param", "MVN": "mvn_param", "SPP": "spp_param",
    "Normalize": "norm_param", "ArgMax": "argmax_param", "PReLU": "prelu_param", "BN": "bn_param",
    "BatchNorm": "batch_norm_param", "InnerProduct": "inner_product_param", "ReLU6": "relu6_param",
    "LSTM": "recurrent_param", "RNN": "recurrent_param", "Lstm": "lstm_param",
    "HardSigmoid": "hardsigmoid_param", "PixelShuffle": "pixelshuffle_param",
    "MatMul": "matmul_param", "ROIPooling": "roi_pooling_param", "Clip": "clip_param", "MemoryData": "memory_data_param",
}  # fmt: skip
SIZES = {"kernel_size": "kernel", "operation": "", "norm_region": "", "pool": ""}

SAID = {"positive", "large", "huge", "small"}  # kinds of values that belong to the text of a form


@dataclass(frozen=True)
class Form:
    """A small net.

    Attributes:
        id: ``family/slug``; it does not change.
        type: the layer type that the form is about.
        text: the form as a reader would write it.
        net: the prototxt.
        feeds: (blob, shape, kind of values) of each input. Kinds: normal, positive, index9, rois,
            starts (0 begins a sequence), chosen (0 or 1), boxes, small.
        weights: "full" (every layer with its parameters, as Caffe writes it), "stripped" (only layers
            with weights, without parameters), "fillers" (the layer "y" is missing), "zero factor", "large factor"
            (full, third blob of BatchNorm), or "blobs NAME SHAPE,SHAPE": full, for a type that is
            unknown to protogen.
        meaning: a prototxt that computes the same in Caffe, if Caffe refuses the net.
    """

    id: str
    type: str
    text: str
    net: str
    feeds: tuple[tuple[str, tuple[int, ...], str], ...]
    weights: str = "full"
    meaning: str = ""

    @property
    def seed(self) -> int:
        return zlib.crc32(self.id.encode())


def block_of(kind: str) -> str:
    """Return the field with the parameters of a layer type."""
    if kind in BLOCKS:
        return BLOCKS[kind]
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind).lower() + "_param"


def words(params: str) -> str:
    """Return parameters as a reader writes them: ``kernel 3, stride 2``."""
    params = re.sub(r'(\w*filler) \{ type: "(\w+)"[^{}]*\}', r"\1=\2", params)
    params = re.sub(r"\w+: (-?[\w.+-]+|\"\w+\")", lambda m: m[0].replace(": ", "="), params)
    params = re.sub(r"shape \{ ([^{}]*)\}", lambda m: "shape=" + "x".join(
        re.findall(r"dim=(\S+)", m[1])), params)  # fmt: skip
    parts: dict[str, list[str]] = {}
    for key, value in re.findall(r"(\w+)=(\S+)", params):
        parts.setdefault(SIZES.get(key, key), []).append(value)
    listed = (f"{key} {' '.join(values)}".strip() for key, values in parts.items())
    return ", ".join(listed) or "no parameter"


def sizes(text: str) -> tuple[tuple[int, ...], str]:
    """Return the shape and the kind of ``1x4x6x8:positive``."""
    shape, _, kind = text.partition(":")
    return tuple(int(length) for length in shape.split("x") if length), kind or "normal"


def input_layer(name: str, shape: tuple[int, ...], layer: str = "") -> str:
    """Return the text of an Input layer."""
    dims = " ".join(f"dim: {length}" for length in shape)
    head = f'name: "{layer or name}" type: "Input" top: "{name}"'
    return f"layer {{ {head} input_param {{ shape {{ {dims} }} }} }}\n"


def layer(line: str, used: set[str]) -> str:
    """Return the text of the layer of a line."""
    match = re.fullmatch(r"(?:([\w/.-]+): )?([^=]*)= (\w+)\(([^)]*)\) ?(.*)", line.strip())
    if match is None:
        raise ValueError(line)
    name, tops, kind, bottoms, params = match.groups()
    params, _, further = params.partition("!")
    tops, bottoms = tops.split(), [b.strip() for b in bottoms.split(",") if b.strip()]
    if not name:
        name = tops[0] if tops and tops[0] not in used else kind.lower() + str(len(used))
    used.update((name, *tops))
    parts = [f'name: "{name}" type: "{kind}"']
    parts += [f'bottom: "{bottom}"' for bottom in bottoms] + [f'top: "{top}"' for top in tops]
    parts += [f"{block_of(kind)} {{ {params.strip()} }}"] if params.strip() else []
    parts += [further.strip()] if further.strip() else []
    return f"layer {{ {' '.join(parts)} }}\n"


def net_of(
    inputs: str, lines: list[str]
) -> tuple[str, tuple[tuple[str, tuple[int, ...], str], ...]]:
    """Return the prototxt and the feeds of inputs (``data 1x4x6x8; b 1x4``) and lines of layers."""
    feeds = []
    for part in inputs.split(";"):
        name, shape = part.split()
        feeds.append((name, *sizes(shape)))
    used = {name for name, _, _ in feeds}
    body = "".join(layer(line, used) for line in lines)
    return "".join(input_layer(name, shape) for name, shape, _ in feeds) + body, tuple(feeds)


def _rows(table: str) -> list[str]:
    return [line for line in table.splitlines() if line.strip() and not line.startswith("#")]


NAMES = ("data", "b", "c", "d")


def singles(family: str, kind: str, table: str, weights: str = "full") -> Iterator[Form]:
    """Yield the forms of a table of one layer type."""
    for row in _rows(table):
        slug, shapes, *rest = row.split(maxsplit=2)
        params = rest[0] if rest else ""
        between = slug.startswith("+")
        slug = slug.lstrip("+")
        shapes = shapes.split(",")
        names = NAMES[: len(shapes)]
        inputs = "; ".join(f"{n} {s}" for n, s in zip(names, shapes, strict=True))
        text = f"{words(params)} on {', '.join(s.partition(':')[0] for s in shapes)}"
        kinds = {sizes(shape)[1] for shape in shapes} & SAID
        text += "".join(f", {kind} values" for kind in sorted(kinds))
        call = f"{kind}({', '.join(names)}) {params}"
        net, feeds = net_of(inputs, [f"y = {call}"])
        yield Form(f"{family}/{slug}", kind, text, net, feeds, weights)
        if between:
            channels = sizes(shapes[0])[0][1]
            call = f"{kind}({', '.join(['before', *names[1:]])}) {params}"
            lines = [
                f"before = Convolution(data) num_output: {channels} kernel_size: 3 pad: 1",
                f"middle = {call}",
                "y = Convolution(middle) num_output: 5 kernel_size: 1",
            ]
            net, feeds = net_of(inputs, lines)
            yield Form(f"{family}/{slug}-between", kind, f"between convolutions: {text}", net,
                       feeds, weights)  # fmt: skip


def nets(family: str, table: str) -> Iterator[Form]:
    """Yield the forms of a table of nets."""
    heads: list[tuple[str, list[str]]] = []
    for row in _rows(table):
        if row.startswith(" "):
            heads[-1][1].append(row)
        else:
            heads.append((row, []))
    for head, lines in heads:
        slug, kind, text, inputs, *option = (part.strip() for part in head.split("|"))
        net, feeds = net_of(inputs, lines)
        yield Form(f"{family}/{slug}", kind, text, net, feeds, option[0] if option else "full")
