"""Reader and writer of prototxt (protobuf text format)."""

from protogen.formats.prototxt.document import Document, kind_of, parse, read, source_of
from protogen.formats.prototxt.tokens import quote
from protogen.formats.prototxt.write import scalar, write

__all__ = ["Document", "kind_of", "parse", "quote", "read", "scalar", "source_of", "write"]
