"""Pass that stores weights as float16."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from protogen.errors import ProtogenWarning, warn
from protogen.formats.mapped import pieces
from protogen.onnx.model import INLINE
from protogen.onnx.program import Node, Program, Tensor, free_name

LARGEST = float(np.finfo(np.float16).max)  # 65504
SMALLEST = float(np.finfo(np.float16).smallest_normal)  # smaller numbers have fewer than 11 bits


def halved(program: Program) -> Program:
    """Store weights as float16 and add a Cast to float32 for each.

    The file has half the size. The error of each weight is at most one part in 2048. A tensor with
    values beyond 65504, the float16 maximum, stays float32 with a warning. A tensor of values that are
    all too small for float16's precision, such as those of an LRN, stays float32.
    """
    tensors: dict[str, Tensor] = {}
    casts: list[Node] = []
    used_names = set(program.tensors) | {w for node in program.nodes for w in node.writes}
    for name, tensor in program.tensors.items():
        if tensor.dtype != "float32" or tensor.size <= INLINE or not _fits(name, tensor):
            tensors[name] = tensor
            continue
        half_name = free_name(f"{name}.half", used_names)
        tensors[half_name] = Tensor(tensor.shape, "float16", _cast(tensor))
        casts.append(Node("Cast", (half_name,), (name,), {"to": TensorProto.FLOAT}))
    return program.with_nodes([*casts, *program.nodes], tensors)


def _cast(tensor: Tensor) -> Callable[[], NDArray[Any]]:
    return lambda: tensor.array().astype(np.float16)


def _fits(name: str, tensor: Tensor) -> bool:
    largest = max((float(np.abs(piece).max()) for piece in pieces(tensor.array())), default=0.0)
    if largest <= LARGEST:
        return largest == 0 or largest >= SMALLEST
    problem = f"stays float32: its largest value {largest:.4g} exceeds the float16 maximum 65504"
    warn(ProtogenWarning(problem, subject=f"tensor {name}"))
    return False
