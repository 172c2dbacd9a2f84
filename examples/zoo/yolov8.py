"""YOLOv8: a one-stage object detector without anchors.

Input: one picture (N, 3, H, W), RGB in 0..1; H and W are multiples of 32.
Output: (N, 4 + classes, boxes): centre x, centre y, width and height in pixels of the input, and a
score for each class. There is one box for each cell of the grids of strides 8, 16 and 32.

The structure is the published one: C2f blocks, SPPF, a PAN neck, and a decoupled head, whose box
branch predicts a distribution over 16 distances for each side of a box (DFL).
Left out: non-maximum suppression, the width and depth of the published sizes (the widths are half
of those of "n", the depths are 1 or 2), and trained weights. A toolchain usually takes the six
convolutions of HEAD, and computes DFL and boxes on the host.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

STRIDES = (8, 16, 32)
HEAD: tuple[str, ...] = tuple(
    f"detect.{branch}{stride}.predict" for stride in STRIDES for branch in ("box", "class")
)
BINS = 16  # distances of a side, in cells


class Conv(nn.Module):
    """Convolution, batch normalization and SiLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    """Two convolutions of kernel 3, and the input added to them."""

    def __init__(self, channels: int, add: bool) -> None:
        super().__init__()
        self.conv1, self.conv2 = Conv(channels, channels, 3), Conv(channels, channels, 3)
        self.add = add

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.conv1(x))
        return x + y if self.add else y


class C2f(nn.Module):
    """Bottlenecks in a row; the output joins the result of each of them."""

    def __init__(self, inputs: int, outputs: int, depth: int = 1, add: bool = False) -> None:
        super().__init__()
        half = outputs // 2
        self.split = Conv(inputs, 2 * half)
        self.blocks = nn.ModuleList(Bottleneck(half, add) for _ in range(depth))
        self.join = Conv((2 + depth) * half, outputs)

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.split(x).chunk(2, 1))
        for block in self.blocks:
            parts.append(block(parts[-1]))
        return self.join(torch.cat(parts, 1))


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


class Backbone(nn.Module):
    """Features of strides 8, 16 and 32."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        first, second, third, fourth, fifth = widths
        self.stem = Conv(3, first, 3, 2)
        self.stage1 = nn.Sequential(Conv(first, second, 3, 2), C2f(second, second, 1, True))
        self.stage2 = nn.Sequential(Conv(second, third, 3, 2), C2f(third, third, 2, True))
        self.stage3 = nn.Sequential(Conv(third, fourth, 3, 2), C2f(fourth, fourth, 2, True))
        self.stage4 = nn.Sequential(Conv(fourth, fifth, 3, 2), C2f(fifth, fifth, 1, True))
        self.sppf = SPPF(fifth)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        stride8 = self.stage2(self.stage1(self.stem(x)))
        stride16 = self.stage3(stride8)
        return stride8, stride16, self.sppf(self.stage4(stride16))


class Neck(nn.Module):
    """PAN: from coarse to fine, and back."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        small, middle, large = widths
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.top_down16 = C2f(large + middle, middle)
        self.top_down8 = C2f(middle + small, small)
        self.down8, self.bottom_up16 = Conv(small, small, 3, 2), C2f(small + middle, middle)
        self.down16, self.bottom_up32 = Conv(middle, middle, 3, 2), C2f(middle + large, large)

    def forward(self, features: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        stride8, stride16, stride32 = features
        middle = self.top_down16(torch.cat((self.up(stride32), stride16), 1))
        out8 = self.top_down8(torch.cat((self.up(middle), stride8), 1))
        out16 = self.bottom_up16(torch.cat((self.down8(out8), middle), 1))
        return out8, out16, self.bottom_up32(torch.cat((self.down16(out16), stride32), 1))


class Branch(nn.Module):
    """Two convolutions of kernel 3, and the one that predicts."""

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = Conv(inputs, width, 3), Conv(width, width, 3)
        self.predict = nn.Conv2d(width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.predict(self.conv2(self.conv1(x)))


class Detect(nn.Module):
    """Box and class branches for each stride, and their values as boxes in pixels."""

    def __init__(self, widths: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.classes = classes
        box, label = max(widths[0] // 4, 4 * BINS), max(widths[0], min(classes, 100))
        for stride, width in zip(STRIDES, widths, strict=True):
            setattr(self, f"box{stride}", Branch(width, box, 4 * BINS))
            setattr(self, f"class{stride}", Branch(width, label, classes))
        self.expect = nn.Conv2d(BINS, 1, 1, bias=False).requires_grad_(False)  # the mean distance
        self.expect.weight.copy_(torch.arange(BINS).view(1, BINS, 1, 1))

    def forward(self, features: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        predictions, centres, steps = [], [], []
        for stride, x in zip(STRIDES, features, strict=True):
            box, label = getattr(self, f"box{stride}")(x), getattr(self, f"class{stride}")(x)
            predictions.append(torch.cat((box, label), 1).flatten(2))
            rows, columns = x.shape[2:]
            y, x_grid = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
            centres.append(torch.stack((x_grid, y), 0).view(1, 2, -1) + 0.5)
            steps.append(torch.full((1, rows * columns), float(stride)))
        box, label = torch.cat(predictions, 2).split((4 * BINS, self.classes), 1)
        n, _, cells = box.shape
        sides = self.expect(box.view(n, 4, BINS, cells).transpose(2, 1).softmax(1))
        left_top, right_bottom = sides.view(n, 4, cells).chunk(2, 1)
        centre = torch.cat(centres, 2)
        first, last = centre - left_top, centre + right_bottom
        boxes = torch.cat(((first + last) / 2, last - first), 1) * torch.cat(steps, 1)
        return torch.cat((boxes, label.sigmoid()), 1)


class YOLOv8(nn.Module):
    """Backbone, neck and head."""

    def __init__(self, widths: tuple[int, ...] = (8, 16, 32, 64, 128), classes: int = 80) -> None:
        super().__init__()
        self.backbone = Backbone(widths)
        self.neck = Neck(widths[2:])
        self.detect = Detect(widths[2:], classes)

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
    net = YOLOv8()
    generator = torch.Generator().manual_seed(1)
    uniform = torch.rand(4, 3, 96, 128, generator=generator)
    # With one contrast, normalization enlarges the small differences, and rounding errors too.
    contrast = torch.tensor([0.5, 1.0, 1.5, 2.0]).view(4, 1, 1, 1)
    normal = contrast * torch.randn(4, 3, 96, 128, generator=generator)
    draw_weights(net, torch.cat((uniform, normal)), 0)
    return net, (uniform[:1],)
