"""How far a module's own values in float32 are from those in float64."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from protogen.converting.proving import difference

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from protogen.pytorch.comparing import ModuleSide

    Arrays = dict[str, NDArray[Any]]


def rounding_error(side: ModuleSide, inputs: Iterable[Arrays], values: Iterable[str]) -> float:
    """Return the largest error of some values of a module, relative to each value's largest magnitude:
    computed as the module is, against a copy of the module in float64.

    0 if the copy cannot run, because its code creates tensors of float32.
    """
    observed = side.observed
    module = copy.deepcopy(observed.module).double()
    tensors = {name: _wide(tensor) for name, tensor in side.examples.tensors.items()}
    wide = side.of(observed.copy_of(module), replace(side.examples, tensors=tensors))
    names, worst = list(values), 0.0
    for arrays in inputs:
        own = side.computed(arrays)
        try:
            exact = wide.computed(arrays)
        except RuntimeError:  # two dtypes in one operator
            return 0.0
        for name in names:
            row = difference(name, "", exact[name], own[name], 0.0)
            worst = max(worst, row.relative or 0.0)
    return worst


def _wide(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor
