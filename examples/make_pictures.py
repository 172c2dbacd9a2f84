"""Generate the small images of examples/pictures, and the drawings of large nets in docs/pictures.

The channels of the images are correlated, as in natural images.

    python examples/make_pictures.py examples/pictures
    python examples/make_pictures.py docs/pictures --nets
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import protogen as pg

INPUT = "layer {{ name: 'data' type: 'Input' top: 'data' input_param {{ shape {{ dim: [{}] }} }} }}"


def picture(generator: np.random.Generator, size: int = 32) -> Image.Image:
    """Return a random image."""
    light = generator.uniform(80, 140)
    colour = light * generator.normal(1, 0.05, 3)
    shade = generator.normal(1, 0.3, (size, size, 1)) * np.linspace(1.2, 0.8, size)[:, None, None]
    noise = generator.normal(0, 7, (size, size, 3))
    return Image.fromarray(np.clip(colour * shade + noise, 0, 255).astype(np.uint8))


def conv(name: str, bottom: str, outputs: int, kernel: int = 1, stride: int = 1) -> str:
    """Return the text of a Convolution that keeps the size, up to its stride."""
    return (
        f"layer {{ name: '{name}' type: 'Convolution' bottom: '{bottom}' top: '{name}' "
        f"convolution_param {{ num_output: {outputs} kernel_size: {kernel} pad: {kernel // 2} "
        f"stride: {stride} }} }}"
    )


def wide(branches: int = 60) -> list[str]:
    """Return a net with parallel branches."""
    names = [f"branch_with_a_rather_long_name_{i}/convolution_1x1" for i in range(branches)]
    bottoms = " ".join(f"bottom: '{name}'" for name in names)
    return [
        INPUT.format("1, 3, 32, 32"),
        *(conv(name, "data", 8) for name in names),
        f"layer {{ name: 'cat' type: 'Concat' {bottoms} top: 'cat' }}",
    ]


def deep(pairs: int = 250) -> list[str]:
    """Return a chain of convolutions and poolings."""
    lines, last = [INPUT.format("1, 3, 32, 32")], "data"
    pooling = "pooling_param { kernel_size: 3 pad: 1 }"
    for i in range(pairs):
        lines.append(conv(f"conv{i}", last, 8, 3))
        last = f"pool{i}"
        lines.append(
            f"layer {{ name: '{last}' type: 'Pooling' bottom: 'conv{i}' top: '{last}' {pooling} }}"
        )
    return lines


def residual(stages: tuple[int, ...] = (3, 8, 36, 3)) -> list[str]:
    """Return a residual net with so many blocks in each stage."""
    lines, last = [INPUT.format("1, 3, 224, 224"), conv("conv1", "data", 64, 7, 4)], "conv1"
    for stage, blocks in enumerate(stages, 2):
        width = 16 << stage
        for block in range(blocks):
            name = f"res{stage}_{block + 1}"
            stride = 2 if stage > 2 and block == 0 else 1
            shortcut = f"{name}/shortcut" if block == 0 else last
            if block == 0:
                lines.append(conv(shortcut, last, 4 * width, 1, stride))
            lines += [
                conv(f"{name}/reduce", last, width, 1, stride),
                conv(f"{name}/conv", f"{name}/reduce", width, 3),
                conv(f"{name}/expand", f"{name}/conv", 4 * width),
                f"layer {{ name: '{name}' type: 'Eltwise' bottom: '{shortcut}' "
                f"bottom: '{name}/expand' top: '{name}' }}",
                f"layer {{ name: '{name}/relu' type: 'ReLU' bottom: '{name}' top: '{name}' }}",
            ]
            last = name
    return lines


def nets(folder: Path) -> None:
    """Draw the nets."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in (("wide", wide()), ("deep", deep()), ("residual", residual())):
        with tempfile.TemporaryDirectory() as temporary:
            net = Path(temporary, f"{name}.prototxt")
            net.write_text("\n".join([f"name: '{name}'", *lines]), encoding="utf-8")
            pg.draw(net, folder / f"{name}.svg")
    print(f"3 drawings in {folder}")


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for i in range(8):
        picture(generator).save(folder / f"{i}.png")
    print(f"8 pictures in {folder}")


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "pictures")
    nets(target) if "--nets" in sys.argv else main(target)
