"""Reader and writer of prototxt (protobuf text format).

Each name is imported when it is first used: a command that only writes prototxt does not import the parser.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from protogen.formats.prototxt.document import Document, kind_of, parse, read, source_of
    from protogen.formats.prototxt.tokens import quote
    from protogen.formats.prototxt.writer import scalar, write

_MODULES = {
    "Document": "document",
    "kind_of": "document",
    "parse": "document",
    "quote": "tokens",
    "read": "document",
    "scalar": "writer",
    "source_of": "document",
    "write": "writer",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return value


__all__ = ["Document", "kind_of", "parse", "quote", "read", "scalar", "source_of", "write"]
