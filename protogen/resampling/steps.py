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
Mixing = Literal["axis", "reshape"]


@dataclass(frozen=True, slots=True)
class Form:
    """Alternative ways to write the same computation.

    Attributes:
        grouping: how channels stay independent: by ``group``, by C x C kernels that are zero off
            the diagonal ("dense"), or by one layer per channel ("split").
        mixing: how a matrix applies along an axis: by the ``axis`` parameter of the layer, or by
            Reshape and the default axes.
    """

    grouping: Grouping = "group"
    mixing: Mixing = "axis"


@dataclass(frozen=True, eq=False)
class Step:
    """One layer of a plan.

    Attributes:
        blob: the shape of its parameter blob, () where it has none.
        make: computes the parameter blob. It is called late, because most plans are only compared.
        before: the shape of the first bottom.
        after: the shape of the top; of a Slice, the shape of all tops together.
        features: what targets may lack: group, axis, reshape, ...
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

    @cached_property
    def weights(self) -> tuple[Weights, ...]:
        """The parameter blobs, float32."""
        return () if self.make is None else (self.make(),)

    @property
    def values(self) -> int:
        """Number of values that the layer writes."""
        return math.prod(self.after)

    @property
    def parameters(self) -> int:
        return 0 if self.make is None else math.prod(self.blob)

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
            )
        )
        return top_names[0]

    def free(self, role: str) -> str:
        return free_name(f"{self.name}_{role}", self.used_names)
