"""Edits that keep an input nearly right: those that reach behind a parser's first lines.

Each takes bytes and a random generator and gives bytes; the same generator gives the same edit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from random import Random

Mutation = Callable[[bytes, Random], bytes]

# Ends of number types, and what reads as a number only in some parsers.
NUMBERS = (
    b"0", b"1", b"2", b"3", b"7", b"64", b"-1", b"-0", b"255", b"256", b"65535", b"65536",
    b"2147483647", b"2147483648", b"-2147483648", b"4294967295", b"4294967296",
    b"9223372036854775807", b"9223372036854775808", b"18446744073709551615",
    b"18446744073709551616", b"1e9", b"1e38", b"3.5e38", b"1e-45", b"1e308", b"1e400", b"-1e400",
    b"0.1", b"0.5", b".5", b"5.", b"1e", b"0x7fffffff", b"0xffffffffffffffff", b"0777", b"09",
    b"nan", b"inf", b"-inf", b"1" + b"0" * 400,
)  # fmt: skip
CUTS = (
    b"{", b"}", b"[", b"]", b":", b",", b";", b"#", b'"', b"'", b"\\", b"\\x", b"\\777", b"\n",
    b"\r", b"\0", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"<", b">", b"{{", b"{%", b"}}",
    b"[[", b"=", b"\xe2\x80\xae", b"-",
)  # fmt: skip
_TOKEN = re.compile(rb"[A-Za-z_]\w*|[\d.]+(?:[eE][-+]?\d+)?|\"[^\"\n]*\"|\s+|.", re.DOTALL)


def text(words: Callable[[], Sequence[bytes]]) -> Mutation:
    """Edits of tokens; ``words`` are names of the format, looked up once."""
    known = cache(words)

    def mutate(raw: bytes, random: Random) -> bytes:
        tokens = _TOKEN.findall(raw) or [b""]
        for _ in range(random.choice((1, 1, 1, 2, 4, 8))):
            _edit(tokens, random, known())
        return b"".join(tokens)

    return mutate


def _edit(tokens: list[bytes], random: Random, words: Sequence[bytes]) -> None:
    """One edit in place."""
    at = random.randrange(len(tokens) + 1)
    end = min(len(tokens), at + random.choice((1, 1, 2, 4, 16, 64)))
    kind = random.randrange(10)
    if kind == 0:
        del tokens[at:end]
    elif kind == 1:  # a piece again, somewhere
        to = random.randrange(len(tokens) + 1)
        tokens[to:to] = tokens[at:end]
    elif kind == 2:
        tokens.insert(at, random.choice(CUTS))
    elif kind == 3:
        tokens[at:at] = [random.choice(CUTS)] * random.choice((2, 50, 200))
    elif kind == 4:  # the same piece many times
        tokens[at:at] = tokens[at:end] * random.choice((2, 10, 100))
    elif kind == 5 and at < len(tokens):
        raw = bytearray(tokens[at])
        raw[random.randrange(len(raw)) if raw else 0 : 1] = random.randbytes(1)
        tokens[at] = bytes(raw)
    elif kind == 6 and words:
        _swap(tokens, random, rb"[A-Za-z_]\w*", random.choice(words))
    elif kind == 7 and len(tokens) > 1:  # a word or a number from elsewhere in the file
        _swap(tokens, random, rb"[\w.\"]", random.choice(tokens))
    else:
        _swap(tokens, random, rb"[\d.]+", random.choice(NUMBERS))


def _swap(tokens: list[bytes], random: Random, kind: bytes, new: bytes) -> None:
    places = [i for i, token in enumerate(tokens) if re.match(kind, token)]
    if places:
        tokens[random.choice(places)] = new


# Protobuf's wire format


def wire(raw: bytes, random: Random) -> bytes:
    """Edits of fields at any depth. The lengths of what encloses them are kept right, or, one time
    in four, left as they were."""
    if random.randrange(8) == 0:
        return _bytes(raw, random)
    made = _inside(raw, random, depth=0)
    return made if random.randrange(4) else _relength(raw, made)


def _inside(raw: bytes, random: Random, depth: int) -> bytes:
    fields = _fields(raw)
    if not fields:
        return _bytes(raw, random)
    at = random.randrange(len(fields))
    number, kind, value = fields[at]
    if kind == 2 and depth < 6 and random.randrange(4) and _fields(value):
        fields[at] = number, kind, _inside(value, random, depth + 1)
        return b"".join(map(_field, fields))
    choice = random.randrange(7)
    if choice == 0:
        del fields[at]
    elif choice == 1:
        fields.insert(random.randrange(len(fields) + 1), fields[at])
    elif choice == 2:
        fields[at:at] = [fields[at]] * random.choice((2, 10, 100))
    elif choice == 3:
        fields[at] = (
            random.choice((number, random.randrange(64))),
            random.choice((0, 1, 2, 5)),
            value,
        )
    elif choice == 4 and kind == 2:
        fields[at] = number, kind, _bytes(value, random)
    elif kind == 0:
        fields[at] = number, kind, random.choice(
            (0, 1, 2, 127, 128, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1,
             random.randrange(300))
        )  # fmt: skip
    else:
        fields[at] = number, kind, value[: random.randrange(len(value) + 1)] if kind == 2 else value
    return b"".join(map(_field, fields))


Field = tuple[int, int, int | bytes]


def _fields(raw: int | bytes) -> list[Field]:
    """The fields of a message; empty where the bytes are none."""
    found: list[Field] = []
    at = 0
    while isinstance(raw, bytes) and at < len(raw):
        tag, at = _read(raw, at)
        number, kind = tag >> 3, tag & 7
        size = {1: 8, 5: 4}.get(kind, 0)
        if kind == 0:
            value, at = _read(raw, at)
            found.append((number, kind, value))
        else:
            if kind == 2:
                size, at = _read(raw, at)
            if not number or kind not in (1, 2, 5) or at + size > len(raw):
                return []
            found.append((number, kind, raw[at : at + size]))
            at += size
    return found


def _read(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(raw) and shift < 70:
        value |= (raw[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if raw[at - 1] < 128:
            break
    return value, at


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    return bytes([*made, value])


def _field(field: Field) -> bytes:
    number, kind, value = field
    head = _varint(number << 3 | kind)
    if isinstance(value, int):
        return head + (
            _varint(value) if kind == 0 else value.to_bytes(16, "little")[: 8 if kind == 1 else 4]
        )
    return head + (_varint(len(value)) if kind == 2 else b"") + value


def _relength(raw: bytes, made: bytes) -> bytes:
    """The new bytes cut or filled to the old length, so that what they say of lengths is wrong."""
    return made[: len(raw)] if len(made) > len(raw) else made + raw[len(made) :]


def plain(raw: bytes, random: Random) -> bytes:
    """Edits of bytes, for formats whose form is a library's."""
    for _ in range(random.choice((1, 1, 2, 8))):
        raw = _bytes(raw, random)
    return raw


def _bytes(raw: bytes | int, random: Random) -> bytes:
    data = bytearray(raw if isinstance(raw, bytes) else b"")
    at = random.randrange(len(data) + 1)
    end = min(len(data), at + random.choice((1, 2, 4, 8, 64)))
    kind = random.randrange(5)
    if kind == 0:
        del data[at:end]
    elif kind == 1:
        data[at:at] = data[at:end] * random.choice((1, 4, 64))
    elif kind == 2:
        data[at:at] = random.randbytes(random.choice((1, 2, 8)))
    elif kind == 3:
        data[at:end] = random.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * (end - at)
    else:
        del data[at:]
    return bytes(data)
