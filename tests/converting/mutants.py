"""Mutants of an ONNX model, each with one mistake that a converter could make."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper

Applied = bool | None  # False or None: the mistake does not apply to this node
Mistake = Callable[["Place"], Applied]
KINDS: dict[str, Mistake] = {}
MOST = 3  # maximum number of nodes per model for one kind of mistake


class Place:
    """One node of a model, with methods to change it."""

    def __init__(self, model: ModelProto, index: int) -> None:
        self.model = model
        self.node: NodeProto = model.graph.node[index]
        self.type = self.node.op_type

    def attribute(self, name, default=None):
        matches = [a for a in self.node.attribute if a.name == name]
        value = helper.get_attribute_value(matches[0]) if matches else default
        return value.decode() if isinstance(value, bytes) else value

    def set(self, name, value):
        for one in [a for a in self.node.attribute if a.name == name]:
            self.node.attribute.remove(one)
        if value is not None:
            self.node.attribute.append(helper.make_attribute(name, value))
        return True

    def constant(self, index):
        names = {tensor.name: tensor for tensor in self.model.graph.initializer}
        tensor = names.get(self.node.input[index]) if index < len(self.node.input) else None
        return None if tensor is None else numpy_helper.to_array(tensor)

    def put(self, index, array):
        """Set another constant for this node only."""
        name = f"{self.node.input[index]}@spoilt"
        self.model.graph.initializer.append(numpy_helper.from_array(np.array(array), name))
        self.node.input[index] = name
        return True

    def become(self, op_type, **attributes):
        self.node.op_type = op_type
        del self.node.attribute[:]
        for name, value in attributes.items():
            self.set(name, value)
        return True

    def weights(self, *types):
        """Return the constant by which a node of these types multiplies."""
        index = 0 if self.type == "Gather" else 1
        return self.constant(index) if self.type in types else None

    def put_weights(self, array):
        return self.put(0 if self.type == "Gather" else 1, np.ascontiguousarray(array))


def kind(name: str) -> Callable[[Mistake], Mistake]:
    def register(mistake: Mistake) -> Mistake:
        KINDS[name] = mistake
        return mistake

    return register


def mutants_of(model: ModelProto, name: str) -> Iterator[tuple[str, ModelProto]]:
    """Yield the operator and output of a node, and the model with this mistake at that node."""
    count = 0
    for index, node in enumerate(model.graph.node):
        copy = ModelProto()
        copy.CopyFrom(model)
        if KINDS[name](Place(copy, index)):
            count += 1
            yield f"{node.op_type} {node.output[0]}", copy
        if count == MOST:
            return


MULTIPLY = ("Conv", "ConvTranspose", "Gemm")
POOLS = ("MaxPool", "AveragePool")


# Windows


@kind("window shifted by one")
def _(at):
    pads = at.attribute("pads", [0, 0, 0, 0])
    if (
        at.type in (*MULTIPLY[:2], *POOLS)
        and max(pads) > 0
        and at.attribute("kernel_shape", [2]) != [1, 1]
    ):
        h, w, bottom, right = pads
        moved = [h, w - 1, bottom, right + 1] if w else [h, w + 1, bottom, right - 1]
        return at.set("pads", moved)


@kind("pad lost")
def _(at):
    return (
        at.type in ("Conv", "ConvTranspose")
        and max(at.attribute("pads", [0])) > 0
        and at.set("pads", None)
    )


@kind("stride")
def _(at):
    strides = at.attribute("strides", [1, 1])
    return at.type in (*MULTIPLY[:2], *POOLS) and at.set("strides", [strides[0], strides[1] + 1])


@kind("dilation")
def _(at):
    dilations, w = at.attribute("dilations", [1, 1]), at.weights("Conv")
    return (
        w is not None
        and w.shape[-1] > 1
        and at.set("dilations", [1, 1] if max(dilations) > 1 else [1, 2])
    )


@kind("group")
def _(at):
    w, group = at.weights("Conv"), at.attribute("group", 1)
    if w is None or group == 1:
        return False
    at.set("group", 1)
    return at.put_weights(np.concatenate([w] * group, 1))


@kind("one more window")
def _(at):
    pads, strides = at.attribute("pads", [0, 0, 0, 0]), at.attribute("strides", [1, 1])
    more = [*pads[:2], pads[2] + strides[0], pads[3] + strides[1]]
    return at.type in POOLS and at.set("pads", more)


@kind("windows rounded")
def _(at):
    pads = at.attribute("pads", [0, 0, 0, 0])
    if at.type in POOLS and max(pads[2:]) > max(pads[:2]):
        return at.set("pads", [*pads[:2], *pads[:2]])


@kind("kernel by one")
def _(at):
    kernel = at.attribute("kernel_shape", [1, 1])
    pads = at.attribute("pads", [0, 0, 0, 0])
    if at.type in POOLS and kernel[1] > 2:
        at.set("pads", [*pads[:3], max(0, pads[3] - 1)])
        return at.set("kernel_shape", [kernel[0], kernel[1] - 1])


@kind("max for average")
def _(at):
    keep = {n: at.attribute(n) for n in ("kernel_shape", "strides", "pads")}
    return at.type == "AveragePool" and at.become("MaxPool", **keep)


@kind("average for max")
def _(at):
    keep = {n: at.attribute(n) for n in ("kernel_shape", "strides", "pads")}
    return at.type == "MaxPool" and len(at.node.output) == 1 and at.become("AveragePool", **keep)


@kind("padding counted otherwise")
def _(at):
    if at.type == "AveragePool" and max(at.attribute("pads", [0])) > 0:
        return at.set("count_include_pad", 1 - at.attribute("count_include_pad", 0))


@kind("global max for average")
def _(at):
    return at.type == "GlobalAveragePool" and at.become("GlobalMaxPool")


# Weights


@kind("kernel flipped")
def _(at):
    w = at.weights("Conv", "ConvTranspose")
    return w is not None and w.shape[-1] > 1 and at.put_weights(w[..., ::-1, ::-1])


@kind("height for width")
def _(at):
    w = at.weights("Conv", "ConvTranspose")
    return w is not None and w.shape[-1] > 1 and at.put_weights(w.swapaxes(2, 3))


@kind("weights transposed")
def _(at):
    w = at.weights("Gemm")
    return w is not None and at.put_weights(w.reshape(w.shape[::-1]).T)


@kind("weights scaled")
def _(at):
    w = at.weights(*MULTIPLY, "Gather")
    return w is not None and w.dtype == np.float32 and at.put_weights(w * np.float32(1.01))


@kind("two channels swapped")
def _(at):
    w = at.weights(*MULTIPLY)
    return w is not None and len(w) > 1 and at.put_weights(w[[1, 0, *range(2, len(w))]])


@kind("one weight changed")
def _(at):
    w = at.weights(*MULTIPLY)
    if w is not None:
        w = w.copy()
        w.flat[w.size // 2] += np.abs(w).max() / 2
        return at.put_weights(w)


@kind("inputs in the other order")
def _(at):
    w = at.weights("Conv", "Gemm")
    return w is not None and w.shape[1] > 1 and at.put_weights(w[:, ::-1])


@kind("bias lost")
def _(at):
    if at.type in MULTIPLY and at.constant(2) is not None:
        del at.node.input[2:]
        return True


@kind("one bias changed")
def _(at):
    b = at.constant(2)
    if at.type in MULTIPLY and b is not None:
        return at.put(2, np.concatenate([b[:1] + 0.1, b[1:]]))


@kind("product's factor")
def _(at):
    return at.type == "Gemm" and at.set("alpha", 1.02)


# Normalisation


@kind("epsilon")
def _(at):
    return at.type == "BatchNormalization" and at.set("epsilon", 0.1)


@kind("mean for variance")
def _(at):
    mean, variance = at.constant(3), at.constant(4)
    if at.type == "BatchNormalization":
        at.put(3, variance)
        return at.put(4, np.abs(mean) + 0.01)


@kind("statistics lost")
def _(at):
    if at.type == "BatchNormalization":
        at.put(3, 0 * at.constant(3))
        return at.put(4, 0 * at.constant(4) + 1)


@kind("deviation for variance")
def _(at):
    return at.type == "BatchNormalization" and at.put(4, np.sqrt(at.constant(4)))


@kind("LRN's alpha")
def _(at):
    return at.type == "LRN" and at.set("alpha", at.attribute("alpha") * at.attribute("size"))


@kind("LRN's beta")
def _(at):
    return at.type == "LRN" and at.set("beta", at.attribute("beta") + 0.1)


@kind("LRN's size")
def _(at):
    return at.type == "LRN" and at.set("size", at.attribute("size") + 2)


@kind("LRN's k")
def _(at):
    return at.type == "LRN" and at.set("bias", at.attribute("bias", 1.0) + 0.1)


# Activations and arithmetic


@kind("Neg for Relu")
def _(at):
    return at.type == "Relu" and at.become("Neg")


@kind("Abs for Relu")
def _(at):
    return at.type == "Relu" and at.become("Abs")


@kind("LeakyRelu for Relu")
def _(at):
    return at.type == "Relu" and at.become("LeakyRelu", alpha=0.01)


@kind("activation lost")
def _(at):
    types = ("Relu", "Sigmoid", "Tanh", "Elu", "LeakyRelu", "Softmax", "Clip", "PRelu")
    if at.type in types:
        del at.node.input[1:]
        return at.become("Identity")


@kind("slope")
def _(at):
    if at.type in ("LeakyRelu", "Elu"):
        return at.set("alpha", at.attribute("alpha", 0.01) * 1.1)
    slopes = at.constant(1)
    if at.type == "PRelu" and slopes is not None:
        return at.put(1, np.concatenate([slopes[:1] + 0.05, slopes[1:]]))


@kind("another sigmoid")
def _(at):
    return (at.type == "Sigmoid" and at.become("HardSigmoid")) or (
        at.type == "Tanh" and at.become("Softsign")
    )


@kind("bounds of Clip")
def _(at):
    high = at.constant(2)
    return at.type == "Clip" and high is not None and at.put(2, high * np.float32(1.2))


@kind("Mul for Add")
def _(at):
    return at.type == "Add" and at.become("Mul")


@kind("Sub for Add")
def _(at):
    return at.type == "Add" and at.become("Sub")


@kind("Add for Mul")
def _(at):
    return at.type == "Mul" and at.become("Add")


@kind("Add for Max")
def _(at):
    return at.type == "Max" and len(at.node.input) == 2 and at.become("Add")


@kind("operands swapped")
def _(at):
    if at.type in ("Sub", "Div", "Pow", "Greater"):
        at.node.input[0], at.node.input[1] = at.node.input[1], at.node.input[0]
        return True


@kind("constant of arithmetic")
def _(at):
    value = at.constant(1)
    if (
        at.type in ("Add", "Mul", "Sub", "Div", "Pow")
        and value is not None
        and value.dtype == np.float32
    ):
        return at.put(1, value * np.float32(1.05) + np.float32(0.01))


@kind("mean for sum")
def _(at):
    keep = {n: at.attribute(n) for n in ("keepdims",)}
    other = {"ReduceSum": "ReduceMean", "ReduceMean": "ReduceSum"}
    return at.type in other and at.become(other[at.type], **keep)


# Axes, order, shape


@kind("axis of Softmax")
def _(at):
    axis = at.attribute("axis", -1)
    return at.type == "Softmax" and at.set("axis", 1 if axis != 1 else 0)


@kind("axis of Concat")
def _(at):
    return (
        at.type == "Concat" and len(at.node.input) > 1 and at.set("axis", at.attribute("axis") - 1)
    )


@kind("order of Concat")
def _(at):
    if at.type == "Concat" and len(set(at.node.input)) > 1:
        names = list(at.node.input)[::-1]
        del at.node.input[:]
        at.node.input.extend(names)
        return True


@kind("axis of Flatten")
def _(at):
    return at.type == "Flatten" and at.set("axis", 2 if at.attribute("axis", 1) == 1 else 1)


@kind("order of Split")
def _(at):
    if at.type == "Split":
        names = list(at.node.output)[::-1]
        del at.node.output[:]
        at.node.output.extend(names)
        return True


@kind("perm of Transpose")
def _(at):
    perm = at.attribute("perm")
    return at.type == "Transpose" and at.set("perm", [*perm[:-2], perm[-1], perm[-2]])


@kind("bounds of Slice")
def _(at):
    starts, ends = at.constant(1), at.constant(2)
    if at.type == "Slice" and starts is not None and ends is not None and starts[-1] > 0:
        at.put(1, np.array([*starts[:-1], starts[-1] - 1]))
        return at.put(2, np.array([*ends[:-1], ends[-1] - 1]))


@kind("order of what is reshaped")
def _(at):
    """Change the layout before a Reshape or Flatten: channels become the last axis."""
    if at.type not in ("Reshape", "Flatten") or at.constant(0) is not None:
        return False
    shapes = {v.name: len(v.type.tensor_type.shape.dim) for v in typed_values(at.model)}
    rank = shapes.get(at.node.input[0], 0)
    if rank < 3:
        return False
    perm = [0, *range(2, rank), 1]
    moved = f"{at.node.output[0]}@moved"
    at.model.graph.node.insert(
        list(at.model.graph.node).index(at.node),
        helper.make_node("Transpose", [at.node.input[0]], [moved], perm=perm),
    )
    node = next(n for n in at.model.graph.node if n.output[0] == moved[:-6])
    node.input[0] = moved
    return True


@kind("place of TopK")
def _(at):
    return at.type == "TopK" and at.set("largest", 1 - at.attribute("largest", 1))


@kind("rows of a table")
def _(at):
    table = at.weights("Gather")
    if table is not None and table.dtype == np.float32:
        return at.put_weights(np.roll(table, 1, 0))


@kind("outputs swapped")
def _(at):
    first = at.model.graph.node[0].output[0] == at.node.output[0]
    shapes = [
        (v, [d.dim_value for d in v.type.tensor_type.shape.dim]) for v in at.model.graph.output
    ]
    pair = [(a, b) for i, (a, s) in enumerate(shapes) for b, t in shapes[i + 1 :] if s == t]
    if not first or not pair:
        return False
    names = (pair[0][0].name, pair[0][1].name)
    swap = dict(zip(names, names[::-1], strict=True))
    for node in at.model.graph.node:
        for names_ in (node.input, node.output):
            for i, name in enumerate(names_):
                names_[i] = swap.get(name, name)
    return True


@kind("output dropped")
def _(at):
    """Drop the last output and the operators that only it needs."""
    first = at.model.graph.node[0].output[0] == at.node.output[0]
    if not first or len(at.model.graph.output) < 2:
        return False
    del at.model.graph.output[-1]
    needed = {value.name for value in at.model.graph.output}
    for node in reversed(list(at.model.graph.node)):
        if needed.intersection(node.output):
            needed.update(node.input)
        else:
            at.model.graph.node.remove(node)
    return True


# Resizing


@kind("mode of Resize")
def _(at):
    mode = at.attribute("mode", "nearest")
    return at.type == "Resize" and at.set("mode", "linear" if mode == "nearest" else "nearest")


@kind("rounding of Resize")
def _(at):
    if at.type == "Resize" and at.attribute("mode", "nearest") == "nearest":
        return at.set("nearest_mode", "ceil")


@kind("coordinates of Resize")
def _(at):
    mode = at.attribute("coordinate_transformation_mode", "half_pixel")
    other = "half_pixel" if mode != "half_pixel" else "asymmetric"
    return at.type == "Resize" and at.set("coordinate_transformation_mode", other)


def typed_values(model):
    graph = onnx.shape_inference.infer_shapes(model).graph
    return [*graph.value_info, *graph.input, *graph.output]
