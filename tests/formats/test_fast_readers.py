"""The fast parts of the readers of prototxt and caffemodels read the same as the careful parts, which
take everything, and give the same errors."""

from __future__ import annotations

import random
import re
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import EXAMPLES

from protogen.errors import ProtogenError
from protogen.formats import caffemodel, prototxt, wire
from protogen.formats.message import Message
from protogen.formats.prototxt.plain import Reader

TEXTS = [path.read_text() for path in sorted(EXAMPLES.glob("*.prototxt"))]
PIECES = (
    "\n\n", "\n", " ", "\t", "\r\n", "\f", "\xa0", " # c\n", "{", "}", "<", ">", "[", "]", ":", ";",
    ",", "-", "- 1", "-0", "-0.0", "007", "0x1F", "1e5", "1.", ".5", "1e400", "5f", "nan", "-inf",
    "true", "t", "name", "dim: [1, 2]", "dim: 1", "pad: -1", "pool: MAX", "pool: 1", "zzz: q",
    "zzz {a: 1}", '"a" "b"', '"é"', "\\", '"', "999999999", "9999999999", "-2147483649",
    'bottom: "x" top: "y"', 'name:"a"name:"b"', "phase: TEST", "1é", "kernel_size: 3 3", "layer{",
    "bias_term: false", "\n}\n",
)  # fmt: skip


def plain(message):
    """Return everything that a parser writes into a message."""
    for name in {item.name for item in message.fields}:
        assert message.all(name) == [item for item in message.fields if item.name == name]
    fields = [
        (
            item.name,
            plain(item.value) if isinstance(item.value, Message) else repr(item.value),
            type(item.value),
            (item.start, item.end, item.literal, item.before, item.after, item.blank),
        )
        for item in message.fields
    ]
    return message.kind, message.opening, message.tail, fields


def outcome(text):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = plain(prototxt.parse(text))
        except ProtogenError as error:
            result = str(error)
    return result, [str(one.message) for one in caught]


def changed(text: str, seed: int) -> str:
    """Return a part of a text with some changes."""
    chance = random.Random(seed)
    start = chance.choice([match.start() for match in re.finditer(r"^layer", text, re.MULTILINE)])
    text = text[start : start + chance.choice((100, 300, 1000))]
    for _ in range(chance.randint(0, 3)):
        at = chance.randrange(len(text) + 1)
        text = text[:at] + chance.choice(PIECES) + text[at + chance.choice((0, 0, 1, 5)) :]
    return text


@settings(max_examples=300)
@given(st.sampled_from(TEXTS), st.integers(0, 1 << 32))
def test_the_parser_without_its_fast_part_reads_the_same(text, seed):
    text = changed(text, seed)
    fast = outcome(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Reader, "read_plain", lambda self: None)
        assert outcome(text) == fast


@pytest.mark.parametrize("text", TEXTS[:8])
def test_usual_texts_need_few_steps_of_the_careful_part(text, monkeypatch):
    steps = []
    step = prototxt.parse.__globals__["Parser"]._next
    monkeypatch.setattr(
        prototxt.parse.__globals__["Parser"], "_next", lambda self: steps.append(1) or step(self)
    )
    document = prototxt.parse(text)
    fields = sum(1 for _ in document.walk())
    assert len(steps) <= 1 + 4 * (text.count("#") + text.count("[")) + fields // 10


def field(number: int, kind: int, payload: bytes) -> bytes:
    length = wire.varint(len(payload)) if kind == wire.BYTES else b""
    return wire.varint(number << 3 | kind) + length + payload


def blob(chance: random.Random) -> bytes:
    dims = [chance.choice((0, 1, 2, 3, 200)) for _ in range(chance.randint(0, 4))]
    values = np.arange(min(int(np.prod(dims)), 1000), dtype="<f4")
    shape = field(7, 2, field(1, 2, b"".join(map(wire.varint, dims))))
    old = b"".join(field(n, 0, wire.varint(n)) for n in range(1, chance.choice((4, 5, 6))))
    data = field(5, 2, values.tobytes())
    single = b"".join(field(5, 5, value.tobytes()) for value in values[:3])
    forms = (
        (shape, data),
        (data, shape),
        (old, data),
        (data,),
        (shape,),
        (shape, single),
        (shape, old),
    )
    double = field(8, 2, values.astype("<f8").tobytes())
    return b"".join(chance.choice((*forms, (shape, double), (data, data))))


def net(seed: int) -> bytes:
    """Return a caffemodel in the V1 or the current format, with changes at some bytes."""
    chance = random.Random(seed)
    layers = []
    for _ in range(chance.randint(1, 3)):
        old = chance.random() < 0.3
        name, kind, bottom, top, blobs = (4, 5, 2, 3, 6) if old else (1, 2, 3, 4, 7)
        parts = [field(name, 2, chance.choice((b"conv", b"\xff", b"x" * 200)))]
        parts.append(field(kind, 0, b"\x04") if old else field(kind, 2, b"Convolution"))
        parts += [field(bottom, 2, b"data"), field(top, 2, b"conv")]
        parts += [field(blobs, 2, blob(chance)) for _ in range(chance.randint(0, 2))]
        parts.append(field(chance.choice((10, 100, 106)), chance.choice((0, 2)), b"\x01"))
        layers.append(field(2 if old else 100, 2, b"".join(parts)))
    raw = bytearray(b"".join(layers))
    for _ in range(chance.choice((0, 0, 1, 2))):
        at = chance.randrange(len(raw))
        raw[at : at + chance.choice((0, 1, 3))] = bytes([chance.choice((0, 2, 0x7F, 0x80, 0xFF))])
    return bytes(raw)


def stored(raw: bytes):
    """Return everything that the reader returns, or its error."""
    data = wire.Bytes(raw, "m")
    try:
        model = caffemodel.parse_weights(data)
        layers = [
            (one.name, one.type, one.bottoms, one.tops, one.form, one.has_parameters, one.span)
            for one in model.layers
        ]
        blobs = [
            (one.blob_spans, [(b.shape, b.dtype, b.pieces, b.count, b.at) for b in one.blobs])
            for one in model.layers
        ]
        arrays = {
            name: [(a.shape, a.dtype, a.tobytes()) for a in blobs_of_layer]
            for name, blobs_of_layer in model.weights().items()
        }
    except ProtogenError as error:
        return str(error)
    return layers, blobs, arrays, data.parts


@settings(max_examples=300)
@given(st.integers(0, 1 << 32), st.sampled_from([200_000, 200_000, 3, 7]))
def test_the_reader_of_caffemodels_without_its_fast_part_reads_the_same(seed, most):
    raw = net(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "MAX_PARTS", most)
        fast = stored(raw)
        patch.setattr(caffemodel, "_usual_layer", lambda *_: None)
        assert stored(raw) == fast
