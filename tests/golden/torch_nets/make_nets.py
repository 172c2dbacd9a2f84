"""Makes the small nets of this folder: what PyTorch's two exporters write for common blocks.

Run with torch 2.13.0, onnx and onnxscript:

    python tests/golden/torch_nets/make_nets.py

Weights and BatchNorm statistics are random (seeded), so that a permuted channel shows.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import onnx
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 (PyTorch's own short name)

HERE = Path(__file__).parent


def conv(c: int, out: int, k: int = 3, s: int = 1, g: int = 1, act: nn.Module | None = None):
    layers = [nn.Conv2d(c, out, k, s, k // 2, groups=g, bias=False), nn.BatchNorm2d(out)]
    return nn.Sequential(*layers, *([act] if act is not None else []))


class UNet(nn.Module):
    """Two levels down and up again, joined by concatenation."""

    def __init__(self, align_corners: bool) -> None:
        super().__init__()
        self.align = align_corners
        self.down = nn.ModuleList(
            [conv(3, 8, act=nn.ReLU(True)), conv(8, 12, act=nn.ReLU(True)),
             conv(12, 16, act=nn.ReLU(True))]
        )  # fmt: skip
        self.up = nn.ModuleList([conv(28, 12, act=nn.ReLU(True)), conv(20, 8, act=nn.ReLU(True))])
        self.out = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        a = self.down[0](x)
        b = self.down[1](F.max_pool2d(a, 2))
        c = self.down[2](F.max_pool2d(b, 2))
        for up, skip in zip(self.up, (b, a), strict=True):
            c = F.interpolate(c, scale_factor=2, mode="bilinear", align_corners=self.align)
            c = up(torch.cat([skip, c], 1))
        return torch.softmax(self.out(c), 1)


class SqueezeExcite(nn.Module):
    def __init__(self, c: int, gate: nn.Module, act: nn.Module) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(c, c // 4, 1), nn.Conv2d(c // 4, c, 1)
        self.act, self.gate = act, gate

    def forward(self, x):
        y = F.adaptive_avg_pool2d(x, 1)
        return x * self.gate(self.expand(self.act(self.reduce(y))))


class MobileNetV2(nn.Module):
    """An inverted residual with ReLU6, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8, 3, 2, act=nn.ReLU6())
        self.block = nn.Sequential(
            conv(8, 24, 1, act=nn.ReLU6()), conv(24, 24, 3, 1, 24, act=nn.ReLU6()), conv(24, 8, 1)
        )
        self.classifier = nn.Linear(8, 10)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.block(x)
        return self.classifier(x.mean([2, 3]))


class MobileNetV3(nn.Module):
    """Hard swish, and squeeze and excitation with a hard sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8, 3, 2, act=nn.Hardswish())
        self.expand = nn.Sequential(
            conv(8, 16, 1, act=nn.Hardswish()), conv(16, 16, 5, 1, 16, act=nn.Hardswish())
        )
        self.se = SqueezeExcite(16, nn.Hardsigmoid(), nn.ReLU())
        self.project = conv(16, 8, 1)
        self.classifier = nn.Sequential(nn.Linear(8, 12), nn.Hardswish(), nn.Linear(12, 10))

    def forward(self, x):
        x = self.stem(x)
        x = x + self.project(self.se(self.expand(x)))
        return self.classifier(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class EfficientNet(nn.Module):
    """An MBConv block: SiLU, and squeeze and excitation with a sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8, 3, 2, act=nn.SiLU())
        self.expand = nn.Sequential(
            conv(8, 16, 1, act=nn.SiLU()), conv(16, 16, 3, 1, 16, act=nn.SiLU())
        )
        self.se = SqueezeExcite(16, nn.Sigmoid(), nn.SiLU())
        self.project = conv(16, 8, 1)

    def forward(self, x):
        x = self.stem(x)
        return x + self.project(self.se(self.expand(x)))


class GroupNormResNet(nn.Module):
    """A strided basic block with GroupNorm, as detectors with small batches have it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 7, 2, 3, bias=False)
        self.norms = nn.ModuleList(
            nn.GroupNorm(g, c) for g, c in ((4, 8), (4, 16), (8, 16), (4, 16))
        )
        self.one = nn.Conv2d(8, 16, 3, 2, 1, bias=False)
        self.two = nn.Conv2d(16, 16, 3, 1, 1, bias=False)
        self.short = nn.Conv2d(8, 16, 1, 2, bias=False)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norms[0](self.stem(x))), 3, 2, 1)
        y = F.relu(self.norms[1](self.one(x)))
        y = self.norms[2](self.two(y))
        return F.relu(y + self.norms[3](self.short(x)))


class FPN(nn.Module):
    """A feature pyramid: lateral 1x1 convolutions, nearest upsampling to the finer level's size."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.ModuleList(
            [conv(3, 8, 3, 2, act=nn.ReLU()), conv(8, 12, 3, 2, act=nn.ReLU()),
             conv(12, 16, 3, 2, act=nn.ReLU())]
        )  # fmt: skip
        self.lateral = nn.ModuleList(nn.Conv2d(c, 8, 1) for c in (8, 12, 16))
        self.smooth = nn.ModuleList(nn.Conv2d(8, 8, 3, 1, 1) for _ in range(3))

    def forward(self, x):
        levels = []
        for stage in self.body:
            x = stage(x)
            levels.append(x)
        y = self.lateral[2](levels[2])
        outs = [self.smooth[2](y)]
        for i in (1, 0):
            y = F.interpolate(y, size=levels[i].shape[-2:], mode="nearest") + self.lateral[i](
                levels[i]
            )
            outs.append(self.smooth[i](y))
        return (*outs, F.max_pool2d(outs[0], 1, 2, 0))


class DeepLab(nn.Module):
    """Atrous pyramid with image pooling, and upsampling to the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8, 3, 2, act=nn.ReLU())
        self.branches = nn.ModuleList(
            [nn.Conv2d(8, 8, 1)] + [nn.Conv2d(8, 8, 3, 1, r, r) for r in (2, 4)]
        )
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.ReLU())
        self.out = nn.Conv2d(32, 5, 1)

    def forward(self, picture):
        x = self.stem(picture)
        size = x.shape[-2:]
        pooled = F.interpolate(self.pooled(x), size=size, mode="bilinear", align_corners=False)
        y = self.out(torch.cat([*(F.relu(b(x)) for b in self.branches), pooled], 1))
        return F.interpolate(y, size=picture.shape[-2:], mode="bilinear", align_corners=False)


class Yolo(nn.Module):
    """Focus, C3-like and SPP blocks with SiLU, PANet upsampling, and decoded boxes."""

    def __init__(self) -> None:
        super().__init__()
        self.focus = conv(12, 8, act=nn.SiLU())
        self.down = conv(8, 16, 3, 2, act=nn.SiLU())
        self.spp = conv(48, 16, 1, act=nn.SiLU())
        self.lateral = conv(16, 8, 1, act=nn.SiLU())
        self.merge = conv(16, 8, act=nn.SiLU())
        self.heads = nn.ModuleList([nn.Conv2d(8, 3 * 7, 1), nn.Conv2d(16, 3 * 7, 1)])
        for i, stride in enumerate((2, 4)):
            n = 32 // stride
            ys, xs = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
            grid = torch.stack((xs, ys), 2).expand(1, 3, n, n, 2).float() - 0.5
            anchors = (torch.arange(6).reshape(1, 3, 1, 1, 2).float() + 2).expand(1, 3, n, n, 2)
            self.register_buffer(f"grid{i}", grid.clone())
            self.register_buffer(f"anchors{i}", anchors.clone())

    def forward(self, x):
        parts = [x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]]
        a = self.focus(torch.cat(parts, 1))
        b = self.down(a)
        b = self.spp(torch.cat([b, *(F.max_pool2d(b, k, 1, k // 2) for k in (3, 5))], 1))
        up = F.interpolate(self.lateral(b), scale_factor=2.0, mode="nearest")
        a = self.merge(torch.cat([up, a], 1))
        boxes = []
        for i, (head, level, stride) in enumerate(zip(self.heads, (a, b), (2, 4), strict=True)):
            y = head(level)
            n, _, h, w = y.shape
            y = y.view(n, 3, 7, h, w).permute(0, 1, 3, 4, 2).contiguous().sigmoid()
            xy = (y[..., 0:2] * 2 + getattr(self, f"grid{i}")) * stride
            wh = (y[..., 2:4] * 2) ** 2 * getattr(self, f"anchors{i}")
            boxes.append(torch.cat((xy, wh, y[..., 4:]), 4).view(n, -1, 7))
        return torch.cat(boxes, 1)


class ShuffleNetV2(nn.Module):
    """Channel split and shuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 16, 3, 2, act=nn.ReLU())
        self.branch = nn.Sequential(
            conv(8, 8, 1, act=nn.ReLU()), conv(8, 8, 3, 1, 8), conv(8, 8, 1, act=nn.ReLU())
        )

    def forward(self, x):
        a, b = self.stem(x).chunk(2, dim=1)
        y = torch.cat((a, self.branch(b)), 1)
        n, c, h, w = y.shape
        return y.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


class ConvNeXt(nn.Module):
    """LayerNorm over channels last, GELU, two dense layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, 4)
        self.depthwise = nn.Conv2d(8, 8, 7, 1, 3, groups=8)
        self.norm = nn.LayerNorm(8, eps=1e-6)
        self.one, self.two = nn.Linear(8, 16), nn.Linear(16, 8)
        self.gamma = nn.Parameter(torch.randn(8))

    def forward(self, x):
        x = self.stem(x)
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.gamma * self.two(F.gelu(self.one(y)))
        return x + y.permute(0, 3, 1, 2)


class SuperResolution(nn.Module):
    """PReLU, transposed convolution and pixel shuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(3, 12, 5, 1, 2), nn.PReLU(12))
        self.up = nn.ConvTranspose2d(12, 12, 3, 2, 1, output_padding=1)
        self.b = nn.Conv2d(12, 12, 3, 1, 1)

    def forward(self, x):
        y = F.leaky_relu(self.up(self.a(x)), 0.1)
        return F.pixel_shuffle(torch.tanh(self.b(F.pad(y, (0, 1, 2, 0)))), 2)


class Attention(nn.Module):
    """One head of self-attention over the places of a small picture."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Conv2d(3, 24, 4, 4)

    def forward(self, x):
        q, k, v = self.qkv(x).flatten(2).chunk(3, 1)
        weights = torch.softmax(q.transpose(1, 2) @ k / math.sqrt(8), -1)
        return v @ weights.transpose(1, 2)


NETS = {
    "unet": UNet(False), "unet_align": UNet(True), "mobilenet_v2": MobileNetV2(),
    "mobilenet_v3": MobileNetV3(), "efficientnet": EfficientNet(),
    "resnet_groupnorm": GroupNormResNet(), "fpn": FPN(), "deeplab": DeepLab(), "yolo": Yolo(),
    "shufflenet_v2": ShuffleNetV2(), "convnext": ConvNeXt(),
    "super_resolution": SuperResolution(), "attention": Attention(),
}  # fmt: skip


def randomised(net: nn.Module) -> nn.Module:
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
            nn.init.normal_(module.running_mean, 0, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
        elif isinstance(module, (nn.GroupNorm, nn.LayerNorm)):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    return net.eval()


def bare(path: Path) -> None:
    """Without stack traces, which name files of the machine that made the model."""
    model = onnx.load(path)
    for graph in (model.graph, *model.functions):
        del graph.metadata_props[:]
        for item in (*graph.node, *graph.value_info):
            item.ClearField("metadata_props")
            item.ClearField("doc_string")
    for item in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        item.ClearField("metadata_props")
    onnx.save(model, path)


def main() -> None:
    warnings.simplefilter("ignore")
    picture = torch.zeros(1, 3, 32, 32)
    for name, net in NETS.items():
        torch.manual_seed(0)
        net = randomised(net)
        x = picture if name != "attention" else torch.zeros(1, 3, 16, 16)
        for opset in (11, 17):
            torch.onnx.export(net, (x,), HERE / f"{name}_{opset}.onnx", opset_version=opset,
                              input_names=["data"], dynamo=False)  # fmt: skip
        torch.onnx.export(net, (x,), HERE / f"{name}_dynamo.onnx", opset_version=18,
                          input_names=["data"], dynamo=True, external_data=False, verbose=False)  # fmt: skip
        for path in HERE.glob(f"{name}_*.onnx"):
            bare(path)


if __name__ == "__main__":
    main()
