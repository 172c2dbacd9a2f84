"""Conversion of many nets: one after the other, or several at a time in processes of their own."""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protogen.converting.sources import Source
from protogen.errors import InputError, MismatchError, ProtogenError, ProtogenWarning

if TYPE_CHECKING:
    from concurrent.futures import Future


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one net.

    Attributes:
        source: the net and its weights.
        written: the written files; empty if the net was not converted.
        layers: the layers of the Caffe net.
        error: the largest relative error of all blobs that ``verify`` compared; None without it.
        problem: why the net was not converted; empty if it was.
        code: the exit code of the problem; 0 without one.
        warned: the warnings.
        seconds: how long it took.
    """

    source: Source
    written: tuple[str, ...] = ()
    layers: int = 0
    error: float | None = None
    problem: str = ""
    code: int = 0
    warned: tuple[str, ...] = ()
    seconds: float = 0.0


def convert_all(
    sources: Sequence[Source],
    folder: str | Path | None = None,
    *,
    overwrite: bool = False,
    jobs: int = 1,
    to_onnx: Mapping[str, Any] | None = None,
    to_caffe: Mapping[str, Any] | None = None,
    protos: Sequence[str] = (),
    plugins: Sequence[str] = (),
    progress: Callable[[Outcome], object] | None = None,
) -> list[Outcome]:
    """Convert nets; each result has the name of its source. A net that cannot be converted does not
    stop the others.

    Args:
        sources: the nets, see ``sources_of``.
        folder: where to write; by default each result is beside its source.
        overwrite: replace existing files.
        jobs: how many nets are converted at a time; with more than 1, each in a process of its own.
        to_onnx, to_caffe: further arguments of ``convert`` and ``convert_onnx``.
        protos, plugins: files that ``add_proto`` and the option ``--plugin`` have read in this process;
            the other processes read them, too.
        progress: called with each outcome as soon as it is known.

    With ``jobs`` above 1 the caller's script must guard its start with ``if __name__ == "__main__":``, because
    the other processes import it.

    Returns:
        The outcomes, in the order of the sources. A net whose result would overwrite one of the sources or
        another result is not converted.
    """
    work = [
        (source, output, overwrite, dict((to_caffe if source.onnx else to_onnx) or {}))
        for source, output in _outputs(sources, folder)
    ]
    if jobs == 1 or len(work) < 2:
        outcomes = []
        for one in work:
            outcomes.append(_converted(*one))
            if progress:
                progress(outcomes[-1])
        return outcomes
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from multiprocessing import get_context

    count, context = min(jobs, len(work)), get_context("spawn")
    pool = ProcessPoolExecutor(count, context, _prepare, (protos, plugins))
    try:
        futures = {pool.submit(_converted, *one): i for i, one in enumerate(work)}
        done: dict[int, Outcome] = {}
        for future in as_completed(futures):
            index = futures[future]
            done[index] = _result(future, sources[index])
            if progress:
                progress(done[index])
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C the nets that are begun are finished
    return [done[i] for i in range(len(work))]


def _outputs(sources: Sequence[Source], folder: str | Path | None) -> Iterator[tuple[Source, Path]]:
    """Yield each source with its output; a source whose output is in use gets a problem."""
    used = {
        os.path.realpath(path): "a source"
        for one in sources
        for path in (one.net, one.weights)
        if path
    }
    for source in sources:
        output = source.result(folder)
        written = [output, output.with_suffix(".caffemodel")] if source.onnx else [output]
        for path in written:
            owner = used.get(os.path.realpath(path))
            if owner and not source.problem:
                source = replace(source, problem=f"its result {path} would overwrite {owner}")
        if not source.problem:
            used |= {os.path.realpath(path): f"the result of {source.net}" for path in written}
        yield source, output


def _prepare(protos: Sequence[str], plugins: Sequence[str]) -> None:
    from protogen.formats.schema.extension import add_proto
    from protogen.layers.plugins import run_plugin

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal
    for path in protos:
        add_proto(path)
    for path in plugins:
        run_plugin(path)


def _result(future: Future[Outcome], source: Source) -> Outcome:
    from concurrent.futures.process import BrokenProcessPool

    try:
        return future.result()
    except BrokenProcessPool:
        problem = (
            "the process that converted it was killed, perhaps because the memory was not enough"
        )
        return Outcome(source, problem=f"{source.net}: {problem}. Use fewer --jobs.", code=1)


def _converted(source: Source, output: Path, overwrite: bool, options: dict[str, Any]) -> Outcome:
    """Convert one net."""
    begin = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ProtogenWarning)
        try:
            outcome = _written(source, output, overwrite, options)
        except MismatchError as error:
            outcome = Outcome(source, problem=error.diagnostic.problem, code=error.exit_code)
        except ProtogenError as error:
            outcome = Outcome(source, problem=str(error), code=error.exit_code)
    texts = (str(one.message) for one in caught if issubclass(one.category, ProtogenWarning))
    return replace(outcome, warned=tuple(dict.fromkeys(texts)), seconds=time.perf_counter() - begin)


def _written(source: Source, output: Path, overwrite: bool, options: dict[str, Any]) -> Outcome:
    if source.problem:
        raise InputError(source.problem, where=source.net, advice="Convert it by itself.")
    beside = [output.with_suffix(".caffemodel")] if source.onnx else []
    for path in (output, *beside):
        if path.exists() and not overwrite:
            raise InputError(
                "the file exists", where=str(path), advice="--overwrite replaces existing files."
            )
    output.parent.mkdir(parents=True, exist_ok=True)
    if source.onnx:
        from protogen.converting.onnx_to_caffe import convert_onnx

        imported = convert_onnx(source.net, output, **options)
        written = (imported.prototxt, imported.caffemodel, imported.names, imported.scales)
        layers = len(imported.imported.net.layers)
        error = imported.checked.worst if imported.checked else None
    else:
        from protogen.converting.caffe_to_onnx import convert

        converted = convert(source.net, source.weights, output, **options)
        written = (converted.path, converted.external, None, None)
        layers = len(converted.net.layers)
        error = _worst(converted.receipt)
    return Outcome(source, tuple(str(path) for path in written if path), layers, error)


def _worst(receipt: Mapping[str, Any]) -> float | None:
    checked = receipt.get("checked", {}).get("onnxruntime")
    return checked["worst"] if checked else None
