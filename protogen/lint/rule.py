"""The base class of all rules, and their registry."""

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
    "PG6": "untrusted files",
}


class Rule:
    """One rule. Defining a subclass registers it; the class name in kebab case is the rule's name.

    ``what``, ``why``, ``example`` and ``fixed`` are the rule's page, and also its tests: the rule
    reports the example and not the fixed text. If ``fixes`` is set, the rule's fix turns the example
    into the fixed text.

    Attributes:
        code: the rule's code, such as PG101.
        what: what the rule reports.
        why: why that is a problem.
        example: a net that the rule reports.
        fixed: the same net without the problem.
        settings: the settings that the example needs.
        fixes: whether the rule has an automatic fix.
        safe: whether the fix does not change what the net computes.
        severity: "error" if Caffe refuses the net or computes something else than the text says.
        usual: whether the rule is on by default.
        untrusted: whether the rule runs only with ``protogen check --untrusted``.
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
    untrusted: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        if cls.code in Rule.registry:
            raise TypeError(f"the rule {cls.code} is defined twice")
        Rule.registry[cls.code] = cls()

    @property
    def name(self) -> str:
        """The rule's name: the class name in kebab case."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", type(self).__name__).lower()

    def check(self, net: Context) -> Iterator[Diagnostic]:
        """Yield the findings in a net."""
        raise NotImplementedError
