"""Tokens of prototxt: pattern, numbers, quoting and unquoting of strings."""

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
    """Return the bytes of a quoted string token that begins at ``offset``.

    Raises:
        InputError: the string contains an invalid escape sequence.
    """
    body = text[1:-1]
    if "\\" not in body:
        return body.encode("utf-8", "surrogateescape")
    chunks: list[bytes] = []
    at = 0
    for escape in _ESCAPE.finditer(body):
        chunks.append(body[at : escape.start()].encode("utf-8", "surrogateescape"))
        at = escape.end()
        named, octal, hexadecimal, short, long, other = escape.groups()
        code = int(octal, 8) if octal else int(short or long or "0", 16)
        surrogate = 0xD800 <= code < 0xE000
        if other or (octal and code > 255) or (not octal and (code > 0x10FFFF or surrogate)):
            raise source.error(
                offset + 1 + escape.start(),
                f"invalid escape sequence {escape.group()} in a string",
                "Write a backslash as \\\\.",
            )
        if named:
            chunks.append(_NAMED[named])
        elif octal:
            chunks.append(bytes([code]))
        elif hexadecimal:
            chunks.append(bytes([int(hexadecimal, 16)]))
        else:
            chunks.append(chr(code).encode("utf-8"))
    chunks.append(body[at:].encode("utf-8", "surrogateescape"))
    return b"".join(chunks)


def number(text: str) -> int | float:
    """Return the value of a number token: int for decimal, hexadecimal and octal integers."""
    if text[:2] in ("0x", "0X"):
        return int(text, 16)
    if text.isdigit():
        if text[0] == "0" and len(text) > 1:
            return int(text, 8) if not set(text) & {"8", "9"} else int(text)
        return int(text)
    return float(text.rstrip("fF"))


def quote(value: str | bytes) -> str:
    """Return a quoted prototxt string. Parsing it gives ``value``, for any content.

    Printable characters are written unchanged, so that names stay readable. Quotes, backslashes,
    control characters and bytes outside of UTF-8 are written as escape sequences.

    Raises:
        UnicodeEncodeError: ``value`` holds a lone surrogate that surrogateescape does not produce.
    """
    raw = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
    chars = []
    for char in raw.decode("utf-8", "surrogateescape"):
        if char in '"\\':
            chars.append("\\" + char)
        elif char.isprintable():
            chars.append(char)
        elif char in "\n\r\t":
            chars.append({"\n": "\\n", "\r": "\\r", "\t": "\\t"}[char])
        else:
            chars += (f"\\{byte:03o}" for byte in char.encode("utf-8", "surrogateescape"))
    return f'"{"".join(chars)}"'
