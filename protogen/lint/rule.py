"""What a rule is, what it finds, and the registry of all of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from protogen.errors import Diagnostic, Severity

if TYPE_CHECKING:
    from protogen.lint.context import Context

FAMILIES = {
    "PG1": "syntax and schema",
    "PG2": "graph",
    "PG3": "layers",
    "PG4": "portability",
    "PG5": "initialisation and training",
    "PG6": "files from strangers",
}


class Rule:
    """One rule. A subclass is registered by being defined; its name in kebab case states the flaw.

    ``what`` it catches, ``why`` that is bad, ``example`` and ``mended`` are its page, and its tests:
    the example fires, the mended one does not, and where ``fixes`` is set the one becomes the other.
    ``settings`` are those that the example needs. ``usual``: whether it is on unless left out.
    ``safe``: its fix leaves what the net computes as it is; ``severity`` is "error" where Caffe
    refuses the net, or computes something else than the text says.
    """

    registry: ClassVar[dict[str, Rule]] = {}
    code: ClassVar[str]
    what: ClassVar[str]
    why: ClassVar[str]
    example: ClassVar[str]
    fixed: ClassVar[str]
    settings: ClassVar[dict[str, Any]] = {}
    fixes: ClassVar[bool] = False
    safe: ClassVar[bool] = False
    severity: ClassVar[Severity] = "warning"
    usual: ClassVar[bool] = True
    audit: ClassVar[bool] = False  # of ``protogen audit``: files from strangers

    def __init_subclass__(cls) -> None:
        if cls.code in Rule.registry:
            raise TypeError(f"the rule {cls.code} is defined twice")
        Rule.registry[cls.code] = cls()

    @property
    def name(self) -> str:
        """The class's name in kebab case."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", type(self).__name__).lower()

    def check(self, net: Context) -> Iterator[Diagnostic]:
        """What is wrong with a net."""
        raise NotImplementedError
