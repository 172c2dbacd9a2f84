"""Caffemodels of folders, each with the prototxt that fits its weights (for ``published.py``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import protogen as pg
from protogen.errors import InputError, ProtogenError
from protogen.formats.caffemodel import read_weights

POINTER = b"version https://git-lfs"
UNFINISHED = (".part", ".crdownload", ".download", ".tmp")  # names of files that still arrive
NETS = (".prototxt", ".pt")
SOURCES = {"Input", "Parameter", "DummyData"}  # layers without bottoms that read no files
LONGEST = 200  # characters of a reason


@dataclass(frozen=True)
class Pair:
    """A caffemodel and its net; or why it has none."""

    name: str
    caffemodel: Path
    prototxt: Path | None = None
    problem: str = ""


@dataclass(frozen=True, order=True)
class Fit:
    """How well a net fits a caffemodel; the least is the best.

    Attributes:
        data: whether it reads data from files, as a net for training does.
        other_name: whether its file has another name than the caffemodel.
        unused: how many layers with weights it does not have.
    """

    data: bool
    other_name: bool
    unused: int


def find_pairs(folders: Sequence[Path]) -> Iterator[Pair]:
    """Yield every caffemodel of the folders, with its net or why it has none."""
    for folder in folders:
        for path in sorted(folder.rglob("*.caffemodel*")):
            name = path.relative_to(folder if len(folders) == 1 else folder.parent)
            if not path.is_file():
                continue
            if path.suffix in UNFINISHED:
                yield Pair(str(name), path, problem="the download of the weights has not ended")
            elif path.suffix == ".caffemodel":
                yield pair(str(name.with_suffix("")), path)


def pair(name: str, caffemodel: Path) -> Pair:
    """Return a caffemodel with the net of its folder that fits."""
    if problem := damage(caffemodel):
        return Pair(name, caffemodel, problem=problem)
    fitting: dict[Fit, dict[bytes, Path]] = {}  # a copy of a net under another name is the same net
    misfits: dict[bool, str] = {}
    for path in sorted(path for path in caffemodel.parent.iterdir() if path.suffix in NETS):
        answer = fit(path, caffemodel)
        if isinstance(answer, Fit):
            fitting.setdefault(answer, {}).setdefault(path.read_bytes(), path)
        elif answer:
            misfits.setdefault(path.stem != caffemodel.stem, f"{path.name} does not fit: {answer}")
    if not fitting:
        problem = misfits[min(misfits)] if misfits else "its folder has no net"
        return Pair(name, caffemodel, problem=problem)
    best = min(fitting)
    first, *others = fitting[best].values()
    if best.data:
        problem = f"only a net that reads data from files fits ({first.name}): add a deploy net"
        return Pair(name, caffemodel, problem=problem)
    if others:
        several = " and ".join(path.name for path in (first, *others))
        return Pair(name, caffemodel, problem=f"ambiguous: {several} fit equally")
    return Pair(name, caffemodel, first)


def damage(path: Path) -> str:
    """Return why a file has no weights; empty if it has some."""
    try:
        with path.open("rb") as file:
            begin = file.read(len(POINTER))
        if not begin:
            return "the weights are an empty file"
        if begin == POINTER:
            return "the weights are a pointer of git-lfs: get the file with 'git lfs pull'"
        if not any(layer.blobs for layer in read_weights(path).layers):
            return "the caffemodel has no weights"
    except OSError as error:
        return f"the weights cannot be read ({error.strerror})"
    except InputError as error:
        return f"the weights are damaged: {error.diagnostic.problem}"
    return ""


def fit(prototxt: Path, caffemodel: Path) -> Fit | str:
    """Return how a net fits, or why it does not; an empty text if the file has no layers."""
    try:
        net = pg.load(prototxt, caffemodel, tolerant=True)
        if not net.layers:
            return ""
        net.check_weights()
    except ProtogenError as error:
        return clause(error)
    data = any(not layer.bottoms and layer.type not in SOURCES for layer in net.layers)
    names = {layer.name for layer in net.layers}
    stored = read_weights(caffemodel).layers
    unused = sum(bool(layer.blobs) and layer.name not in names for layer in stored)
    return Fit(data, prototxt.stem != caffemodel.stem, unused)


def clause(error: ProtogenError) -> str:
    """Return what is wrong in one clause."""
    diagnostic, more = error.diagnostic, len(error.diagnostics) - 1
    text = ": ".join(filter(None, (diagnostic.subject, diagnostic.problem)))
    text = " ".join([*text.split(), *(diagnostic.lines[0].split() if text.endswith(":") else ())])[
        :LONGEST
    ].rstrip(".")
    return f"{text} (and {more} more)" if more else text
