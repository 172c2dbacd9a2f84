"""Convert a small U-Net for RKNN-Toolkit2."""

import torch
from torch import nn

import protogen as pg


class Twice(nn.Sequential):
    """Two convolutions, each with BatchNorm and ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class UNet(nn.Module):
    """Two levels down, two levels up."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2)
        self.down1, self.down2, self.bottom = Twice(3, 16), Twice(16, 32), Twice(32, 64)
        self.up2 = nn.ConvTranspose2d(64, 32, 2, stride=2)
        self.merge2 = Twice(64, 32)
        self.up1 = nn.ConvTranspose2d(32, 16, 2, stride=2)
        self.merge1 = Twice(32, 16)
        self.classify = nn.Conv2d(16, classes, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x1 = self.down1(image)
        x2 = self.down2(self.pool(x1))
        x = self.bottom(self.pool(x2))
        x = self.merge2(torch.cat([self.up2(x), x2], dim=1))
        x = self.merge1(torch.cat([self.up1(x), x1], dim=1))
        return self.classify(x)


torch.manual_seed(0)
converted = pg.from_torch(UNet(), torch.randn(1, 3, 64, 64), target="rknn2")
print(converted)
for path in converted.save("unet"):
    print(path)
for layer in converted.net.layers[:6]:
    print(layer.name, layer.type, "->", *layer.tops)
