"""What the nets share: the list of all nets, blocks of layers, and seeded parameters."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

Activation = Callable[[], nn.Module]
Shape = tuple[int, ...]
Build = TypeVar("Build", bound=Callable[[], nn.Module])


@dataclass(frozen=True)
class Recipe:
    """How a net is built and exported.

    Attributes:
        build: returns the net.
        shapes: the shape of each input.
        opset: the operator set.
        fold: whether the exporter folds BatchNorm into the convolution before it.
    """

    build: Callable[[], nn.Module]
    shapes: tuple[Shape, ...]
    opset: int
    fold: bool


RECIPES: dict[str, Recipe] = {}


def net(name: str, *shapes: Shape, opset: int, fold: bool = True) -> Callable[[Build], Build]:
    """Add the decorated class or function to the list of nets."""

    def add(build: Build) -> Build:
        RECIPES[name] = Recipe(build, shapes, opset, fold)
        return build

    return add


def conv(
    inputs: int,
    outputs: int,
    kernel: int = 3,
    stride: int = 1,
    *,
    groups: int = 1,
    dilation: int = 1,
    act: Activation = nn.ReLU,
) -> nn.Sequential:
    """Return a convolution, BatchNorm and an activation; the padding keeps the size."""
    pad = dilation * (kernel - 1) // 2
    layer = nn.Conv2d(inputs, outputs, kernel, stride, pad, dilation, groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), act())


class Residual(nn.Module):
    """Adds the input to the output of a body."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class SqueezeExcite(nn.Module):
    """Scales channels by a gate that is computed from their averages."""

    def __init__(self, channels: int, hidden: int, act: Activation, gate: Activation) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.body = nn.Sequential(
            nn.Conv2d(channels, hidden, 1), act(), nn.Conv2d(hidden, channels, 1), gate()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.body(self.pool(x))


class Classifier(nn.Module):
    """Global average pooling, a dense layer, and Softmax if ``softmax``."""

    def __init__(self, channels: int, classes: int = 10, softmax: bool = False) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dense = nn.Linear(channels, classes)
        self.softmax = softmax

    def forward(self, x: Tensor) -> Tensor:
        y = self.dense(torch.flatten(self.pool(x), 1))
        return torch.softmax(y, 1) if self.softmax else y


def fill(model: nn.Module, shapes: tuple[Shape, ...], name: str) -> None:
    """Draw all parameters and the statistics of BatchNorm, so that values have magnitudes near 1.

    The statistics are those of random inputs. The seed depends on the name of the net.
    """
    draw = torch.Generator().manual_seed(zlib.crc32(name.encode()))

    def uniform(values: Tensor, low: float, high: float) -> None:
        values.copy_(low + (high - low) * torch.rand(values.shape, generator=draw))

    with torch.no_grad():
        for path, values in model.named_parameters():
            if path.endswith("gamma") or (values.ndim == 1 and path.endswith("weight")):
                # The slopes of PReLU are not near 1.
                prelu = isinstance(model.get_submodule(path.rpartition(".")[0]), nn.PReLU)
                uniform(values, *((0.1, 0.4) if prelu else (0.6, 1.4)))
            elif values.ndim < 2:
                uniform(values, -0.3, 0.3)
            else:
                fan = values[0].numel()
                values.copy_(torch.randn(values.shape, generator=draw) * (1.6 / fan) ** 0.5)
        norms = [one for one in model.modules() if isinstance(one, nn.BatchNorm2d)]
        for one in norms:
            one.momentum = 1.0
        model.train()
        model(*(torch.randn((4, *shape[1:]), generator=draw) for shape in shapes))
        model.eval()
