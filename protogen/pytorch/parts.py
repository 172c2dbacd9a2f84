"""What a module and its parts return, as one function of tensors that returns tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from protogen.pytorch.examples import Examples, evaluating, outputs_of

if TYPE_CHECKING:
    from torch import Tensor


class _EnoughError(Exception):
    """Ends a run after the last call that matters."""


@dataclass(eq=False)
class Record:
    """What the last run returned.

    Attributes:
        keys: the keys of the module's own outputs, which come first.
        paths: for each further tensor the path of the part that returned it.
        calls: the paths of the parts that were called, in the order in which they returned.
    """

    keys: tuple[str, ...] = ()
    paths: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)


class Observed(nn.Module):  # type: ignore[misc]
    """A module whose arguments are the tensors of its example inputs, and that returns a tuple of tensors:
    its outputs, then what its parts return, in the order of the calls.

    Args:
        module: the module.
        examples: arguments of its ``forward``.
        parts: return what the parts return, too.
        stop: end after this number of calls of parts, and leave out the module's own outputs; 0: never.
    """

    def __init__(
        self, module: nn.Module, examples: Examples, *, parts: bool = True, stop: int = 0
    ) -> None:
        super().__init__()
        self.training = False
        self.module = module
        self._options = (examples, stop)
        # A list of now: exporters change what `named_modules` yields.
        self._parts = [
            (path, part)
            for path, part in (module.named_modules() if parts else ())
            if path and not isinstance(part, torch.jit.ScriptModule)
        ]
        self.record = Record()

    def copy_of(self, module: nn.Module) -> Observed:
        """Return the same for another module with the same parts."""
        examples, stop = self._options
        return Observed(module, examples, parts=bool(self._parts), stop=stop)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        examples, stop = self._options
        returned: list[Tensor] = []
        own: dict[str, Tensor] = {}
        record = self.record
        record.paths, record.calls = [], []

        def hook(path: str) -> Callable[..., None]:
            def store(_: nn.Module, __: Any, result: Any) -> None:
                if len(record.calls) == stop > 0:
                    return
                for one in outputs_of(result).values():
                    if one.layout == torch.strided and not one.is_complex():
                        # Copies, because the next module may work in place.
                        returned.append(one.clone())
                        record.paths.append(path)
                record.calls.append(path)
                # The exporter that follows Python code does not undo its own state after an error.
                if len(record.calls) == stop and not torch.compiler.is_exporting():
                    raise _EnoughError

            return store

        handles = [part.register_forward_hook(hook(path)) for path, part in self._parts]
        args, kwargs = examples.with_tensors(tensors)
        try:
            result = self.module(*args, **kwargs)
            own = {} if stop else outputs_of(result)
        except _EnoughError:
            pass
        finally:
            for handle in handles:
                handle.remove()
        record.keys = tuple(own)
        return (*own.values(), *returned)

    def state_dict(
        self,
        *,
        destination: dict[str, Tensor] | None = None,
        prefix: str = "",
        keep_vars: bool = False,
    ) -> dict[str, Tensor]:
        """Return parameters and buffers as they are, without what the module's own hooks make of them."""
        state = {} if destination is None else destination
        for name, tensor in (
            *self.named_parameters(remove_duplicate=False),
            *self.named_buffers(remove_duplicate=False),
        ):
            state[f"{prefix}{name}"] = tensor if keep_vars else tensor.detach()
        return state

    def run(self, tensors: Iterable[Tensor]) -> tuple[Tensor, ...]:
        """Return what the module and its parts return in evaluation; neither the tensors nor the state of
        the module are changed."""
        with evaluating(self.module):
            results: tuple[Tensor, ...] = self(*(one.clone() for one in tensors))
        return results


def aliases(module: nn.Module) -> dict[str, str]:
    """Return, for each path of a part, the first path of the same part."""
    first: dict[int, str] = {}
    return {
        path: first.setdefault(id(part), path)
        for path, part in module.named_modules(remove_duplicate=False)
        if path
    }
