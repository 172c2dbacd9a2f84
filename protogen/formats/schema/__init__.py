"""The schema of Caffe's files: which messages and fields there are, of what types.

``caffe.proto`` is read at run time; there is no generated code. Text files need no more than
``message_type``; ``pool`` (imported where bytes are handled) makes protobuf classes of it.
"""

from protogen.formats.schema.registry import caffe, message_type
from protogen.formats.schema.source import FieldType, MessageType

__all__ = ["FieldType", "MessageType", "caffe", "message_type"]
