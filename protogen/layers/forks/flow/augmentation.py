"""Layers of FlowNet2 that prepare pictures: crops and means, and random changes while training."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from protogen.formats.message import Message
from protogen.geometry import Shape, shape_text
from protogen.layers.base import LayerType, check_bottoms, check_rank, fields
from protogen.layers.checking import check_set, check_tops
from protogen.layers.elementwise import affine
from protogen.layers.forks.flow.correlation import SOURCE
from protogen.layers.forks.flow.flow_resampling import weighted
from protogen.layers.graph import Layer
from protogen.layers.writing import Emitter, Rewriter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.layers.base import Filling

COEFFICIENTS = 42  # numbers that describe the augmentation of a picture (AugmentationCoeff)
_GENERATORS = (
    "mirror translate rotate zoom squeeze translate_x translate_y gamma brightness contrast color "
    "lmult_pow lmult_mult lmult_add sat_pow sat_mult sat_add col_pow col_mult col_add ladd_pow "
    "ladd_mult ladd_add col_rotate fog_amount fog_size motion_blur_angle motion_blur_size "
    "shadow_angle shadow_distance shadow_strength noise"
)
_TRAINING = "used only for random augmentation"
_SCHEDULE = MappingProxyType(
    {
        f"coeff_schedule_param.{name}": _TRAINING
        for name in ("half_life", "initial_coeff", "final_coeff")
    }
)
_WAY_OUT = "Start the net after it: it prepares training data."


class DataAugmentation(LayerType):
    """Forks (FlowNet2): pictures, cropped around their centre to crop_height x crop_width if both
    are set, minus a mean. In phase TRAIN, or with augment_during_test, a cropped picture is changed
    at random by the generators that are set.

    With recompute_mean, the blobs are the number of iterations, the mean of each pixel and the mean
    of each channel; mean_per_pixel selects the first mean. Without it, three values of ``mean``
    are subtracted if mean_per_pixel is false. The fork interpolates: an odd margin gives a shift by
    half a pixel, and positions end 0.05 pixels before the last one. A second top holds the 42
    numbers of the augmentation, all 0 without one.
    """

    reads = fields(
        augmentation_param=(
            "crop_width crop_height augment_during_test recompute_mean mean_per_pixel mean "
            f"{_GENERATORS}"
        ),
        coeff_schedule_param="",
    )
    harmless = _SCHEDULE | {
        "augmentation_param.max_multiplier": _TRAINING,
        "augmentation_param.chromatic_eigvec": _TRAINING,
        "augmentation_param.write_augmented": "debug output",
        "augmentation_param.write_mean": "debug output",
        "augmentation_param.mode": "only GenerateAugmentationParameters reads it",
        "augmentation_param.bottomwidth": "only GenerateAugmentationParameters reads it",
        "augmentation_param.bottomheight": "only GenerateAugmentationParameters reads it",
        "augmentation_param.num": "only GenerateAugmentationParameters reads it",
    }
    blob_names = ("iterations", "mean", "channel_mean")
    trained = False
    stock = False
    source = SOURCE
    limits = "without random augmentation"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 2)
        check_tops(layer, 1, 2)
        check_rank(layer, bottoms[:1], 4, 4)
        n, c, h, w = bottoms[0]
        p = layer.params.augmentation_param
        size = (h, w)
        if self._crops(p):
            size = (int(p.crop_height), int(p.crop_width))
            if min(size) < 1 or size[0] > h or size[1] > w:
                raise layer.error(
                    f"its crop {shape_text(size)} does not fit into pictures of {shape_text((h, w))}"
                )
        coefficients = bottoms[1] if len(bottoms) > 1 else (n, COEFFICIENTS, 1, 1)
        return [(n, c, *size), coefficients][: len(layer.tops)]

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        if not layer.params.augmentation_param.recompute_mean:
            return [(1, 1, 1, 1)]
        channels = bottoms[0][1]
        size = self.shapes(layer, bottoms)[0][2:]
        return [(1, 1, 1, 1), (1, channels, *size), (1, channels, 1, 1)]

    def fillings(
        self, layer: Layer, bottoms: Sequence[Shape], blobs: Sequence[Shape]
    ) -> list[Filling]:
        from protogen.layers.base import Filling

        trained = float(layer.params.augmentation_param.recompute_mean)
        return [Filling(neutral=trained), Filling(neutral=0.0), Filling(neutral=0.0)][: len(blobs)]

    def uses_blobs(self, layer: Layer) -> bool:
        return bool(layer.params.augmentation_param.recompute_mean)

    def fitted(
        self, layer: Layer, arrays: Sequence[NDArray[np.floating]], shapes: Sequence[Shape]
    ) -> Sequence[NDArray[np.floating]]:
        """Return the blobs for pictures of another size than those of the training: the mean of each
        pixel becomes the mean of its channel, as in the fork."""
        import numpy as np

        if len(shapes) == 1:  # without recompute_mean the fork reads no mean
            return arrays[:1]
        if len(arrays) != 3 or arrays[1].ndim != 4:
            return arrays
        count, mean, channel_mean = arrays
        if mean.shape == tuple(shapes[1]) or mean.shape[:2] != tuple(shapes[1])[:2]:
            return arrays
        average = np.mean(mean, axis=(2, 3), keepdims=True, dtype=np.float32)
        return [count, np.broadcast_to(average, shapes[1]).copy(), channel_mean]

    def random(self, layer: Layer) -> bool:
        p = layer.params.augmentation_param
        if not self._crops(p) or len(layer.bottoms) > 1:
            return False
        active = layer.phase == "TRAIN" or p.augment_during_test
        return bool(active and any(p.has(name) for name in _GENERATORS.split()))

    def _crops(self, p: Message) -> bool:
        return bool(p.has("crop_width") and p.has("crop_height"))

    def lower(self, layer: Layer, e: Emitter) -> None:
        p = layer.params.augmentation_param
        if self.random(layer):
            raise layer.unsupported(
                "it changes pictures at random",
                "Set phase TEST and augment_during_test: false, or start the net after it.",
            )
        if len(layer.reads) > 1 and self._crops(p):
            raise layer.unsupported(
                "it changes pictures by the numbers of a second bottom", _WAY_OUT
            )
        x = self._cropped(layer, e) if self._crops(p) else layer.reads[0]
        mean = self._mean(layer, e, p)
        x = x if mean is None else e.value("Sub", x, e.array(mean))
        e.op("Identity", [x], [layer.writes[0]])
        if len(layer.writes) < 2:
            return
        if len(layer.reads) > 1:
            e.op("Identity", [layer.reads[1]], [layer.writes[1]])
        else:
            shape = e.array(list(e.shape(layer.writes[1])))
            e.op("Expand", [e.array(0.0), shape], [layer.writes[1]])

    def _cropped(self, layer: Layer, e: Emitter) -> str:
        before, after = e.shape(layer.reads[0])[2:], e.shape(layer.writes[0])[2:]
        low = [(n - m) // 2 for n, m in zip(before, after, strict=True)]
        inside = all((n - m) % 2 == 0 and n > m for n, m in zip(before, after, strict=True))
        if inside:  # no position is between two pixels
            high = [start + m for start, m in zip(low, after, strict=True)]
            return e.value("Slice", layer.reads[0], *map(e.array, (low, high, [2, 3])))
        rows, columns = (_crop_weights(n, m) for n, m in zip(before, after, strict=True))
        return weighted(e, layer.reads[0], rows, columns)

    def _mean(self, layer: Layer, e: Emitter, p: Message) -> NDArray[np.floating] | None:
        """Return what the layer subtracts; None for nothing."""
        import numpy as np

        if p.recompute_mean:
            iterations = int(e.weight(layer, 0).flat[0])
            if iterations < p.recompute_mean:
                raise layer.unsupported(
                    f"its mean is not complete: {iterations} of recompute_mean {p.recompute_mean} "
                    "iterations are done, so each run changes the mean",
                    "Use a later snapshot.",
                )
            return e.weight(layer, 1 if p.mean_per_pixel else 2)
        if len(p.mean) != 3 or p.mean_per_pixel:
            return None
        channels = e.shape(layer.reads[0])[1]
        if channels != 3:
            raise layer.error(f"mean has three values for pictures of {channels} channels")
        return np.asarray(p.mean, np.float32).reshape(1, 3, 1, 1)


def _crop_weights(before: int, after: int) -> NDArray[np.float32]:
    """Return the weights of the fork's crop along an axis: float32 (after, before)."""
    import numpy as np

    one = np.float32
    position = np.arange(after, dtype=np.float32) + (one(0.5) * one(before) - one(0.5) * one(after))
    position = np.maximum(0, np.minimum(position, one(before) - one(1.05)))
    low = np.floor(position).astype(np.int64)
    weights = np.zeros((after, before), np.float32)
    weights[np.arange(after), low] = 1 - (position - low)
    weights[np.arange(after), np.minimum(low + 1, before - 1)] += (position - low).astype(
        np.float32
    )
    return weights


class FlowAugmentation(LayerType):
    """Forks (FlowNet2): a flow, changed as the random augmentations of its two pictures; bottoms
    flow and the numbers of both augmentations."""

    reads = fields(augmentation_param="crop_width crop_height")
    harmless = MappingProxyType(
        {f"augmentation_param.{name}": _TRAINING for name in _GENERATORS.split()}
    )
    required = ("augmentation_param.crop_width", "augmentation_param.crop_height")
    stock = False
    source = SOURCE
    refusal = ("it follows random augmentations of pictures", _WAY_OUT)

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 3, 3)
        check_set(layer, self.required)
        check_rank(layer, bottoms[:1], 4, 4)
        p = layer.params.augmentation_param
        if min(p.crop_width, p.crop_height) < 1:
            raise layer.error("crop_width and crop_height must be at least 1")
        if bottoms[0][1] != 2:
            raise layer.error(f"a flow must have 2 channels, got {bottoms[0][1]}")
        return [(*bottoms[0][:2], int(p.crop_height), int(p.crop_width))]


class GenerateAugmentationParameters(LayerType):
    """Forks (FlowNet2): random numbers of an augmentation for each picture of its first bottom."""

    reads = fields(
        augmentation_param=f"mode crop_width crop_height bottomwidth bottomheight num {_GENERATORS}"
    )
    stock = False
    source = SOURCE
    refusal = ("its values are random", _WAY_OUT)

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        if len(bottoms) not in (1, 3):
            raise layer.error(f"expected 1 or 3 bottoms, got {len(bottoms)}")
        p = layer.params.augmentation_param
        if len(bottoms) == 1 and not (p.has("crop_width") and p.has("crop_height")):
            raise layer.error("crop_width and crop_height are missing", "Set them.")
        return [(bottoms[0][0], COEFFICIENTS, 1, 1)]

    def random(self, layer: Layer) -> bool:
        return True


class BlackAugmentation(LayerType):
    """Forks (FlowNet2): pictures (3 channels) and flows (2 channels); at random, a sample becomes
    pictures that do not move, or its border becomes 0."""

    reads = fields(black_augmentation_param="black border")
    stock = False
    source = SOURCE
    refusal = ("it changes pictures at random", _WAY_OUT)

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1)
        check_rank(layer, bottoms, 4, 4)
        check_tops(layer, len(bottoms), len(bottoms))
        for name, shape in zip(layer.bottoms, bottoms, strict=True):
            first = bottoms[0]
            if shape[1] not in (2, 3) or (shape[0], *shape[2:]) != (first[0], *first[2:]):
                raise layer.error(
                    f'bottom "{name}" must have 2 or 3 channels and the size of the first, '
                    f"{shape_text(first)}, got {shape_text(shape)}"
                )
        return list(bottoms)

    def random(self, layer: Layer) -> bool:
        return True


class Mean(LayerType):
    """Forks (FlowNet2): output_scale (input_scale x + mean_scale mean), or minus the mean
    (SUBTRACT), for each bottom. ``value`` holds the mean of each channel, repeated if there are more
    channels; ``file`` is a mean file instead."""

    reads = fields(mean_param="operation file value mean_scale input_scale output_scale")
    required = ("mean_param.operation",)
    stock = False
    source = SOURCE
    limits = "not from a file"

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1)
        check_set(layer, self.required)
        check_rank(layer, bottoms, 4, 4)
        check_tops(layer, len(bottoms), len(bottoms))
        p = layer.params.mean_param
        if p.has("file"):
            return list(bottoms)
        if not p.value:
            raise layer.error("the mean is missing", "Set value once, or once per channel.")
        for name, shape in zip(layer.bottoms, bottoms, strict=True):
            if shape[1] % len(p.value):
                raise layer.error(
                    f'{len(p.value)} values do not divide the {shape[1]} channels of "{name}"'
                )
        return list(bottoms)

    def in_place(self, layer: Layer) -> bool:
        return True

    def _line(self, layer: Layer, channels: int) -> tuple[float, list[float]]:
        """Return the factor of the data, and what is added to each channel."""
        p = layer.params.mean_param
        if p.has("file"):
            raise layer.unsupported(
                "its mean is in a separate file", "Set value to the mean of each channel."
            )
        sign = -1.0 if p.operation == "SUBTRACT" else 1.0
        scale = sign * float(p.output_scale) * float(p.mean_scale)
        shifts = [scale * float(value) for value in p.value] * (channels // len(p.value))
        return float(p.output_scale) * float(p.input_scale), shifts

    def lower(self, layer: Layer, e: Emitter) -> None:
        import numpy as np

        for read, write in zip(layer.reads, layer.writes, strict=True):
            factor, shifts = self._line(layer, e.shape(read)[1])
            shift = e.array(np.asarray(shifts, np.float32).reshape(1, -1, 1, 1))
            e.op("Add", [affine(e, read, factor, 0.0), shift], [write])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        import numpy as np

        if len(layer.bottoms) > 1:
            raise layer.unsupported("it has several bottoms", "Write a layer for each bottom.")
        factor, shifts = self._line(layer, r.shape(layer.bottoms[0])[1])
        params: dict[str, Any] = {"power_param": {"scale": factor, "shift": shifts[0]}}
        if len(set(shifts)) == 1:
            r.add("Power", layer.bottoms, params=params)
            return
        blobs = [np.full(len(shifts), factor, np.float32), np.asarray(shifts, np.float32)]
        params = {"scale_param": {"bias_term": True}}
        r.add("Scale", layer.bottoms, params=params, weights=blobs)
