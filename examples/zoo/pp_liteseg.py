"""PP-LiteSeg: semantic segmentation of pictures in real time.

Input: one picture (N, 3, H, W), normalized per channel; H and W are multiples of 128, so that the
windows of the pooling pyramid are equal.
Output: (N, classes, H, W): a score for each class and pixel, before the softmax.

The structure is the published one: an encoder of STDC blocks, a pooling pyramid of 1, 2 and 4 bins
(SPPM), and a decoder that fuses levels with spatial attention (UAFM), with bilinear upsampling.
Left out: the auxiliary heads of training, the published widths (here a quarter of them), and
trained weights. HEAD is empty: a toolchain takes the whole net.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HEAD: tuple[str, ...] = ()


class ConvNorm(nn.Module):
    """Convolution, batch normalization, and ReLU or nothing."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1, act: bool = True) -> None:  # fmt: skip
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, 1, groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.act = nn.ReLU() if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class STDC(nn.Module):
    """Four convolutions in a row, each with fewer channels, joined."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = ConvNorm(inputs, outputs // 2, 1)
        self.conv2 = ConvNorm(outputs // 2, outputs // 4)
        self.conv3 = ConvNorm(outputs // 4, outputs // 8)
        self.conv4 = ConvNorm(outputs // 8, outputs // 8)
        if stride == 2:
            self.down = ConvNorm(outputs // 2, outputs // 2, 3, 2, outputs // 2, act=False)
            self.skip = nn.AvgPool2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.conv1(x)
        second = self.conv2(self.down(first) if self.stride == 2 else first)
        third = self.conv3(second)
        skip = self.skip(first) if self.stride == 2 else first
        return torch.cat((skip, second, third, self.conv4(third)), 1)


class Encoder(nn.Module):
    """Features of strides 8, 16 and 32."""

    def __init__(self, base: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(ConvNorm(3, base // 2, 3, 2), ConvNorm(base // 2, base, 3, 2))
        self.stage3 = nn.Sequential(STDC(base, 4 * base, 2), STDC(4 * base, 4 * base, 1))
        self.stage4 = nn.Sequential(STDC(4 * base, 8 * base, 2), STDC(8 * base, 8 * base, 1))
        self.stage5 = nn.Sequential(STDC(8 * base, 16 * base, 2), STDC(16 * base, 16 * base, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        stride8 = self.stage3(self.stem(x))
        stride16 = self.stage4(stride8)
        return stride8, stride16, self.stage5(stride16)


def resize(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


class SPPM(nn.Module):
    """Averages over 1, 2 and 4 bins, each with a convolution, resized and added."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.pool1, self.pool2, self.pool4 = (nn.AdaptiveAvgPool2d(bins) for bins in (1, 2, 4))
        self.conv1, self.conv2, self.conv4 = (ConvNorm(inputs, outputs, 1) for _ in range(3))
        self.join = ConvNorm(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        total = resize(self.conv1(self.pool1(x)), x)
        total = total + resize(self.conv2(self.pool2(x)), x)
        total = total + resize(self.conv4(self.pool4(x)), x)
        return self.join(total)


class UAFM(nn.Module):
    """Fuse a fine and a coarse level, weighted by attention computed over the channels of both."""

    def __init__(self, fine: int, coarse: int, outputs: int) -> None:
        super().__init__()
        self.match = ConvNorm(fine, coarse)
        self.attention = nn.Sequential(ConvNorm(4, 2), ConvNorm(2, 1, act=False))
        self.join = ConvNorm(coarse, outputs)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        fine = self.match(fine)
        coarse = resize(coarse, fine)
        maps = [
            reduced
            for x in (fine, coarse)
            for reduced in (x.mean(1, keepdim=True), x.amax(1, keepdim=True))
        ]
        weight = torch.sigmoid(self.attention(torch.cat(maps, 1)))
        return self.join(fine * weight + coarse * (1 - weight))


class PPLiteSeg(nn.Module):
    """Encoder, pooling pyramid, decoder and classifier."""

    def __init__(self, base: int = 16, classes: int = 19) -> None:
        super().__init__()
        self.encoder = Encoder(base)
        self.pyramid = SPPM(16 * base, 2 * base)
        self.fuse32 = UAFM(16 * base, 2 * base, 2 * base)
        self.fuse16 = UAFM(8 * base, 2 * base, 3 * base // 2)
        self.fuse8 = UAFM(4 * base, 3 * base // 2, base)
        self.head = ConvNorm(base, base)
        self.classify = nn.Conv2d(base, classes, 1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        stride8, stride16, stride32 = self.encoder(images)
        x = self.fuse32(stride32, self.pyramid(stride32))
        x = self.fuse8(stride8, self.fuse16(stride16, x))
        return resize(self.classify(self.head(x)), images)


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
    """Return the net in eval mode with seeded weights, and an example input (1, 3, 128, 256)."""
    net = PPLiteSeg()
    generator = torch.Generator().manual_seed(1)
    uniform = torch.rand(4, 3, 128, 256, generator=generator)
    # With one contrast, normalization enlarges the small differences, and rounding errors too.
    contrast = torch.tensor([0.5, 1.0, 1.5, 2.0]).view(4, 1, 1, 1)
    normal = contrast * torch.randn(4, 3, 128, 256, generator=generator)
    draw_weights(net, torch.cat((uniform, normal)), 0)
    return net, (normal[1:2],)
