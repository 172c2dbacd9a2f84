"""Files that hold one thing over and over: how time grows where the file doubles, and its memory.

Each reader gets a file of a size and one of twice the size. Time that grows 2 x is linear; a reader
that looks back at all it has read would show 4 x. Memory is the peak beside the size of the file.

    python benchmarks/hostile.py [BYTES [READER or KIND ...]]     of the smaller file (100000)
"""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent.parent / "fuzz"), str(Path(__file__).parent.parent)]

from targets import TARGETS  # noqa: E402
from watch import peak, reset  # noqa: E402

from protogen.errors import ProtogenError  # noqa: E402
from protogen.formats import wire  # noqa: E402

Make = Callable[[int], bytes]


def over(piece: str, before: str = "", after: str = "") -> Make:
    """A piece over and over; {i} in it counts."""

    def make(size: int) -> bytes:
        text, i = [before], 0
        length = len(before) + len(after)
        while length < size:
            text.append(piece.replace("{i}", str(i)).replace("{j}", str(i + 1)))
            length += len(text[-1])
            i += 1
        return "".join((*text, after)).encode()

    return make


INPUT = 'input: "b0" input_shape { dim: 1 dim: 4 dim: 8 dim: 8 }\n'
RELU = 'layer { name: "r{i}" type: "ReLU" bottom: "b{i}" top: "b{j}" }\n'
TEXTS = {
    "a chain": over(RELU, INPUT),
    "in place": over('layer { name: "r{i}" type: "ReLU" bottom: "b0" top: "b0" }\n', INPUT),
    "all read one blob": over('layer { name: "r{i}" type: "ReLU" bottom: "b0" top: "t{i}" }\n', INPUT),
    "one layer, many bottoms": over(' bottom: "b0"', INPUT + 'layer { type: "Concat" top: "c"', "}"),
    "one layer, many tops": over(' top: "t{i}"', INPUT + 'layer { type: "Slice" bottom: "b0"', "}"),
    "bottoms of nowhere": over('layer { name: "r{i}" type: "ReLU" bottom: "x{i}" top: "y{i}" }\n'),
    "one name": over('layer { name: "r" type: "ReLU" bottom: "b0" top: "b0" }\n', INPUT),
    "backwards": over('layer { name: "r{i}" type: "ReLU" bottom: "b{j}" top: "b{i}" }\n'),
    "old layers": over('layers { name: "r{i}" type: RELU bottom: "b{i}" top: "b{j}" }\n', INPUT),
    "unknown types": over('layer { name: "r{i}" type: "T{i}" bottom: "b0" top: "c{i}" }\n', INPUT),
    "unknown fields": over("layer { x{i}: 1 }\n"),
    "one unknown field": over("layer { x: 1 }\n"),
    "a field twice": over('name: "a" '),
    "numbers": over("input_dim: 1 "),
    "a list": over("1,", "input_dim: [", "1]"),
    "names": over('layer { name: "' + "n" * 200 + '{i}" }\n'),
    "shared weights": over(
        'layer { name: "c{i}" type: "Convolution" bottom: "b0" top: "c{i}" param { name: "w" } '
        "convolution_param { num_output: 4 kernel_size: 3 } }\n", INPUT),
    "blank lines": over("\n"),
    "blanks": over(" "),
    "comments": over("# protogen: ignore[PG1]\n"),
    "comments in a layer": over("# x\n", "layer {\n", "}"),
    "strings side by side": over('"a" ', "name: "),
    "escapes": over(r"\n", 'name: "', '"'),
    "quotes that do not end": over('"a\n'),
    "deep": over("layer {"),
    "braces": over("{"),
    "one word": over("a"),
}  # fmt: skip
MANY: list[tuple[str, str, Make]] = [
    *((target, name, make) for target in ("prototxt", "net", "lint", "page") for name, make in TEXTS.items()),
    ("log", "losses", over("I1125 10:00:00.0 1 solver.cpp:218] Iteration {i}, loss = 2\n")),
    ("log", "layers", over("I1125 10:00:00.0 1 net.cpp:6] [Backward] Layer l{i}, param blob 0 diff: 1\n")),
    ("log", "one line", over("Iteration 1 (")),
    ("log", "headers", over("[Forward] Layer ")),
    ("log", "digits", over("1", "Iteration ")),
    ("schema", "fields", over("optional float a{i} = {j};\n", "message V {", "}")),
    ("schema", "messages", over("message M{i} { optional M{j} a = 1; }\n", "", "")),
    ("schema", "values", over("V{i} = {j};\n", "enum E { Z = 0;", "}")),
    ("schema", "clashes", over("optional float a{i} = 1;\n", "message LayerParameter {", "}")),
    ("schema", "comments that do not end", over("/* ")),
    ("schema", "options", over('a = "b", ', "message V { optional float a = 1 [", "]; }")),
    ("schema", "options that do not end", over("message V { optional float a = 1 [\n")),
    ("toml", "keys", over("k{i} = 1\n")),
    ("toml", "tables", over("[t{i}]\n")),
    ("toml", "lists of tables", over("[[t]]\n")),
    ("toml", "deep", over("[")),
    ("toml", "dotted", over("a.", "", "a = 1")),
    ("toml", "layers", over('[[layer]]\nname = "l{i}"\nbottom = "b"\nfactor = 2\n')),
    ("template", "values", over("{{ name }}")),
    ("caffemodel", "layers", lambda n: b"\xa2\x06\x04\x0a\x02ab" * (n // 7)),
    ("caffemodel", "blobs", lambda n: _layer(b"\x3a\x00" * (n // 2))),
    ("caffemodel", "unknown fields", lambda n: b"\xf8\x7f\x01" * (n // 3)),
    ("caffemodel", "values", lambda n: _blob(b"\x2d\0\0\x80\x3f" * (n // 5))),
    ("binaryproto", "values", lambda n: b"\x18\x01\x20\x01\x2d\0\0\x80\x3f" * (n // 9)),
]  # fmt: skip


def _layer(raw: bytes) -> bytes:
    """The bytes of a caffemodel's layer, as one."""
    return wire.head("NetParameter", "layer", len(raw)) + raw


def _blob(raw: bytes) -> bytes:
    return _layer(wire.head("LayerParameter", "blobs", len(raw)) + raw)


def run(target: str, raw: bytes, folder: Path) -> tuple[float, float]:
    """Seconds, and peak memory by the size of the file."""
    one = TARGETS[target]
    place = folder / f"input{one.suffix}"
    place.write_bytes(raw)
    before, start = reset(), time.process_time()
    with suppress(ProtogenError, RecursionError):
        one.run(place)
    return time.process_time() - start, (peak() - before) / len(raw)


def main() -> None:
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    only = sys.argv[2:]
    chosen = [one for one in MANY if not only or {one[0], one[1]} & {*only}]
    warnings.simplefilter("ignore")
    print(f"{'reader':<12} {'file of':<26} {'seconds':>7} {'growth':>6}  memory")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for target, _, make in chosen:  # what is loaded once is not time of a file
            run(target, make(200), folder)
        for target, what, make in chosen:
            first, _ = run(target, make(size), folder)
            second, memory = run(target, make(2 * size), folder)
            growth = f"{second / first:>4.1f} x" if second > 0.05 else "      "
            print(f"{target:<12} {what:<26} {second:>7.2f} {growth}  {memory:.0f} x", flush=True)


if __name__ == "__main__":
    main()
