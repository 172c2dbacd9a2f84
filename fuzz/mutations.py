"""Edits that leave an input almost valid, so that it passes the first checks of a parser.

Each edit is a function of bytes and a random generator; the same generator gives the same edit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from random import Random

Mutation = Callable[[bytes, Random], bytes]

# Limits of number types, and texts that only some parsers accept as a number.
NUMBERS = (
    b"0", b"1", b"2", b"3", b"7", b"64", b"-1", b"-0", b"255", b"256", b"65535", b"65536",
    b"2147483647", b"2147483648", b"-2147483648", b"4294967295", b"4294967296",
    b"9223372036854775807", b"9223372036854775808", b"18446744073709551615",
    b"18446744073709551616", b"1e9", b"1e38", b"3.5e38", b"1e-45", b"1e308", b"1e400", b"-1e400",
    b"0.1", b"0.5", b".5", b"5.", b"1e", b"0x7fffffff", b"0xffffffffffffffff", b"0777", b"09",
    b"nan", b"inf", b"-inf", b"1" + b"0" * 400,
)  # fmt: skip
SEPARATORS = (
    b"{", b"}", b"[", b"]", b":", b",", b";", b"#", b'"', b"'", b"\\", b"\\x", b"\\777", b"\n",
    b"\r", b"\0", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"<", b">", b"{{", b"{%", b"}}",
    b"[[", b"=", b"\xe2\x80\xae", b"-",
)  # fmt: skip
_TOKEN = re.compile(rb"[A-Za-z_]\w*|[\d.]+(?:[eE][-+]?\d+)?|\"[^\"\n]*\"|\s+|.", re.DOTALL)


def text(words: Callable[[], Sequence[bytes]]) -> Mutation:
    """Return an edit of tokens; ``words`` returns the names of the format and is called once."""
    cached_words = cache(words)

    def mutate(raw: bytes, random: Random) -> bytes:
        tokens = _TOKEN.findall(raw) or [b""]
        for _ in range(random.choice((1, 1, 1, 2, 4, 8))):
            _edit(tokens, random, cached_words())
        return b"".join(tokens)

    return mutate


def _edit(tokens: list[bytes], random: Random, words: Sequence[bytes]) -> None:
    """Edit a list of tokens once."""
    start = random.randrange(len(tokens) + 1)
    end = min(len(tokens), start + random.choice((1, 1, 2, 4, 16, 64)))
    kind = random.randrange(10)
    if kind == 0:
        del tokens[start:end]
    elif kind == 1:  # copy a piece to another place
        to = random.randrange(len(tokens) + 1)
        tokens[to:to] = tokens[start:end]
    elif kind == 2:
        tokens.insert(start, random.choice(SEPARATORS))
    elif kind == 3:
        tokens[start:start] = [random.choice(SEPARATORS)] * random.choice((2, 50, 200))
    elif kind == 4:  # repeat a piece
        tokens[start:start] = tokens[start:end] * random.choice((2, 10, 100))
    elif kind == 5 and start < len(tokens):
        raw = bytearray(tokens[start])
        raw[random.randrange(len(raw)) if raw else 0 : 1] = random.randbytes(1)
        tokens[start] = bytes(raw)
    elif kind == 6 and words:
        _swap(tokens, random, rb"[A-Za-z_]\w*", random.choice(words))
    elif kind == 7 and len(tokens) > 1:  # a word or number of another place in the file
        _swap(tokens, random, rb"[\w.\"]", random.choice(tokens))
    else:
        _swap(tokens, random, rb"[\d.]+", random.choice(NUMBERS))


def _swap(tokens: list[bytes], random: Random, pattern: bytes, new: bytes) -> None:
    """Replace a random token that matches the pattern."""
    indices = [i for i, token in enumerate(tokens) if re.match(pattern, token)]
    if indices:
        tokens[random.choice(indices)] = new


# Protobuf's wire format


def wire(raw: bytes, random: Random) -> bytes:
    """Edit fields at any depth. The lengths of enclosing messages are updated in three of four edits."""
    if random.randrange(8) == 0:
        return _bytes(raw, random)
    edited = _inside(raw, random, depth=0)
    return edited if random.randrange(4) else _relength(raw, edited)


def _inside(raw: bytes, random: Random, depth: int) -> bytes:
    """Edit a field of a message, or of a message inside it."""
    fields = _fields(raw)
    if not fields:
        return _bytes(raw, random)
    index = random.randrange(len(fields))
    number, kind, value = fields[index]
    if kind == 2 and depth < 6 and random.randrange(4) and _fields(value):
        fields[index] = number, kind, _inside(value, random, depth + 1)
        return b"".join(map(_field, fields))
    choice = random.randrange(7)
    if choice == 0:
        del fields[index]
    elif choice == 1:
        fields.insert(random.randrange(len(fields) + 1), fields[index])
    elif choice == 2:
        fields[index:index] = [fields[index]] * random.choice((2, 10, 100))
    elif choice == 3:
        fields[index] = (
            random.choice((number, random.randrange(64))),
            random.choice((0, 1, 2, 5)),
            value,
        )
    elif choice == 4 and kind == 2:
        fields[index] = number, kind, _bytes(value, random)
    elif kind == 0:
        fields[index] = number, kind, random.choice(
            (0, 1, 2, 127, 128, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1,
             random.randrange(300))
        )  # fmt: skip
    else:
        fields[index] = (
            number,
            kind,
            value[: random.randrange(len(value) + 1)] if kind == 2 else value,
        )
    return b"".join(map(_field, fields))


Field = tuple[int, int, int | bytes]


def _fields(raw: int | bytes) -> list[Field]:
    """Return the fields of a message; empty if the bytes are not a message."""
    fields: list[Field] = []
    position = 0
    while isinstance(raw, bytes) and position < len(raw):
        tag, position = _read(raw, position)
        number, kind = tag >> 3, tag & 7
        size = {1: 8, 5: 4}.get(kind, 0)
        if kind == 0:
            value, position = _read(raw, position)
            fields.append((number, kind, value))
        else:
            if kind == 2:
                size, position = _read(raw, position)
            if not number or kind not in (1, 2, 5) or position + size > len(raw):
                return []
            fields.append((number, kind, raw[position : position + size]))
            position += size
    return fields


def _read(raw: bytes, position: int) -> tuple[int, int]:
    """Read a varint, and return its value and the position after it."""
    value = shift = 0
    while position < len(raw) and shift < 70:
        value |= (raw[position] & 127) << shift
        position, shift = position + 1, shift + 7
        if raw[position - 1] < 128:
            break
    return value, position


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])


def _field(field: Field) -> bytes:
    number, kind, value = field
    head = _varint(number << 3 | kind)
    if isinstance(value, int):
        return head + (
            _varint(value) if kind == 0 else value.to_bytes(16, "little")[: 8 if kind == 1 else 4]
        )
    return head + (_varint(len(value)) if kind == 2 else b"") + value


def _relength(raw: bytes, edited: bytes) -> bytes:
    """Cut or fill the edited bytes to the old length, so that lengths inside them are wrong."""
    return edited[: len(raw)] if len(edited) > len(raw) else edited + raw[len(edited) :]


def plain(raw: bytes, random: Random) -> bytes:
    """Edit bytes, for formats that another library reads."""
    for _ in range(random.choice((1, 1, 2, 8))):
        raw = _bytes(raw, random)
    return raw


def _bytes(raw: bytes | int, random: Random) -> bytes:
    """Edit bytes once."""
    data = bytearray(raw if isinstance(raw, bytes) else b"")
    start = random.randrange(len(data) + 1)
    end = min(len(data), start + random.choice((1, 2, 4, 8, 64)))
    kind = random.randrange(5)
    if kind == 0:
        del data[start:end]
    elif kind == 1:
        data[start:start] = data[start:end] * random.choice((1, 4, 64))
    elif kind == 2:
        data[start:start] = random.randbytes(random.choice((1, 2, 8)))
    elif kind == 3:
        data[start:end] = random.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * (end - start)
    else:
        del data[start:]
    return bytes(data)
