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
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from protogen.errors import UnsupportedError
from protogen.pytorch.examples import Examples, evaluating
from protogen.pytorch.parts import Observed

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
READS = frozenset(("numpy", "tolist", "__array__", "__dlpack__"))  # methods that leave PyTorch
OWN = (str(Path(torch.__file__).parent), str(Path(__file__).parent))


class Dependent(TorchDispatchMode):  # type: ignore[misc]
    """Marks what depends on the inputs while a module runs.

    Attributes:
        read: file, line and code of the first Python code that reads a marked value; None if there is
            none.
        sized: the same for the first tensor whose shape depends on marked values.
    """

    def __init__(self, inputs: list[Tensor]) -> None:
        super().__init__()
        # A weak reference reserves the address of the storage, so that no other one has it.
        self._marked: dict[int, Any] = {}
        self.read: tuple[str, int, str] | None = None
        self.sized: tuple[str, int, str] | None = None
        for tensor in inputs:
            self._mark(tensor)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func._schema.name
        results = func(*args, **(kwargs or {}))
        if name in SHAPES_ONLY or not self.depends((args, kwargs)):
            return results
        for one in pytree.tree_leaves(results):
            if isinstance(one, torch.Tensor):
                self._mark(one)
            elif isinstance(one, bool | int | float) and name != "aten::is_same_size":
                self.read = self.read or _caller()  # item(), bool() of a tensor, torch.equal
        if torch.Tag.dynamic_output_shape in func.tags:
            # Indices that are integers decide values only.
            deciding = _masks(args[1]) if name == "aten::index" else (args, kwargs)
            if self.depends(deciding):
                self.sized = self.sized or _caller()
        return results

    def depends(self, arguments: Any) -> bool:
        """Return whether a tensor of these is marked."""
        return any(
            isinstance(one, torch.Tensor) and one.untyped_storage()._cdata in self._marked
            for one in pytree.tree_leaves(arguments)
        )

    def _mark(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._marked:
            self._marked[storage._cdata] = StorageWeakRef(storage)


class Leaving(TorchFunctionMode):  # type: ignore[misc]
    """Tells a ``Dependent`` when a marked tensor becomes an array or a list; this does not run an operator."""

    def __init__(self, dependent: Dependent) -> None:
        super().__init__()
        self._dependent = dependent

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if getattr(func, "__name__", "") in READS and self._dependent.depends(args):
            self._dependent.read = self._dependent.read or _caller()
        return func(*args, **(kwargs or {}))


def check_independent(
    module: nn.Module, examples: Examples, stop: int = 0, exporter: str = ""
) -> bool:
    """Check that the module's Python code reads no value that depends on the inputs.

    Args:
        module, examples: the module and its inputs.
        stop: end after this number of calls of parts; see ``Observed``.
        exporter: the only exporter to use, if there is one.

    Returns:
        Whether the module can be recorded (``torch.jit.trace``). If the shape of a tensor depends on data, a
        record does not show whether Python code reads it; ``torch.export`` refuses such code.

    Raises:
        UnsupportedError: it does; the error names the line.
    """
    observed = Observed(module, examples, parts=bool(stop), stop=stop)
    tensors = [one.clone() for one in examples.tensors.values()]
    with evaluating(module), Dependent(tensors) as mode, Leaving(mode):
        observed(*tensors)
    read = mode.read or (mode.sized if exporter == "torch.jit.trace" else None)
    if read is None:
        return mode.sized is None
    file, line, code = read
    raise UnsupportedError(
        f"control flow that depends on data: Python reads a value that depends on the inputs ({code}), "
        "but a Caffe net computes the same layers for all inputs",
        where=f"{file}:{line}",
        subject=f"module {type(module).__name__}",
        advice="Select between tensors with torch.where, or leave this part out of the module.",
    )


def _masks(indices: Any) -> list[Any]:
    return [one for one in indices if one is not None and one.dtype in (torch.bool, torch.uint8)]


def _caller() -> tuple[str, int, str]:
    """Return file, line and code of the innermost frame outside of PyTorch."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename.startswith((*OWN, "<")):
        frame = frame.f_back
    file, line = frame.f_code.co_filename, frame.f_lineno
    return file, line, linecache.getline(file, line).strip() or "its source is not available"
