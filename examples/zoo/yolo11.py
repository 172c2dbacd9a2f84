"""YOLO11: a one-stage object detector without anchors, with attention in its backbone.

Input: one picture (N, 3, H, W), RGB in 0..1; H and W are multiples of 32.
Output: (N, 4 + classes, boxes): centre x, centre y, width and height in pixels of the input, and a
score for each class. There is one box for each cell of the grids of strides 8, 16 and 32.

The structure is the published one: C3k2 blocks, SPPF, C2PSA, a PAN neck, and a decoupled head with
depthwise convolutions in its class branch and a distribution over 16 distances for each side of a
box (DFL). Left out: non-maximum suppression, the width and depth of the published sizes (the widths
are half of those of "n", the heads of attention have 32 channels), and trained weights. A toolchain
usually takes the six convolutions of HEAD, and computes DFL and boxes on the host.
"""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn

STRIDES = (8, 16, 32)
HEAD: tuple[str, ...] = tuple(
    f"detect.{branch}{stride}.predict" for stride in STRIDES for branch in ("box", "class")
)
BINS = 16  # distances of a side, in cells


class Conv(nn.Module):
    """Convolution, batch normalization, and SiLU or nothing."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, act: bool = True) -> None:  # fmt: skip
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, 1, groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)
        self.act = nn.SiLU() if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    """Two convolutions of kernel 3, and the input added to them."""

    def __init__(self, channels: int, middle: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = Conv(channels, middle, 3), Conv(middle, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(self.conv1(x))


class C3k(nn.Module):
    """A cross-stage partial block with two bottlenecks."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.main, self.side = Conv(channels, half), Conv(channels, half)
        self.blocks = nn.Sequential(Bottleneck(half, half), Bottleneck(half, half))
        self.join = Conv(2 * half, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.join(torch.cat((self.blocks(self.main(x)), self.side(x)), 1))


class C3k2(nn.Module):
    """The input split in two, a block for one part, and all three joined."""

    def __init__(self, inputs: int, outputs: int, deep: bool, ratio: float = 0.5) -> None:
        super().__init__()
        width = int(outputs * ratio)
        self.split = Conv(inputs, 2 * width)
        self.block = C3k(width) if deep else Bottleneck(width, width // 2)
        self.join = Conv(3 * width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.split(x).chunk(2, 1)
        return self.join(torch.cat((first, second, self.block(second)), 1))


class SPPF(nn.Module):
    """Three max pooling layers of kernel 5 in a row: windows of 5, 9 and 13."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = Conv(channels, channels // 2)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.join = Conv(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.reduce(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return self.join(torch.cat(parts, 1))


class Attention(nn.Module):
    """Attention between all cells, with a depthwise convolution as code of the position."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, channels // heads
        self.key = self.size // 2
        self.qkv = Conv(channels, channels + 2 * self.key * heads, act=False)
        self.position = Conv(channels, channels, 3, groups=channels, act=False)
        self.project = Conv(channels, channels, act=False)

    def forward(self, x: Tensor) -> Tensor:
        n, channels, rows, columns = x.shape
        parts = self.qkv(x).view(n, self.heads, 2 * self.key + self.size, rows * columns)
        q, k, v = parts.split((self.key, self.key, self.size), 2)
        weights = ((q.transpose(-2, -1) @ k) * self.key**-0.5).softmax(-1)
        mixed = (v @ weights.transpose(-2, -1)).view(n, channels, rows, columns)
        return self.project(mixed + self.position(v.reshape(n, channels, rows, columns)))


class C2PSA(nn.Module):
    """The input split in two, and attention with a feed-forward block for one part."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.split, self.join = Conv(channels, 2 * half), Conv(2 * half, channels)
        self.attention = Attention(half, half // 32)
        self.feed_forward = nn.Sequential(Conv(half, 2 * half), Conv(2 * half, half, act=False))

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.split(x).chunk(2, 1)
        second = second + self.attention(second)
        second = second + self.feed_forward(second)
        return self.join(torch.cat((first, second), 1))


class Backbone(nn.Module):
    """Features of strides 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Conv(3, 8, 3, 2)
        self.stage1 = nn.Sequential(Conv(8, 16, 3, 2), C3k2(16, 32, False, 0.25))
        self.stage2 = nn.Sequential(Conv(32, 32, 3, 2), C3k2(32, 64, False, 0.25))
        self.stage3 = nn.Sequential(Conv(64, 64, 3, 2), C3k2(64, 64, True))
        self.stage4 = nn.Sequential(Conv(64, 128, 3, 2), C3k2(128, 128, True))
        self.sppf, self.attention = SPPF(128), C2PSA(128)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        stride8 = self.stage2(self.stage1(self.stem(x)))
        stride16 = self.stage3(stride8)
        return stride8, stride16, self.attention(self.sppf(self.stage4(stride16)))


class Neck(nn.Module):
    """PAN: from coarse to fine, and back."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.top_down16, self.top_down8 = C3k2(192, 64, False), C3k2(128, 32, False)
        self.down8, self.bottom_up16 = Conv(32, 32, 3, 2), C3k2(96, 64, False)
        self.down16, self.bottom_up32 = Conv(64, 64, 3, 2), C3k2(192, 128, True)

    def forward(self, features: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        stride8, stride16, stride32 = features
        middle = self.top_down16(torch.cat((self.up(stride32), stride16), 1))
        out8 = self.top_down8(torch.cat((self.up(middle), stride8), 1))
        out16 = self.bottom_up16(torch.cat((self.down8(out8), middle), 1))
        return out8, out16, self.bottom_up32(torch.cat((self.down16(out16), stride32), 1))


def branch(block1: nn.Module, block2: nn.Module, predict: nn.Module) -> nn.Module:
    return nn.Sequential(OrderedDict(block1=block1, block2=block2, predict=predict))


def separable(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(Conv(inputs, inputs, 3, groups=inputs), Conv(inputs, outputs))


class Detect(nn.Module):
    """Box and class branches for each stride, and their values as boxes in pixels."""

    def __init__(self, widths: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.classes = classes
        box, label = 4 * BINS, max(widths[0], min(classes, 100))
        for stride, width in zip(STRIDES, widths, strict=True):
            convolutions = Conv(width, box, 3), Conv(box, box, 3), nn.Conv2d(box, 4 * BINS, 1)
            setattr(self, f"box{stride}", branch(*convolutions))
            blocks = separable(width, label), separable(label, label)
            setattr(self, f"class{stride}", branch(*blocks, nn.Conv2d(label, classes, 1)))
        self.expect = nn.Conv2d(BINS, 1, 1, bias=False).requires_grad_(False)  # the mean distance
        self.expect.weight.copy_(torch.arange(BINS).view(1, BINS, 1, 1))

    def forward(self, features: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        boxes, labels = [], []
        for stride, x in zip(STRIDES, features, strict=True):
            n, _, rows, columns = x.shape
            sides = getattr(self, f"box{stride}")(x).view(n, 4, BINS, rows * columns)
            sides = self.expect(sides.transpose(2, 1).softmax(1)).view(n, 4, rows * columns)
            y, x_grid = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
            centre = torch.stack((x_grid, y), 0).view(1, 2, rows * columns) + 0.5
            first, last = centre - sides[:, :2], centre + sides[:, 2:]
            boxes.append(torch.cat(((first + last) / 2, last - first), 1) * stride)
            labels.append(getattr(self, f"class{stride}")(x).flatten(2))
        return torch.cat((torch.cat(boxes, 2), torch.cat(labels, 2).sigmoid()), 1)


class YOLO11(nn.Module):
    """Backbone, neck and head."""

    def __init__(self, classes: int = 80) -> None:
        super().__init__()
        self.backbone, self.neck = Backbone(), Neck()
        self.detect = Detect((32, 64, 128), classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.detect(self.neck(self.backbone(images)))


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
    """Return the net in eval mode with seeded weights, and an example input (1, 3, 96, 128)."""
    net = YOLO11()
    generator = torch.Generator().manual_seed(1)
    uniform = torch.rand(4, 3, 96, 128, generator=generator)
    # With one contrast, normalization enlarges the small differences, and rounding errors too.
    contrast = torch.tensor([0.5, 1.0, 1.5, 2.0]).view(4, 1, 1, 1)
    normal = contrast * torch.randn(4, 3, 96, 128, generator=generator)
    draw_weights(net, torch.cat((uniform, normal)), 0)
    return net, (uniform[:1],)
