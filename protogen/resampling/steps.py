"""The layers of a plan before they are text: what each is, and the list that they are added to."""

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
    """Two ways to write the same thing. ``grouping`` keeps channels apart by groups, by zeros off
    the diagonal of C x C kernels, or by a layer for each channel; ``mixing`` mixes along an axis
    by the layer's ``axis`` parameter or by Reshape and the usual axes."""

    grouping: Grouping = "group"
    mixing: Mixing = "axis"


@dataclass(frozen=True, eq=False)
class Step:
    """One layer of a plan. ``features`` are what targets may lack: group, axis, reshape, ...
    ``blob`` is the shape of its parameter blob, () where it has none; ``make`` makes it: many
    plans are looked at, and few written.
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
        """Its parameter blobs, float32."""
        return () if self.make is None else (self.make(),)

    @property
    def values(self) -> int:
        """Values that the layer writes."""
        return math.prod(self.after)

    @property
    def parameters(self) -> int:
        return 0 if self.make is None else math.prod(self.blob)

    @property
    def filled(self) -> bool:
        """Whether Caffe's own fillers make the weights."""
        if self.make is None:
            return True
        given = next(iter(self.params.values())).get("weight_filler") or {"value": 0}
        return given.get("type") == "bilinear" or bool(given.get("value"))


@dataclass
class Writer:
    """Collects steps. Blobs inside are named after the layer that is asked for."""

    name: str
    form: Form
    shapes: dict[str, Shape]
    steps: list[Step] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)

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
        """Adds a layer and gives the name of its (first) top."""
        name = self.free(role)
        before = self.shapes[bottoms[0]]
        made = [(bottoms[0] if in_place else name, after)]
        named = [(self.free(f"{role}_{which}"), shape) for which, shape in tops] or made
        self.shapes.update(named)
        top_names = tuple(top for top, _ in named)
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
        return free_name(f"{self.name}_{role}", self.taken)
