"""YOLOv5: a one-stage object detector with anchors.

Input: one picture (N, 3, H, W), RGB in 0..1; H and W are multiples of 32.
Output: (N, boxes, 5 + classes): centre x, centre y, width and height in pixels of the input, the
score of an object, and a score for each class. There are 3 boxes for each cell of the grids of
strides 8, 16 and 32, in this order.

The structure is that of release 6 and later: a stem with kernel 6, C3 blocks, SPPF, a PAN neck, and
one convolution for each stride. Left out: non-maximum suppression, the width and depth of the
published sizes (the widths are half of those of "n", the depths are 1 or 2), and trained weights.
A toolchain usually takes the three convolutions of HEAD, and decodes their values on the host.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

HEAD: tuple[str, ...] = ("detect.stride8", "detect.stride16", "detect.stride32")

ANCHORS = {  # width and height in pixels
    8: ((10, 13), (16, 30), (33, 23)),
    16: ((30, 61), (62, 45), (59, 119)),
    32: ((116, 90), (156, 198), (373, 326)),
}


class Conv(nn.Module):
    """Convolution, batch normalization and SiLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, pad: int | None = None
    ) -> None:
        super().__init__()
        pad = kernel // 2 if pad is None else pad
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, pad, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    """Two convolutions, and the input added to them."""

    def __init__(self, channels: int, add: bool) -> None:
        super().__init__()
        self.conv1, self.conv2 = Conv(channels, channels), Conv(channels, channels, 3)
        self.add = add

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.conv1(x))
        return x + y if self.add else y


class C3(nn.Module):
    """A cross-stage partial block with three convolutions around its bottlenecks."""

    def __init__(self, inputs: int, outputs: int, depth: int = 1, add: bool = True) -> None:
        super().__init__()
        half = outputs // 2
        self.main, self.side = Conv(inputs, half), Conv(inputs, half)
        self.blocks = nn.Sequential(*(Bottleneck(half, add) for _ in range(depth)))
        self.join = Conv(2 * half, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.join(torch.cat((self.blocks(self.main(x)), self.side(x)), 1))


class SPPF(nn.Module):
    """Three max pooling layers of kernel 5 in a row: windows of 5, 9 and 13."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = Conv(channels, channels // 2)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.join = Conv(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.reduce(x)
        first = self.pool(x)
        second = self.pool(first)
        return self.join(torch.cat((x, first, second, self.pool(second)), 1))


class Backbone(nn.Module):
    """CSPDarknet: features of strides 8, 16 and 32."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        first, second, third, fourth, fifth = widths
        self.stem = Conv(3, first, 6, 2, 2)
        self.stage1 = nn.Sequential(Conv(first, second, 3, 2), C3(second, second))
        self.stage2 = nn.Sequential(Conv(second, third, 3, 2), C3(third, third, 2))
        self.stage3 = nn.Sequential(Conv(third, fourth, 3, 2), C3(fourth, fourth, 2))
        self.stage4 = nn.Sequential(Conv(fourth, fifth, 3, 2), C3(fifth, fifth))
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
        self.reduce32, self.top_down16 = Conv(large, middle), C3(2 * middle, middle, add=False)
        self.reduce16, self.top_down8 = Conv(middle, small), C3(2 * small, small, add=False)
        self.down8, self.bottom_up16 = Conv(small, small, 3, 2), C3(2 * small, middle, add=False)
        self.down16, self.bottom_up32 = Conv(middle, middle, 3, 2), C3(2 * middle, large, add=False)

    def forward(self, features: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        stride8, stride16, stride32 = features
        coarse = self.reduce32(stride32)
        middle = self.reduce16(self.top_down16(torch.cat((self.up(coarse), stride16), 1)))
        out8 = self.top_down8(torch.cat((self.up(middle), stride8), 1))
        out16 = self.bottom_up16(torch.cat((self.down8(out8), middle), 1))
        out32 = self.bottom_up32(torch.cat((self.down16(out16), coarse), 1))
        return out8, out16, out32


class Detect(nn.Module):
    """A convolution for each stride, and its values as boxes in pixels."""

    def __init__(self, widths: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.fields = 5 + classes
        for stride, width in zip(ANCHORS, widths, strict=True):
            setattr(self, f"stride{stride}", nn.Conv2d(width, 3 * self.fields, 1))

    def decode(self, x: Tensor, stride: int) -> Tensor:
        n, _, rows, columns = x.shape
        x = x.view(n, 3, self.fields, rows, columns).permute(0, 1, 3, 4, 2).sigmoid()
        y_grid, x_grid = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        grid = torch.stack((x_grid, y_grid), 2).float().view(1, 1, rows, columns, 2) - 0.5
        anchors = torch.tensor(ANCHORS[stride], dtype=torch.float32).view(1, 3, 1, 1, 2)
        centre, size, scores = x.split((2, 2, self.fields - 4), 4)
        box = ((centre * 2 + grid) * stride, (size * 2) ** 2 * anchors, scores)
        return torch.cat(box, 4).view(n, 3 * rows * columns, self.fields)

    def forward(self, features: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        boxes = [
            self.decode(getattr(self, f"stride{stride}")(x), stride)
            for stride, x in zip(ANCHORS, features, strict=True)
        ]
        return torch.cat(boxes, 1)


class YOLOv5(nn.Module):
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
    net = YOLOv5()
    generator = torch.Generator().manual_seed(1)
    uniform = torch.rand(4, 3, 96, 128, generator=generator)
    # With one contrast, normalization enlarges the small differences, and rounding errors too.
    contrast = torch.tensor([0.5, 1.0, 1.5, 2.0]).view(4, 1, 1, 1)
    normal = contrast * torch.randn(4, 3, 96, 128, generator=generator)
    draw_weights(net, torch.cat((uniform, normal)), 0)
    return net, (uniform[:1],)
