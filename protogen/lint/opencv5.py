"""Source trees that read Caffe nets with OpenCV: OpenCV 5 has no Caffe reader any more."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protogen.errors import InputError, ProtogenError

if TYPE_CHECKING:
    from protogen.net.net import Net

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
_LARGEST = 4 << 20  # bytes of a source file; larger ones are data
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
    """A place that reads a Caffe net. ``prototxt`` and ``caffemodel`` are files that were found, or
    the names as the source has them; ``verdict`` says whether the net converts, and
    ``refused`` that it was tried and does not."""

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
    """Every use of a Caffe net by OpenCV in the sources below ``root``, with what replaces it.

    Raises:
        InputError: ``root`` is no folder.
    """
    base = Path(root)
    if not base.is_dir():
        raise InputError("is no folder", where=str(root), advice="Name a source tree.")
    sources, models = _files(base)
    uses = [use for path in sources for use in _uses(path, base)]
    verdicts: dict[tuple[str, str], tuple[str, bool, bool]] = {}
    for use in uses:
        use.prototxt = _found(use.prototxt, use.place, base, models)
        use.caffemodel = _found(use.caffemodel, use.place, base, models)
        key = use.prototxt, use.caffemodel
        if key not in verdicts:
            verdicts[key] = _verdict(base, *key)
        use.verdict, use.converts, use.refused = verdicts[key]
        use.advice = list(_advice(use))
    return uses


def _files(base: Path) -> tuple[list[Path], list[Path]]:
    """Source files, and Caffe files, below a folder."""
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
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix == ".ipynb":
        text = text.replace('\\"', '"')  # code stands in JSON strings
    if ".caffemodel" not in text and "readNetFromCaffe" not in text:
        return
    named = dict(_NAMED.findall(text))
    strings = _STRING.findall(text)
    options = _preprocessing(text)
    told: set[int] = set()
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
        told.update(range(line, line + inside.count("\n") + 1))
        yield Use(
            place=f"{path.relative_to(base)}:{line + 1}",
            code=text.splitlines()[line].strip(),
            call=text[match.start() : match.end()] + inside + ")",
            prototxt=next((f for f in files if not f.endswith("caffemodel")), ""),
            caffemodel=next((f for f in files if f.endswith("caffemodel")), ""),
            options=options,
        )
    if not told:  # another way to a caffemodel: a constant, a download, a build file
        for line, code in enumerate(text.splitlines()):
            found = [f for f in _STRING.findall(code) if f.endswith("caffemodel")]
            if found:
                other = next((f for f in strings if not f.endswith("caffemodel")), "")
                yield Use(f"{path.relative_to(base)}:{line + 1}", code.strip(), "", other, found[0])


def _arguments(text: str, start: int) -> str:
    """What stands between the parentheses of a call."""
    depth = 1
    for at in range(start, min(len(text), start + 5000)):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if not depth:
            return text[start:at]
    return text[start : start + 200]


def _split(arguments: str) -> list[str]:
    """Arguments at their top-level commas."""
    parts, depth, last = [], 0, 0
    for at, char in enumerate(arguments):
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(char, 0)
        if char == "," and not depth:
            parts.append(arguments[last:at].strip())
            last = at + 1
    return [*parts, arguments[last:].strip()]


def _preprocessing(text: str) -> list[str]:
    """Options of convert that do what the file's first blobFromImage does: subtract the mean,
    then scale; with swapRB the channels are swapped before."""
    match = _BLOBS.search(text)
    if match is None:
        return []
    given: dict[str, str] = {}
    # C++ may have the output as a second argument; it is no number.
    parts = _split(_arguments(text, match.end()))
    names = ["image", "scalefactor", "size", "mean", "swapRB", "crop"]
    position = 0
    for part in parts:
        keyword = re.match(r"(\w+)\s*[=:]\s*(?!=)(.+)", part, re.DOTALL)
        if keyword and keyword[1] in names:
            given[keyword[1]] = keyword[2]
            continue
        if position == 1 and not _NUMBER.match(part):
            continue
        if position < len(names):
            given[names[position]] = part
        position += 1
    made = []
    mean = _NUMBER.findall(given.get("mean", ""))
    if len(mean) in (1, 3) and any(float(value) for value in mean):
        made.append("--mean-value " + ",".join(f"{float(value):g}" for value in mean))
    scale = _scale(given.get("scalefactor", "1"))
    if scale not in (None, 1.0):
        made.append(f"--scale {scale:.9g}")
    if given.get("swapRB", "").strip().lower() == "true":
        made.append("--swap-channels")
    return made


def _scale(text: str) -> float | None:
    """A number, or one number over another; None for anything else."""
    parts = [part.strip(" ()fF") for part in text.split("/")]
    if len(parts) > 2 or not all(_NUMBER.fullmatch(part) for part in parts):
        return None
    values = [float(part) for part in parts]
    return values[0] if len(values) == 1 else values[0] / values[1] if values[1] else None


def _found(name: str, place: str, base: Path, models: list[Path]) -> str:
    """The file below the folder that a source means by this name; the name where there is none."""
    if not name:
        return ""
    source = base / place.rpartition(":")[0]
    for path in (source.parent / name, base / name):
        if path.is_file() and path.resolve().is_relative_to(base.resolve()):
            return str(path.resolve().relative_to(base.resolve()))
    same = [path for path in models if path.name == Path(name).name]
    return str(same[0].relative_to(base)) if same else name


def _verdict(base: Path, prototxt: str, caffemodel: str) -> tuple[str, bool, bool]:
    """Whether the net converts, in words; whether it does, and whether it was tried and refused."""
    if not prototxt:
        return "the source does not name its prototxt as a text", False, False
    if not (base / prototxt).is_file():
        return f"{prototxt} is not in the tree", False, False
    from protogen.net.net import load
    from protogen.onnx import lower

    stored = (base / caffemodel).is_file() if caffemodel else False
    try:
        net = load(base / prototxt, base / caffemodel if stored else None)
        if not stored:
            _blank(net)
        program = lower(net)
    except ProtogenError as error:
        return f"does not convert: {error}", False, True
    ends = [
        ", ".join(f"{value.name} {value.text}" for value in values)
        for values in (program.inputs, program.outputs)
    ]
    weights = "" if stored else f"; {caffemodel or 'its caffemodel'} is not in the tree"
    return f"converts (in {ends[0] or 'nothing'}; out {ends[1]}){weights}", True, False


def _blank(net: Net) -> None:
    """Weights of ones that take no memory: for looking at the layers alone."""
    import numpy as np

    one: Any = np.float32(1)
    for layer, shapes in net.parameter_shapes.items():
        if shapes:
            net.weights[layer] = [np.broadcast_to(one, shape) for shape in shapes]


def _advice(use: Use) -> Iterator[str]:
    """The lines that replace the use."""
    if not use.prototxt or use.refused:
        return
    onnx = str(Path(use.prototxt).name).removesuffix(".txt").removesuffix(".prototxt") + ".onnx"
    command = f"protogen convert {use.prototxt} {use.caffemodel} -o {onnx}"
    yield f"run once:     {command} --verify"
    if not use.call:
        return
    reader = "readNetFromONNX" if use.call.startswith("r") else "ReadNetFromOnnx"
    new = f'{reader}("{onnx}")'
    yield f"replace by:   {use.code.replace(use.call, new) if use.call in use.code else new}"
    if use.options:
        yield "keep:         blobFromImage as it is; the ONNX takes the same blob"
        yield f"or build in:  {command} {' '.join(use.options)} --nhwc-input --uint8-input"
