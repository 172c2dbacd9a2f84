"""Makes axes.npz: what other software computes when it resizes one axis.

Run it for each software where it is installed; the numbers of the others stay in the file:

    python make_axes.py torch         (PyTorch 2.4.0)
    python make_axes.py pillow        (Pillow 13.0.0; 10.0.0 gives the same)
    python make_axes.py opencv        (OpenCV 4.14.0)
    python make_axes.py tensorflow    (TensorFlow 2.21.0)

Each array has the name software:mode:option:what. ``what`` is one of

- pixels: the nearest pixels of all resizes of 1 to 64 pixels to 1 to 64 pixels, in this order, minus
  those of exact arithmetic, int8;
- scaled: the number of pixels, and the nearest pixels, of resizes by the factors, uint8;
- sizes, factors: the outputs of the resizes in PAIRS, or by the factors, float32.

The input of n pixels is the first n of "x", float32.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("axes.npz")
MOST = 64
LENGTHS = (1, 2, 5, 7, 10, 16, 23, 31)  # numbers of pixels that are resized by factors
FACTORS = (0.3, 0.34, 0.6, 0.75, 0.9, 1.1, 1.25, 1.3, 1.5, 2.3, 2.5, 1 / 3, 2 / 3)
PAIRS = ((1, 1), (1, 5), (2, 7), (3, 2), (5, 5), (7, 3), (8, 20), (9, 4), (10, 3), (12, 31), (14, 39), (16, 1),
         (17, 16), (20, 6), (23, 24), (31, 7), (33, 50), (40, 13), (50, 20), (64, 5), (64, 63))  # fmt: skip
DECIMALS = (*(k / 10 for k in range(2, 40)), 1 / 3, 2 / 3, 4 / 3, 0.29, 41.0, 47.0)

Resize = Callable[[np.ndarray, "int | float"], np.ndarray]  # an int is a size, a float a factor


def torch() -> Iterator[tuple[str, Resize, bool]]:
    import torch

    def resizes(mode: str, **options: bool) -> Resize:
        def resize(x: np.ndarray, to: int | float) -> np.ndarray:
            tensor = torch.from_numpy(np.tile(x, (2, 1)))[None, None]
            how = {"size": (3, to)} if isinstance(to, int) else {"scale_factor": (1.5, to)}
            output = torch.nn.functional.interpolate(tensor, mode=mode, **how, **options)
            return output.numpy()[0, 0, 0]

        return resize

    for mode, name in (("nearest", "nearest"), ("nearest-exact", "nearest-exact"),
                       ("bilinear", "bilinear"), ("cubic", "bicubic"), ("area", "area")):  # fmt: skip
        yield f"torch:{mode}:", resizes(name), True
        if mode in ("bilinear", "cubic"):
            yield f"torch:{mode}:antialias", resizes(name, antialias=True), True
            yield f"torch-align:{mode}:", resizes(name, align_corners=True), True


def pillow() -> Iterator[tuple[str, Resize, bool]]:
    from PIL import Image

    def resizes(name: int) -> Resize:
        return lambda x, to: np.asarray(Image.fromarray(np.tile(x, (2, 1))).resize((to, 2), name))[
            0
        ]

    for mode, name in (("nearest", Image.NEAREST), ("bilinear", Image.BILINEAR), ("cubic", Image.BICUBIC),
                       ("lanczos", Image.LANCZOS), ("area", Image.BOX)):  # fmt: skip
        yield f"pillow:{mode}:", resizes(name), False


def opencv() -> Iterator[tuple[str, Resize, bool]]:
    import cv2

    def resizes(flag: int) -> Resize:
        def resize(x: np.ndarray, to: int | float) -> np.ndarray:
            # The height changes too: OpenCV copies a picture whose size does not change, and has
            # another rule for area where an axis grows.
            picture = np.tile(x, (2, 1))
            if isinstance(to, int):
                height = 4 if to > len(x) else 1
                return cv2.resize(picture, (to, height), interpolation=flag).reshape(height, -1)[0]
            return cv2.resize(picture, None, fx=to, fy=2.0 if to > 1 else 0.5, interpolation=flag)[
                0
            ]

        return resize

    for mode, flag in (("nearest", cv2.INTER_NEAREST), ("bilinear", cv2.INTER_LINEAR),
                       ("cubic", cv2.INTER_CUBIC), ("lanczos", cv2.INTER_LANCZOS4), ("area", cv2.INTER_AREA)):  # fmt: skip
        yield f"opencv:{mode}:", resizes(flag), True


def tensorflow() -> Iterator[tuple[str, Resize, bool]]:
    import tensorflow as tf

    old = tf.compat.v1.image

    def resizes(name: str, **options: bool) -> Resize:
        def resize(x: np.ndarray, to: int | float) -> np.ndarray:
            picture = np.tile(x, (2, 1))[None, :, :, None]
            return tf.image.resize(picture, (2, to), name, **options).numpy()[0, 0, :, 0]

        return resize

    def old_resizes(name: str) -> Resize:
        method = getattr(old.ResizeMethod, name)
        return lambda x, to: old.resize_images(
            np.tile(x, (2, 1))[None, :, :, None], (2, to), method
        ).numpy()[0, 0, :, 0]

    for mode, name in (("nearest", "nearest"), ("bilinear", "bilinear"), ("cubic", "bicubic"),
                       ("lanczos", "lanczos3"), ("area", "area")):  # fmt: skip
        yield f"tf2:{mode}:", resizes(name), False
        if mode in ("bilinear", "cubic", "lanczos"):
            yield f"tf2:{mode}:antialias", resizes(name, antialias=True), False
    for mode, name in (("nearest", "NEAREST_NEIGHBOR"), ("bilinear", "BILINEAR"), ("cubic", "BICUBIC"),
                       ("area", "AREA")):  # fmt: skip
        yield f"tf1:{mode}:", old_resizes(name), False


def exact_pixels(size: int, out: int, centres: bool) -> np.ndarray:
    """Return the nearest pixels by integer arithmetic: floor(i size / out), or of the centres."""
    i = np.arange(out)
    return (2 * i + 1) * size // (2 * out) if centres else i * size // out


def is_centred(key: str) -> bool:
    """Whether the nearest pixel is that of the centre of an output pixel."""
    return key.startswith(("torch:nearest-exact", "pillow", "tf2"))


def measure(key: str, resize: Resize, takes_factors: bool, x: np.ndarray) -> dict[str, np.ndarray]:
    arrays = {}
    if ":nearest" in key:
        differences = [
            resize(np.arange(n, dtype=np.float32), m) - exact_pixels(n, m, is_centred(key))
            for n in range(1, MOST + 1)
            for m in range(1, MOST + 1)
        ]
        arrays["pixels"] = np.concatenate(differences).astype(np.int8)
        if takes_factors:
            outputs = [
                resize(np.arange(n, dtype=np.float32), factor)
                for n in LENGTHS
                for factor in DECIMALS
                if int(n * factor)
            ]
            arrays["scaled"] = np.concatenate([[len(y), *y] for y in outputs]).astype(np.uint16)
        return arrays
    arrays["sizes"] = np.concatenate([resize(x[:n], m) for n, m in PAIRS])
    if takes_factors:
        arrays["factors"] = np.concatenate(
            [resize(x[:n], f) for n in LENGTHS for f in FACTORS if int(n * f)]
        )
    return arrays


def main() -> None:
    arrays = {"x": np.random.default_rng(1).standard_normal(MOST).astype(np.float32)}
    if FILE.exists():
        with np.load(FILE) as stored:
            arrays |= dict(stored)
    for name in sys.argv[1:]:
        for key, resize, takes_factors in globals()[name]():
            measured = measure(key, resize, takes_factors, arrays["x"])
            arrays |= {f"{key}:{what}": array for what, array in measured.items()}
    np.savez_compressed(FILE, **arrays)


if __name__ == "__main__":
    main()
