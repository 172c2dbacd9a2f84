"""The words that conditions of data files may use: facts about a layer in its net, or about a net.

``facts`` computes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from protogen.formats.message import Message
from protogen.layers import LayerType

# Each word of a layer, with an example of its value.
LAYER_WORDS: Mapping[str, tuple[Any, str]] = {
    "bottoms": (1, "number of bottoms"),
    "tops": (1, "number of tops"),
    "batch": (1, "length of the first axis of the first bottom"),
    "channels": (1, "length of its second axis"),
    "height": (1, "length of its third axis; 1 if it has none"),
    "width": (1, "length of its fourth axis; 1 if it has none"),
    "rank": (4, "its number of axes"),
    "shape": ([1, 1, 1, 1], "its shape"),
    "shapes": ([[1, 1, 1, 1]], "the shapes of all bottoms"),
    "second_channels": (1, "length of the second axis of the second bottom; 0 without one"),
    "ranks": ([4], "the number of axes of each bottom"),
    "equal_shapes": (True, "whether all bottoms have the same shape"),
    "num_output": (1, "length of the second axis of the first top"),
    "out_height": (1, "length of its third axis; 1 if it has none"),
    "out_width": (1, "length of its fourth axis; 1 if it has none"),
    "out_rank": (4, "its number of axes"),
    "out_shape": ([1, 1, 1, 1], "its shape"),
    "kernel": (1, "the larger kernel size of height and width"),
    "kernel_h": (1, "kernel height"),
    "kernel_w": (1, "kernel width"),
    "stride": (1, "the larger stride"),
    "stride_h": (1, "stride along the height"),
    "stride_w": (1, "stride along the width"),
    "pad": (0, "the larger pad"),
    "pad_h": (0, "pad along the height"),
    "pad_w": (0, "pad along the width"),
    "dilation": (1, "the larger dilation"),
    "dilation_h": (1, "dilation along the height"),
    "dilation_w": (1, "dilation along the width"),
    "group": (1, "number of groups"),
    "depthwise": (False, "whether each channel is a group of its own, and more than one"),
    "cut_window": (False, "whether the last pooling window reaches beyond the padded bottom"),
    "repeated": (False, "whether kernel_size, stride, pad or dilation is set twice"),
    "repeated_pair": (False, "whether one of them is set twice with unequal values"),
    "global_pool": (False, "whether the window is the whole bottom"),
    "in_place": (False, "whether a top is also a bottom"),
    "in_place_on_input": (False, "whether it is in place on an input of the net"),
    "is_output": (True, "whether no layer reads one of its tops"),
    "from_types": ([], "the types of the layers that write its bottoms"),
    "from_input": (True, "whether a bottom is an input of the net"),
    "bottom_readers": (1, "how many layers read its first bottom, this one included"),
    "read_before_by": ([], "the types of the layers before it that read its first bottom"),
    "read_by": ([], "the types of the layers that read its tops"),
    "nonnegative": (False, "whether no value of its first bottom can be below 0"),
    "constant": (False, "whether its bottoms do not depend on the numbers of the inputs"),
    "blobs": (0, "number of weight blobs"),
    "blob_values": (0, "number of values of its first weight blob; 0 without one"),
    "in_caffemodel": (True, "whether the caffemodel has the layer; true without a caffemodel"),
    "in_caffemodel_with_parameters": (
        True,
        "whether the caffemodel has the layer and its parameters; true without a caffemodel",
    ),
    "zero_blobs": ([], "positions of the small weight blobs that hold only zeros"),
    "written": ([], "names of the fields that the text sets in its parameter block"),
    "unused_tops": (0, "number of tops that no layer reads"),
    "name_endings": (
        [],
        "what follows the layer's name in the names of blobs that begin with it: _1 for a blob a_1 "
        "of a net with a layer a",
    ),
    "included_by_phase": (
        True,
        "whether it has no include rule, or one of them names the phase of the net",
    ),
    "net_outputs": (1, "number of outputs of the net"),
    "outputs_written": (
        0,
        "how many tops of the layers before it have the name of an output of the net; with layers "
        "in place, one output counts more than once",
    ),
    "computed_by": (
        "",
        "the type of the layer that computes its first bottom, without those that only reorder or "
        "pass on numbers (Permute, Reshape, Flatten, Split, Dropout); empty for an input",
    ),
    "mean_batch": (
        0,
        "length of the first axis of the global mean (AVE Pooling of whole maps, Reduction MEAN of axis "
        "2) that its first bottom is, behind layers that reorder, pass on, scale or shift (Scale, "
        "Power, BatchNorm, a Convolution with groups), each read once; 0 without one",
    ),
    "reorders": (
        False,
        "whether it is a Permute that changes the order of axes longer than 1",
    ),
    "computed_from": (
        [],
        "the types of the layers that write its bottoms, and of those before them as far as the "
        "layers between have tops with the axes of their bottoms and no number from another place "
        "(ReLU, Sigmoid, Power, Eltwise, Scale, BatchNorm, Softmax, Concat, Slice, Permute and the like)",
    ),
    "used_by": (
        [],
        "the types of the layers that read its tops, and of those behind them as far as the layers "
        "between only reorder or pass on numbers (Permute, Reshape, Flatten, Split, Dropout)",
    ),
    "axis_length": (1, "length of its first bottom along its axis; 0 without an axis"),
    "point_sum": (0, "the sum of its slice points"),
}
# Words with parts, which have no example of their own.
STRUCTURED_WORDS: Mapping[str, str] = {
    "type": "the layer's type",
    "param.FIELD": "a field of its parameters, with its default; a list for a repeated field",
    "counts.FIELD": "number of values of a repeated field of its parameters",
    "previous.WORD": "a word of the layer that writes its first bottom: type, param, written, rank, "
    "batch, channels, height, num_output, bottoms, bottom_readers, group, depthwise, blobs, in_place, renamed, "
    "is_output or from_types",
    "next.WORD": "the same of the layer that reads its tops, if there is only one",
    "origin.WORD": "the same of the layer that computes its first bottom, without layers of one bottom "
    "that pass on, reshape or change each number (Reshape, Flatten, ReLU, Power, Scale and the like)",
}
NET_WORDS: Mapping[str, Any] = {
    "v1": False, "legacy_input": False, "legacy_dims": False, "legacy_shape": False,
    "inputs": 1, "outputs": 1, "batch": 1, "input_ranks": [4], "types": [],
    "renamed_inputs": 0, "input_layers": 1, "shared_weights": False, "phase_rules": False,
    "exclude_rules": False, "caffemodel": True, "empty_caffemodel": False, "input_is_output": False, "computing_layers": 1,
    "in_place_on_input": False, "excluded": [], "left_out": 0,
    "left_out_types": [],
}  # fmt: skip
NET_MEANINGS: Mapping[str, str] = {
    "v1": "whether the text has the old layers { } (V0 or V1)",
    "legacy_input": "whether the inputs are fields input: of the net",
    "legacy_dims": "whether their shapes are fields input_dim",
    "legacy_shape": "whether their shapes are fields input_shape",
    "inputs": "number of inputs",
    "outputs": "number of outputs",
    "batch": "length of the first axis of the first input",
    "input_ranks": "number of axes of each input",
    "types": "the types of all layers",
    "renamed_inputs": "number of Input layers whose name is not that of their top",
    "input_layers": "number of Input layers",
    "shared_weights": "whether layers share weights by param { name }",
    "phase_rules": "whether a layer has an include or exclude rule",
    "exclude_rules": "whether a layer has an exclude rule",
    "left_out": "number of layers of the text that its rules leave out in phase TEST",
    "left_out_types": "types of the layers of the text that its rules leave out in phase TEST",
    "caffemodel": "whether a caffemodel is given",
    "empty_caffemodel": "whether the caffemodel has no layer",
    "input_is_output": "whether no layer reads an input",
    "computing_layers": "number of layers without the inputs",
    "in_place_on_input": "whether a layer is in place on an input; a Dropout does not count",
    "excluded": "the types of the layers that have an exclude rule and are not in the net",
}


class Text(str):
    """A text in a condition. Arithmetic with it is refused, so that its length cannot grow."""

    __slots__ = ()

    def _refuse(self, other: object) -> Any:
        raise TypeError("no arithmetic with texts")

    __mul__ = __rmul__ = __add__ = __mod__ = _refuse


class Values(list[Any]):
    """A list in a condition. Arithmetic with it is refused, so that its length cannot grow."""

    __slots__ = ()

    def _refuse(self, other: object) -> Any:
        raise TypeError("no arithmetic with lists")

    __mul__ = __rmul__ = __add__ = _refuse


def safe(value: Any) -> Any:
    """Return a value in the form that conditions may use."""
    if isinstance(value, str):
        return Text(value)
    if isinstance(value, (list, tuple)):
        return Values(safe(item) for item in value)
    if isinstance(value, Message):
        return _fields(value, depth=1)
    return value


def _fields(block: Message, depth: int = 0) -> dict[str, Any]:
    """Return all fields of a block, with their defaults; inner messages up to one level."""
    values: dict[str, Any] = {}
    for name, known in block.kind.fields.items() if block.kind else ():
        if known.message is None or (block.has(name) and depth < 2):
            value = getattr(block, name)
            if known.message is not None:
                many = value if isinstance(value, list) else [value]
                inner = [_fields(one, depth + 1) for one in many]
                values[name] = Values(inner) if known.repeated else inner[0]
            else:
                values[name] = safe(value)
    return values


def parameters(params: Message, kind: LayerType | None) -> dict[str, Any]:
    """Return the fields of a layer's parameter blocks by name, with their defaults."""
    blocks = [name for name in (kind.reads if kind else ()) if name.endswith("_param")]
    blocks += [f.name for f in params.fields if f.name.endswith("_param") and f.name not in blocks]
    values: dict[str, Any] = {}
    for name in reversed(blocks):
        block = getattr(params, name)
        if isinstance(block, Message):
            values.update(_fields(block))
            values.update({f.name: safe(f.value) for f in block.fields if f.type is None})
    return values


def counts(param: Mapping[str, Any]) -> dict[str, int]:
    """Return the number of values of each repeated field of a layer's parameter blocks."""
    return {name: len(value) for name, value in param.items() if isinstance(value, Values)}


def written(params: Message) -> Values:
    """Return the names of the fields that the text sets in a layer's parameter blocks."""
    blocks = (f.value for f in params.fields if f.name.endswith("_param"))
    return Values(
        dict.fromkeys(
            Text(item.name) for block in blocks if isinstance(block, Message)
            for item in block.fields
        )
    )  # fmt: skip


NEIGHBOUR = {"type": Text(""), "param": {}, "written": Values(), "rank": 4, "bottoms": 1,
              "in_place": False, "bottom_readers": 1, "group": 1, "batch": 1, "channels": 1,
              "height": 1, "num_output": 1, "depthwise": False, "blobs": 0, "renamed": False,
              "is_output": True, "from_types": Values()}  # fmt: skip


def examples(types: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the words of a plain layer of each type, for a trial of a condition."""
    base = {name: safe(value) for name, (value, _) in LAYER_WORDS.items()}
    for type_ in types or ("ReLU",):
        kind = LayerType.registry.get(type_)
        param = AnyField() if kind is None else parameters(Message.make("LayerParameter"), kind)
        neighbour = {**NEIGHBOUR, "param": AnyField()}
        yield {
            **base,
            "type": Text(type_),
            "param": param,
            "counts": AnyField() if kind is None else counts(param),
            "previous": neighbour,
            "next": neighbour,
            "origin": neighbour,
        }


class AnyField(dict[str, Any]):
    """The parameters of a layer of unknown type: each field has a value."""

    def __missing__(self, key: str) -> Any:
        return 0
