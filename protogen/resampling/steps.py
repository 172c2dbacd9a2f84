"""Steps: the layers of a plan before they become text, and a writer that collects them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from protogen.geometry import Shape
from protogen.layers.graph import free_name

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Weights = NDArray[np.float32]

Grouping = Literal["group", "dense", "split"]
Mixing = Literal["axis", "reshape", "permute", "onehot"]


_TEXTS = {
    "dense": "without groups",
    "split": "one layer for each channel",
    "reshape": "by Reshape",
    "permute": "by Reshape and Permute",
    "onehot": "by Reshape and Deconvolution",
}


@dataclass(frozen=True, slots=True)
class Form:
    """Alternative ways to write the same computation.

    Attributes:
        grouping: how channels stay independent: by ``group``, by C x C kernels that are zero off
            the diagonal ("dense"), or by one layer per channel ("split").
        mixing: how a matrix applies along an axis: by the ``axis`` parameter of the layer; by
            Reshape and the default axes; or by two convolutions along the channels, after which a
            Permute ("permute") or a Deconvolution with one 1 for each channel ("onehot") moves the
            columns back.
        bias: whether layers with weights have a bias, of zeros.
    """

    grouping: Grouping = "group"
    mixing: Mixing = "axis"
    bias: bool = False

    def __str__(self) -> str:
        parts = [_TEXTS[part] for part in (self.grouping, self.mixing) if part in _TEXTS]
        return " ".join([*parts, "with a bias"] if self.bias else parts)


@dataclass(frozen=True, eq=False)
class Step:
    """One layer of a plan.

    Attributes:
        blob: the shape of its parameter blob, () where it has none.
        make: computes the parameter blob. It is called late, because most plans are only compared.
        before: the shape of the first bottom.
        after: the shape of the top; of a Slice, the shape of all tops together.
        features: what targets may lack: group, axis, reshape, ...
        biases: the number of zeros in a second parameter blob; 0 where it has none.
    """

    type: str
    name: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    params: Mapping[str, Any]
    blob: Shape
    make: Callable[[], Weights] | None
    before: Shape
    after: Shape
    features: frozenset[str] = frozenset()
    multiply_adds: int = 0
    biases: int = 0

    @cached_property
    def weights(self) -> tuple[Weights, ...]:
        """The parameter blobs, float32."""
        if self.make is None:
            return ()
        import numpy as np

        zeros = (np.zeros(self.biases, np.float32),) if self.biases else ()
        return (self.make(), *zeros)

    @property
    def values(self) -> int:
        """Number of values that the layer writes."""
        return math.prod(self.after)

    @property
    def parameters(self) -> int:
        return 0 if self.make is None else math.prod(self.blob) + self.biases

    @property
    def filled(self) -> bool:
        """Whether Caffe's fillers produce the weights."""
        if self.make is None:
            return True
        filler = next(iter(self.params.values())).get("weight_filler") or {"value": 0}
        return filler.get("type") == "bilinear" or bool(filler.get("value"))


@dataclass
class Writer:
    """Collects steps. The names of their blobs begin with the name of the requested layer."""

    name: str
    form: Form
    shapes: dict[str, Shape]
    steps: list[Step] = field(default_factory=list)
    used_names: set[str] = field(default_factory=set)

    def add(
        self,
        type_: str,
        role: str,
        bottoms: Sequence[str],
        params: Mapping[str, Any],
        after: Shape,
        *,
        blob: Shape = (),
        make: Callable[[], Weights] | None = None,
        features: Sequence[str] = (),
        multiply_adds: int = 0,
        tops: Sequence[tuple[str, Shape]] = (),
        in_place: bool = False,
    ) -> str:
        """Add a layer and return the name of its first top."""
        name = self.free(role)
        before = self.shapes[bottoms[0]]
        default_top = [(bottoms[0] if in_place else name, after)]
        named_tops = [(self.free(f"{role}_{which}"), shape) for which, shape in tops] or default_top
        self.shapes.update(named_tops)
        top_names = tuple(top for top, _ in named_tops)
        params, biases = self._with_bias(params) if self.form.bias else (params, 0)
        self.steps.append(
            Step(
                type_,
                name,
                tuple(bottoms),
                top_names,
                params,
                blob,
                make,
                before,
                after,
                frozenset(features),
                multiply_adds,
                biases,
            )
        )
        return top_names[0]

    @staticmethod
    def _with_bias(params: Mapping[str, Any]) -> tuple[Mapping[str, Any], int]:
        """Return the parameters of a layer with a bias, and the length of the bias."""
        for key, block in params.items():
            if isinstance(block, Mapping) and block.get("bias_term") is False:
                inner = {name: value for name, value in block.items() if name != "bias_term"}
                return {**params, key: inner}, int(inner["num_output"])
        return params, 0

    def free(self, role: str) -> str:
        return free_name(f"{self.name}_{role}", self.used_names)
