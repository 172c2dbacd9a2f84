"""Nets that classify pictures, and embeddings."""

from __future__ import annotations

from typing import Any

import torch
from parts import Activation, Classifier, Residual, SqueezeExcite, conv, net
from torch import Tensor, nn
from torch.nn import functional


def inverted(
    inputs: int,
    outputs: int,
    stride: int,
    act: Activation,
    kernel: int = 3,
    gate: Activation | None = None,
    inner: Activation = nn.ReLU,
) -> nn.Module:
    """Return an inverted residual block, with squeeze-excite if it has a gate."""
    wide = 3 * inputs
    body: list[nn.Module] = [conv(inputs, wide, 1, act=act)]
    body += [conv(wide, wide, kernel, stride, groups=wide, act=act)]
    if gate is not None:
        body.append(SqueezeExcite(wide, max(4, wide // 4), inner, gate))
    body.append(conv(wide, outputs, 1, act=nn.Identity))
    return Residual(*body) if stride == 1 and inputs == outputs else nn.Sequential(*body)


@net("mobilenet_v2", (1, 3, 32, 32), opset=13, fold=False)
def mobilenet_v2() -> nn.Module:
    """MobileNetV2: inverted residuals with ReLU6; BatchNorm is not folded."""
    blocks = [inverted(*sizes, nn.ReLU6) for sizes in ((8, 8, 1), (8, 12, 2), (12, 12, 1))]
    return nn.Sequential(
        conv(3, 8, 3, 2, act=nn.ReLU6), *blocks, conv(12, 32, 1, act=nn.ReLU6), Classifier(32)
    )


@net("mobilenet_v3", (1, 3, 32, 32), opset=14)
def mobilenet_v3() -> nn.Module:
    """MobileNetV3: HardSwish, and squeeze-excite with HardSigmoid."""
    return nn.Sequential(
        conv(3, 8, 3, 2, act=nn.Hardswish),
        inverted(8, 8, 1, nn.ReLU, 3, nn.Hardsigmoid),
        inverted(8, 12, 2, nn.Hardswish, 5, nn.Hardsigmoid),
        inverted(12, 12, 1, nn.Hardswish, 5, nn.Hardsigmoid),
        conv(12, 32, 1, act=nn.Hardswish),
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(32, 32, 1),
        nn.Hardswish(),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


@net("efficientnet", (1, 3, 40, 40), opset=15)
def efficientnet() -> nn.Module:
    """EfficientNet: SiLU, and squeeze-excite with Sigmoid."""
    return nn.Sequential(
        conv(3, 8, 3, 2, act=nn.SiLU),
        inverted(8, 8, 1, nn.SiLU, 3, nn.Sigmoid, nn.SiLU),
        inverted(8, 12, 2, nn.SiLU, 5, nn.Sigmoid, nn.SiLU),
        inverted(12, 12, 1, nn.SiLU, 3, nn.Sigmoid, nn.SiLU),
        conv(12, 32, 1, act=nn.SiLU),
        Classifier(32, softmax=True),
    )


def shuffle(x: Tensor, groups: int) -> Tensor:
    """Interleave the channels of groups."""
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)


class ShuffleV2(nn.Module):
    """A block of ShuffleNetV2: half of the channels pass through; with stride 2 both halves change."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        half = channels // 2 if stride == 1 else channels
        self.stride = stride
        self.main = nn.Sequential(
            conv(half, half, 1),
            conv(half, half, 3, stride, groups=half, act=nn.Identity),
            conv(half, half, 1),
        )
        if stride == 2:
            self.side = nn.Sequential(
                conv(half, half, 3, 2, groups=half, act=nn.Identity), conv(half, half, 1)
            )

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, 1) if self.stride == 1 else (self.side(x), x)
        return shuffle(torch.cat([left, self.main(right)], 1), 2)


@net("shufflenet_v2", (1, 3, 48, 48), opset=13)
def shufflenet_v2() -> nn.Module:
    """ShuffleNetV2: chunk, Concat and channel shuffle; max pooling with padding."""
    return nn.Sequential(
        conv(3, 8, 3, 2),
        nn.MaxPool2d(3, 2, 1),
        ShuffleV2(8, 2),
        ShuffleV2(16, 1),
        ShuffleV2(16, 1),
        conv(16, 32, 1),
        Classifier(32),
    )


class ShuffleV1(nn.Module):
    """A block of ShuffleNetV1: grouped 1x1 convolutions with a channel shuffle between them."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.first = conv(inputs, 12, 1, groups=3)
        last = outputs if stride == 1 else outputs - inputs
        self.rest = nn.Sequential(
            conv(12, 12, 3, stride, groups=12, act=nn.Identity),
            conv(12, last, 1, groups=3, act=nn.Identity),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.rest(shuffle(self.first(x), 3))
        if self.stride == 1:
            return torch.relu(x + y)
        return torch.relu(torch.cat([functional.avg_pool2d(x, 3, 2, 1), y], 1))


@net("shufflenet_v1", (1, 3, 32, 32), opset=16)
def shufflenet_v1() -> nn.Module:
    """ShuffleNetV1: three groups, and average pooling beside the blocks with stride 2."""
    return nn.Sequential(
        conv(3, 12, 3, 2), ShuffleV1(12, 24, 2), ShuffleV1(24, 24, 1), Classifier(24)
    )


class Basic(nn.Module):
    """A block of ResNet, with a 1x1 convolution beside it if it changes the shape."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(inputs, outputs, 3, stride), conv(outputs, outputs, 3, act=nn.Identity)
        )
        same = inputs == outputs and stride == 1
        self.side = nn.Identity() if same else conv(inputs, outputs, 1, stride, act=nn.Identity)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.side(x))


@net("resnet", (2, 3, 64, 64), opset=13, fold=False)
def resnet() -> nn.Module:
    """ResNet: max pooling that rounds down an even size; batch 2, BatchNorm is not folded."""
    return nn.Sequential(
        conv(3, 8, 7, 2), nn.MaxPool2d(3, 2, 1), Basic(8, 8, 1), Basic(8, 16, 2), Classifier(16)
    )


class DenseLayer(nn.Module):
    """A layer of DenseNet: BatchNorm and ReLU before the convolution, Concat after it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(channels), nn.ReLU(), conv(channels, 16, 1), nn.Conv2d(16, 8, 3, 1, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.body(x)], 1)


@net("densenet", (1, 3, 32, 32), opset=14)
def densenet() -> nn.Module:
    """DenseNet: BatchNorm before ReLU, Concat, and average pooling between blocks."""
    return nn.Sequential(
        conv(3, 8, 3, 2),
        DenseLayer(8),
        DenseLayer(16),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.Conv2d(24, 12, 1, bias=False),
        nn.AvgPool2d(2, 2),
        DenseLayer(12),
        DenseLayer(20),
        nn.BatchNorm2d(28),
        nn.ReLU(),
        Classifier(28),
    )


class Inception(nn.Module):
    """A block of Inception: 1x1, 5x5, factorised 7x7, and average pooling that leaves out the padding."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.one = conv(inputs, 8, 1)
        self.five = nn.Sequential(conv(inputs, 6, 1), conv(6, 8, 5))
        self.seven = nn.Sequential(
            conv(inputs, 6, 1),
            nn.Conv2d(6, 6, (1, 7), 1, (0, 3)),
            nn.ReLU(),
            nn.Conv2d(6, 8, (7, 1), 1, (3, 0)),
            nn.ReLU(),
        )
        self.pool = nn.Sequential(
            nn.AvgPool2d(3, 1, 1, count_include_pad=False), conv(inputs, 8, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.five(x), self.seven(x), self.pool(x)], 1)


@net("inception", (1, 3, 35, 35), opset=15)
def inception() -> nn.Module:
    """Inception: asymmetric kernels, average pooling without the padding, and an odd size."""
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, 2),
        nn.ReLU(),
        Inception(12),
        nn.MaxPool2d(3, 2),
        Inception(32),
        Classifier(32),
    )


class Fire(nn.Module):
    """A block of SqueezeNet."""

    def __init__(self, inputs: int, squeezed: int, outputs: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.one = nn.Conv2d(squeezed, outputs, 1)
        self.three = nn.Conv2d(squeezed, outputs, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.squeeze(x))
        return torch.cat([torch.relu(self.one(x)), torch.relu(self.three(x))], 1)


@net("squeezenet", (1, 3, 47, 47), opset=13)
def squeezenet() -> nn.Module:
    """SqueezeNet: max pooling that rounds up, and a convolution as the classifier."""
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, 2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        Fire(12, 6, 8),
        nn.MaxPool2d(2, 2, ceil_mode=True),
        Fire(16, 8, 12),
        nn.Dropout(),
        nn.Conv2d(24, 10, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Softmax(1),
    )


class LrnFunction(torch.autograd.Function):
    """The operator LRN, which the exporter writes as average pooling and many others otherwise."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int, alpha: float, beta: float) -> Tensor:
        return functional.local_response_norm(x, size, alpha, beta, 1.0)

    @staticmethod
    def symbolic(graph: Any, x: Any, size: int, alpha: float, beta: float) -> Any:
        y = graph.op("LRN", x, size_i=size, alpha_f=alpha, beta_f=beta, bias_f=1.0)
        y.setType(x.type())
        return y


class Lrn(nn.Module):
    """LRN over 5 channels, as one operator."""

    def forward(self, x: Tensor) -> Tensor:
        return LrnFunction.apply(x, 5, 0.5, 0.75)


@net("googlenet", (1, 3, 48, 48), opset=16)
def googlenet() -> nn.Module:
    """The first layers of GoogLeNet: LRN after pooling and before it, and pooling that rounds up."""
    return nn.Sequential(
        nn.Conv2d(3, 12, 7, 2, 3),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        Lrn(),
        nn.Conv2d(12, 12, 1),
        nn.ReLU(),
        nn.Conv2d(12, 24, 3, 1, 1),
        nn.ReLU(),
        Lrn(),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        Fire(24, 8, 12),
        Classifier(24, softmax=True),
    )


@net("alexnet_lrn", (1, 3, 48, 48), opset=13)
def alexnet_lrn() -> nn.Module:
    """The first layers of AlexNet: LocalResponseNorm, which the exporter writes as many operators."""
    return nn.Sequential(
        nn.Conv2d(3, 12, 5, 2),
        nn.ReLU(),
        nn.LocalResponseNorm(5, 0.5, 0.75, 2.0),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(12, 16, 5, 1, 2, groups=2),
        nn.ReLU(),
        nn.LocalResponseNorm(5, 0.5, 0.75, 2.0),
        nn.MaxPool2d(3, 2),
        nn.Flatten(),
        nn.Linear(256, 24),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(24, 10),
        nn.Softmax(1),
    )


@net("face", (1, 3, 56, 48), opset=13)
class Face(nn.Module):
    """MobileFaceNet: PReLU, a depthwise convolution of the whole map, and an embedding of length 1."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(3, 12, 3, 2, act=lambda: nn.PReLU(12)),
            conv(12, 12, 3, 1, groups=12, act=lambda: nn.PReLU(12)),
            conv(12, 24, 1, act=lambda: nn.PReLU(24)),
            conv(24, 24, 3, 2, groups=24, act=lambda: nn.PReLU(24)),
            conv(24, 24, 1, act=nn.PReLU),
            nn.Conv2d(24, 24, (14, 12), groups=24),
            nn.Flatten(),
            nn.Linear(24, 32),
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.normalize(self.body(x))


@net("group_norm", (1, 3, 32, 32), opset=14)
def group_norm() -> nn.Module:
    """A residual net with GroupNorm."""
    blocks = [
        Residual(nn.Conv2d(16, 16, 3, 1, 1), nn.GroupNorm(4, 16), nn.ReLU()) for _ in range(2)
    ]
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1), nn.GroupNorm(8, 16), nn.ReLU(), *blocks, Classifier(16)
    )
