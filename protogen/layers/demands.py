"""What Caffe demands of a layer besides the shapes of its bottoms: a net is refused for it, but its
shapes are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from protogen.errors import InputError
from protogen.geometry import Shape, shape_text
from protogen.layers.base import LayerType, check_bottoms, check_rank
from protogen.layers.checking import check_tops
from protogen.layers.filling import check_filler, check_fillers, check_given_blobs
from protogen.layers.graph import Layer


def refusals(
    layer: Layer,
    kind: LayerType,
    bottoms: Sequence[Shape],
    tops: Sequence[Shape | None],
    blobs: Sequence[Shape],
) -> Iterator[InputError]:
    """Why Caffe refuses a layer whose shapes are known; nothing where it does not."""
    if layer.type != layer.params.type:  # it stands for an identity, whatever it is
        return
    checks: tuple[Callable[[], None], ...] = (
        lambda: _check_values(layer, bottoms, tops),
        lambda: _check_propagation(layer),
        lambda: _check_rates(layer, kind),
        lambda: check_fillers(layer, kind, bottoms, blobs),
        lambda: check_given_blobs(layer, kind, blobs),
        lambda: _check_ends(layer, bottoms, tops),
    )
    for check in checks:
        try:
            check()
        except InputError as error:
            yield error


def _check_values(layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
    if any(0 in shape for shape in bottoms):  # the layer before has been told of
        return
    for name, shape in zip(layer.tops, tops, strict=False):
        if shape is not None and 0 in shape:
            raise layer.error(
                f'its top "{name}" is {shape_text(shape)}, which holds no values',
                "Give the shape of its data.",
            )


def _check_propagation(layer: Layer) -> None:
    given, count = len(layer.params.propagate_down), len(layer.bottoms)
    if given not in (0, count):
        raise layer.error(
            f"has {count} bottoms, but {given} propagate_down",
            "Give one for each bottom, or none.",
        )


def _check_rates(layer: Layer, kind: LayerType) -> None:
    if kind.trained:
        return
    for spec in layer.params.param[:3]:
        if spec.lr_mult != 0:
            raise layer.error(
                f"a param has lr_mult {spec.lr_mult:g}, but its blobs are statistics",
                "Give lr_mult: 0, or leave param out: Caffe then takes 0.",
            )


# Layers where data enters and leaves: how many bottoms and tops they have (from, to; None: any).
_COUNTS: Mapping[str, tuple[int, int | None, int, int | None]] = {
    "Data": (0, 0, 1, 2),
    "DummyData": (0, 0, 1, None),
    "HDF5Data": (0, 0, 1, None),
    "HDF5Output": (2, 2, 0, 0),
    "ImageData": (0, 0, 2, 2),
    "Input": (0, 0, 1, None),
    "MemoryData": (0, 0, 2, 2),
    "Silence": (1, None, 0, 0),
    "WindowData": (0, 0, 2, 2),
}


def _check_ends(layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
    if layer.type not in _COUNTS:
        return
    least, most, least_tops, most_tops = _COUNTS[layer.type]
    check_bottoms(layer, least, most)
    check_tops(layer, least_tops, most_tops)
    if layer.type in _MEANS:
        _check_means(layer)
    if layer.type in _CHECKS:
        _CHECKS[layer.type](layer, bottoms, tops)


_MEANS = ("Data", "ImageData", "MemoryData", "WindowData")


def _check_means(layer: Layer) -> None:
    p = layer.params.transform_param
    if p.has("mean_file") and p.mean_value:
        raise layer.error("mean_file and mean_value are both given", "Keep one.")
    if p.force_color and p.force_gray:
        raise layer.error("force_color and force_gray are both true", "Keep one.")


def _check_dummy(layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
    p, count = layer.params.dummy_data_param, len(layer.tops)
    old = [name for name in ("num", "channels", "height", "width") if getattr(p, name)]
    if old and p.shape:
        raise layer.error(f"shape and {', '.join(old)} are both given", "Keep shape.")
    names = ("num", "channels", "height", "width") if old else ("shape",)
    for name in names:
        if len(getattr(p, name)) not in (1, count):
            raise layer.error(
                f"has {count} tops, but {len(getattr(p, name))} {name}",
                "Give it once, or once for each top.",
            )
    fillers = list(p.data_filler)
    if len(fillers) not in (0, 1, count):
        raise layer.error(
            f"has {count} tops, but {len(fillers)} data_filler",
            "Give it once, or once for each top.",
        )
    for filler, shape in zip(fillers * (count if len(fillers) == 1 else 1), tops, strict=False):
        if shape is not None:
            check_filler(layer, filler, "data_filler", shape)


def _check_hdf5(layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
    if layer.params.has("transform_param"):
        raise layer.error("has transform_param, which it does not take", "Transform the file.")


def _check_output(layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
    check_rank(layer, bottoms, 0, 4)
    if bottoms[0][:1] != bottoms[1][:1]:
        raise layer.error(
            f"{shape_text(bottoms[0])} and {shape_text(bottoms[1])} must have as many samples"
        )


def _check_pictures(layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
    p = layer.params.image_data_param
    if bool(p.new_height) != bool(p.new_width):
        raise layer.error("has one of new_height and new_width", "Give both, or neither.")
    if p.batch_size < 1:
        raise layer.error("batch_size is 0, but must be at least 1")


def _check_memory(layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
    p = layer.params.memory_data_param
    if min(p.batch_size, p.channels, p.height, p.width) < 1:
        raise layer.error("batch_size, channels, height and width must be at least 1")


def _check_windows(layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape | None]) -> None:
    p = layer.params
    if not (p.transform_param.crop_size or p.window_data_param.crop_size):
        raise layer.error("has no crop_size", "Give the size of the windows.")


_CHECKS: Mapping[str, Callable[[Layer, Sequence[Shape], Sequence[Shape | None]], None]] = {
    "DummyData": _check_dummy,
    "HDF5Data": _check_hdf5,
    "HDF5Output": _check_output,
    "ImageData": _check_pictures,
    "MemoryData": _check_memory,
    "WindowData": _check_windows,
}
