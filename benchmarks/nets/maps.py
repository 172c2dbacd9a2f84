"""Nets whose outputs are maps: segmentation, poses, depth, super resolution and style."""

from __future__ import annotations

from typing import Any

import torch
from parts import Residual, conv, net
from torch import Tensor, nn
from torch.nn import functional


class UNet(nn.Module):
    """U-Net with two levels; ``ups`` are the layers that double the size."""

    def __init__(self, *ups: nn.Module) -> None:
        super().__init__()
        self.first, self.second, self.third = conv(3, 8), conv(8, 12), conv(12, 16)
        self.pool = nn.MaxPool2d(2)
        self.ups = nn.ModuleList(ups)
        self.fourth, self.fifth = conv(28, 12), conv(20, 8)
        self.last = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        second = self.second(self.pool(first))
        y = self.third(self.pool(second))
        y = self.fourth(torch.cat([self.ups[0](y), second], 1))
        y = self.fifth(torch.cat([self.ups[1](y), first], 1))
        return self.last(y)


@net("unet_deconv", (1, 3, 32, 32), opset=13, fold=False)
def unet_deconv() -> nn.Module:
    """U-Net with transposed convolutions."""
    return UNet(nn.ConvTranspose2d(16, 16, 2, 2), nn.ConvTranspose2d(12, 12, 4, 2, 1))


@net("unet_bilinear", (1, 3, 32, 40), opset=14)
def unet_bilinear() -> nn.Module:
    """U-Net with bilinear upsampling (half pixels)."""
    up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
    return UNet(up, up)


@net("unet_corners", (1, 3, 32, 32), opset=13)
def unet_corners() -> nn.Module:
    """U-Net with bilinear upsampling (aligned corners)."""
    up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
    return UNet(up, up)


def resized(x: Tensor, like: Tensor) -> Tensor:
    """Resize a map bilinearly to the size of another."""
    return functional.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


@net("deeplab", (1, 3, 48, 48), opset=16)
class DeepLab(nn.Module):
    """DeepLabV3: dilated convolutions, ASPP with global pooling, and bilinear upsampling by 4."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(3, 8, 3, 2), conv(8, 12, 3, 2), conv(12, 12, dilation=2), conv(12, 12, dilation=4)
        )
        rates = [conv(12, 8, dilation=d) for d in (2, 4, 6)]
        self.branches = nn.ModuleList([conv(12, 8, 1), *rates])
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(12, 8, 1), nn.ReLU())
        self.last = nn.Sequential(conv(40, 12, 1), nn.Conv2d(12, 5, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        parts = [branch(y) for branch in self.branches]
        parts.append(resized(self.pooled(y), y))
        return resized(self.last(torch.cat(parts, 1)), x)


def bins(x: Tensor, count: int) -> Tensor:
    """Average the cells of a grid, as AdaptiveAvgPool2d does; the exporter has no form for cells of
    different sizes."""
    edges = [
        [(i * length // count, -(-(i + 1) * length // count)) for i in range(count)]
        for length in (int(x.shape[2]), int(x.shape[3]))
    ]
    rows = [
        torch.cat([x[:, :, a:b, c:d].mean((2, 3), keepdim=True) for c, d in edges[1]], 3)
        for a, b in edges[0]
    ]
    return torch.cat(rows, 2)


@net("pspnet", (1, 3, 32, 32), opset=13)
class PspNet(nn.Module):
    """PSPNet: averages in grids of 1, 2, 3 and 4 cells of a map of 8x8."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(3, 8, 3, 2), conv(8, 12, 3, 2), conv(12, 12, dilation=2))
        self.pools = nn.ModuleList(nn.AdaptiveAvgPool2d(n) for n in (1, 2, 4))
        self.sides = nn.ModuleList(nn.Conv2d(12, 4, 1) for _ in range(4))
        self.last = nn.Sequential(conv(28, 12), nn.Conv2d(12, 5, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        pooled = [*(pool(y) for pool in self.pools), bins(y, 3)]
        parts = [
            functional.interpolate(side(p), size=y.shape[2:], mode="bilinear", align_corners=True)
            for side, p in zip(self.sides, pooled, strict=True)
        ]
        return resized(self.last(torch.cat([y, *parts], 1)), x)


@net("segmentation", (1, 3, 48, 64), opset=15)
class Segmentation(nn.Module):
    """A segmentation net that ends in ArgMax over classes."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(conv(3, 8, 3, 2), conv(8, 16, 3, 2), conv(16, 16, dilation=2))
        self.side = conv(3, 8, 1)
        self.up = nn.ConvTranspose2d(16, 8, 8, 4, 2)
        self.last = nn.Conv2d(8, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.up(self.down(x)) + self.side(x))).argmax(1)


class Hourglass(nn.Module):
    """An hourglass of some depth: a smaller map beside the map, upsampled and added."""

    def __init__(self, depth: int, channels: int) -> None:
        super().__init__()
        self.side = Residual(conv(channels, 8, 1), conv(8, channels))
        self.down = nn.Sequential(
            nn.MaxPool2d(2), Residual(conv(channels, 8, 1), conv(8, channels))
        )
        inner = Hourglass(depth - 1, channels) if depth > 1 else conv(channels, channels, 1)
        self.inner = nn.Sequential(inner, conv(channels, channels, 1))
        self.up = nn.Upsample(scale_factor=2, mode="nearest")

    def forward(self, x: Tensor) -> Tensor:
        return self.side(x) + self.up(self.inner(self.down(x)))


@net("hourglass", (1, 3, 64, 48), opset=14)
class Pose(nn.Module):
    """A stacked hourglass net of two stages, with heat maps of both."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 12, 7, 2)
        self.stages = nn.ModuleList(Hourglass(2, 12) for _ in range(2))
        self.heads = nn.ModuleList(nn.Conv2d(12, 5, 1) for _ in range(2))
        self.back = nn.Conv2d(5, 12, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x)
        y = self.stages[0](x)
        first = self.heads[0](y)
        return first, self.heads[1](self.stages[1](x + y + self.back(first)))


@net("espcn", (1, 1, 24, 24), opset=13)
def espcn() -> nn.Module:
    """ESPCN: super resolution by 3 with PixelShuffle."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, 1, 2),
        nn.Tanh(),
        nn.Conv2d(16, 12, 3, 1, 1),
        nn.Tanh(),
        nn.Conv2d(12, 9, 3, 1, 1),
        nn.PixelShuffle(3),
        nn.Sigmoid(),
    )


class SpaceToDepth(torch.autograd.Function):
    """The operator SpaceToDepth, which the exporter writes as Reshape and Transpose otherwise."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, block: int) -> Tensor:
        n, c, h, w = x.shape
        y = x.reshape(n, c, h // block, block, w // block, block).permute(0, 3, 5, 1, 2, 4)
        return y.reshape(n, c * block * block, h // block, w // block)

    @staticmethod
    def symbolic(graph: Any, x: Any, block: int) -> Any:
        n, c, h, w = x.type().sizes()
        y = graph.op("SpaceToDepth", x, blocksize_i=block)
        y.setType(x.type().with_sizes([n, c * block * block, h // block, w // block]))
        return y


@net("space_to_depth", (1, 3, 32, 32), opset=13)
class Restoration(nn.Module):
    """A restoration net: SpaceToDepth, PixelUnshuffle, and PixelShuffle back to the size."""

    def __init__(self) -> None:
        super().__init__()
        self.first = conv(12, 12)
        self.down = nn.PixelUnshuffle(2)
        self.body = nn.Sequential(conv(48, 16), conv(16, 16), nn.Conv2d(16, 48, 1))
        self.up = nn.PixelShuffle(2)
        self.last = nn.Conv2d(12, 12, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(SpaceToDepth.apply(x, 2))
        y = y + self.up(self.body(self.down(y)))
        return x + self.up(self.last(y))


@net("style", (1, 3, 32, 32), opset=14)
def style() -> nn.Module:
    """A style net: InstanceNorm with and without parameters, and padding by reflection."""

    def block(inputs: int, outputs: int, stride: int, affine: bool = True) -> nn.Module:
        layer = nn.Conv2d(inputs, outputs, 3, stride, 1, padding_mode="reflect")
        return nn.Sequential(layer, nn.InstanceNorm2d(outputs, affine=affine), nn.ReLU())

    return nn.Sequential(
        block(3, 8, 1),
        block(8, 16, 2),
        Residual(block(16, 16, 1), block(16, 16, 1, affine=False)),
        nn.Upsample(scale_factor=2, mode="nearest"),
        block(16, 8, 1),
        nn.ReflectionPad2d(4),
        nn.Conv2d(8, 3, 9),
        nn.Tanh(),
    )


@net("padding", (1, 3, 30, 34), opset=15)
def padding() -> nn.Module:
    """Padding by reflection, by copies of the edge, by a constant, and at one side."""
    return nn.Sequential(
        nn.ReflectionPad2d(2),
        nn.Conv2d(3, 8, 5),
        nn.ReLU(),
        nn.ReplicationPad2d((1, 2, 0, 1)),
        nn.Conv2d(8, 12, 3, 2),
        nn.ReLU(),
        nn.ConstantPad2d((0, 1, 0, 1), 0.5),
        nn.Conv2d(12, 12, 3),
        nn.ReLU(),
        nn.ZeroPad2d((0, 1, 0, 1)),
        nn.Conv2d(12, 4, 3, 2),
    )


@net("deconvs", (1, 4, 12, 12), opset=16)
def deconvs() -> nn.Module:
    """Transposed convolutions: grouped, depthwise, dilated, and with output padding."""
    return nn.Sequential(
        nn.Conv2d(4, 16, 3, 1, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 16, 3, 2, 1, output_padding=1, groups=4),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 16, 4, 2, 1, groups=16, bias=False),
        nn.Conv2d(16, 8, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 8, 3, 1, 2, dilation=2),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 3, (3, 5), (1, 2), (1, 2), output_padding=(0, 1)),
    )


@net("autoencoder", (1, 3, 32, 32), opset=17)
def autoencoder() -> nn.Module:
    """An autoencoder with ELU and Softplus."""
    return nn.Sequential(
        conv(3, 8, 3, 2, act=nn.ELU),
        conv(8, 16, 3, 2, act=lambda: nn.ELU(0.5)),
        Residual(conv(16, 16, act=nn.Softplus)),
        nn.ConvTranspose2d(16, 8, 2, 2),
        nn.ELU(),
        nn.ConvTranspose2d(8, 3, 2, 2),
        nn.Softplus(),
    )


@net("depth", (1, 3, 32, 48), (1, 3, 32, 48), opset=13)
class Depth(nn.Module):
    """Depth from two pictures: difference, ratio and absolute value of their features, and a root."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(conv(3, 8, 3, 2), conv(8, 8))
        self.mix = nn.Sequential(conv(24, 12), nn.Conv2d(12, 1, 3, 1, 1))

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        a, b = self.features(left), self.features(right)
        distance = (a - b).abs()
        ratio = a / (b + 1.0)
        cost = torch.sqrt(a * b + 0.25)
        disparity = torch.sigmoid(self.mix(torch.cat([distance, ratio, cost], 1)))
        return 1.0 / (0.1 + 4.0 * disparity)
