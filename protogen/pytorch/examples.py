"""Example inputs of a module: their tensors by name, and the module's outputs for them."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from protogen.errors import InputError, UnsupportedError
from protogen.formats.weightfiles import missing
from protogen.layers.graph import free_name
from protogen.pytorch.state import unchanged

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    Arrays = Mapping[str, NDArray[Any]]


def load_torch() -> Any:
    """Return the module torch.

    Raises:
        UnsupportedError: PyTorch is not installed.
    """
    try:
        import torch
    except ImportError:
        raise missing("PyTorch", "torch") from None
    return torch


@dataclass(frozen=True, eq=False)
class Examples:
    """Arguments of a module's ``forward``.

    Attributes:
        args, kwargs: the arguments; numpy arrays are tensors here.
        tensors: the tensors in the arguments by name, in the order in which exporters number them.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    tensors: dict[str, Tensor]

    def with_arrays(self, arrays: Arrays) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments with other values, converted to the dtype and device of the examples."""
        return self.with_tensors(self.tensors_of(arrays))

    def tensors_of(self, arrays: Arrays) -> list[Tensor]:
        """Return arrays as tensors with the dtype and device of the examples."""
        import torch

        return [
            torch.tensor(arrays[name]).to(device=old.device, dtype=old.dtype)
            for name, old in self.tensors.items()
        ]

    def with_tensors(self, tensors: Iterable[Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments with other tensors, in the order of ``tensors``."""
        import torch
        from torch.utils import _pytree as pytree

        new = iter(tensors)
        leaves, spec = pytree.tree_flatten((self.args, self.kwargs))
        changed = [next(new) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
        args, kwargs = pytree.tree_unflatten(changed, spec)
        return args, kwargs

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the example tensors as arrays."""
        return {name: array_of(tensor) for name, tensor in self.tensors.items()}


def examples_of(module: nn.Module, example_inputs: Any, names: Sequence[str]) -> Examples:
    """Return the arguments of a call.

    Args:
        example_inputs: a tensor or array; a tuple or list of positional arguments; a mapping of keyword
            arguments.
        names: names of the tensors; by default those of the parameters of ``forward``.

    Raises:
        InputError: the arguments do not fit ``forward``, have no tensor, or a tensor has no values; or
            ``names`` has another number of names, or one of them twice.
    """
    import numpy as np
    import torch
    from torch.utils import _pytree as pytree

    def converted(leaf: Any) -> Any:
        return (
            torch.from_numpy(np.ascontiguousarray(leaf)) if isinstance(leaf, np.ndarray) else leaf
        )

    if isinstance(example_inputs, torch.Tensor | np.ndarray):
        example_inputs = (example_inputs,)
    if not isinstance(example_inputs, tuple | list | Mapping):
        raise InputError(
            f"expected a tensor, a tuple of arguments or a dict of keyword arguments, got "
            f"{type(example_inputs).__name__}",
            subject="example_inputs",
        )
    is_mapping = isinstance(example_inputs, Mapping)
    args = () if is_mapping else pytree.tree_map(converted, tuple(example_inputs))
    kwargs = pytree.tree_map(converted, dict(example_inputs)) if is_mapping else {}
    try:
        bound = inspect.signature(module.forward).bind(*args, **kwargs)
    except TypeError as error:
        raise InputError(
            f"do not fit {type(module).__name__}.forward: {error}", subject="example_inputs"
        ) from None
    tensors = _unique(
        (name, leaf)
        for name, leaf in _named_leaves(bound, module)
        if isinstance(leaf, torch.Tensor)
    )
    if not tensors:
        raise InputError("have no tensor", subject="example_inputs")
    if names:
        if len(names) != len(tensors) or len(set(names)) != len(names):
            raise InputError(
                f"expected {len(tensors)} different names (for {', '.join(tensors)}), got "
                f"{len(names)}: {', '.join(names)}",
                subject="input_names",
            )
        tensors = dict(zip(names, tensors.values(), strict=True))
    for name, tensor in tensors.items():
        if tensor.numel() == 0 or tensor.is_meta:
            raise InputError(
                f"has no values: shape {tuple(tensor.shape)}", subject=f'input "{name}"'
            )
    # Both in the order of the parameters of forward, as exporters number the inputs.
    return Examples(bound.args, dict(bound.kwargs), tensors)


def _named_leaves(bound: inspect.BoundArguments, module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the leaves of the arguments with names such as ``x`` or ``images.0``."""
    from torch.utils import _pytree as pytree

    kinds = inspect.signature(module.forward).parameters
    for name, value in bound.arguments.items():
        prefix = [] if kinds[name].kind is inspect.Parameter.VAR_KEYWORD else [name]
        for path, leaf in pytree.tree_flatten_with_path(value)[0]:
            yield ".".join([*prefix, *map(_key, path)]), leaf


def _key(entry: Any) -> str:
    """Return the text of one step into a list, dict or object."""
    for attribute in ("key", "idx", "name"):
        if hasattr(entry, attribute):
            return str(getattr(entry, attribute))
    return str(entry).strip(".[]'\"")


def array_of(tensor: Tensor) -> NDArray[Any]:
    """Return a tensor as an array, a view of its memory where the tensor is on the CPU."""
    array: NDArray[Any] = tensor.detach().cpu().resolve_neg().resolve_conj().numpy()
    return array


def outputs_of(result: Any) -> dict[str, Tensor]:
    """Return the tensors that a module returns, by their keys or numbers; the key of a tensor alone is
    empty."""
    import torch
    from torch.utils import _pytree as pytree

    return _unique(
        (".".join(map(_key, path)), leaf)
        for path, leaf in pytree.tree_flatten_with_path(result)[0]
        if isinstance(leaf, torch.Tensor)
    )


def _unique(named: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Return tensors by name. ``{"a.b": x}`` and ``{"a": {"b": x}}`` give the same name, of which the
    second one gets a number."""
    used: set[str] = set()
    return {free_name(name, used, "_"): tensor for name, tensor in named}


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Set a module and its parts to evaluation, without gradients, and restore its state at the end."""
    import torch

    with unchanged(module), torch.no_grad():
        with suppress(NotImplementedError):  # the module of an exported program has no modes
            module.eval()
        yield


def checked_module(module: Any) -> nn.Module:
    """Return the module to convert, without the wrappers of compilation and parallel training.

    Raises:
        InputError: it is not a module of PyTorch.
        UnsupportedError: parameters have no values or less than 32 bits, or it is a compiled script.
    """
    import torch

    while isinstance(module, torch.nn.Module):
        inner = getattr(module, "_orig_mod", None)
        if isinstance(module, torch.nn.DataParallel | torch.nn.parallel.DistributedDataParallel):
            inner = module.module
        if inner is None:
            break
        module = inner
    if not isinstance(module, torch.nn.Module):
        advice = "Give the module itself, not its class." if isinstance(module, type) else ""
        raise InputError(
            f"expected a torch.nn.Module, got {_described(module)}", subject="module", advice=advice
        )
    if isinstance(module, torch.jit.ScriptModule):
        raise UnsupportedError(
            "is TorchScript, whose modules have no Python code that can be followed",
            subject=f"module {type(module).__name__}",
            advice="Give the module that it was compiled from, or export it with torch.onnx.export and "
            "use pg.from_onnx.",
        )
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if isinstance(tensor, torch.nn.parameter.UninitializedTensorMixin) or tensor.is_meta:
            raise UnsupportedError(
                "has no values yet",
                subject=f'parameter "{name}"',
                advice="Load weights, or run the module once, before it is converted.",
            )
        if (tensor.is_floating_point() and tensor.dtype.itemsize < 4) or tensor.is_quantized:
            raise UnsupportedError(
                f"has dtype {str(tensor.dtype).removeprefix('torch.')}, but Caffe computes in float32",
                subject=f'parameter "{name}"',
                advice="Convert module.float(), with float32 inputs.",
            )
    return module


def _described(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
