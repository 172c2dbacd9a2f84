"""prototxt: text to messages and back."""

from protogen.prototxt.parse import Document, parse, read
from protogen.prototxt.tokens import quote
from protogen.prototxt.write import scalar, write

__all__ = ["Document", "parse", "quote", "read", "scalar", "write"]
