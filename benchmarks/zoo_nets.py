"""The nets of the zoo: torchvision's, with random weights, and those of ``examples/zoo``."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn

EXAMPLES = Path(__file__).parents[1] / "examples" / "zoo"
# Of torchvision's classifiers that differ in depth or width only, the smallest runs in the toolchains.
TRIED = frozenset(
    (
        "alexnet",
        "convnext_tiny",
        "densenet121",
        "efficientnet_b0",
        "efficientnet_v2_s",
        "googlenet",
        "inception_v3",
        "maxvit_t",
        "mnasnet0_5",
        "mobilenet_v2",
        "mobilenet_v3_small",
        "regnet_x_400mf",
        "regnet_y_400mf",
        "resnet18",
        "resnet50",
        "resnext50_32x4d",
        "shufflenet_v2_x0_5",
        "squeezenet1_1",
        "swin_t",
        "swin_v2_t",
        "vgg11",
        "vgg11_bn",
        "vit_b_16",
    )
)
DETECTORS = {  # name, and the size of its input
    "fasterrcnn_mobilenet_v3_large_320_fpn": 320,
    "fasterrcnn_resnet50_fpn": 320,
    "fcos_resnet50_fpn": 320,
    "maskrcnn_resnet50_fpn_v2": 320,
    "retinanet_resnet50_fpn": 320,
    "ssd300_vgg16": 300,
    "ssdlite320_mobilenet_v3_large": 320,
}
# A head of a detector is cut where its values become boxes.
Built = tuple[nn.Module, tuple[torch.Tensor, ...]]


@dataclass(frozen=True)
class ZooNet:
    """A net of the zoo.

    Attributes:
        name: its name.
        group: the heading of its table.
        build: returns the module and example inputs.
        ends: the parts of the module that become the outputs of the net; empty for all.
        tried: whether it is run in toolchains.
    """

    name: str
    group: str
    build: Callable[[], Built]
    ends: tuple[str, ...] = ()
    tried: bool = True

    def fitted(self) -> ZooNet | None:
        """Return the net with statistics in its BatchNorms that fit random data; None if it has none."""
        module, args = self.build()
        norms = [
            one for one in module.modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)
        ]
        if not norms:
            return None
        momenta = [one.momentum for one in norms]
        for one in norms:
            one.train()
            one.momentum = 1.0
        generator = torch.Generator().manual_seed(2)
        with torch.no_grad():
            module(*(torch.randn(2, *x.shape[1:], generator=generator) for x in args))
        for one, momentum in zip(norms, momenta, strict=True):
            one.momentum = momentum
        module.eval()
        return replace(self, build=lambda: (module, args))


def zoo() -> Iterator[ZooNet]:
    """Yield all nets."""
    for path in sorted(EXAMPLES.glob("*.py")):
        script = loaded(path)
        head = tuple(script.HEAD)
        yield ZooNet(path.stem, "Small nets of examples/zoo", script.build, head)
    for name in torchvision.models.list_models(module=torchvision.models.segmentation):
        yield ZooNet(name, "Segmenters of torchvision", partial(segmenter, name))
    for name, size in DETECTORS.items():
        build = partial(backbone, name, size)
        yield ZooNet(name, "Backbones of torchvision's detectors", build)
    names = torchvision.models.list_models(module=torchvision.models)
    for name in sorted(names, key=lambda one: one not in TRIED):
        build = partial(classifier, name)
        yield ZooNet(name, "Classifiers of torchvision", build, tried=name in TRIED)


def loaded(path: Path) -> Any:
    """Return a script as a module."""
    spec = importlib.util.spec_from_file_location(f"zoo_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def classifier(name: str) -> Built:
    """Return a classifier with random weights."""
    torch.manual_seed(0)
    options = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    model = torchvision.models.get_model(name, weights=None, **options)
    return with_input(model, 299 if name == "inception_v3" else 224)


def segmenter(name: str) -> Built:
    """Return a segmenter with random weights."""
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None, weights_backbone=None, aux_loss=False)
    return with_input(model, 256)


def backbone(name: str, size: int) -> Built:
    """Return the backbone of a detector, with random weights: it returns the maps of all levels."""
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None, weights_backbone=None)
    return with_input(model.backbone, size)


def with_input(model: nn.Module, size: int) -> Built:
    """Return the module in evaluation, with an example input."""
    x = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))
    return model.eval(), (x,)
