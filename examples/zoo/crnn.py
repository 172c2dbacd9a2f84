"""CRNN: text recognition in a picture of one line.

Input: a grey picture (N, 1, 32, W) in -1..1.
Output: (T, N, classes): scores of the characters for each of the T columns, before the softmax;
class 0 is the blank of CTC. For W = 100, T is 26.

The structure is the published one: seven convolutions with max pooling that halves the height more
often than the width, two bidirectional LSTM layers, each with a linear layer behind it.
Left out: CTC decoding, the published widths (here a quarter of them), and trained weights. HEAD is
empty: a toolchain takes the whole net. One without LSTM can take "features" alone.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

HEAD: tuple[str, ...] = ()


class ConvRelu(nn.Module):
    """Convolution, batch normalization or nothing, and ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, norm: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, 1, 1 if kernel == 3 else 0)
        self.bn = nn.BatchNorm2d(outputs) if norm else nn.Identity()
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class Features(nn.Module):
    """The convolutions: (N, 1, 32, W) becomes (N, 8 * width, 1, T)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv0, self.pool0 = ConvRelu(1, width), nn.MaxPool2d(2, 2)
        self.conv1, self.pool1 = ConvRelu(width, 2 * width), nn.MaxPool2d(2, 2)
        self.conv2 = ConvRelu(2 * width, 4 * width, norm=True)
        self.conv3, self.pool3 = ConvRelu(4 * width, 4 * width), nn.MaxPool2d(2, (2, 1), (0, 1))
        self.conv4 = ConvRelu(4 * width, 8 * width, norm=True)
        self.conv5, self.pool5 = ConvRelu(8 * width, 8 * width), nn.MaxPool2d(2, (2, 1), (0, 1))
        self.conv6 = ConvRelu(8 * width, 8 * width, 2, norm=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(self.conv1(self.pool0(self.conv0(x))))
        x = self.pool3(self.conv3(self.conv2(x)))
        x = self.pool5(self.conv5(self.conv4(x)))
        return self.conv6(x)


class Recurrent(nn.Module):
    """A bidirectional LSTM and a linear layer: (T, N, inputs) becomes (T, N, outputs)."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, hidden, bidirectional=True)
        self.linear = nn.Linear(2 * hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        steps, _ = self.lstm(x)
        return self.linear(steps)


class CRNN(nn.Module):
    """Convolutions, and recurrent layers over the columns."""

    def __init__(self, width: int = 16, hidden: int = 64, classes: int = 37) -> None:
        super().__init__()
        self.features = Features(width)
        self.recurrent1 = Recurrent(8 * width, hidden, hidden)
        self.recurrent2 = Recurrent(hidden, hidden, classes)

    def forward(self, images: Tensor) -> Tensor:
        columns = self.features(images).squeeze(2).permute(2, 0, 1)
        return self.recurrent2(self.recurrent1(columns))


def draw_weights(net: nn.Module, batch: Tensor, seed: int) -> None:
    """Draw weights; the running statistics of BatchNorm are those of the batch."""
    g = torch.Generator().manual_seed(seed)
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in net.modules():
        if isinstance(module, nn.Conv2d) and module.weight.requires_grad:
            deviation = math.sqrt(2 / module.weight[0].numel())
            nn.init.normal_(module.weight, 0.0, deviation, generator=g)
            if module.bias is not None:
                nn.init.normal_(module.bias, 0.0, 0.3, generator=g)
        elif isinstance(module, nn.LSTM | nn.Linear):
            for parameter in module.parameters():
                deviation = 2 / math.sqrt(parameter.shape[-1]) if parameter.dim() > 1 else 0.2
                nn.init.normal_(parameter, 0.0, deviation, generator=g)
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.8, 1.2, generator=g)
        nn.init.normal_(norm.bias, 0.0, 0.1, generator=g)
        norm.momentum = 1.0  # a pass in training mode stores the statistics of its batch
    with torch.no_grad():
        net.train()(batch)
    for norm in norms:
        norm.momentum = 0.1
    net.eval()


def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Return the net in eval mode with seeded weights, and an example input (1, 1, 32, 100)."""
    net = CRNN()
    generator = torch.Generator().manual_seed(1)
    uniform = torch.rand(4, 1, 32, 100, generator=generator)
    # With one contrast, normalization enlarges the small differences, and rounding errors too.
    contrast = torch.tensor([0.5, 1.0, 1.5, 2.0]).view(4, 1, 1, 1)
    normal = contrast * torch.randn(4, 1, 32, 100, generator=generator)
    draw_weights(net, torch.cat((uniform, normal)), 0)
    return net, (uniform[:1] * 2 - 1,)
