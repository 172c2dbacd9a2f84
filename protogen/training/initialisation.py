"""Initial weights of a net, from its fillers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protogen.errors import InputError, did_you_mean, warn
from protogen.formats.mapped import LazyArray, counted
from protogen.formats.message import Message
from protogen.geometry import Shape
from protogen.layers import Filling, fillers, kind_of
from protogen.layers.fillers import EXTRAS, Fan, Filler, caffes_fan, parse_filler
from protogen.layers.filling import check_generated
from protogen.layers.graph import Layer
from protogen.training.filling import complete_fillers, zero_start_warnings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.net.net import Net

FANS = ("caffe", "true")


@dataclass(frozen=True, slots=True)
class FilledBlob:
    """A parameter blob before training, with its filler.

    Attributes:
        owner: the layer and index whose random stream fills the blob; those of another blob if
            ``param { name }`` shares it.
        reason: why the filler differs from the net's text; empty if it does not.
        explicit: whether the net's text or the user names the filler.
        caffes, true: the fans by Caffe's rule, and the correct ones.
    """

    layer: Layer
    index: int
    shape: Shape
    filler: Filler
    filling: Filling
    owner: tuple[str, int]
    reason: str = ""
    explicit: bool = False

    @property
    def name(self) -> str:
        """The blob's name: ``weight``, ``bias``, ``variance``, ...; its index if the type has no name."""
        kind = kind_of(self.layer)
        names = kind.blob_names if kind is not None else ()
        return names[self.index] if self.index < len(names) else str(self.index)

    @property
    def why(self) -> str:
        """The reason for the filler, for a table."""
        default = "the net's filler" if self.explicit else "no filler: Caffe's default"
        return self.reason or default

    @property
    def is_weight(self) -> bool:
        """Whether the blob multiplies the data."""
        return self.filling.fan_in > 0

    @property
    def caffes(self) -> Fan:
        return caffes_fan(self.shape)

    @property
    def true(self) -> Fan:
        return Fan(self.filling.fan_in, self.filling.fan_out) if self.is_weight else self.caffes

    def deviation(self, fan: str = "caffe") -> float | None:
        """Return the standard deviation of the filler; None if it depends on the blob's shape."""
        formula = fillers.DEVIATIONS.get(self.filler.type)
        fans = self.true if fan == "true" else self.caffes
        return formula(self.filler, fans) if formula is not None else None

    def values(self, seed: int, fan: str = "caffe") -> LazyArray:
        """Return the values; they are computed when they are written.

        Raises:
            InputError: the filler does not fit the blob.
        """
        stream = fillers.stream_of(seed, *self.owner)
        fans = self.true if fan == "true" else self.caffes
        self._check()
        if self.filler.type in EXTRAS:
            return LazyArray(self.shape, lambda: iter([self._extra(stream).reshape(-1)]))
        return LazyArray(self.shape, lambda: fillers.chunks(self.filler, self.shape, fans, stream))

    def _check(self) -> None:
        """Raise InputError if the filler does not fit the blob."""
        filler, shape = self.filler, self.shape
        where = self.filling.field or f"blob {self.index}"
        check_generated(self.layer, where, filler.type)
        if filler.type not in (*fillers.CAFFES, *fillers.OF_FORKS, *EXTRAS):
            advice = did_you_mean(filler.type, fillers.CAFFES) or fillers.KNOWN
            raise self.layer.error(f'{where}: unknown filler "{filler.type}"', advice)
        if filler.type == "bilinear" and (len(shape) != 4 or shape[2] != shape[3]):
            raise self.layer.error(
                f"{where}: bilinear needs a square kernel (4 axes), got {'x'.join(map(str, shape))}"
            )
        if filler.sparse >= 0 and filler.type != "gaussian":
            raise self.layer.error(f"{where}: sparse is for gaussian only, got {filler.type}")
        if filler.type in EXTRAS and not self.is_weight:
            raise self.layer.error(f"{where}: {filler.type} is for weights only, got another blob")

    def _extra(self, stream: Sequence[int]) -> NDArray[np.float32]:
        """Return the values of a filler that Caffe does not have."""
        import numpy as np

        shape = self.shape
        if self.filler.type == "identity":
            return fillers.identity(shape, int(self.layer.params.convolution_param.group or 1))
        if self.filler.type == "icnr":
            return self._icnr(stream)
        columns = int(np.prod(shape[1:]))
        return fillers.orthogonal(shape[0], columns, stream).reshape(shape)

    def _icnr(self, stream: Sequence[int]) -> NDArray[np.float32]:
        """Return He's values, equal for the r^2 channels that PixelShuffle joins (Aitken et al. 2017)."""
        import numpy as np

        factor = self.filler.value
        copies = int(factor) ** 2
        if factor < 2 or factor != int(factor) or self.shape[0] % copies:
            raise self.layer.error(
                "icnr: value must be a whole number above 1 whose square divides the number of "
                f"outputs, got value {factor:g} and {self.shape[0]} outputs",
                "Write icnr:value=2 for a pixel shuffle by 2.",
            )
        shape = (self.shape[0] // copies, *self.shape[1:])
        distinct = LazyArray(
            shape, lambda: fillers.chunks(Filler("msra"), shape, self.true, stream)
        )
        return np.repeat(distinct.array(), copies, axis=0)


def blobs_of(
    net: Net,
    rules: Sequence[tuple[str, Filler]] = (),
    recommend: bool = False,
    fill: bool = False,
) -> list[FilledBlob]:
    """Return every parameter blob of a net, with its filler.

    Args:
        rules: (pattern of layer names, filler) for weights; the last match counts.
        recommend: use ``recommendations`` for weights that match no rule.
        fill: choose suitable fillers for blobs without one.

    Raises:
        InputError: a pattern matches no layer with weights, or a shape is unknown.
    """
    from protogen.layers.recommending import recommendations

    recommended = recommendations(net.graph) if recommend else {}
    blobs: list[FilledBlob] = []
    matched: set[str] = set()
    for layer in net.layers:
        for blob in _blobs(net, layer):
            best = recommended.get((layer.name, blob.index))
            if best is not None:
                blob = replace(blob, filler=best.filler, reason=best.reason, explicit=True)
            for pattern, filler in rules if blob.is_weight else ():
                if fnmatchcase(layer.name, pattern):
                    matched.add(pattern)
                    blob = replace(blob, filler=filler, reason=f"--set {pattern}", explicit=True)
            blobs.append(blob)
    names = [layer.name for layer in net.layers]
    for pattern, _ in rules:
        if pattern not in matched:
            problem, advice = "pattern matches no layer with weights", did_you_mean(pattern, names)
            raise InputError(problem, subject=f'"{pattern}"', advice=advice)
    return complete_fillers(net.graph, blobs, fill)


def _blobs(net: Net, layer: Layer) -> Iterator[FilledBlob]:
    """Return the parameter blobs of a layer, with the fillers of the net's text."""
    shapes = net.parameter_shapes[layer.name]
    if shapes is None:
        raise layer.error(
            "the shapes of its blobs are unknown", "Set the input's shape with --input-shape."
        )
    kind = kind_of(layer)
    if not shapes or kind is None:
        return
    bottoms = [net.graph.shapes[read] or () for read in layer.reads]
    fillings = kind.fillings(layer, bottoms, shapes)
    for index, (shape, filling) in enumerate(zip(shapes, fillings, strict=True)):
        owner = net.graph.owners.get((layer.name, index), (layer.name, index))
        filler, explicit = filler_of(layer, filling), _has_filler(layer, filling)
        yield FilledBlob(layer, index, shape, filler, filling, owner, explicit=explicit)


def _has_filler(layer: Layer, filling: Filling) -> bool:
    """Return whether the layer's text sets the filler's type, or the constant's value."""
    block, _, name = filling.field.partition(".")
    if not (block and layer.params.has(block) and getattr(layer.params, block).has(name)):
        return False
    filler: Message = getattr(getattr(layer.params, block), name)
    return filler.has("type") or filler.has("value")


def filler_of(layer: Layer, filling: Filling) -> Filler:
    """Return the filler of a blob by the layer's text; Caffe's constant by default."""
    message: Any = layer.params
    for name in filter(None, filling.field.split(".")):
        if not message.has(name):
            return Filler(value=filling.value)
        message = getattr(message, name)
    if message is layer.params:
        return Filler(value=filling.value)
    return _filler(message)


def _filler(message: Message) -> Filler:
    """Convert a FillerParameter message."""
    return Filler(
        type=message.type,
        value=message.value,
        min=message.min,
        max=message.max,
        mean=message.mean,
        std=message.std,
        sparse=message.sparse,
        variance_norm=str(message.variance_norm),
        diag_val=tuple(message.diag_val),
    )


def parse_rules(texts: Sequence[str]) -> list[tuple[str, Filler]]:
    """Parse rules such as ``conv*=msra`` into patterns and fillers.

    Raises:
        InputError: a text is not PATTERN=FILLER, or its filler is invalid.
    """
    rules = []
    for text in texts:
        pattern, equals, filler = text.partition("=")
        if not equals or not pattern:
            raise InputError(
                f"expected PATTERN=FILLER, got {text!r}",
                subject="--set",
                advice="Write it like 'conv*=msra' or fc8=gaussian:0.01.",
            )
        rules.append((pattern, parse_filler(filler)))
    return rules


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
    """Fill the net's weights from its fillers, and return the net.

    The same seed gives the same weights, independent of the order of layers. Constant and bilinear
    equal Caffe's bit for bit; random fillers have Caffe's distributions.

    Args:
        fan: ``caffe`` counts inputs by Caffe's rule, ``true`` counts them correctly: they differ on
            Deconvolution, on InnerProduct with ``transpose``, and on Embed.
        rules: fillers by pattern of layer names: ``{"conv*": "msra", "fc8": "gaussian:0.01"}``.
        recommend: use fillers that suit each layer's activation.
        fill: choose suitable fillers for blobs without one, instead of Caffe's 0: msra before
            rectifiers, xavier elsewhere, bilinear for a Deconvolution that upsamples each channel,
            and neutral values for BatchNorm. Without ``fill`` such blobs cause a warning.
        feeds: data for ``lsuv``; random numbers by default.

    Raises:
        InputError: a filler is unknown or does not fit its blob, or a pattern matches no layer.
    """
    texts = [f"{pattern}={filler}" for pattern, filler in (rules or {}).items()]
    blobs = blobs_of(net, parse_rules(texts), recommend, fill)
    _check_fan(fan)
    _warn_of_zeros(blobs)
    net.weights = {}
    for blob in blobs:
        net.weights.setdefault(blob.layer.name, []).append(blob.values(seed, fan).array())
    if any(blob.filler.type == "lsuv" for blob in blobs):
        from protogen.training.lsuv import scale_to_unit_variance

        names = {blob.layer.name for blob in blobs if blob.filler.type == "lsuv"}
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
    text: tuple[str | Path, bytes] | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> list[FilledBlob]:
    """Write a caffemodel of initial weights, in chunks, and return each blob with its filler.

    Args:
        text: a file that is written together with the weights, and the text of the net.
        progress: callback with the bytes written and the bytes in total.

    Raises:
        InputError: as ``initialise``; the net has no parameters; the file cannot be written.
    """
    from protogen.formats.caffemodel import write_pair
    from protogen.net.net import entry
    from protogen.net.parsers import is_layer

    blobs = blobs_of(net, rules, recommend, fill)
    _check_fan(fan)
    if not blobs:
        raise InputError("no layer has parameters", subject=f'net "{net.name}"')
    in_memory = any(blob.filler.type == "lsuv" for blob in blobs)
    if in_memory:
        texts = {pattern: filler_text(filler) for pattern, filler in rules}
        initialise(net, seed, fan=fan, rules=texts, recommend=recommend, fill=fill, feeds=feeds)
    else:
        _warn_of_zeros(blobs)
    size = sum(4 * blob.values(seed, fan).size for blob in blobs)
    by_layer: dict[str, list[LazyArray]] = {}
    for blob in blobs:
        by_layer.setdefault(blob.layer.name, []).append(blob.values(seed, fan))
    parser = net.parser()
    layers = [layer for layer in net.layers if is_layer(layer.type, parser)]
    source = net.source.text if net.source is not None else ""
    own = text or (None, source.encode("utf-8", "surrogateescape"))
    with ExitStack() as stack:
        stored = (entry(layer, by_layer.get(layer.name, ()), parser) for layer in layers)
        entries = net.entries(parser) if in_memory else stored
        write_pair(stack, own, path, net.name, entries, counted(progress, size))
    return blobs


def _warn_of_zeros(blobs: Sequence[FilledBlob]) -> None:
    for warning in zero_start_warnings(blobs):
        warn(warning)


def filler_text(filler: Filler) -> str:
    """Return the text of a filler that ``parse_filler`` accepts: ``gaussian:std=0.01``."""
    numbers = filler.numbers()
    type_ = str(numbers.pop("type"))
    return type_ + (":" if numbers else "") + ",".join(f"{k}={v}" for k, v in numbers.items())


def _check_fan(fan: str) -> None:
    if fan not in FANS:
        raise InputError(f"expected caffe or true, got {fan!r}", subject="fan")
