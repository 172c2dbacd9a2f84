"""Generate the small images of examples/pictures.

Their channels are correlated, as in natural images.

    python examples/make_pictures.py examples/pictures
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image


def picture(generator: np.random.Generator, size: int = 32) -> Image.Image:
    """Return a random image."""
    light = generator.uniform(80, 140)
    colour = light * generator.normal(1, 0.05, 3)
    shade = generator.normal(1, 0.3, (size, size, 1)) * np.linspace(1.2, 0.8, size)[:, None, None]
    noise = generator.normal(0, 7, (size, size, 3))
    return Image.fromarray(np.clip(colour * shade + noise, 0, 255).astype(np.uint8))


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for i in range(8):
        picture(generator).save(folder / f"{i}.png")
    print(f"8 pictures in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "pictures"))
