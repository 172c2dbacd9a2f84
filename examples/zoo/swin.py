"""Swin Transformer: classification of a picture with attention in windows.

Input: one picture (N, 3, 64, 128), normalized per channel.
Output: (N, classes): scores of the classes, before the softmax.

The structure is the published one: patches of 4, stages of two blocks (windows, and windows shifted
by half with a mask), relative position bias, and patch merging between stages. A side of the last
stage that has a single window is not shifted.
Left out: stochastic depth, the fourth stage, the published widths (here 24 channels at first, and
windows of 4), and trained weights. HEAD is empty: a toolchain takes the whole net.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

HEAD: tuple[str, ...] = ()
WINDOW = 4


def split_windows(x: Tensor) -> Tensor:
    """(N, H, W, C) becomes (N * windows, tokens of a window, C)."""
    n, height, width, channels = x.shape
    x = x.view(n, height // WINDOW, WINDOW, width // WINDOW, WINDOW, channels)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, WINDOW * WINDOW, channels)


def join_windows(x: Tensor, height: int, width: int) -> Tensor:
    """The inverse of split_windows."""
    x = x.view(-1, height // WINDOW, width // WINDOW, WINDOW, WINDOW, x.shape[-1])
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, height, width, x.shape[-1])


def shift_mask(height: int, width: int, shift: tuple[int, int]) -> Tensor:
    """Return (windows, tokens, tokens): 0 within a region of the picture, -100 between regions."""
    regions = torch.zeros(height, width)
    for axis, length in enumerate((height, width)):
        position = torch.arange(length)
        if shift[axis]:
            region = (position >= length - WINDOW).int() + (position >= length - shift[axis]).int()
            regions += (region * 3**axis).view((-1, 1) if axis == 0 else (1, -1))
    tokens = split_windows(regions.view(1, height, width, 1)).squeeze(-1)
    return torch.where(tokens.unsqueeze(1) == tokens.unsqueeze(2), 0.0, -100.0)


def relative_index() -> Tensor:
    """Return (tokens, tokens): the row of the bias table for each pair of tokens of a window."""
    rows, columns = torch.meshgrid(torch.arange(WINDOW), torch.arange(WINDOW), indexing="ij")
    rows, columns = rows.flatten(), columns.flatten()
    down = rows.view(-1, 1) - rows.view(1, -1) + WINDOW - 1
    right = columns.view(-1, 1) - columns.view(1, -1) + WINDOW - 1
    return down * (2 * WINDOW - 1) + right


class WindowAttention(nn.Module):
    """Multi-head attention within windows, with a bias for each relative position."""

    index: Tensor

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.project = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.bias_table = nn.Parameter(torch.zeros((2 * WINDOW - 1) ** 2, heads))
        self.register_buffer("index", relative_index(), persistent=False)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        count, tokens, channels = x.shape
        parts = self.qkv(x).reshape(count, tokens, 3, self.heads, channels // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        scores = (q * (channels // self.heads) ** -0.5) @ k.transpose(-2, -1)
        bias = self.bias_table[self.index.flatten()].view(tokens, tokens, self.heads)
        scores = scores + bias.permute(2, 0, 1).unsqueeze(0)
        if mask is not None:
            windows = mask.shape[0]
            scores = scores.view(-1, windows, self.heads, tokens, tokens)
            scores = scores + mask.unsqueeze(1).unsqueeze(0)
            scores = scores.view(count, self.heads, tokens, tokens)
        mixed = scores.softmax(-1) @ v
        return self.project(mixed.transpose(1, 2).reshape(count, tokens, channels))


class Block(nn.Module):
    """Attention in windows and an MLP, each behind a normalization, each added to its input."""

    mask: Tensor | None

    def __init__(self, channels: int, heads: int, size: tuple[int, int], shifted: bool) -> None:
        super().__init__()
        self.shift = tuple(WINDOW // 2 if shifted and side > WINDOW else 0 for side in size)
        mask = shift_mask(*size, self.shift) if any(self.shift) else None
        self.register_buffer("mask", mask, persistent=False)
        self.norm1, self.attention = nn.LayerNorm(channels), WindowAttention(channels, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        down, right = self.shift
        _, height, width, _ = x.shape
        y = self.norm1(x)
        if any(self.shift):
            y = torch.roll(y, (-down, -right), (1, 2))
        y = join_windows(self.attention(split_windows(y), self.mask), height, width)
        if any(self.shift):
            y = torch.roll(y, (down, right), (1, 2))
        x = x + y
        return x + self.mlp(self.norm2(x))


class PatchMerging(nn.Module):
    """Squares of 2 by 2 tokens become one token with twice the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduce = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        left, right = x[:, :, 0::2], x[:, :, 1::2]
        parts = (left[:, 0::2], left[:, 1::2], right[:, 0::2], right[:, 1::2])
        return self.reduce(self.norm(torch.cat(parts, -1)))


class Swin(nn.Module):
    """Patches as tokens, three stages, the mean over the tokens, and a linear layer."""

    def __init__(
        self, height: int = 64, width: int = 128, channels: int = 24, classes: int = 100
    ) -> None:
        super().__init__()
        self.patches, self.patch_norm = nn.Conv2d(3, channels, 4, 4), nn.LayerNorm(channels)
        for stage in range(3):
            wide, size = channels << stage, (height >> 2 + stage, width >> 2 + stage)
            heads = 2 << stage
            blocks = [Block(wide, heads, size, shifted) for shifted in (False, True)]
            setattr(self, f"stage{stage + 1}", nn.Sequential(*blocks))
        self.merge1, self.merge2 = PatchMerging(channels), PatchMerging(2 * channels)
        self.norm = nn.LayerNorm(4 * channels)
        self.classify = nn.Linear(4 * channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patch_norm(self.patches(images).permute(0, 2, 3, 1))
        x = self.merge2(self.stage2(self.merge1(self.stage1(x))))
        return self.classify(self.norm(self.stage3(x)).mean((1, 2)))


def draw_weights(net: nn.Module, seed: int) -> None:
    """Draw weights that keep the size of the signal, and attention that is neither flat nor hard."""
    g = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            deviation = 1 / math.sqrt(module.weight[0].numel())
            nn.init.normal_(module.weight, 0.0, deviation, generator=g)
            if module.bias is not None:
                nn.init.normal_(module.bias, 0.0, 0.1, generator=g)
        elif isinstance(module, nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.8, 1.2, generator=g)
            nn.init.normal_(module.bias, 0.0, 0.1, generator=g)
        elif isinstance(module, WindowAttention):
            nn.init.normal_(module.bias_table, 0.0, 0.5, generator=g)


def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Return the net in eval mode with seeded weights, and an example input (1, 3, 64, 128)."""
    net = Swin().eval()
    draw_weights(net, 0)
    return net, (torch.randn(1, 3, 64, 128, generator=torch.Generator().manual_seed(1)),)
