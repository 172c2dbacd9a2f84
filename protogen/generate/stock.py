"""Stock layers that replace one layer of a fork, as the layer type's ``rewrite`` emits them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from protogen.errors import InputError
from protogen.formats.message import Field, Message
from protogen.formats.schema.dialect import published
from protogen.generate.plan import plan
from protogen.geometry import Shape
from protogen.layers import kind_of
from protogen.layers.base import guarded
from protogen.layers.graph import Layer, free_name
from protogen.layers.writing import NewLayer, Rewriter
from protogen.resampling.request import ResizeRequest
from protogen.resampling.sampling import Sampling
from protogen.toolchains.limits import UNLIMITED, Limits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.net.net import Net

    Arrays = list[NDArray[np.floating]]


def replacement(
    net: Net, layer: Layer, used_names: Collection[str] = (), limits: Limits = UNLIMITED
) -> Stock:
    """Return the stock layers that compute the same as a layer of ``net``.

    Args:
        used_names: names of layers and blobs that new names must differ from.

    Raises:
        UnsupportedError: the layer has no stock equivalent.
    """
    kind = kind_of(layer)
    if kind is None:
        raise layer.unsupported(f"unknown layer type{published(layer.type)}")
    bottoms = [net.graph.shapes.get(read) for read in layer.reads]
    known = [shape for shape in bottoms if shape is not None]
    substitute = Stock(net, layer, used_names, limits)
    try:  # the net may be one that is built with ``tolerant``
        with guarded(layer, bottoms):
            if len(known) == len(bottoms):
                kind.shapes(layer, known)
            kind.rewrite(layer, substitute)
    except InputError as error:
        raise layer.unsupported(" ".join(one.message for one in error.diagnostics)) from error
    return substitute


class Stock(Rewriter):
    """Collects the stock layers that replace one layer.

    Attributes:
        layers: LayerParameters in execution order.
        new_weights: parameter blobs of the new layers, by layer name.
        names: the new names of layers and blobs.
    """

    def __init__(self, net: Net, layer: Layer, used_names: Collection[str], limits: Limits) -> None:
        self._net = net
        self._layer = layer
        self._limits = limits
        self._original_names = used_names
        self._used_names = _Names(used_names)  # new names are added
        self.names: set[str] = set()
        self.layers: list[Message] = []
        self.new_weights: dict[str, Arrays] = {}

    def append(self, new: NewLayer) -> str:
        name = self._free(new.role) if new.role else self._layer.name
        top = new.top or (name if new.role else self._layer.tops[0])
        params = self._layer.params.param
        specs = (
            [FROZEN] * len(new.weights or ())
            if new.keeps is None
            else [params[i] for i in new.keeps if i < len(params)]
        )
        self._append(name, new.type, new.bottoms, [top], specs, new.params, new.weights)
        return top

    def split(
        self, bottom: str, role: str, axis: int, points: Sequence[int], tops: Sequence[str] = ()
    ) -> list[str]:
        name = self._free(role)
        names = list(tops) or [""] * (len(points) + 1)
        tops = [one or self._free(f"{role}_{i}") for i, one in enumerate(names)]
        params = {"slice_param": {"axis": axis, "slice_point": list(points)}}
        self._append(name, "Slice", [bottom], tops, [], params, None)
        return tops

    def retype(self, type_: str, **params: Mapping[str, Any]) -> None:
        fields = []
        for item in self._layer.params.fields:
            value = item.value
            if item.name == "type":
                value = type_
            elif item.name in params:
                value = Message(item.value.kind, item.value.fields)
                for key, new_value in params[item.name].items():
                    value.remove(key)
                    if new_value is None:
                        continue
                    for entry in new_value if isinstance(new_value, list) else [new_value]:
                        value.add(key, entry)
            fields.append(Field(item.name, value, item.type))
            fields[-1].literal = item.literal if value is item.value else None
        self.layers.append(Message(self._layer.params.kind, fields))
        if self._layer.name in self._net.weights:
            self.new_weights[self._layer.name] = list(self._net.weights[self._layer.name])

    def resize(
        self,
        sizes: Sequence[int],
        *,
        roi: Sequence[float] = (0, 0, 1, 1),
        scale: tuple[float, float] | None = None,
        extrapolation: float = 0.0,
        **sampling: Any,
    ) -> None:
        bottom, top = self._layer.bottoms[0], self._layer.tops[0]
        request = ResizeRequest.of_image(
            self.shape(bottom), sizes, roi, Sampling(**sampling), scale, extrapolation
        )
        resize_plan = plan(
            request, name=self._layer.name, bottom=bottom, top=top, limits=self._limits, whole=False
        )
        for step in resize_plan.steps:
            name = step.name if step.name == self._layer.name else self._free_name(step.name)
            weights: Arrays | None = list(step.weights) or None
            specs = [FROZEN] * len(step.weights)
            self._append(name, step.type, step.bottoms, step.tops, specs, step.params, weights)
            self.names |= set(step.tops) - {top}

    def shape(self, blob: str) -> Shape:
        read = self._layer.reads[self._layer.bottoms.index(blob)]
        shape = self._net.graph.shapes[read]
        if shape is None:
            raise self._layer.unsupported(f'the shape of its bottom "{blob}" is unknown')
        return shape

    def weights(self) -> Arrays | None:
        weights = self._net.weights.get(self._layer.name)
        return None if weights is None else list(weights)

    def unfilled(self) -> list[str]:
        """Return the names of new layers whose weights their own filler does not produce."""
        names = []
        for layer in self.layers:
            if layer.name not in self.new_weights or layer.name in self._net.weights:
                continue
            filler = layer.convolution_param.weight_filler
            if filler.type != "bilinear" and not filler.value:
                names.append(layer.name)
        return names

    def moved(self) -> tuple[str, str] | None:
        """Return the name of the top and the name that it gets before this layer, because the layer
        works in place and its replacement cannot; None otherwise. The layers read the other name then.

        Raises:
            UnsupportedError: the top is an input of the net, or the other name is in use.
        """
        top = self._layer.tops[0]
        if top not in self._layer.bottoms or not self._branches(top):
            return None
        new_name = f"{top}_before_{self._layer.name}"
        if top in self._net.inputs or new_name in self._original_names:
            raise self._layer.unsupported(
                "the layer works in place on an input of the net, but its replacement cannot",
                "Choose another name for its top.",
            )
        self.names.add(new_name)
        for item in (entry for one in self.layers for entry in one.all("bottom")):
            item.value = new_name if item.value == top else item.value
        return top, new_name

    def _append(
        self,
        name: str,
        type_: str,
        bottoms: Sequence[str],
        tops: Sequence[str],
        specs: Sequence[Any],
        params: Mapping[str, Any],
        weights: Sequence[NDArray[np.floating]] | None,
    ) -> None:
        phase_rules = {key: getattr(self._layer.params, key) for key in ("include", "exclude")}
        self.layers.append(
            Message.make(
                "LayerParameter",
                name=name,
                type=type_,
                bottom=list(bottoms),
                top=list(tops),
                param=list(specs),
                **phase_rules,
                **params,
            )
        )
        if weights is not None:
            self.new_weights[name] = list(weights)

    def _branches(self, top: str) -> bool:
        """Whether Caffe must split this blob. It cannot write a split blob in place."""
        return len([one for one in self.layers if top in one.bottom]) > 1 and any(
            len(one.bottom) > 1 for one in self.layers
        )

    def _free(self, role: str) -> str:
        return self._free_name(f"{self._layer.name}_{role}")

    def _free_name(self, name: str) -> str:
        name = free_name(name, self._used_names)
        self.names.add(name)
        return name


class _Names(set[str]):
    """Names beside those of a collection, which is not copied."""

    def __init__(self, others: Collection[str]) -> None:
        super().__init__()
        self._others = others

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or name in self._others


FROZEN = {"lr_mult": 0.0, "decay_mult": 0.0}
