"""What a file holds, recognised by its content, and the error for a file of the wrong kind."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING

from protogen.errors import InputError
from protogen.formats import files

if TYPE_CHECKING:
    from pathlib import Path

START = 4096  # bytes that decide, except for protobuf files

# What each kind is called in a sentence.
KINDS = {
    "net": "the text of a net (prototxt)",
    "solver": "the text of a solver",
    "caffemodel": "a caffemodel",
    "solverstate": "a solverstate",
    "mean": "a mean file (binaryproto)",
    "onnx": "an ONNX model",
    "hdf5": "an HDF5 file",
    "npy": "an array file (.npy)",
    "npz": "an array file (.npz)",
    "safetensors": "a safetensors file",
    "png": "a PNG picture",
    "jpeg": "a JPEG picture",
    "torch": "a PyTorch file",
    "tensorflow": "a TensorFlow graph",
    "tflite": "a TensorFlow Lite model",
    "zip": "a zip archive",
    "gzip": "a gzip archive",
    "utf-16": "UTF-16 text",
    "lfs": "a pointer of Git LFS, not the file itself",
    "web page": "a web page",
    "json": "JSON text",
    "text": "text",
    "empty": "empty",
}
# What a reader wants: its name in a sentence, and the kinds that it takes.
_NET = "the text of a net (prototxt)"
_ARRAYS = ("an array file (.npy or .npz)", ("npy", "npz"))
WANTED: dict[str, tuple[str, tuple[str, ...]]] = {
    "net": (_NET, ("net", "text")),
    "text": ("the text of a net or solver (prototxt)", ("net", "solver", "text")),
    "weights": ("a caffemodel", ("caffemodel", "hdf5")),
    "model": ("an ONNX model", ("onnx",)),
    "arrays": _ARRAYS,
    "picture": ("a picture", ("png", "jpeg")),
    "convertible": (
        "a net (prototxt), a caffemodel or an ONNX model",
        ("net", "caffemodel", "hdf5", "onnx"),
    ),
    "a net in any form": ("a net (prototxt or caffemodel)", ("net", "text", "caffemodel")),
    "labels": ("a text file", ("text", "net", "solver", "json")),
    "toml": ("a TOML file", ("text", "net", "solver", "json")),
    "proto": (".proto text or a descriptor set", ("text", "tensorflow", "caffemodel")),
    "mean": ("a mean file (.binaryproto, .npy or .png)", ("mean", "npy", "png")),
}

_MAGIC = (
    (b"\x89PNG\r\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89HDF\r\n", "hdf5"),
    (b"\x93NUMPY", "npy"),
    (b"\x1f\x8b", "gzip"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
    (b"version https://git-lfs", "lfs"),
    (b"\x80\x02", "torch"),  # a pickle, the format of PyTorch before 1.6
)
_COMMENT = re.compile(rb"(?:\s|#[^\n]*)*")
_FIELD = re.compile(rb"^[ \t]*(\w+)[ \t]*[:{]", re.MULTILINE)
_SOLVER_FIELDS = frozenset(
    b"net train_net test_net base_lr lr_policy max_iter test_iter test_interval snapshot "
    b"snapshot_prefix solver_mode solver_type".split()
)
_NET_FIELDS = frozenset((b"layer", b"layers", b"input", b"input_dim", b"input_shape"))
_NET_OF_SOLVER = re.compile(rb"""^[ \t]*(?:train_)?net[ \t]*:[ \t]*["']([^"'\n]+)""", re.MULTILINE)


def kind_of(path: str | Path) -> str:
    """Return the kind of a file, a key of ``KINDS``; empty if it is not recognised.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        return _kind(_start(path), path)
    except OSError as error:
        raise files.unreadable(path, error) from None


def checked_kind(path: str | Path, wanted: str) -> str:
    """Return the kind of a file that a reader takes; see ``kind_of`` and ``check``.

    Raises:
        InputError: the file cannot be read, or is of another kind.
    """
    try:
        return check(path, wanted, _start(path))
    except OSError as error:
        raise files.unreadable(path, error) from None


def check_file(path: str | Path, wanted: str) -> None:
    """Read the start of a file and ``check`` it. A file that cannot be read passes.

    Raises:
        InputError: the file is of another kind.
    """
    try:
        start = _start(path)
    except OSError:
        return
    check(path, wanted, start)


def check(path: str | Path, wanted: str, start: bytes) -> str:
    """Check that a file, which begins with ``start``, is not of another kind than a reader wants, and
    return its kind. A file that is not recognised passes: its reader says what is wrong.

    Args:
        wanted: a key of ``WANTED``.

    Raises:
        InputError: the file is of another kind.
    """
    kind = _kind(start, path)
    name, kinds = WANTED[wanted]
    if kind and kind not in kinds:
        advice = _advice(path, kind, wanted, start)
        problem = f"the file is {KINDS[kind]}"
        if kind not in ("empty", "lfs"):
            problem += f", expected {name}"
        raise InputError(problem, where=str(path), advice=advice)
    return kind


def _start(path: str | Path) -> bytes:
    with files.opened(path) as file:
        return file.read(START)


def _kind(start: bytes, path: str | Path) -> str:
    if not start:
        return "empty"
    for magic, kind in _MAGIC:
        if start.startswith(magic):
            return kind
    if start[:2] == b"PK":
        return _archive(path)
    if start[4:8] == b"TFL3":
        return "tflite"
    if start[8:10] == b'{"' and int.from_bytes(start[:8], "little") < 1 << 32:
        return "safetensors"
    if b"\0" in start or any(byte < 9 for byte in start[:64]):
        return _message(path)
    return _text(start)


def _archive(path: str | Path) -> str:
    import zipfile

    try:
        with files.opened(path) as file, zipfile.ZipFile(file) as archive:
            names = [info.filename for info in islice(archive.filelist, 1000)]
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError):
        return "zip"
    if any(name.endswith("data.pkl") for name in names):
        return "torch"
    return "npz" if all(name.endswith(".npy") for name in names) else "zip"


def _message(path: str | Path) -> str:
    """Return the kind of a protobuf file, by its outermost fields."""
    from protogen.formats import wire
    from protogen.formats.mapped import map_file

    fields: list[tuple[int, int]] = []
    damaged = False
    try:
        data = wire.Bytes(map_file(path), str(path))
        for span in islice(data.fields(0, len(data)), 64):
            fields.append((span.number, span.kind))
    except InputError:
        damaged = True
    parts = set(fields)
    blob = {(number, wire.VARINT) for number in _BLOB[0]}
    blob |= {(number, wire.BYTES) for number in _BLOB[1]}
    if (100, wire.BYTES) in parts:
        return "caffemodel"
    if damaged:
        return ""
    if (5, wire.BYTES) in parts and parts <= blob:
        return "mean"
    if (7, wire.BYTES) in parts and (1, wire.VARINT) in parts and (5, wire.BYTES) not in parts:
        return "onnx"
    if (1, wire.VARINT) in parts and (3, wire.BYTES) in parts:
        return "solverstate"
    if fields.count((1, wire.BYTES)) > 1:
        return "tensorflow"
    if (7, wire.BYTES) in parts:  # perhaps a model without a version; a caffemodel has a bool there
        return ""
    return "caffemodel" if parts & {(1, wire.BYTES), (2, wire.BYTES)} else ""


# BlobProto: num, channels, height, width, data, diff, shape, double_data, double_diff.
_BLOB = ((1, 2, 3, 4), (5, 6, 7, 8, 9))  # the numbers of its integers, and of its other fields


def _text(start: bytes) -> str:
    begin = _COMMENT.match(start)
    rest = start[begin.end() :] if begin else start
    if rest[:1] == b"<":
        return "web page"
    if rest[:1] == b"{":
        return "json"
    names = {match[1] for match in _FIELD.finditer(start)}
    if names & _SOLVER_FIELDS and not names & _NET_FIELDS:
        return "solver"
    return "net" if names & _NET_FIELDS else "text"


def _advice(path: str | Path, kind: str, wanted: str, start: bytes) -> str:
    """Return what to do with a file of another kind."""
    if kind == "solver" and wanted in _NETS and (match := _NET_OF_SOLVER.search(start)):
        return f"Its net is {match[1].decode('utf-8', 'replace')}: name that file."
    return _ADVICE.get((kind, wanted), _ADVICE.get((kind, ""), "")).format(path=path)


_NETS = ("net", "text", "convertible")
_ADVICE = {
    ("onnx", "net"): "Convert it: protogen convert {path} -o net.prototxt.",
    ("onnx", "text"): "Convert it: protogen convert {path} -o net.prototxt.",
    ("onnx", "weights"): "It holds its weights itself: protogen convert {path} -o net.prototxt "
    "writes them as net.caffemodel.",
    ("caffemodel", "net"): "Name the net before it: a caffemodel is the second argument.",
    ("caffemodel", "text"): "Name the net before it: a caffemodel is the second argument.",
    ("caffemodel", "model"): "Convert it with its net: protogen convert net.prototxt {path} -o "
    "net.onnx.",
    ("net", "model"): "Convert it with its weights: protogen convert {path} net.caffemodel -o "
    "net.onnx.",
    ("net", "weights"): "A net is the first argument, before its weights.",
    ("npz", "weights"): "Put the arrays into a caffemodel: protogen weights net.caffemodel "
    "--from-npz {path} -o new.caffemodel.",
    ("hdf5", "net"): "Name the net before it: the weights are the second argument.",
    ("solverstate", "weights"): "It holds the state of a training: use the .caffemodel that was "
    "written with it.",
    ("mean", "net"): "It is for --mean.",
    ("solver", "net"): "Name the file of the net.",
    ("torch", ""): "protogen does not load pickles: use pg.from_torch in Python (docs/pytorch.md).",
    ("safetensors", ""): "Load it with the library safetensors.",
    ("tensorflow", ""): "Convert it to ONNX first, for example with tf2onnx.",
    ("tflite", ""): "Convert it to ONNX first, for example with tf2onnx.",
    ("png", "net"): "A picture is an input of protogen run: --input {path}.",
    ("jpeg", "net"): "A picture is an input of protogen run: --input {path}.",
    ("zip", ""): "Unpack it first.",
    ("gzip", ""): "Unpack it first.",
    ("utf-16", ""): "Save it as UTF-8.",
    ("lfs", ""): "Fetch the file: git lfs pull.",
    ("web page", ""): "Download the raw file.",
    ("empty", ""): "Download or write it again.",
}
