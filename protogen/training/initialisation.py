"""Real weights from a net's fillers, before any training."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protogen.errors import InputError, UnsupportedError, did_you_mean
from protogen.formats import files, prototxt
from protogen.formats.mapped import LazyArray, counted
from protogen.formats.message import Field, Message
from protogen.geometry import Shape
from protogen.layers import Filling, fillers, kind_of
from protogen.layers.fillers import EXTRAS, Fan, Filler, caffes_fan, parse_filler
from protogen.layers.graph import Layer
from protogen.training.filling import dead, filled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.net.net import Net

FANS = ("caffe", "true")


@dataclass(frozen=True, slots=True)
class FilledBlob:
    """A parameter blob before training: what fills it, and why if that is not what the net says.

    ``said``: the net's text or the user names its filler.
    ``owner`` is the layer and index whose stream it is filled from: another one's where
    ``param { name }`` shares it. ``caffes`` and ``true`` are its fans by Caffe's rule and in fact.
    """

    layer: Layer
    index: int
    shape: Shape
    filler: Filler
    filling: Filling
    owner: tuple[str, int]
    reason: str = ""
    said: bool = False

    @property
    def name(self) -> str:
        """``weight``, ``bias``, ``variance``, ...: the index where the type has no name for it."""
        kind = kind_of(self.layer)
        names = kind.blob_names if kind is not None else ()
        return names[self.index] if self.index < len(names) else str(self.index)

    @property
    def why(self) -> str:
        """Why it has this filler, whoever says it."""
        return self.reason or ("the net's filler" if self.said else "no filler, as in Caffe")

    @property
    def is_weight(self) -> bool:
        """Whether it multiplies the data."""
        return self.filling.fan_in > 0

    @property
    def caffes(self) -> Fan:
        return caffes_fan(self.shape)

    @property
    def true(self) -> Fan:
        return Fan(self.filling.fan_in, self.filling.fan_out) if self.is_weight else self.caffes

    def deviation(self, fan: str = "caffe") -> float | None:
        """The standard deviation of what the filler draws; None where it looks at the shape."""
        found = fillers.DEVIATIONS.get(self.filler.type)
        return found(self.filler, self.true if fan == "true" else self.caffes) if found else None

    def made(self, seed: int, fan: str = "caffe") -> LazyArray:
        """The values, made when they are written.

        Raises:
            InputError: the filler does not fit the blob.
        """
        stream = fillers.stream_of(seed, *self.owner)
        chosen = self.true if fan == "true" else self.caffes
        self._check()
        if self.filler.type in EXTRAS:
            return LazyArray(self.shape, lambda: iter([self._extra(stream).reshape(-1)]))
        return LazyArray(
            self.shape, lambda: fillers.chunks(self.filler, self.shape, chosen, stream)
        )

    def _check(self) -> None:
        filler, shape = self.filler, self.shape
        where = self.filling.field or f"blob {self.index}"
        if filler.type not in (*fillers.CAFFES, *EXTRAS):
            known = f"Known are {', '.join(fillers.CAFFES)}."
            advice = did_you_mean(filler.type, fillers.CAFFES) or known
            raise self.layer.error(f'{where}: there is no filler "{filler.type}"', advice)
        if filler.type == "bilinear" and (len(shape) != 4 or shape[2] != shape[3]):
            raise self.layer.error(
                f"{where}: bilinear takes square kernels, not {'x'.join(map(str, shape))}"
            )
        if filler.sparse >= 0 and filler.type != "gaussian":
            raise self.layer.error(f"{where}: sparse is for gaussian, not {filler.type}")
        if filler.type in EXTRAS and not self.is_weight:
            raise self.layer.error(f"{where}: {filler.type} is for weights that multiply the data")

    def _extra(self, stream: Sequence[int]) -> NDArray[np.float32]:
        import numpy as np

        shape = self.shape
        if self.filler.type == "identity":
            return fillers.identity(shape, int(self.layer.params.convolution_param.group or 1))
        if self.filler.type == "icnr":
            return self._icnr(stream)
        columns = int(np.prod(shape[1:]))
        return fillers.orthogonal(shape[0], columns, stream).reshape(shape)

    def _icnr(self, stream: Sequence[int]) -> NDArray[np.float32]:
        """He's, the same for all r^2 channels that PixelShuffle makes one of (Aitken et al. 2017)."""
        import numpy as np

        factor = self.filler.value
        each = int(factor) ** 2
        if factor < 2 or factor != int(factor) or self.shape[0] % each:
            raise self.layer.error(
                f"icnr: {self.shape[0]} outputs are no whole number of squares of {factor:g}",
                "Write icnr:value=2 for a pixel shuffle by 2.",
            )
        shape = (self.shape[0] // each, *self.shape[1:])
        drawn = LazyArray(shape, lambda: fillers.chunks(Filler("msra"), shape, self.true, stream))
        return np.repeat(drawn.array(), each, axis=0)


def blobs_of(
    net: Net,
    rules: Sequence[tuple[str, Filler]] = (),
    recommend: bool = False,
    fill: bool = False,
) -> list[FilledBlob]:
    """Every parameter blob of a net with its filler.

    Args:
        rules: (pattern of layer names, filler) for weights; the last that fits counts.
        recommend: where no rule fits, what each layer should have (see ``recommendations``).
        fill: what suits blobs of which nobody says how they begin.

    Raises:
        InputError: a pattern fits no layer with weights, or a shape is not known.
    """
    from protogen.layers.recommending import recommendations

    better = recommendations(net.graph) if recommend else {}
    made: list[FilledBlob] = []
    fitted: set[str] = set()
    for layer in net.layers:
        for blob in _blobs(net, layer):
            found = better.get((layer.name, blob.index))
            if found is not None:
                blob = replace(blob, filler=found.filler, reason=found.reason, said=True)
            for pattern, filler in rules if blob.is_weight else ():
                if fnmatchcase(layer.name, pattern):
                    fitted.add(pattern)
                    blob = replace(blob, filler=filler, reason=f"--set {pattern}", said=True)
            made.append(blob)
    named = [layer.name for layer in net.layers]
    for pattern, _ in rules:
        if pattern not in fitted:
            advice = did_you_mean(pattern, named)
            raise InputError("fits no layer with weights", subject=f'"{pattern}"', advice=advice)
    return filled(net.graph, made) if fill else made


def _blobs(net: Net, layer: Layer) -> Iterator[FilledBlob]:
    shapes = net.parameter_shapes[layer.name]
    if shapes is None:
        raise layer.error(
            "the shapes of its blobs are not known", "Give the input's shape: --input-shape."
        )
    kind = kind_of(layer)
    if not shapes or kind is None:
        return
    bottoms = [net.graph.shapes[read] or () for read in layer.reads]
    for index, (shape, filling) in enumerate(
        zip(shapes, kind.fillings(layer, bottoms, shapes), strict=True)
    ):
        owner = net.graph.owners.get((layer.name, index), (layer.name, index))
        filler, said = filler_of(layer, filling), _speaks_of(layer, filling)
        yield FilledBlob(layer, index, shape, filler, filling, owner, said=said)


def _speaks_of(layer: Layer, filling: Filling) -> bool:
    """Whether the layer's text names a blob's filler: its type, or the value of Caffe's constant."""
    block, _, name = filling.field.partition(".")
    if not (block and layer.params.has(block) and getattr(layer.params, block).has(name)):
        return False
    filler = getattr(getattr(layer.params, block), name)
    return bool(filler.has("type") or filler.has("value"))


def filler_of(layer: Layer, filling: Filling) -> Filler:
    """What the layer's text says of a blob."""
    message: Any = layer.params
    for name in filter(None, filling.field.split(".")):
        if not message.has(name):
            return Filler(value=filling.value)
        message = getattr(message, name)
    if message is layer.params:
        return Filler(value=filling.value)
    return _filler(message)


def _filler(message: Message) -> Filler:
    return Filler(
        type=message.type,
        value=message.value,
        min=message.min,
        max=message.max,
        mean=message.mean,
        std=message.std,
        sparse=message.sparse,
        variance_norm=str(message.variance_norm),
    )


def parse_rules(texts: Sequence[str]) -> list[tuple[str, Filler]]:
    """``conv*=msra`` as a pattern and a filler.

    Raises:
        InputError: the text has another form.
    """
    made = []
    for text in texts:
        pattern, equals, filler = text.partition("=")
        if not equals or not pattern:
            raise InputError(
                f"{text!r} is no PATTERN=FILLER",
                subject="--set",
                advice="Write it like 'conv*=msra' or fc8=gaussian:0.01.",
            )
        made.append((pattern, parse_filler(filler)))
    return made


def initialise(
    net: Net,
    seed: int = 0,
    *,
    fan: str = "caffe",
    rules: Mapping[str, str] | None = None,
    recommend: bool = False,
    fill: bool = False,
    feeds: Mapping[str, NDArray[Any]] | None = None,
) -> Net:
    """Fills the net's weights from its fillers, and gives the net back.

    The same seed gives the same weights, whatever the order of layers. Constant and bilinear are
    Caffe's bit for bit; random fillers have Caffe's distributions.

    Args:
        fan: ``caffe`` counts inputs as Caffe does, ``true`` as they are: they differ on
            Deconvolution, on InnerProduct with ``transpose``, and on Embed.
        rules: fillers by pattern of layer names: ``{"conv*": "msra", "fc8": "gaussian:0.01"}``.
        recommend: fillers that suit each layer's activation.
        fill: for blobs of which nobody says how they begin, what suits them instead of Caffe's 0:
            msra before rectifiers, xavier elsewhere, bilinear where a Deconvolution upsamples
            each channel, and a BatchNorm that changes nothing. Without it such blobs are warned of.
        feeds: data for ``lsuv``; random numbers where it is left out.

    Raises:
        InputError: a filler is not known or does not fit, a pattern fits nothing.
    """
    texts = [f"{pattern}={filler}" for pattern, filler in (rules or {}).items()]
    found = blobs_of(net, parse_rules(texts), recommend, fill)
    _check_fan(fan)
    _warn_of_dead(found)
    net.weights = {}
    for blob in found:
        net.weights.setdefault(blob.layer.name, []).append(blob.made(seed, fan).array())
    if any(blob.filler.type == "lsuv" for blob in found):
        from protogen.training.lsuv import scale_to_unit_variance

        names = {blob.layer.name for blob in found if blob.filler.type == "lsuv"}
        scale_to_unit_variance(net, names, feeds, seed)
    return net


def write_initial(
    net: Net,
    path: str | Path,
    seed: int = 0,
    *,
    fan: str = "caffe",
    rules: Sequence[tuple[str, Filler]] = (),
    recommend: bool = False,
    fill: bool = False,
    feeds: Mapping[str, NDArray[Any]] | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> list[FilledBlob]:
    """Writes a caffemodel of initial weights, a chunk at a time, and tells what filled each blob.

    Args:
        progress: is told bytes written and bytes in all.

    Raises:
        InputError: as ``initialise``; the net has no parameters; the file cannot be written.
    """
    from protogen.formats.caffemodel import write_weights
    from protogen.net.net import entry

    found = blobs_of(net, rules, recommend, fill)
    _check_fan(fan)
    if not found:
        raise InputError("no layer has parameters", subject=f'net "{net.name}"')
    whole = any(blob.filler.type == "lsuv" for blob in found)
    if whole:
        texts = {pattern: filler_text(filler) for pattern, filler in rules}
        initialise(net, seed, fan=fan, rules=texts, recommend=recommend, fill=fill, feeds=feeds)
    else:
        _warn_of_dead(found)
    size = sum(4 * blob.made(seed, fan).size for blob in found)
    by_layer: dict[str, list[LazyArray]] = {}
    for blob in found:
        by_layer.setdefault(blob.layer.name, []).append(blob.made(seed, fan))
    with files.replacing(path) as file:
        entries = (
            net.entries()
            if whole
            else (
                entry(layer, by_layer[layer.name]) for layer in net.layers if layer.name in by_layer
            )
        )
        write_weights(file, net.name, entries, progress=counted(progress, size))
    return found


def _warn_of_dead(blobs: Sequence[FilledBlob]) -> None:
    for told in dead(blobs):
        warnings.warn(told, stacklevel=3)


def filler_text(filler: Filler) -> str:
    """As ``parse_filler`` reads it: ``gaussian:std=0.01``."""
    numbers = filler.numbers()
    kind = str(numbers.pop("type"))
    return kind + (":" if numbers else "") + ",".join(f"{k}={v}" for k, v in numbers.items())


def _check_fan(fan: str) -> None:
    if fan not in FANS:
        raise InputError(f"{fan!r} is not caffe or true", subject="fan")


def with_fillers(net: Net, blobs: Sequence[FilledBlob]) -> Message:
    """The net's message with these blobs' fillers written into its layers. Blobs that Caffe has no
    filler for, such as BatchNorm's, begin so in the caffemodel alone.

    Raises:
        UnsupportedError: Caffe has no such filler.
    """
    changed: dict[str, list[FilledBlob]] = {}
    for blob in blobs:
        if not blob.reason or not blob.filling.field:  # a field is where the text can say it
            continue
        if blob.filler.type in EXTRAS:
            raise UnsupportedError(
                f"Caffe has no filler {blob.filler.type}: it can only be written as weights",
                subject=blob.layer.subject,
            )
        changed.setdefault(blob.layer.name, []).append(blob)
    text = prototxt.parse(prototxt.write(net.message), net.name or "net")
    for item in text.all("layer"):
        for blob in changed.get(item.value.name, ()):
            outer, name = blob.filling.field.split(".")
            if not item.value.has(outer):
                item.value.add(outer, {})
            param: Message = getattr(item.value, outer)
            numbers = blob.filler.numbers()
            made = Message.make("FillerParameter", **numbers)
            given = param.all(name)
            if given:
                given[0].value = made
                given[0].literal = None
            else:
                param.append(Field(name, made, param.kind.fields[name] if param.kind else None))
    return text
