"""Memory and time of ``pg.from_torch``: the peak above the loaded module, as a ratio to the weights.

The floor of the memory is 0: the weights are those of the module, and need no second copy. What remains are
the values of the layers on both sides of the comparison, and the graph. The floor of the time is PyTorch's
own export to ONNX in memory with its default settings, without a comparison.

Needs PyTorch and torchvision (pip install 'protogen[zoo]'), and Linux.

    python benchmarks/torch_memory.py [NAME ...] [--size 64] [--exporter torch.export]
"""

from __future__ import annotations

import argparse
import gc
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision

import protogen as pg

NETS = ("resnet18", "vgg16")
PAGE = 4096
MEBI = 2**20


def resident() -> int:
    """Return the resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE


class Peak(threading.Thread):
    """Samples the memory of this process until it is stopped."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes = resident()
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(0.002):
            self.bytes = max(self.bytes, resident())

    def stop(self) -> int:
        self._ended.set()
        self.join()
        return self.bytes


def measured(action: Callable[[], object]) -> tuple[int, float]:
    """Run an action; return its peak above the memory before it, in bytes, and its seconds."""
    gc.collect()
    base = resident()
    peak = Peak()
    peak.start()
    begin = time.perf_counter()
    action()
    seconds = time.perf_counter() - begin
    return peak.stop() - base, seconds


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("nets", nargs="*", default=NETS, help="classifiers of torchvision")
    parser.add_argument("--size", type=int, default=64, help="of the input")
    parser.add_argument("--exporter", default="", help="torch.export or torch.jit.trace")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    x = torch.randn(1, 3, chosen.size, chosen.size)
    pg.from_torch(torchvision.models.squeezenet1_1(), x)  # loads all libraries
    print(f"{'net':20}{'weights':>10}{'peak':>10}{'ratio':>8}{'seconds':>10}{'of export':>11}")
    for name in chosen.nets:
        model = torchvision.models.get_model(name, weights=None).eval()
        weights = sum(one.numel() * one.element_size() for one in model.parameters())
        peak, seconds = measured(
            lambda model=model: pg.from_torch(model, x, exporter=chosen.exporter)
        )
        _, floor = measured(
            lambda model=model: torch.onnx.export(model, (x,), dynamo=True, verbose=False)
        )
        print(
            f"{name:20}{weights / MEBI:7.0f} MB{peak / MEBI:7.0f} MB{peak / weights:8.2f}"
            f"{seconds:10.1f}{seconds / floor:11.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
