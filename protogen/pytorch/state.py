"""Keeps the state of a module and of the random generators as it was."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


@contextmanager
def unchanged(module: nn.Module) -> Iterator[None]:
    """Restore at the end what code of a module can change: attributes, hooks, modes, buffers, which
    parameters need a gradient. Values of parameters that are written in place are not restored: a copy
    would double the memory.
    """
    import torch

    parts = list(module.modules())
    modes = [(part, part.training) for part in parts]  # in TorchScript it is not in `vars`
    attributes = [(vars(part), dict(vars(part))) for part in parts]
    # Tables of parameters, parts and hooks; other dicts are the module's own, such as caches.
    tables = [
        (value, dict(value))
        for _, saved in attributes
        for value in saved.values()
        if isinstance(value, dict)
    ]
    buffers = [(one, one.clone()) for one in module.buffers() if not one.is_meta]
    parameters = [(one, one.data, one.requires_grad, one.grad) for one in module.parameters()]
    try:
        yield
    finally:
        for current, saved in (*attributes, *tables):
            current.clear()
            current.update(saved)
        for part, mode in modes:
            if part.training != mode:
                part.training = mode
        with torch.no_grad():
            for buffer, copy in buffers:
                if not torch.equal(buffer, copy):
                    buffer.copy_(copy)
        for parameter, data, needs_gradient, gradient in parameters:
            if parameter.data_ptr() != data.data_ptr():
                parameter.data = data  # `weight.data = ...` in forward
            parameter.requires_grad_(needs_gradient)
            parameter.grad = gradient


@contextmanager
def same_random_numbers() -> Iterator[None]:
    """Restore the random generators of PyTorch, numpy and Python at the end."""
    import numpy as np
    import torch

    python, legacy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)
