"""Mappings whose second part is loaded when it is needed: the layer types of Caffe's forks."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from importlib import import_module
from typing import Any, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Registry(dict[K, V]):
    """A mapping that modules fill when they are imported. It imports the module ``rest`` when a key is
    missing, or when all keys are asked for.

    Most nets have no layer of a fork, and the modules of the forks' layers are several times as many
    as those of BVLC Caffe.
    """

    def __init__(self, rest: str) -> None:
        super().__init__()
        self._rest = rest

    def load(self) -> None:
        """Import the rest, if it was not imported."""
        rest, self._rest = self._rest, ""
        if rest:
            import_module(rest)

    def has_now(self, key: K) -> bool:
        """Return whether the modules that are imported so far have the key."""
        return super().__contains__(key)

    def items_now(self) -> ItemsView[K, V]:
        """Return the items of the modules that are imported so far: those of BVLC Caffe and more."""
        return super().items()

    def __missing__(self, key: K) -> V:
        if not self._rest:
            raise KeyError(key)
        self.load()
        return self[key]

    def __contains__(self, key: object) -> bool:
        if not super().__contains__(key):
            self.load()
        return super().__contains__(key)

    def get(self, key: K, default: V | None = None) -> V | None:  # type: ignore[override]
        value = dict.get(self, key)
        if value is None and self._rest:
            self.load()
            value = dict.get(self, key)
        return default if value is None else value

    def pop(self, key: K, *default: Any) -> Any:
        self.load()
        return super().pop(key, *default)

    def __iter__(self) -> Iterator[K]:
        self.load()
        return super().__iter__()

    def __len__(self) -> int:
        self.load()
        return super().__len__()

    def keys(self) -> KeysView[K]:  # type: ignore[override]
        self.load()
        return super().keys()

    def values(self) -> ValuesView[V]:  # type: ignore[override]
        self.load()
        return super().values()

    def items(self) -> ItemsView[K, V]:  # type: ignore[override]
        self.load()
        return super().items()
