"""Schema of Caffe's files: messages, fields and their types.

``caffe.proto`` is read at run time; there is no generated code. The reader of text files needs
only ``message_type``. For binary files ``pool`` creates protobuf classes from the schema.
"""

from protogen.formats.schema.registry import caffe, message_type
from protogen.formats.schema.source import FieldType, MessageType

__all__ = ["FieldType", "MessageType", "caffe", "message_type"]
