"""Cuts prototxt into tokens."""

from __future__ import annotations

import re

from protogen.formats.message import Source

TOKEN = re.compile(
    r"""\s*+(?:
    (?P<word>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<number>(?:0[xX][0-9a-fA-F]+|(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[fF]?)
      (?![A-Za-z0-9_.]))
  | (?P<mark>[{}<>\[\]:;,\-])
  | (?P<string>"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"|'[^'\\\n]*+(?:\\.[^'\\\n]*+)*+')
  | (?P<comment>\#[^\n]*)
  | (?P<end>\Z)
  )""",
    re.VERBOSE,
)

_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\'\"?])|([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})"
    r"|U([0-9a-fA-F]{8})|(.))",
    re.DOTALL,
)
_NAMED = {
    "a": b"\a",
    "b": b"\b",
    "f": b"\f",
    "n": b"\n",
    "r": b"\r",
    "t": b"\t",
    "v": b"\v",
    "\\": b"\\",
    "'": b"'",
    '"': b'"',
    "?": b"?",
}


def unquote(text: str, source: Source, offset: int) -> bytes:
    """The bytes of a quoted string token that stands at ``offset``.

    Raises:
        InputError: at an escape that the format does not have.
    """
    body = text[1:-1]
    if "\\" not in body:
        return body.encode("utf-8", "surrogateescape")
    made: list[bytes] = []
    at = 0
    for found in _ESCAPE.finditer(body):
        made.append(body[at : found.start()].encode("utf-8", "surrogateescape"))
        at = found.end()
        named, octal, hexadecimal, short, long, other = found.groups()
        code = int(octal, 8) if octal else int(short or long or "0", 16)
        surrogate = 0xD800 <= code < 0xE000
        if other or (octal and code > 255) or (not octal and (code > 0x10FFFF or surrogate)):
            raise source.error(
                offset + 1 + found.start(),
                f"{found.group()} is no escape of a string",
                "Write a backslash as \\\\.",
            )
        if named:
            made.append(_NAMED[named])
        elif octal:
            made.append(bytes([code]))
        elif hexadecimal:
            made.append(bytes([int(hexadecimal, 16)]))
        else:
            made.append(chr(code).encode("utf-8"))
    made.append(body[at:].encode("utf-8", "surrogateescape"))
    return b"".join(made)


def number(text: str) -> int | float:
    """The value of a number token: whole where it is written whole (hexadecimal and octal too)."""
    if text[:2] in ("0x", "0X"):
        return int(text, 16)
    if text.isdigit():
        if text[0] == "0" and len(text) > 1:
            return int(text, 8) if not set(text) & {"8", "9"} else int(text)
        return int(text)
    return float(text.rstrip("fF"))


def quote(value: str | bytes) -> str:
    """A prototxt string that reads back as ``value``, whatever is in it.

    Printable characters stand as they are, so that names stay readable; quotes, backslashes,
    control characters and bytes that are no UTF-8 become escapes.

    Raises:
        UnicodeEncodeError: a lone surrogate that stands for no byte of a file.
    """
    raw = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
    made = []
    for char in raw.decode("utf-8", "surrogateescape"):
        if char in '"\\':
            made.append("\\" + char)
        elif char.isprintable():
            made.append(char)
        elif char in "\n\r\t":
            made.append({"\n": "\\n", "\r": "\\r", "\t": "\\t"}[char])
        else:
            made += (f"\\{byte:03o}" for byte in char.encode("utf-8", "surrogateescape"))
    return f'"{"".join(made)}"'
