"""Makes numbers.npz: what other software computes when it resizes.

Run it where PyTorch, TensorFlow, OpenCV and Pillow are installed:

    python make_numbers.py

Keys are software:mode:option:H'xW', the input is "x" (H, W), float32.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf
import torch
from PIL import Image

SIZES = [(14, 18), (21, 22), (5, 6), (7, 9), (4, 17), (20, 3), (1, 1), (35, 27)]
TORCH = {"nearest": "nearest", "bilinear": "bilinear", "cubic": "bicubic", "area": "area"}
TF = {"nearest": "nearest", "bilinear": "bilinear", "cubic": "bicubic", "lanczos": "lanczos3",
      "area": "area"}  # fmt: skip
CV = {"nearest": cv2.INTER_NEAREST, "bilinear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC,
      "lanczos": cv2.INTER_LANCZOS4, "area": cv2.INTER_AREA}  # fmt: skip
PIL = {"nearest": Image.NEAREST, "bilinear": Image.BILINEAR, "cubic": Image.BICUBIC,
       "lanczos": Image.LANCZOS, "area": Image.BOX}  # fmt: skip


def main() -> None:
    x = np.random.default_rng(0).standard_normal((7, 9)).astype(np.float32)
    arrays = {"x": x}
    t, f = torch.from_numpy(x)[None, None], x[None, :, :, None]
    for h, w in SIZES:
        size = f"{h}x{w}"
        for mode, name in TORCH.items():
            resize = torch.nn.functional.interpolate
            arrays[f"torch:{mode}::{size}"] = resize(t, (h, w), mode=name).numpy()[0, 0]
            if mode in ("bilinear", "cubic"):
                output = resize(t, (h, w), mode=name, antialias=True)
                arrays[f"torch:{mode}:antialias:{size}"] = output.numpy()[0, 0]
                output = resize(t, (h, w), mode=name, align_corners=True)
                arrays[f"torch-align:{mode}::{size}"] = output.numpy()[0, 0]
        for mode, name in TF.items():
            for option in ("", "antialias"):
                if option and mode in ("nearest", "area"):
                    continue
                output = tf.image.resize(f, (h, w), name, antialias=bool(option))
                arrays[f"tf2:{mode}:{option}:{size}"] = output.numpy()[0, :, :, 0]
        for mode, name in TF.items():
            if mode == "lanczos":
                continue
            method = getattr(tf.compat.v1.image.ResizeMethod, {"nearest": "NEAREST_NEIGHBOR"}.get(mode, name.upper()))  # fmt: skip
            output = tf.compat.v1.image.resize_images(f, (h, w), method)
            arrays[f"tf1:{mode}::{size}"] = output.numpy()[0, :, :, 0]
        for mode, flag in CV.items():
            arrays[f"opencv:{mode}::{size}"] = cv2.resize(x, (w, h), interpolation=flag).reshape(
                h, w
            )
        for mode, flag in PIL.items():
            arrays[f"pillow:{mode}::{size}"] = np.asarray(Image.fromarray(x).resize((w, h), flag))
    for factor in (2, 3, 4):
        output = torch.nn.functional.interpolate(t, scale_factor=factor, mode="bilinear")
        arrays[f"torch:bilinear::x{factor}"] = output.numpy()[0, 0]
        layer = tf.keras.layers.UpSampling2D(factor, interpolation="bilinear")
        arrays[f"keras:bilinear::x{factor}"] = layer(f).numpy()[0, :, :, 0]
        layer = tf.keras.layers.UpSampling2D(factor, interpolation="nearest")
        arrays[f"keras:nearest::x{factor}"] = layer(f).numpy()[0, :, :, 0]
    np.savez_compressed(Path(__file__).with_name("numbers.npz"), **arrays)


if __name__ == "__main__":
    main()
