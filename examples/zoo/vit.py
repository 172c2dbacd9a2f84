"""Vision Transformer (ViT): classification of a picture.

Input: one picture (N, 3, 64, 96), normalized per channel.
Output: (N, classes): scores of the classes, before the softmax.

The structure is the published one: a convolution that embeds patches, a class token, learned
positions, and encoder blocks with normalization before attention and before the MLP (GELU).
Left out: the pre-logits layer of pre-training, dropout, the published widths (here 96 channels, 3
heads, 4 blocks, patches of 8), and trained weights. HEAD is empty: a toolchain takes the whole net.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HEAD: tuple[str, ...] = ()


class Attention(nn.Module):
    """Multi-head attention between all tokens of (N, T, C)."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, channels = x.shape
        parts = self.qkv(x).reshape(n, tokens, 3, self.heads, channels // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.project(mixed.transpose(1, 2).reshape(n, tokens, channels))


class MLP(nn.Module):
    """Two linear layers, and GELU between them."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.expand, self.act = nn.Linear(channels, hidden), nn.GELU()
        self.reduce = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.reduce(self.act(self.expand(x)))


class Block(nn.Module):
    """Attention and MLP, each behind a layer normalization, and each added to its input."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(channels, eps=1e-6), Attention(channels, heads)
        self.norm2, self.mlp = nn.LayerNorm(channels, eps=1e-6), MLP(channels, 4 * channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """Patches as tokens, encoder blocks, and a linear layer for the class token."""

    def __init__(
        self, height: int = 64, width: int = 96, patch: int = 8, channels: int = 96,
        heads: int = 3, depth: int = 4, classes: int = 100,
    ) -> None:  # fmt: skip
        super().__init__()
        tokens = (height // patch) * (width // patch) + 1
        self.patches = nn.Conv2d(3, channels, patch, patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, channels))
        self.positions = nn.Parameter(torch.zeros(1, tokens, channels))
        self.blocks = nn.Sequential(*(Block(channels, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.classify = nn.Linear(channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat((self.class_token.expand(x.shape[0], -1, -1), x), 1) + self.positions
        return self.classify(self.norm(self.blocks(x))[:, 0])


def draw_weights(net: ViT, seed: int) -> None:
    """Draw weights that keep the size of the signal, and attention that is neither flat nor hard."""
    g = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            deviation = 1 / math.sqrt(module.weight[0].numel())
            nn.init.normal_(module.weight, 0.0, deviation, generator=g)
            nn.init.normal_(module.bias, 0.0, 0.1, generator=g)
        elif isinstance(module, nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.8, 1.2, generator=g)
            nn.init.normal_(module.bias, 0.0, 0.1, generator=g)
    nn.init.normal_(net.class_token, 0.0, 0.5, generator=g)
    nn.init.normal_(net.positions, 0.0, 0.5, generator=g)


def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Return the net in eval mode with seeded weights, and an example input (1, 3, 64, 96)."""
    net = ViT().eval()
    draw_weights(net, 0)
    return net, (torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1)),)
