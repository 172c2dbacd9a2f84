"""What a data file states about a toolchain: statements, its text parser, and how it installs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from protogen.formats.render import condition


@dataclass(frozen=True)
class Statement:
    """What a toolchain does with layers of some types, or with a whole net.

    Attributes:
        verdict: one of ``toolchain.VERDICTS``.
        layers: the layer types; empty for every type.
        when: the condition under which it does so, over the words of ``words``; empty for always.
        must: the condition without which it does so, for each spatial axis; empty for none.
        without: a feature of ``limits.FEATURES`` that the layers must not use.
        field: the field that the toolchain ignores or misreads.
        only: whether no other statement about the layer counts where this one holds.
        text: what it does, in words.
        source: the id of the source in ``Toolchain.sources``, or the source itself.
    """

    verdict: str
    layers: tuple[str, ...] = ()
    when: str = ""
    must: str = ""
    without: str = ""
    field: str = ""
    text: str = ""
    source: str = ""
    only: bool = False

    @cached_property
    def holds(self) -> Callable[[Mapping[str, Any]], bool]:
        """The condition ``when`` as a function of the words."""
        return condition(self.when) if self.when else lambda words: True


@dataclass(frozen=True)
class Schema:
    """The fields that a toolchain's text parser knows, and their numbers in binary files.

    Attributes:
        unknown: "refused" if one unknown field refuses the file, "kept" if the parser reads fields
            by name, "" if it is not known.
        lacks: fields of BVLC Caffe that it does not have: ``block`` or ``block.field``.
        fields: other fields that it has, with their numbers; 0 for an unknown number.
        source: the id of the source.
        dialect: the dialect of Caffe whose parser it has; then ``lacks`` and ``fields`` do not count.
    """

    unknown: str = ""
    lacks: frozenset[str] = frozenset()
    fields: Mapping[str, int] = field(default_factory=dict)
    source: str = ""
    dialect: str = ""

    def has(self, path: str, in_bvlc: bool) -> bool:
        """Return whether the parser knows a field; ``in_bvlc``: whether BVLC Caffe has it."""
        if path in self.fields:
            return True
        return in_bvlc and path not in self.lacks and path.partition(".")[0] not in self.lacks


@dataclass(frozen=True)
class Install:
    """How to install a toolchain in an environment of its own.

    Attributes:
        python: the release of Python, such as "3.11"; empty for any.
        packages: requirements for pip.
        commands: further shell commands; ``{folder}`` stands for the environment's folder.
        module: the module that must be importable.
    """

    python: str = ""
    packages: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    module: str = ""
