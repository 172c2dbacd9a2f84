"""Finds uses of Caffe nets with OpenCV in source trees: OpenCV 5 has no Caffe reader any more."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from protogen.errors import InputError, ProtogenError

SOURCES = frozenset(
    (
        ".py",
        ".pyw",
        ".ipynb",
        ".c",
        ".cc",
        ".cpp",
        ".cxx",
        ".h",
        ".hpp",
        ".hxx",
        ".cs",
        ".java",
        ".kt",
        ".js",
        ".mjs",
        ".ts",
        ".go",
        ".rs",
        ".m",
        ".mm",
        ".swift",
    )
)
_SKIP = frozenset(
    (
        ".git",
        ".hg",
        ".svn",
        ".tox",
        ".venv",
        "venv",
        "env",
        "node_modules",
        "__pycache__",
        "build",
        "dist",
        "site-packages",
    )
)
_LARGEST = 4 << 20  # bytes of a source file; larger files are data
_READERS = re.compile(r"\b(?:readNetFromCaffe|readNet)\s*\(", re.IGNORECASE)
_BLOBS = re.compile(r"\bblobFromImages?\s*\(", re.IGNORECASE)
_MODEL = r"\.(?:prototxt(?:\.txt)?|pbtxt|caffemodel)"
_STRING = re.compile(rf"""["']([^"'\n]*?{_MODEL})["']""")
_NAMED = re.compile(
    rf"""\b(\w+)["'\]]?\s*(?::[^=\n]+)?[=:,]\s*[^\n"']*?["']([^"'\n]*?{_MODEL})["']"""
)
_NUMBER = re.compile(r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?")


@dataclass(slots=True)
class Use:
    """A place in a source file that reads a Caffe net.

    Attributes:
        place: file and line.
        code: the line of the source.
        call: the call that reads the net; empty if only the caffemodel is named.
        prototxt: the file below the examined folder, or its name in the source if no file matches.
        caffemodel: the same for the weights.
        verdict: in words, whether the net converts to ONNX.
        converts: whether the net converts to ONNX.
        refused: whether the conversion was tried and failed.
        options: options of ``protogen convert`` for the preprocessing of the source.
        advice: the lines that replace the use.
    """

    place: str
    code: str
    call: str = ""
    prototxt: str = ""
    caffemodel: str = ""
    verdict: str = ""
    converts: bool = False
    refused: bool = False
    options: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)


def examine(root: str | Path) -> list[Use]:
    """Return every use of a Caffe net by OpenCV in the sources below ``root``, with its replacement.

    Raises:
        InputError: ``root`` is not a folder.
    """
    base = Path(root)
    if not base.is_dir():
        raise InputError(
            "not a folder", where=str(root), advice="Give the root folder of a source tree."
        )
    sources, models = _files(base)
    uses = [use for path in sources for use in _uses(path, base)]
    verdicts: dict[tuple[str, str], tuple[str, bool, bool]] = {}
    for use in uses:
        use.prototxt = _locate(use.prototxt, use.place, base, models)
        use.caffemodel = _locate(use.caffemodel, use.place, base, models)
        key = use.prototxt, use.caffemodel
        if key not in verdicts:
            verdicts[key] = _verdict(base, *key)
        use.verdict, use.converts, use.refused = verdicts[key]
        use.advice = list(_advice(use))
    return uses


def _files(base: Path) -> tuple[list[Path], list[Path]]:
    """Return the source files and the Caffe files below a folder."""
    sources, models = [], []
    for folder, names, files in os.walk(base):
        names[:] = sorted(name for name in names if name not in _SKIP)
        for name in sorted(files):
            path = Path(folder, name)
            if path.suffix.lower() in SOURCES and path.stat().st_size <= _LARGEST:
                sources.append(path)
            elif re.search(rf"{_MODEL}$", name):
                models.append(path)
    return sources, models


def _uses(path: Path, base: Path) -> Iterator[Use]:
    """Yield the uses of a Caffe net in a source file."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix == ".ipynb":
        text = text.replace('\\"', '"')  # The code is inside JSON strings.
    if ".caffemodel" not in text and "readNetFromCaffe" not in text:
        return
    named = dict(_NAMED.findall(text))
    strings = _STRING.findall(text)
    options = _preprocessing(text)
    call_found = False
    for match in _READERS.finditer(text):
        inside = _arguments(text, match.end())
        files = _STRING.findall(inside)
        files += [named[word] for word in re.findall(r"\w+", inside) if word in named]
        if "caffe" not in match.group().lower() and not any(
            f.endswith("caffemodel") for f in files
        ):
            continue
        files += strings
        line = text.count("\n", 0, match.start())
        call_found = True
        yield Use(
            place=f"{path.relative_to(base)}:{line + 1}",
            code=text.splitlines()[line].strip(),
            call=text[match.start() : match.end()] + inside + ")",
            prototxt=next((f for f in files if not f.endswith("caffemodel")), ""),
            caffemodel=next((f for f in files if f.endswith("caffemodel")), ""),
            options=options,
        )
    if not call_found:  # The caffemodel is only named: a constant, a download, a build file.
        for line, code in enumerate(text.splitlines()):
            models = [f for f in _STRING.findall(code) if f.endswith("caffemodel")]
            if models:
                place = f"{path.relative_to(base)}:{line + 1}"
                prototxt = next((f for f in strings if not f.endswith("caffemodel")), "")
                yield Use(place, code.strip(), "", prototxt, models[0])


def _arguments(text: str, start: int) -> str:
    """Return the text between the parentheses of a call; ``start`` is after the opening one."""
    depth = 1
    for position in range(start, min(len(text), start + 5000)):
        depth += {"(": 1, ")": -1}.get(text[position], 0)
        if not depth:
            return text[start:position]
    return text[start : start + 200]


def _split(arguments: str) -> list[str]:
    """Split the arguments of a call at the top-level commas."""
    parts, depth, last = [], 0, 0
    for position, char in enumerate(arguments):
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(char, 0)
        if char == "," and not depth:
            parts.append(arguments[last:position].strip())
            last = position + 1
    return [*parts, arguments[last:].strip()]


def _preprocessing(text: str) -> list[str]:
    """Return the options of ``protogen convert`` for the file's first blobFromImage.

    blobFromImage subtracts the mean, then scales; with swapRB it swaps the channels first.
    """
    match = _BLOBS.search(text)
    if match is None:
        return []
    arguments: dict[str, str] = {}
    # In C++ the second argument may be the output blob, which is not a number.
    parts = _split(_arguments(text, match.end()))
    names = ["image", "scalefactor", "size", "mean", "swapRB", "crop"]
    position = 0
    for part in parts:
        keyword = re.match(r"(\w+)\s*[=:]\s*(?!=)(.+)", part, re.DOTALL)
        if keyword and keyword[1] in names:
            arguments[keyword[1]] = keyword[2]
            continue
        if position == 1 and not _NUMBER.match(part):
            continue
        if position < len(names):
            arguments[names[position]] = part
        position += 1
    options = []
    mean = _NUMBER.findall(arguments.get("mean", ""))
    if len(mean) in (1, 3) and any(float(value) for value in mean):
        options.append("--mean " + ",".join(f"{float(value):g}" for value in mean))
    scale = _scale(arguments.get("scalefactor", "1"))
    if scale not in (None, 1.0):
        options.append(f"--scale {scale:.9g}")
    if arguments.get("swapRB", "").strip().lower() == "true":
        options.append("--swap-channels")
    return options


def _scale(text: str) -> float | None:
    """Return the value of a number, or of a quotient of two numbers; None for any other text."""
    parts = [part.strip(" ()fF") for part in text.split("/")]
    if len(parts) > 2 or not all(_NUMBER.fullmatch(part) for part in parts):
        return None
    values = [float(part) for part in parts]
    return values[0] if len(values) == 1 else values[0] / values[1] if values[1] else None


def _locate(name: str, place: str, base: Path, models: list[Path]) -> str:
    """Return the file below the folder that a name in a source refers to; the name if none matches."""
    if not name:
        return ""
    source = base / place.rpartition(":")[0]
    for path in (source.parent / name, base / name):
        if path.is_file() and path.resolve().is_relative_to(base.resolve()):
            return str(path.resolve().relative_to(base.resolve()))
    same = [path for path in models if path.name == Path(name).name]
    return str(same[0].relative_to(base)) if same else name


def _verdict(base: Path, prototxt: str, caffemodel: str) -> tuple[str, bool, bool]:
    """Return whether the net converts: in words, as a flag, and whether the conversion failed."""
    if not prototxt:
        return "the source does not name its prototxt in a string", False, False
    if not (base / prototxt).is_file():
        return f"{prototxt} is not in the source tree", False, False
    from protogen.net.net import load
    from protogen.onnx import lower
    from protogen.onnx.exporter.verdicts import use_blank_weights

    stored = (base / caffemodel).is_file() if caffemodel else False
    try:
        net = load(base / prototxt, base / caffemodel if stored else None)
        if not stored:
            use_blank_weights(net)
        program = lower(net)
    except ProtogenError as error:
        return f"does not convert: {error}", False, True
    ends = [
        ", ".join(f"{value.name} {value.text}" for value in values)
        for values in (program.inputs, program.outputs)
    ]
    weights = "" if stored else f"; {caffemodel or 'its caffemodel'} is not in the source tree"
    return f"converts (inputs: {ends[0] or 'none'}; outputs: {ends[1]}){weights}", True, False


def _advice(use: Use) -> Iterator[str]:
    """Yield the lines that replace the use."""
    if not use.prototxt or use.refused:
        return
    onnx = str(Path(use.prototxt).name).removesuffix(".txt").removesuffix(".prototxt") + ".onnx"
    command = f"protogen convert {use.prototxt} {use.caffemodel} -o {onnx}"
    yield f"run once:     {command} --verify"
    if not use.call:
        return
    reader = "readNetFromONNX" if use.call.startswith("r") else "ReadNetFromOnnx"
    new = f'{reader}("{onnx}")'
    yield f"replace with: {use.code.replace(use.call, new) if use.call in use.code else new}"
    if use.options:
        yield "keep:         blobFromImage unchanged: the ONNX model takes the same blob"
        yield f"or build in:  {command} {' '.join(use.options)} --nhwc-input --uint8-input"
