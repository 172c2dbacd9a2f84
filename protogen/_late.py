"""What rooms below take from rooms above without importing them: ``protogen`` fills it in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

layer_maker: Callable[[str], Any]  # pycaffe's ``layers.NAME``: what writes a layer of a NetSpec
