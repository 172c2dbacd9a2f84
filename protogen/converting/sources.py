"""The files of ``convert``: which net belongs to which weights, and the names of the results."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from protogen.errors import InputError, quantity
from protogen.formats import contents, files

_ENDINGS = {  # for files whose content is not recognised: their reader says what is wrong
    ".prototxt": "net",
    ".onnx": "onnx",
    ".caffemodel": "caffemodel",
    ".h5": "hdf5",
}
_TAKEN = ("net", "onnx", "caffemodel", "hdf5")


@dataclass(frozen=True, slots=True)
class Source:
    """One net to convert.

    Attributes:
        net: a prototxt or an ONNX model.
        weights: the weights of a prototxt; None for a net without weights, and for an ONNX model.
        onnx: whether ``net`` is an ONNX model.
        base: the folder that was searched for the net; empty if the file was named.
        problem: why it cannot be converted, such as weights without a net; empty if it can be tried.
    """

    net: str
    weights: str | None
    onnx: bool
    base: str = ""
    problem: str = ""

    def result(self, folder: str | Path | None = None) -> Path:
        """Return the path of the converted net: the name of the source with the other ending. In
        ``folder`` it has the place that the source has in the searched folder.

        Raises:
            InputError: the source is the standard input, which has no name.
        """
        if self.net == files.STDIN:
            raise InputError("the standard input has no name", advice="Name the output with -o.")
        path = Path(self.net)
        if folder is not None:
            path = Path(folder) / (path.relative_to(self.base) if self.base else path.name)
        return files.with_ending(path, ".prototxt" if self.onnx else ".onnx")


def sources_of(paths: Sequence[str], leave_out: str | Path | None = None) -> list[Source]:
    """Return the nets among files and folders, each with its weights.

    Files are recognised by content, and may be in any order. With several nets, weights belong to the net
    of the same name without its ending. In a folder, whose inner folders are searched too, a folder with
    one caffemodel and several nets has one net to convert: that with ``deploy`` in its name.

    Args:
        leave_out: a folder that is not searched, such as that of earlier results.

    Raises:
        InputError: a file is missing or of another kind, or it is not clear which net the weights belong
            to.
    """
    sources: list[Source] = []
    named = [path for path in paths if not os.path.isdir(path)]
    _check_exist(named)
    sources += _named(named)
    for path in paths:
        if os.path.isdir(path):
            sources += _searched(path, leave_out)
    return sources


def _check_exist(paths: Sequence[str]) -> None:
    """Check that all files exist. One that does not, beside others that do, may be meant as the output.

    Raises:
        InputError: a file does not exist.
    """
    missing = [path for path in paths if path != files.STDIN and not os.path.exists(path)]
    if not missing or (len(paths) == 1 and kind_by_name(paths[0])):
        return  # the reader of a single file says that it is missing
    path, advice = missing[0], "Check the path."
    others = {kind_by_name(one) for one in paths} - {kind_by_name(path)}
    if len(paths) > len(missing) and kind_by_name(path) == "caffemodel" and others == {"onnx"}:
        advice = f"To write the weights there: --caffemodel {path}."
    elif len(paths) > len(missing) and kind_by_name(path) in ("onnx", "net"):
        advice = f"To write a file of this name: -o {path}."
    raise InputError("cannot be read (No such file or directory)", where=path, advice=advice)


def kind_by_name(path: str) -> str:
    """Return the kind that the ending says; empty if it is not known."""
    return _ENDINGS.get(Path(path).suffix, "")


def kind_of(path: str) -> str:
    """Return the kind of a file, one of those that ``convert`` takes.

    Raises:
        InputError: the file cannot be read or is of another kind.
    """
    if path != files.STDIN and not os.path.exists(path):
        return kind_by_name(path)
    kind = contents.kind_of(path)
    if kind in ("", "empty") or (kind == "text" and kind_by_name(path) == "net"):
        kind = kind_by_name(path) or kind
    if kind in _TAKEN:
        return kind
    if not kind:
        raise InputError("is neither a net (prototxt), a caffemodel nor an ONNX model", where=path)
    contents.check_file(path, "convertible")
    raise AssertionError(kind)  # check_file refuses every other kind


def _by_kind(paths: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Return the nets, the files with weights, and the ONNX models."""
    kinds = [(kind_of(path), path) for path in paths]
    nets = [path for kind, path in kinds if kind == "net"]
    models = [path for kind, path in kinds if kind == "onnx"]
    return nets, [path for kind, path in kinds if kind not in ("net", "onnx")], models


def _paired(
    nets: Sequence[str], weights: Sequence[str]
) -> tuple[dict[str, str], list[str], list[str]]:
    """Return the weights by net, by equal names; the nets without weights; the weights without net."""
    by_stem = {_stem(path): path for path in weights}
    pairs = {net: by_stem[_stem(net)] for net in nets if _stem(net) in by_stem}
    free = [path for path in weights if path not in pairs.values()]
    return pairs, [net for net in nets if net not in pairs], free


def _named(paths: Sequence[str]) -> list[Source]:
    nets, weights, models = _by_kind(paths)
    sources = [Source(path, None, True) for path in models]
    if models and weights and not nets:
        raise InputError(
            "an ONNX model needs no second file",
            where=weights[0],
            advice=f"To write the weights there, use --caffemodel {weights[0]}.",
        )
    pairs, alone, free = _paired(nets, weights)
    if len(alone) == len(free) == 1:
        pairs[alone[0]] = free[0]
        alone, free = [], []
    if free:
        raise InputError(
            f"{quantity(len(alone), 'net')} could belong to these weights"
            if alone
            else "the net of these weights is not among the files",
            where=free[0],
            advice="Name a net and its weights, or give both the same name.",
        )
    return [*(Source(net, pairs.get(net), False) for net in nets), *sources]


def _stem(path: str) -> str:
    """Return the path without its endings: ``a/net`` for ``a/net.caffemodel.h5``."""
    for ending in (".h5", ".hdf5", ".caffemodel", ".prototxt", ".onnx"):
        path = path.removesuffix(ending)
    return path


def _searched(folder: str, leave_out: str | Path | None) -> list[Source]:
    """Return the nets in a folder and the folders in it, sorted by path."""
    sources: list[Source] = []
    without = os.path.realpath(leave_out) if leave_out is not None else ""
    for place, inner, names in os.walk(folder):
        inner[:] = sorted(
            name
            for name in inner
            if not name.startswith(".") and os.path.realpath(os.path.join(place, name)) != without
        )
        paths = [
            os.path.normpath(os.path.join(place, name))
            for name in sorted(names)
            if name.endswith(tuple(_ENDINGS)) and not name.startswith(".")
        ]
        sources += _in_one_folder(paths, folder)
    if not sources:
        raise InputError(
            "the folder has no net",
            where=folder,
            advice="It must hold .onnx files, or .prototxt files with their .caffemodel.",
        )
    return sources


def _in_one_folder(paths: Sequence[str], base: str) -> list[Source]:
    """Return the nets among the files of one folder. With weights, a net without weights is another form
    of one that has them, such as the training net; it is left out."""
    kinds = {path: contents.kind_of(path) or kind_by_name(path) for path in paths}
    nets = [path for path, kind in kinds.items() if kind == "net"]
    weights = [path for path, kind in kinds.items() if kind in ("caffemodel", "hdf5")]
    models = [Source(path, None, True, base) for path, kind in kinds.items() if kind == "onnx"]
    if not weights:
        return [*(Source(net, None, False, base) for net in nets), *models]
    pairs, alone, free = _paired(nets, weights)
    deploy = [path for path in alone if "deploy" in os.path.basename(path).lower()]
    chosen = deploy or alone
    if len(free) == len(chosen) == 1:
        pairs[chosen[0]] = free.pop()
    unclear = [
        Source(path, None, False, base, f"{quantity(len(alone), 'net')} could belong to it")
        for path in free
    ]
    return [*(Source(net, own, False, base) for net, own in pairs.items()), *unclear, *models]
