"""Nets that detect objects; their outputs are raw maps or boxes, before the suppression of duplicates."""

from __future__ import annotations

import torch
from parts import Activation, Residual, conv, net
from torch import Tensor, nn
from torch.nn import functional


class C3(nn.Module):
    """A block of YOLOv5: residual blocks beside a 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int, add: bool = True) -> None:
        super().__init__()
        half = outputs // 2
        body = [conv(half, half, 1, act=nn.SiLU), conv(half, half, 3, act=nn.SiLU)]
        self.left = conv(inputs, half, 1, act=nn.SiLU)
        self.body = Residual(*body) if add else nn.Sequential(*body)
        self.right = conv(inputs, half, 1, act=nn.SiLU)
        self.last = conv(outputs, outputs, 1, act=nn.SiLU)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.cat([self.body(self.left(x)), self.right(x)], 1))


class Pyramid(nn.Module):
    """SPPF: three max poolings of stride 1 in a row, and the concatenation of all."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv(channels, channels // 2, 1, act=nn.SiLU)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.last = conv(2 * channels, channels, 1, act=nn.SiLU)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.first(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return self.last(torch.cat(parts, 1))


class Focus(nn.Module):
    """The stem of the first YOLOv5: four slices with step 2 become channels."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.conv = conv(12, outputs, 3, act=nn.SiLU)

    def forward(self, x: Tensor) -> Tensor:
        rows, odd = x[..., ::2, :], x[..., 1::2, :]
        parts = [rows[..., ::2], odd[..., ::2], rows[..., 1::2], odd[..., 1::2]]
        return self.conv(torch.cat(parts, 1))


class Neck(nn.Module):
    """Three maps of a backbone, combined upwards and downwards with nearest upsampling and Concat."""

    def __init__(self, stem: nn.Module) -> None:
        super().__init__()
        self.stem = stem
        self.c3 = nn.Sequential(conv(8, 8, 3, 2, act=nn.SiLU), C3(8, 8))
        self.c4 = nn.Sequential(conv(8, 12, 3, 2, act=nn.SiLU), C3(12, 12))
        self.c5 = nn.Sequential(conv(12, 16, 3, 2, act=nn.SiLU), Pyramid(16))
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.p4 = C3(28, 12, add=False)
        self.p3 = C3(20, 8, add=False)
        self.down = conv(8, 8, 3, 2, act=nn.SiLU)
        self.n4 = C3(20, 12, add=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        c3 = self.c3(self.stem(x))
        c4 = self.c4(c3)
        c5 = self.c5(c4)
        p4 = self.p4(torch.cat([self.up(c5), c4], 1))
        p3 = self.p3(torch.cat([self.up(p4), c3], 1))
        return p3, self.n4(torch.cat([self.down(p3), p4], 1)), c5


class RawHeads(nn.Module):
    """A 1x1 convolution for each map."""

    def __init__(self, body: nn.Module, channels: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.body = body
        self.heads = nn.ModuleList(nn.Conv2d(one, outputs, 1) for one in channels)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(head(y) for head, y in zip(self.heads, self.body(x), strict=True))


@net("yolov5", (1, 3, 64, 64), opset=13)
def yolov5() -> nn.Module:
    """YOLOv5 with the stem 6x6: C3, SiLU, SPPF, nearest upsampling, three heads as raw outputs."""
    stem = nn.Sequential(
        nn.Conv2d(3, 8, 6, 2, 2, bias=False), nn.BatchNorm2d(8), nn.SiLU(), nn.MaxPool2d(2)
    )
    return RawHeads(Neck(stem), (8, 12, 16), 21)


@net("yolov5_focus", (1, 3, 64, 64), opset=16)
def yolov5_focus() -> nn.Module:
    """YOLOv5 with the stem Focus, which slices with step 2."""
    return RawHeads(Neck(Focus(8)), (8, 12, 16), 21)


@net("yolov8", (1, 3, 64, 64), opset=17)
class Yolov8(nn.Module):
    """YOLOv8: boxes as the mean of a distribution (DFL), decoded in units of the picture, and classes."""

    BINS, CLASSES = 8, 5

    def __init__(self) -> None:
        super().__init__()
        self.body = Neck(conv(3, 8, 3, 2, act=nn.SiLU))
        self.boxes = nn.ModuleList(nn.Conv2d(c, 4 * self.BINS, 1) for c in (8, 12, 16))
        self.classes = nn.ModuleList(nn.Conv2d(c, self.CLASSES, 1) for c in (8, 12, 16))
        numbers = torch.arange(self.BINS, dtype=torch.float32)
        self.register_buffer("numbers", numbers.view(1, -1, 1, 1))
        points, strides = [], []
        for size in (16, 8, 4):
            axis = torch.arange(size) + 0.5
            y, x = torch.meshgrid(axis, axis, indexing="ij")
            points.append(torch.stack([x, y]).flatten(1))
            strides.append(torch.full((1, size * size), 1.0 / size))
        self.register_buffer("points", torch.cat(points, 1)[None])
        self.register_buffer("strides", torch.cat(strides, 1))

    def forward(self, x: Tensor) -> Tensor:
        maps = self.body(x)
        n = x.shape[0]
        both = zip(self.boxes, self.classes, maps, strict=True)
        rows = [torch.cat([a(y), b(y)], 1).flatten(2) for a, b, y in both]
        boxes, classes = torch.cat(rows, 2).split((4 * self.BINS, self.CLASSES), 1)
        bins = boxes.view(n, 4, self.BINS, boxes.shape[2]).transpose(2, 1).softmax(1)
        mean = functional.conv2d(bins, self.numbers)
        left, right = mean.view(n, 4, boxes.shape[2]).chunk(2, 1)
        low, high = self.points - left, self.points + right
        decoded = torch.cat([(low + high) / 2, high - low], 1) * self.strides
        return torch.cat([decoded, classes.sigmoid()], 1)


def leaky() -> nn.Module:
    """Return the activation of Darknet."""
    return nn.LeakyReLU(0.1)


@net("yolov3_tiny", (1, 3, 64, 64), opset=13)
class Yolov3Tiny(nn.Module):
    """YOLOv3-tiny: LeakyReLU, max pooling with stride 1 after padding at one side, two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(
            conv(3, 8, act=leaky), nn.MaxPool2d(2), conv(8, 16, act=leaky), nn.MaxPool2d(2)
        )
        self.middle = conv(16, 16, act=leaky)
        self.last = nn.Sequential(
            nn.MaxPool2d(2),
            conv(16, 16, act=leaky),
            nn.ZeroPad2d((0, 1, 0, 1)),
            nn.MaxPool2d(2, 1),
            conv(16, 16, 1, act=leaky),
        )
        self.head = nn.Conv2d(16, 21, 1)
        self.up = nn.Sequential(conv(16, 8, 1, act=leaky), nn.Upsample(scale_factor=2.0))
        self.head2 = nn.Sequential(conv(24, 16, act=leaky), nn.Conv2d(16, 21, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        route = self.middle(self.first(x))
        deep = self.last(route)
        return self.head(deep), self.head2(torch.cat([self.up(deep), route], 1))


def csp(channels: int, act: Activation) -> nn.Module:
    """Return a residual block of CSPDarknet."""
    return Residual(
        conv(channels, channels // 2, 1, act=act), conv(channels // 2, channels, act=act)
    )


@net("yolov4", (1, 3, 64, 64), opset=14)
class Yolov4(nn.Module):
    """YOLOv4: Mish, and SPP with three max poolings of stride 1."""

    def __init__(self) -> None:
        super().__init__()
        self.c4 = nn.Sequential(
            conv(3, 8, 3, 2, act=nn.Mish), csp(8, nn.Mish), conv(8, 12, 3, 2, act=nn.Mish)
        )
        self.c5 = nn.Sequential(conv(12, 16, 3, 2, act=nn.Mish), csp(16, nn.Mish))
        self.pools = nn.ModuleList(nn.MaxPool2d(k, 1, k // 2) for k in (13, 9, 5))
        self.mix = conv(64, 12, 1, act=leaky)
        self.head = nn.Conv2d(12, 21, 1)
        self.side = conv(12, 12, 1, act=leaky)
        self.head2 = nn.Sequential(conv(24, 12, act=leaky), nn.Conv2d(12, 21, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        c4 = self.c4(x)
        c5 = self.c5(c4)
        y = self.mix(torch.cat([*(pool(c5) for pool in self.pools), c5], 1))
        up = functional.interpolate(y, size=c4.shape[2:], mode="nearest")
        return self.head(y), self.head2(torch.cat([self.side(c4), up], 1))


@net("ssd", (1, 3, 64, 64), opset=13)
class Ssd(nn.Module):
    """SSD: Permute, Reshape and Concat of two maps; boxes, and classes with Softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(
            conv(3, 8, 3, 2), conv(8, 8, groups=8), conv(8, 16, 1), nn.MaxPool2d(2)
        )
        self.second = conv(16, 16, 3, 2)
        self.boxes = nn.ModuleList(nn.Conv2d(16, 3 * 4, 3, 1, 1) for _ in range(2))
        self.classes = nn.ModuleList(nn.Conv2d(16, 3 * 5, 3, 1, 1) for _ in range(2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first = self.first(x)
        maps = (first, self.second(first))
        both = ((self.boxes, 4), (self.classes, 5))
        boxes, classes = (
            torch.cat(
                [
                    head(y).permute(0, 2, 3, 1).reshape(x.shape[0], -1, length)
                    for head, y in zip(heads, maps, strict=True)
                ],
                1,
            )
            for heads, length in both
        )
        return boxes, classes.softmax(2)


@net("fpn", (1, 3, 60, 52), opset=15)
class Fpn(nn.Module):
    """FPN: nearest upsampling to odd sizes, and by 1.5."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            [conv(3, 8, 3, 2), conv(8, 12, 3, 2), conv(12, 16, 3, 2), conv(16, 16, 3, 2)]
        )
        self.sides = nn.ModuleList(nn.Conv2d(c, 12, 1) for c in (12, 16, 16))
        self.heads = nn.ModuleList(nn.Conv2d(12, 12, 3, 1, 1) for _ in range(3))
        self.last = nn.Conv2d(12, 4, 3, 1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        maps = []
        for level in self.levels:
            x = level(x)
            maps.append(x)
        sides = [side(y) for side, y in zip(self.sides, maps[1:], strict=True)]
        tops = [sides[2]]
        for side in (sides[1], sides[0]):
            up = functional.interpolate(tops[0], size=side.shape[2:], mode="nearest")
            tops.insert(0, side + up)
        outputs = [head(y) for head, y in zip(self.heads, tops, strict=True)]
        wide = functional.interpolate(outputs[2], scale_factor=1.5, mode="nearest")
        return (*outputs, self.last(wide))
