"""Conversion of PyTorch modules. PyTorch is imported only here, and only when a module is converted."""

from protogen.pytorch.conversion import from_torch
from protogen.pytorch.net import TorchNet

__all__ = ["TorchNet", "from_torch"]
