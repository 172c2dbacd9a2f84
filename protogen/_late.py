"""Functions of upper packages that lower packages call without importing them.

``protogen/__init__.py`` assigns them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

layer_maker: Callable[[str], Any]  # ``layers.NAME`` of pycaffe: creates a layer of a NetSpec
