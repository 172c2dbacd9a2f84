"""Preprocessing of images as part of the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto

from protogen.errors import InputError
from protogen.geometry import shape_text
from protogen.onnx.program import Node, Program, Tensor, Value, free_name, tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Preprocessing in Caffe's order: swap channels, subtract the mean, multiply by ``scale``.

    ``mean`` has shape (C,) or (C, H, W), in the channel order of the net's input (usually blue
    first). A mean larger than the input is cropped at its centre, as Caffe does in the TEST phase.
    ``nhwc``: the model's input has the axes N, H, W, C. ``uint8``: the model's input is uint8.
    ``blob`` is the input to preprocess; by default the first one with four axes.
    """

    mean: NDArray[np.floating] | None = None
    scale: float = 1.0
    swap_channels: bool = False
    nhwc: bool = False
    uint8: bool = False
    blob: str = ""

    def input_of(self, shapes: Mapping[str, tuple[int, ...]]) -> str:
        """Return the name of the input to preprocess."""
        return self.blob or next(name for name, shape in shapes.items() if len(shape) == 4)

    def random(self, shape: tuple[int, ...], seed: int) -> NDArray[Any]:
        """Return noise images in the layout and dtype of the model's input.

        ``shape`` is that of the net's input, (N, C, H, W).
        """
        n, c, h, w = shape
        pixels = np.random.default_rng(seed).integers(0, 256, (n, h, w, c) if self.nhwc else shape)
        return pixels.astype(np.uint8 if self.uint8 else np.float32)

    def apply(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """Preprocess images in numpy, computing in float64; return the net's input as float32."""
        x = pixels.astype(np.float64)
        if self.nhwc:
            x = x.transpose(0, 3, 1, 2)
        if self.swap_channels:
            x = x[:, ::-1]
        if self.mean is not None:
            value = Value(self.blob or "data", x.shape)
            x = x - _mean(value, self.mean)
        return np.ascontiguousarray(x * self.scale, np.float32)


def preprocessed(program: Program, options: Preprocessing) -> Program:
    """Return the program with preprocessing operators between an input and its readers.

    The input keeps its name.

    Raises:
        InputError: the input is unknown or does not have 4 axes, or the mean does not fit it.
    """
    value = _input(program, options.blob)
    assert value.shape is not None
    n, c, h, w = value.shape
    used_names = (
        program.interface | set(program.tensors) | {w for x in program.nodes for w in x.writes}
    )
    tensors = dict(program.tensors)
    steps: list[Node] = []
    current = value.name

    def add(op_type: str, *operands: str, **attributes: Any) -> None:
        nonlocal current
        write = free_name(f"{value.name}@preprocess/{op_type}", used_names)
        steps.append(Node(op_type, (current, *operands), (write,), attributes))
        current = write

    def constant(constant_tensor: Tensor) -> str:
        name = free_name(f"{value.name}@preprocess.const", used_names)
        tensors[name] = constant_tensor
        return name

    if options.uint8:
        add("Cast", to=TensorProto.FLOAT)
    if options.nhwc:
        add("Transpose", perm=[0, 3, 1, 2])
    if options.swap_channels:
        order = np.arange(_whole(value, c))[::-1].copy()
        add("Gather", constant(tensor(order)), axis=1)
    if options.mean is not None:
        add("Sub", constant(tensor(_mean(value, options.mean))))
    if options.scale != 1:
        add("Mul", constant(tensor(np.array(options.scale, np.float32))))
    if current == value.name:
        return program
    shape = (n, h, w, c) if options.nhwc else (n, c, h, w)
    elem = TensorProto.UINT8 if options.uint8 else TensorProto.FLOAT
    new_input = replace(value, shape=shape, elem_type=elem)
    nodes = [
        replace(node, reads=tuple(current if read == value.name else read for read in node.reads))
        for node in program.nodes
    ]
    extended = program.with_nodes([*steps, *nodes], tensors)
    return replace(
        extended, inputs=[new_input if v.name == value.name else v for v in program.inputs]
    )


def _input(program: Program, blob: str) -> Value:
    for value in program.inputs:
        fits = value.shape is not None and len(value.shape) == 4
        if value.name == blob or (not blob and fits):
            if fits:
                return value
            raise InputError(
                "must have 4 axes (N, C, H, W) for preprocessing", subject=f'input "{blob}"'
            )
    names = ", ".join(value.name for value in program.inputs) or "none"
    problem = f'unknown input "{blob}"' if blob else "no input has 4 axes"
    raise InputError(f"{problem} (inputs: {names})", subject="preprocessing")


def _whole(value: Value, length: int | str) -> int:
    """Return the length of an axis; raise InputError if the axis is free."""
    if not isinstance(length, int):
        raise InputError(
            f'axis "{length}" is free, but this preprocessing needs its length',
            subject=f'input "{value.name}"',
        )
    return length


def _mean(value: Value, mean: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the mean as (C, 1, 1) or (1, 1, 1), or cropped to the input's (C, H, W)."""
    assert value.shape is not None
    _, c, h, w = value.shape
    if mean.ndim == 1:
        mean = mean.reshape(-1, 1, 1)
    if mean.ndim != 3 or mean.shape[0] not in (1, c):
        shape = shape_text(mean.shape)
        raise InputError(
            f"a mean of {shape} does not fit {c} channels",
            subject=f'input "{value.name}"',
            advice="Give one value, one value per channel, or a C x H x W mean.",
        )
    if mean.shape[1:] == (1, 1):
        return mean.astype(np.float32)
    cropped = mean
    for axis, length in ((1, h), (2, w)):
        size = _whole(value, length)
        start = (cropped.shape[axis] - size) // 2
        if start < 0:
            raise InputError(
                f"a mean of {mean.shape[1]}x{mean.shape[2]} is smaller than {h}x{w}",
                subject=f'input "{value.name}"',
                advice="Give one value per channel with --mean.",
            )
        cropped = cropped.take(range(start, start + size), axis)
    return np.ascontiguousarray(cropped, np.float32)
