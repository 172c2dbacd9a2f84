"""Writes stock layers in place of one layer of a fork: what a layer type's ``rewrite`` fills."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from protogen.errors import Edit
from protogen.formats import prototxt
from protogen.formats.message import Field, Message, Source
from protogen.generate.plan import plan
from protogen.geometry import Shape
from protogen.layers import kind_of
from protogen.layers.graph import Layer, free_name
from protogen.layers.writing import NewLayer, Rewriter
from protogen.resampling.matrices import Sampling
from protogen.resampling.request import ResizeRequest
from protogen.toolchains.limits import UNLIMITED, Limits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.net.net import Net

    Arrays = list[NDArray[np.floating]]


def replacement(
    net: Net, layer: Layer, taken: Collection[str] = (), limits: Limits = UNLIMITED
) -> Stock:
    """The stock layers that compute what a layer of ``net`` does.

    Raises:
        UnsupportedError: there are none.
    """
    kind = kind_of(layer)
    if kind is None:
        raise layer.unsupported("protogen does not know this layer type")
    made = Stock(net, layer, taken, limits)
    kind.rewrite(layer, made)
    return made


class Stock(Rewriter):
    """The stock layers for one layer.

    Attributes:
        layers: LayerParameters in execution order.
        made: parameter blobs by layer name.
        names: names of layers and blobs that are new.
    """

    def __init__(self, net: Net, layer: Layer, taken: Collection[str], limits: Limits) -> None:
        self._net = net
        self._layer = layer
        self._limits = limits
        self._taken = taken
        self._used = set(taken)  # and new names
        self.names: set[str] = set()
        self.layers: list[Message] = []
        self.made: dict[str, Arrays] = {}

    def append(self, new: NewLayer) -> str:
        name = self._free(new.role) if new.role else self._layer.name
        made = new.top or (name if new.role else self._layer.tops[0])
        own = self._layer.params.param
        specs = (
            [FROZEN] * len(new.weights or ())
            if new.keeps is None
            else [own[i] for i in new.keeps if i < len(own)]
        )
        self._append(name, new.type, new.bottoms, [made], specs, new.params, new.weights)
        return made

    def split(self, bottom: str, role: str, axis: int, points: Sequence[int]) -> list[str]:
        name = self._free(role)
        tops = [self._free(f"{role}_{i}") for i in range(len(points) + 1)]
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
                for key, new in params[item.name].items():
                    value.remove(key)
                    given = new if isinstance(new, list) else [] if new is None else [new]
                    for one in given:
                        value.add(key, one)
            fields.append(Field(item.name, value, item.type))
            fields[-1].literal = item.literal if value is item.value else None
        self.layers.append(Message(self._layer.params.kind, fields))
        if self._layer.name in self._net.weights:
            self.made[self._layer.name] = list(self._net.weights[self._layer.name])

    def resize(
        self, sizes: Sequence[int], *, roi: Sequence[float] = (0, 0, 1, 1), **sampling: Any
    ) -> None:
        bottom, top = self._layer.bottoms[0], self._layer.tops[0]
        shape = self.shape(bottom)
        request = ResizeRequest(
            Sampling(**sampling),
            batch=shape[0],
            channels=shape[1],
            size=(shape[2], shape[3]),
            out=(sizes[0], sizes[1]),
            roi=((roi[0], roi[2]), (roi[1], roi[3])),
        )
        made = plan(
            request, name=self._layer.name, bottom=bottom, top=top, limits=self._limits, whole=False
        )
        for step in made.steps:
            name = step.name if step.name == self._layer.name else self._free_name(step.name)
            weights: Arrays | None = list(step.weights) or None
            specs = [FROZEN] * len(step.weights)
            self._append(name, step.type, step.bottoms, step.tops, specs, step.params, weights)
            self.names |= set(step.tops) - {top}

    def shape(self, blob: str) -> Shape:
        read = self._layer.reads[self._layer.bottoms.index(blob)]
        found = self._net.graph.shapes[read]
        if found is None:
            raise self._layer.unsupported(f'the shape of "{blob}" is not known')
        return found

    def weights(self) -> Arrays | None:
        found = self._net.weights.get(self._layer.name)
        return None if found is None else list(found)

    def unfilled(self) -> list[str]:
        """New layers with weights that no filler of theirs makes."""
        made = []
        for one in self.layers:
            if one.name not in self.made or one.name in self._net.weights:
                continue
            filler = one.convolution_param.weight_filler
            if filler.type != "bilinear" and not filler.value:
                made.append(one.name)
        return made

    def edits(self, document: prototxt.Document) -> list[Edit]:
        """The changes of the net's text.

        Where the layer works in place and its replacement cannot, because several of its layers
        read the blob, the blob has another name up to there.
        """
        fields = document.all("layer")
        at = next(i for i, item in enumerate(fields) if item.value is self._layer.params)
        top = self._layer.tops[0]
        renames: list[Edit] = []
        if top in self._layer.bottoms and self._branches(top):
            before = f"{top}_before_{self._layer.name}"
            if top in self._net.inputs or before in self._taken:
                raise self._layer.unsupported(
                    "it works in place on an input, which its replacement cannot",
                    "Give its top a name of its own.",
                )
            self.names.add(before)
            for item in (entry for one in self.layers for entry in one.all("bottom")):
                item.value = before if item.value == top else item.value
            for item in (
                e for one in fields[:at] for key in ("bottom", "top") for e in one.value.all(key)
            ):
                if item.value == top:
                    renames.append(renamed(document.source, item, before))
        text = prototxt.write(Message.make("NetParameter", layer=self.layers)).rstrip("\n")
        return [(fields[at].start, fields[at].end, text), *renames]

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
        rules = {key: getattr(self._layer.params, key) for key in ("include", "exclude")}
        self.layers.append(
            Message.make(
                "LayerParameter",
                name=name,
                type=type_,
                bottom=list(bottoms),
                top=list(tops),
                param=list(specs),
                **rules,
                **params,
            )
        )
        if weights is not None:
            self.made[name] = list(weights)

    def _branches(self, top: str) -> bool:
        """Whether Caffe would have to split the blob that the layers then write in place."""
        return len([one for one in self.layers if top in one.bottom]) > 1 and any(
            len(one.bottom) > 1 for one in self.layers
        )

    def _free(self, role: str) -> str:
        return self._free_name(f"{self._layer.name}_{role}")

    def _free_name(self, wanted: str) -> str:
        name = free_name(wanted, self._used)
        self.names.add(name)
        return name


def renamed(source: Source, item: Field, name: str) -> Edit:
    """The change of a bottom's or a top's name in the text."""
    old = source.text[item.start : item.end]
    head = f"{item.name}: " if old.startswith(item.name) else ""  # an item of a list has no name
    return item.start, item.end, head + prototxt.quote(name)


FROZEN = {"lr_mult": 0.0, "decay_mult": 0.0}
