"""Reads a prototxt file or text into a Document."""

from __future__ import annotations

from pathlib import Path

from protogen.errors import InputError
from protogen.formats import contents, files
from protogen.formats.message import Message, Source
from protogen.formats.prototxt.parser import Parser
from protogen.formats.schema import MessageType, message_type

MOST_BYTES = 64 << 20  # published nets have at most 1 MB


class Document(Message):
    """A parsed file: a message with its source text. ``original`` is the document that it was upgraded
    from; None if the file has the current format."""

    __slots__ = ("original", "source")

    def __init__(self, type_: MessageType | None, source: Source) -> None:
        super().__init__(type_)
        self.source = source
        self.original: Document | None = None


def read(path: str | Path, message: str = "NetParameter", *, strict: bool = False) -> Document:
    """Parse the prototxt file at ``path``.

    Raises:
        InputError: the file is missing or cannot be read, or its text is invalid.
    """
    wanted = {"NetParameter": "net", "SolverParameter": "text"}[message]
    return _parse(source_of(path, wanted), message, strict)


def source_of(path: str | Path, wanted: str = "text") -> Source:
    """Return the text of a file without parsing it.

    Args:
        wanted: what the file must be, a key of ``contents.WANTED``.

    Raises:
        InputError: the file cannot be read, or it is not a text file.
    """
    try:
        with files.opened(path) as file:
            raw = file.read(MOST_BYTES + 1)
        if len(raw) > MOST_BYTES:
            contents.check(path, wanted, raw[: contents.START])
            raise InputError(
                f"the file is larger than {MOST_BYTES >> 20} MB, too large for a prototxt",
                where=str(path),
            )
    except OSError as error:
        raise files.unreadable(path, error) from None
    contents.check(path, wanted, raw[: contents.START])
    if b"\0" in raw[:4096]:
        raise InputError(
            "the file is binary, expected the text of a net (prototxt)",
            where=str(path),
            advice="It is damaged, or of a format that protogen does not know.",
        )
    # Comments of old nets are Latin-1; surrogateescape preserves their bytes for the writer.
    bom = raw.startswith(b"\xef\xbb\xbf")
    text = raw.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    return Source(text, str(path), bom)


def kind_of(path: str | Path) -> str:
    """Return ``NetParameter`` or ``SolverParameter``, chosen by the file's top-level fields."""
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
    """Parse prototxt as a ``message`` of Caffe's schema.

    Fields and enum values that no dialect defines are kept, with one ProtogenWarning each;
    ``strict`` makes them errors.

    Raises:
        InputError: at the first syntax or type error, with file:line:column and what was expected.
    """
    return _parse(Source(text, filename), message, strict)


def _parse(source: Source, message: str, strict: bool) -> Document:
    document = Document(message_type(message), source)
    Parser(source, strict).run(document)
    return document
