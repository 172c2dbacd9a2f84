"""Finds where a module's Python code reads a value that depends on the inputs.

An exported model cannot repeat such code: it would have one outcome for all inputs. The module runs
once on the example inputs. Each operator marks the memory of its results if it reads marked memory; at
first that of the inputs is marked.
"""

from __future__ import annotations

import linecache
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from protogen.errors import UnsupportedError
from protogen.pytorch.examples import Examples, evaluating

if TYPE_CHECKING:
    from torch import Tensor, nn

# Operators that read only the shape and the dtype of their tensors.
SHAPES_ONLY = frozenset(
    f"aten::{name}"
    for name in (
        "empty_like",
        "full_like",
        "new_empty",
        "new_empty_strided",
        "new_full",
        "new_ones",
        "new_zeros",
        "ones_like",
        "rand_like",
        "randn_like",
        "zeros_like",
    )
)
READS = "aten::_local_scalar_dense"  # item(), bool(), int() and float() of a tensor
OWN = (str(Path(torch.__file__).parent), str(Path(__file__).parent))


class Dependent(TorchDispatchMode):  # type: ignore[misc]
    """Marks what depends on the inputs while a module runs.

    Attributes:
        read: file, line and code of the first Python code that reads a marked value; None if there is
            none.
    """

    def __init__(self, inputs: list[Tensor]) -> None:
        super().__init__()
        # A weak reference reserves the address of the storage, so that no other one has it.
        self._marked: dict[int, Any] = {}
        self.read: tuple[str, int, str] | None = None
        for tensor in inputs:
            self._mark(tensor)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func._schema.name
        results = func(*args, **(kwargs or {}))
        if name in SHAPES_ONLY or not self._depends((args, kwargs)):
            return results
        if name == READS:
            self.read = self.read or _caller()
        for one in pytree.tree_leaves(results):
            if isinstance(one, torch.Tensor):
                self._mark(one)
        return results

    def _depends(self, arguments: Any) -> bool:
        return any(
            isinstance(one, torch.Tensor) and one.untyped_storage()._cdata in self._marked
            for one in pytree.tree_leaves(arguments)
        )

    def _mark(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._marked:
            self._marked[storage._cdata] = StorageWeakRef(storage)


def check_independent(module: nn.Module, examples: Examples) -> None:
    """Check that the module's Python code reads no value that depends on the inputs.

    Raises:
        UnsupportedError: it does; the error names the line.
    """
    with evaluating(module), Dependent(list(examples.tensors.values())) as mode:
        module(*examples.args, **examples.kwargs)
    if mode.read is None:
        return
    file, line, code = mode.read
    raise UnsupportedError(
        f"control flow that depends on data: Python reads a value that depends on the inputs ({code}), "
        "but a Caffe net computes the same layers for all inputs",
        where=f"{file}:{line}",
        subject=f"module {type(module).__name__}",
        advice="Select between tensors with torch.where, or leave this part out of the module.",
    )


def _caller() -> tuple[str, int, str]:
    """Return file, line and code of the innermost frame outside of PyTorch."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename.startswith((*OWN, "<")):
        frame = frame.f_back
    file, line = frame.f_code.co_filename, frame.f_lineno
    return file, line, linecache.getline(file, line).strip() or "its source is not available"
