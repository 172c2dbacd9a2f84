"""RetinaFace with a small backbone: a face detector with boxes and five landmarks.

Input: one picture (N, 3, H, W), BGR with the means 104, 117 and 123 subtracted (the examples are
in -1..1); H and W are multiples of 32.
Outputs: boxes (N, anchors, 4) as left, top, right and bottom in parts of the input's size, scores
(N, anchors, 2) of background and face, landmarks (N, anchors, 10) as x and y of five points.
There are 2 anchors for each cell of the grids of strides 8, 16 and 32.

The structure is the published one: MobileNet with the width 0.25, a feature pyramid with 64
channels, SSH context modules, and heads for class, box and landmarks at each level.
Left out: non-maximum suppression, and trained weights. A toolchain usually takes the nine
convolutions of HEAD, and decodes their values on the host.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STRIDES = (8, 16, 32)
HEAD: tuple[str, ...] = tuple(
    f"{branch}_head.stride{stride}" for branch in ("class", "box", "landmark") for stride in STRIDES
)
ANCHORS = {8: (16, 32), 16: (64, 128), 32: (256, 512)}  # sides in pixels
VARIANCES = (0.1, 0.2)  # of centres and of sizes
SLOPE = 0.1  # of the leaky ReLU


class ConvNorm(nn.Module):
    """Convolution, batch normalization, and leaky ReLU or nothing."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1, act: bool = True) -> None:  # fmt: skip
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, 1, groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.act = nn.LeakyReLU(SLOPE) if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class Separable(nn.Module):
    """A depthwise convolution of kernel 3, and one of kernel 1."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = ConvNorm(inputs, inputs, 3, stride, inputs)
        self.pointwise = ConvNorm(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


class Backbone(nn.Module):
    """MobileNet with the width 0.25: features of strides 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 8, 3, 2)
        self.stage1 = nn.Sequential(
            Separable(8, 16), Separable(16, 32, 2), Separable(32, 32),
            Separable(32, 64, 2), Separable(64, 64),
        )  # fmt: skip
        self.stage2 = nn.Sequential(
            Separable(64, 128, 2), *(Separable(128, 128) for _ in range(5))
        )  # fmt: skip
        self.stage3 = nn.Sequential(Separable(128, 256, 2), Separable(256, 256))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        stride8 = self.stage1(self.stem(x))
        stride16 = self.stage2(stride8)
        return stride8, stride16, self.stage3(stride16)


class Pyramid(nn.Module):
    """Features of every level with the same channels; coarse ones are added to finer ones."""

    def __init__(self, inputs: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.lateral8, self.lateral16, self.lateral32 = (
            ConvNorm(width, channels, 1) for width in inputs
        )
        self.merge8, self.merge16 = ConvNorm(channels, channels), ConvNorm(channels, channels)

    def forward(self, features: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        stride8, stride16, out32 = (
            self.lateral8(features[0]), self.lateral16(features[1]), self.lateral32(features[2])
        )  # fmt: skip
        up = F.interpolate(out32, size=stride16.shape[2:], mode="nearest")
        out16 = self.merge16(stride16 + up)
        up = F.interpolate(out16, size=stride8.shape[2:], mode="nearest")
        return self.merge8(stride8 + up), out16, out32


class SSH(nn.Module):
    """A context module: convolutions that see 3, 5 and 7 cells, joined."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half, quarter = channels // 2, channels // 4
        self.window3 = ConvNorm(channels, half, act=False)
        self.reduce = ConvNorm(channels, quarter)
        self.window5 = ConvNorm(quarter, quarter, act=False)
        self.window7a = ConvNorm(quarter, quarter)
        self.window7b = ConvNorm(quarter, quarter, act=False)

    def forward(self, x: Tensor) -> Tensor:
        small = self.reduce(x)
        parts = (self.window3(x), self.window5(small), self.window7b(self.window7a(small)))
        return torch.relu(torch.cat(parts, 1))


class Head(nn.Module):
    """A convolution for each level; its channels become rows of (N, anchors, fields)."""

    def __init__(self, channels: int, fields: int) -> None:
        super().__init__()
        self.fields = fields
        for stride in STRIDES:
            anchors = len(ANCHORS[stride])
            setattr(self, f"stride{stride}", nn.Conv2d(channels, anchors * fields, 1))

    def forward(self, levels: list[Tensor]) -> Tensor:
        rows = [
            getattr(self, f"stride{stride}")(x)
            .permute(0, 2, 3, 1)
            .reshape(x.shape[0], -1, self.fields)
            for stride, x in zip(STRIDES, levels, strict=True)
        ]
        return torch.cat(rows, 1)


def anchors_of(height: int, width: int) -> Tensor:
    """Return (anchors, 4): centre x, centre y, width and height in parts of the input's size."""
    rows = [
        ((x + 0.5) * stride / width, (y + 0.5) * stride / height, side / width, side / height)
        for stride in STRIDES
        for y in range(height // stride)
        for x in range(width // stride)
        for side in ANCHORS[stride]
    ]
    return torch.tensor(rows)


class FaceDetector(nn.Module):
    """Backbone, pyramid, context modules and heads."""

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.pyramid = Pyramid((64, 128, 256), channels)
        self.context8, self.context16, self.context32 = (SSH(channels) for _ in STRIDES)
        self.class_head, self.box_head = Head(channels, 2), Head(channels, 4)
        self.landmark_head = Head(channels, 10)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        stride8, stride16, stride32 = self.pyramid(self.backbone(images))
        levels = [self.context8(stride8), self.context16(stride16), self.context32(stride32)]
        scores = self.class_head(levels).softmax(-1)
        box, landmark = self.box_head(levels), self.landmark_head(levels)
        anchors = anchors_of(images.shape[2], images.shape[3])
        centre, size = anchors[:, :2], anchors[:, 2:]
        middle = centre + box[..., :2] * VARIANCES[0] * size
        half = size * torch.exp(box[..., 2:] * VARIANCES[1]) / 2
        points = landmark.reshape(landmark.shape[0], -1, 5, 2) * VARIANCES[0] * size[:, None]
        points = (points + centre[:, None]).flatten(2)
        return torch.cat((middle - half, middle + half), -1), scores, points


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
    net = FaceDetector()
    generator = torch.Generator().manual_seed(1)
    uniform = torch.rand(4, 3, 96, 128, generator=generator)
    # With one contrast, normalization enlarges the small differences, and rounding errors too.
    contrast = torch.tensor([0.5, 1.0, 1.5, 2.0]).view(4, 1, 1, 1)
    normal = contrast * torch.randn(4, 3, 96, 128, generator=generator)
    draw_weights(net, torch.cat((uniform, normal)), 0)
    return net, (uniform[:1] * 2 - 1,)
