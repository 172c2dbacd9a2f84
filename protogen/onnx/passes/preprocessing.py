"""What happens to a picture before the net, as part of the model."""

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
    """Caffe's order: channels are swapped, then the mean is subtracted, then all is scaled.

    ``mean`` is (C,) or (C, H, W) in the channel order that the net eats (blue first, as a rule);
    a larger one than the input is cropped at its centre, as Caffe does in the TEST phase.
    ``nhwc``: pictures come as N, H, W, C. ``uint8``: pictures come as bytes. ``blob`` is the input;
    the first with four axes where it is empty.
    """

    mean: NDArray[np.floating] | None = None
    scale: float = 1.0
    swap_channels: bool = False
    nhwc: bool = False
    uint8: bool = False
    blob: str = ""

    def input_of(self, shapes: Mapping[str, tuple[int, ...]]) -> str:
        """The name of the input that is meant."""
        return self.blob or next(name for name, shape in shapes.items() if len(shape) == 4)

    def random(self, shape: tuple[int, ...], seed: int) -> NDArray[Any]:
        """Pictures of noise as the model takes them, for an input of the net of (N, C, H, W)."""
        n, c, h, w = shape
        pixels = np.random.default_rng(seed).integers(0, 256, (n, h, w, c) if self.nhwc else shape)
        return pixels.astype(np.uint8 if self.uint8 else np.float32)

    def apply(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """The same steps in numpy, in float64: what the net eats."""
        x = pixels.astype(np.float64)
        if self.nhwc:
            x = x.transpose(0, 3, 1, 2)
        if self.swap_channels:
            x = x[:, ::-1]
        if self.mean is not None:
            value = Value(self.blob or "data", x.shape)
            x = x - _mean(value, self.mean)
        return np.ascontiguousarray(x * self.scale, np.float32)


def preprocessed(program: Program, how: Preprocessing) -> Program:
    """The program with these steps before an input, which keeps its name.

    Raises:
        InputError: there is no such input, or the mean does not fit it.
    """
    value = _input(program, how.blob)
    assert value.shape is not None
    n, c, h, w = value.shape
    taken = program.kept | set(program.tensors) | {w for x in program.nodes for w in x.writes}
    tensors = dict(program.tensors)
    steps: list[Node] = []
    now = value.name

    def add(op_type: str, *more: str, **attributes: Any) -> None:
        nonlocal now
        write = free_name(f"{value.name}@preprocess/{op_type}", taken)
        steps.append(Node(op_type, (now, *more), (write,), attributes))
        now = write

    def constant(found: Tensor) -> str:
        name = free_name(f"{value.name}@preprocess.const", taken)
        tensors[name] = found
        return name

    if how.uint8:
        add("Cast", to=TensorProto.FLOAT)
    if how.nhwc:
        add("Transpose", perm=[0, 3, 1, 2])
    if how.swap_channels:
        order = np.arange(_whole(value, c))[::-1].copy()
        add("Gather", constant(tensor(order)), axis=1)
    if how.mean is not None:
        add("Sub", constant(tensor(_mean(value, how.mean))))
    if how.scale != 1:
        add("Mul", constant(tensor(np.array(how.scale, np.float32))))
    if now == value.name:
        return program
    shape = (n, h, w, c) if how.nhwc else (n, c, h, w)
    elem = TensorProto.UINT8 if how.uint8 else TensorProto.FLOAT
    entered = replace(value, shape=shape, elem_type=elem)
    nodes = [
        replace(node, reads=tuple(now if read == value.name else read for read in node.reads))
        for node in program.nodes
    ]
    made = program.with_nodes([*steps, *nodes], tensors)
    return replace(made, inputs=[entered if v.name == value.name else v for v in program.inputs])


def _input(program: Program, blob: str) -> Value:
    for value in program.inputs:
        fits = value.shape is not None and len(value.shape) == 4
        if value.name == blob or (not blob and fits):
            if fits:
                return value
            raise InputError("must have 4 axes to be a picture", subject=f'input "{blob}"')
    names = ", ".join(value.name for value in program.inputs) or "none"
    problem = f'there is no input "{blob}"' if blob else "no input has 4 axes"
    raise InputError(f"{problem} (inputs: {names})", subject="preprocessing")


def _whole(value: Value, length: int | str) -> int:
    if not isinstance(length, int):
        raise InputError("its channels are free", subject=f'input "{value.name}"')
    return length


def _mean(value: Value, mean: NDArray[np.floating]) -> NDArray[np.float32]:
    assert value.shape is not None
    _, c, h, w = value.shape
    if mean.ndim == 1:
        mean = mean.reshape(-1, 1, 1)
    if mean.ndim != 3 or mean.shape[0] not in (1, c):
        found = shape_text(mean.shape)
        raise InputError(
            f"a mean of {found} does not fit {c} channels",
            subject=f'input "{value.name}"',
            advice="Give one value, one for each channel, or a C x H x W mean.",
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
                advice="Give one value for each channel with --mean.",
            )
        cropped = cropped.take(range(start, start + size), axis)
    return np.ascontiguousarray(cropped, np.float32)
