"""From an old net to files that run today: upgraded, in stock layers or for a toolchain, as ONNX, proved."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from protogen._late import Shown
from protogen.errors import InputError, MismatchError, ProtogenWarning, UnsupportedError
from protogen.formats import contents, files, prototxt
from protogen.generate.rewriting import RetainedLayer, Rewritten, rewrite
from protogen.geometry import Shape
from protogen.net.build import Reading
from protogen.net.dialects import dialects_of
from protogen.net.upgrade import upgrade
from protogen.toolchains.detection import Detection

if TYPE_CHECKING:
    from protogen.converting.caffe_to_onnx import Converted
    from protogen.converting.comparison import Comparison
    from protogen.generate.targeting import TargetNet


@dataclass(frozen=True, slots=True, repr=False)
class Rescued(Shown):
    """The files of a rescued net, and what was done.

    Attributes:
        prototxt, caffemodel: the net in stock layers, or for the toolchain; ``caffemodel`` is None
            without weights.
        model: the ONNX model; None if there is none.
        upgraded: what the conversion to the current format changed.
        dialects: which dialects of Caffe the net can be of.
        rewritten: the net in stock layers; None with a target.
        written: the net for the toolchain; None without a target.
        converted: the conversion to ONNX; None if it was not possible.
        checked: the comparison of the written net with the ONNX model; None without a model.
        problems: what could not be done, one sentence each.
    """

    prototxt: Path
    caffemodel: Path | None
    model: Path | None
    upgraded: tuple[str, ...]
    dialects: Detection
    rewritten: Rewritten | None
    written: TargetNet | None
    converted: Converted | None
    checked: Comparison | None
    problems: tuple[str, ...]

    @property
    def retained(self) -> tuple[RetainedLayer, ...]:
        """The layers of forks that no stock layer replaces."""
        return self.rewritten.retained if self.rewritten else ()


def rescue(
    net: str | Path,
    weights: str | Path | None = None,
    output: str | Path | None = None,
    *,
    target: str | Path | None = None,
    overwrite: bool = False,
    input_shapes: Mapping[str, Shape] | None = None,
    seed: int = 0,
    **reading: Unpack[Reading],
) -> Rescued:
    """Write an old net in the current format and in stock layers, and as an ONNX model.

    Each replaced layer, the whole ONNX model and the whole written net are compared with the original
    on random data. What is not possible does not stop the rest; ``problems`` names it.

    Args:
        net: a prototxt in any format, for any known fork of Caffe.
        weights: its weights. Without them there is no ONNX model of a net with parameters.
        output: the prototxt to write; the caffemodel and the ONNX model are beside it, with the same name.
            By default it is the name of ``net`` with ``_stock``, or with the name of the target.
        target: write the net for this toolchain instead of stock Caffe; see ``rewrite_for``.
        overwrite: replace existing files, if ``output`` is not set.
        input_shapes: shapes by blob name; they override the shapes in the net.
        seed: the seed of the random data.
        reading: see ``convert``.

    Raises:
        InputError: a file is missing, invalid or of another kind, or a result exists.
        UnsupportedError: the toolchain takes no form of a layer.
        MismatchError: a result differs from the original.
    """
    contents.check_file(net, "net")
    changes: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ProtogenWarning)  # the reading of the net repeats them
        upgrade(prototxt.read(net), changes)
    dialects = dialects_of(net)
    text = _output(net, output, target)
    paths = [text, *(files.with_ending(text, ending) for ending in (".caffemodel", ".onnx"))]
    _check_free(paths, net, weights, overwrite or output is not None)
    _, caffemodel, model = paths
    options: dict[str, Any] = {"input_shapes": input_shapes, **reading}
    result: Rewritten | TargetNet
    if target is None:
        result = rewrite(net, weights, **options)
    else:
        from protogen.generate.targeting import rewrite_for

        result = rewrite_for(target, net, weights, seed=seed, **options)
    rewritten = result if isinstance(result, Rewritten) else None
    retained = rewritten.retained if rewritten else ()
    problems = [f"{one.place}: {one.layer!r} ({one.type}): {one.reason}" for one in retained]
    converted, problem = _converted(net, weights, model, {**options, "seed": seed})
    checked = None
    if converted is None:
        problems.append(problem)
    else:
        try:
            checked, problem = _checked(result, model, seed)
        except MismatchError:
            model.unlink()  # nothing is written if the results differ
            raise
        problems += [problem] if problem else []
    own = caffemodel if result.net.weights else None
    result.save(text, own)
    return Rescued(
        text,
        own,
        model if converted else None,
        tuple(changes),
        dialects,
        rewritten,
        None if isinstance(result, Rewritten) else result,
        converted,
        checked,
        tuple(problems),
    )


def _output(net: str | Path, output: str | Path | None, target: str | Path | None) -> Path:
    if output is not None and str(output) != files.STDOUT:
        return Path(output)
    if str(net) == files.STDIN or output is not None:
        raise InputError(
            "a net and its model are several files, and need a name",
            advice="Name the prototxt: -o FILE.prototxt.",
        )
    word = "stock" if target is None else str(target)
    word = Path(word).stem if word.endswith(".toml") else Path(word).name
    return Path(net).with_name(f"{Path(net).stem}_{word}.prototxt")


def _check_free(
    paths: list[Path], net: str | Path, weights: str | Path | None, overwrite: bool
) -> None:
    files.distinct([(path.name, path) for path in paths], [net, weights])
    for path in paths:
        if path.exists() and not overwrite:
            raise InputError(
                "the file exists",
                where=str(path),
                advice="Name the results with -o, or replace the files with --overwrite.",
            )


def _converted(
    net: str | Path, weights: str | Path | None, model: Path, options: dict[str, Any]
) -> tuple[Converted | None, str]:
    """Write the ONNX model of the original net; or return why it is not possible."""
    from protogen.converting.caffe_to_onnx import convert

    try:
        return convert(net, weights, model, verify=True, **options), ""
    except (InputError, UnsupportedError) as error:
        return None, f"no ONNX model: {error}"


def _checked(
    result: Rewritten | TargetNet, model: Path, seed: int
) -> tuple[Comparison | None, str]:
    """Compare the written net with the ONNX model; or return why it is not possible."""
    from protogen.converting.comparison import verify

    try:
        return verify(result.net, model, seed=seed), ""
    except (InputError, UnsupportedError) as error:
        return None, f"the written net was not compared with the ONNX model: {error}"
