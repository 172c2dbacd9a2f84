"""Attention, recurrent nets, dense nets, and single operators in a small net."""

from __future__ import annotations

import torch
from parts import Residual, conv, net
from torch import Tensor, nn


class ConvNeXtBlock(nn.Module):
    """Depthwise 7x7, LayerNorm over channels, two dense layers with GELU, and a layer scale."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, 1, 3, groups=channels)
        self.norm = nn.LayerNorm(channels, 1e-6)
        self.dense = nn.Sequential(
            nn.Linear(channels, 3 * channels), nn.GELU(), nn.Linear(3 * channels, channels)
        )
        self.gamma = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(x).permute(0, 2, 3, 1)
        y = self.gamma * self.dense(self.norm(y))
        return x + y.permute(0, 3, 1, 2)


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of N, C, H, W."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        x = x - x.mean(1, keepdim=True)
        x = x / torch.sqrt(x.pow(2).mean(1, keepdim=True) + 1e-6)
        return self.gamma[:, None, None] * x + self.beta[:, None, None]


@net("convnext", (1, 3, 32, 32), opset=17)
def convnext() -> nn.Module:
    """ConvNeXt: LayerNorm over channels in both layouts, GELU, layer scale, depthwise 7x7."""
    return nn.Sequential(
        nn.Conv2d(3, 12, 4, 4),
        ChannelNorm(12),
        ConvNeXtBlock(12),
        ConvNeXtBlock(12),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.LayerNorm(12),
        nn.Linear(12, 10),
    )


class Attention(nn.Module):
    """Multi-head attention by MatMul."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, width = x.shape
        parts = self.qkv(x).reshape(n, tokens, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        scores = (q @ k.transpose(2, 3) * (width // self.heads) ** -0.5).softmax(3)
        return self.out((scores @ v).transpose(1, 2).reshape(n, tokens, width))


class TransformerBlock(nn.Module):
    """LayerNorm before attention, and before two dense layers with GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = Residual(nn.LayerNorm(width), Attention(width, 2))
        dense = [nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)]
        self.second = Residual(nn.LayerNorm(width), *dense)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


class Vit(nn.Module):
    """A vision transformer: patch embedding, positions, one block, the mean of the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 24, 8, 8)
        self.positions = nn.Parameter(torch.zeros(1, 16, 24))
        self.block = TransformerBlock(24)
        self.norm = nn.LayerNorm(24)
        self.head = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        return self.head(self.norm(self.block(y)).mean(1))


@net("vit", (1, 3, 32, 32), opset=14)
def vit() -> nn.Module:
    """A vision transformer; LayerNorm as single operators (operator set 14)."""
    return Vit()


@net("vit_17", (1, 3, 32, 32), opset=17)
def vit_17() -> nn.Module:
    """A vision transformer; LayerNorm as one operator (operator set 17)."""
    return Vit()


@net("crnn", (1, 1, 32, 64), opset=14)
class Crnn(nn.Module):
    """CRNN: columns of a map as steps of an LSTM, and classes of each step."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(1, 8),
            nn.MaxPool2d(2),
            conv(8, 12),
            nn.MaxPool2d(2),
            conv(12, 16),
            nn.MaxPool2d((2, 1)),
            nn.Conv2d(16, 16, (4, 1)),
            nn.ReLU(),
        )
        self.lstm = nn.LSTM(16, 16)
        self.head = nn.Linear(16, 11)

    def forward(self, x: Tensor) -> Tensor:
        steps = self.body(x).squeeze(2).permute(2, 0, 1)
        return self.head(self.lstm(steps)[0]).softmax(2)


@net("crnn_both_ways", (1, 1, 16, 48), opset=15)
class CrnnBothWays(nn.Module):
    """CRNN with an LSTM in both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(1, 8), nn.MaxPool2d(2), conv(8, 12), nn.MaxPool2d(2), nn.Conv2d(12, 12, (4, 1))
        )
        self.lstm = nn.LSTM(12, 12, bidirectional=True)
        self.head = nn.Linear(24, 11)

    def forward(self, x: Tensor) -> Tensor:
        steps = torch.relu(self.body(x)).squeeze(2).permute(2, 0, 1)
        return self.head(self.lstm(steps)[0])


@net("two_inputs", (2, 20), (2, 12), opset=16)
class TwoInputs(nn.Module):
    """A dense net with two inputs and batch 2: concatenation, product, and two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Sequential(nn.Linear(20, 24), nn.ReLU(), nn.Linear(24, 16), nn.Tanh())
        self.right = nn.Sequential(nn.Linear(12, 16), nn.Sigmoid())
        self.body = nn.Sequential(nn.Linear(32, 24), nn.LeakyReLU(0.2), nn.Linear(24, 5))
        self.value = nn.Linear(16, 1)

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        left, right = self.left(a), self.right(b)
        return self.body(torch.cat([left, right], 1)).softmax(1), self.value(left * right)


class Cbam(nn.Module):
    """Attention of channels by average and maximum of the map, then of pixels by those of channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dense = nn.Sequential(nn.Conv2d(channels, 4, 1), nn.ReLU(), nn.Conv2d(4, channels, 1))
        self.conv = nn.Conv2d(2, 1, 7, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        average, largest = x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
        x = x * torch.sigmoid(self.dense(average) + self.dense(largest))
        both = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        return x * torch.sigmoid(self.conv(both))


@net("cbam", (1, 3, 32, 32), opset=13)
def cbam() -> nn.Module:
    """A residual net with CBAM: ReduceMean and ReduceMax over pixels and over channels."""
    blocks = [Residual(conv(12, 12), Cbam(12)) for _ in range(2)]
    return nn.Sequential(conv(3, 12, 3, 2), *blocks, nn.Conv2d(12, 8, 3, 2, 1))


@net("clips", (1, 3, 24, 24), opset=13)
class Clips(nn.Module):
    """Clip with several limits: -1 to 1, 0 to 1, only below, only above."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([conv(3, 8, act=nn.Hardtanh), *(conv(8, 8) for _ in range(2))])
        self.last = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layers[0](x)
        y = torch.clamp(self.layers[1](y), 0.0, 1.0)
        y = torch.clamp(self.layers[2](y) - 1.0, min=-0.5) + torch.clamp(y, max=0.75)
        return torch.clamp(self.last(y), -0.8, 1.3)


@net("powers", (1, 3, 24, 24), (1, 3, 24, 24), opset=15)
class Powers(nn.Module):
    """Maximum and minimum of two maps, powers, exponential, logarithm, and subtraction of a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = conv(3, 8), conv(3, 8, act=nn.Sigmoid)
        self.last = nn.Conv2d(16, 4, 3, 1, 1)
        self.register_buffer("mean", torch.tensor([0.4, 0.3, -0.2]).view(1, 3, 1, 1))

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        x, y = self.first(a - self.mean), self.second(b)
        largest, smallest = torch.maximum(x, y), torch.minimum(x, y)
        parts = torch.cat([largest.pow(1.5), (smallest + 0.5).log()], 1)
        return self.last(parts), torch.exp(-y.pow(2)) * torch.rsqrt(x + 1.0)
