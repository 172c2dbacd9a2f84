"""prototxt to Message: a file or a text becomes a Document."""

from __future__ import annotations

from pathlib import Path

from protogen.errors import InputError
from protogen.formats.message import Message, Source
from protogen.formats.prototxt.parse import Parser
from protogen.formats.schema import MessageType, message_type

MOST_BYTES = 64 << 20  # published nets have 1 MB at most


class Document(Message):
    """A parsed file: a message that knows its source."""

    __slots__ = ("source",)

    def __init__(self, type_: MessageType | None, source: Source) -> None:
        super().__init__(type_)
        self.source = source


def read(path: str | Path, message: str = "NetParameter", *, strict: bool = False) -> Document:
    """Parses the prototxt file at ``path``.

    Raises:
        InputError: the file is missing or unreadable, or its text is wrong.
    """
    return _parse(source_of(path), message, strict)


def source_of(path: str | Path) -> Source:
    """The text of a file, not parsed yet.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
        if len(raw) > MOST_BYTES:
            raise InputError(
                f"is larger than {MOST_BYTES >> 20} MB: no net's text is",
                where=str(path),
                advice="A caffemodel is binary, and goes in the second place.",
            )
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror})", where=str(path), advice="Check the path."
        ) from None
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError(
            "is UTF-16 text, which Caffe does not read",
            where=str(path),
            advice="Save it as UTF-8.",
        )
    if b"\0" in raw[:4096]:
        raise InputError(
            "is binary, not the text of a net",
            where=str(path),
            advice="A caffemodel goes in the second place; an ONNX model ends in .onnx.",
        )
    # Comments of old nets are Latin-1; surrogateescape keeps their bytes for writing back.
    bom = raw.startswith(b"\xef\xbb\xbf")
    text = raw.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    return Source(text, str(path), bom)


def kind_of(path: str | Path) -> str:
    """Whether the file holds a NetParameter or a SolverParameter, by the fields at its top."""
    source = source_of(path)
    document = Document(None, source)
    Parser(source, False).run(document)
    names = {item.name for item in document.fields}
    net, solver = (message_type(f"{kind}Parameter").fields for kind in ("Net", "Solver"))
    alone = sum(name in solver and name not in net for name in names)
    return "SolverParameter" if alone > sum(name in net for name in names) else "NetParameter"


def parse(
    text: str,
    filename: str = "<text>",
    message: str = "NetParameter",
    *,
    strict: bool = False,
) -> Document:
    """Parses prototxt as a ``message`` of Caffe's schema.

    Fields and enum values that no dialect defines are kept, with one ProtogenWarning each;
    ``strict`` makes them errors.

    Raises:
        InputError: at the first mistake, with file:line:column and what was expected.
    """
    return _parse(Source(text, filename), message, strict)


def _parse(source: Source, message: str, strict: bool) -> Document:
    document = Document(message_type(message), source)
    Parser(source, strict).run(document)
    return document
