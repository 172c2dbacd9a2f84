"""Options that several commands share, and the parsers of their values."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from protogen.cli import completions, filetypes, output
from protogen.errors import InputError, did_you_mean, quantity

if TYPE_CHECKING:
    from protogen.net.rules import State

PICTURES = (".png", ".svg")
PROTOS, PLUGINS = "protogen.protos", "protogen.plugins"  # what the options of these names have read


def _add_protos(ctx: click.Context, __: click.Parameter, paths: tuple[str, ...]) -> None:
    ctx.meta[PROTOS] = paths
    if paths:
        from protogen.formats.schema.extension import add_proto

        for path in paths:
            add_proto(path)


def _run_plugins(ctx: click.Context, __: click.Parameter, paths: tuple[str, ...]) -> None:
    """Run files that the user names; a net cannot name one."""
    ctx.meta[PLUGINS] = paths
    if paths:
        from protogen.layers.plugins import run_plugin

        for path in paths:
            run_plugin(path)


def _print_json(_: click.Context, __: click.Parameter, value: bool) -> bool:
    if value:
        output.take_stdout("--json", binary=False)
    return value


proto = click.option(
    "--proto",
    type=filetypes.INPUT,
    multiple=True,
    metavar="FILE",
    is_eager=True,
    expose_value=False,
    callback=_add_protos,
    help="Add messages and fields from a vendor's .proto file or descriptor set. Repeatable.",
)
plugin = click.option(
    "--plugin",
    multiple=True,
    metavar="FILE.py",
    is_eager=True,
    expose_value=False,
    callback=_run_plugins,
    help="Run a Python file that registers layer types with pg.layer. Repeatable.",
)
identity = click.option(
    "--layer-as-identity",
    "identities",
    shell_complete=completions.types,
    multiple=True,
    metavar="NAME|TYPE",
    help="Treat this layer, or every layer of this type, as the identity. Repeatable.",
)
ignored_fields = click.option(
    "--ignore-field",
    "ignored_fields",
    multiple=True,
    metavar="BLOCK.FIELD",
    help="Accept this field although no layer reads it. Repeatable.",
)
dialect = click.option(
    "--dialect",
    shell_complete=completions.dialects,
    default="",
    metavar="NAME",
    help="The fork of Caffe that the net was written for: ssd, yolo, segnet, ... (see protogen dialects).",
)
target = click.option(
    "--target",
    "toolchain",
    shell_complete=completions.targets,
    metavar="NAME|FILE.toml",
    help="Say what this toolchain does with each layer (see protogen targets).",
)
input_shapes = click.option(
    "--input-shape",
    "input_shapes",
    shell_complete=completions.shapes,
    multiple=True,
    metavar="[BLOB=]N,C,H,W",
    help="Shape of an input, also of a data layer's top. Repeatable.",
)
seed = click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Seed of the random numbers.",
)
fan = click.option(
    "--fan",
    type=click.Choice(["caffe", "true"]),
    default="caffe",
    show_default=True,
    help="How fillers count a layer's inputs: as Caffe does, or the true number (they differ for "
    "Deconvolution).",
)
set_fillers = click.option(
    "--set",
    "rules",
    multiple=True,
    metavar="PATTERN=FILLER",
    help="Filler of the layers with matching names: 'conv*=msra', fc8=gaussian:0.01. Repeatable.",
)
recommend = click.option(
    "--recommend", is_flag=True, help="Use fillers that suit each layer's activation."
)
output_text = click.option(
    "-o",
    "--output",
    type=filetypes.PROTOTXT,
    metavar="FILE.prototxt",
    help="Write the prototxt here.  [default: stdout]",
)
as_json = click.option(
    "--json",
    "as_json",
    is_flag=True,
    callback=_print_json,
    help="Print JSON (docs/json.md describes the fields).",
)
verbose = click.option(
    "-v", "--verbose", is_flag=True, help="Print every row, also those without a problem."
)
half_check = click.option(
    "--half-check",
    is_flag=True,
    help="Measure what float16 and int8 do to each blob and weight: overflow, values that become 0, errors.",
)
strict = click.option("--strict", is_flag=True, help="Treat unknown fields as errors.")
templates = click.option(
    "--templates", metavar="DIR", help="Folder of templates that replace built-in ones by name."
)


def input_files(note: str) -> Callable[[Any], Any]:
    """``--input [BLOB=]FILE``; ``note`` describes the files."""
    return click.option(
        "--input",
        "inputs",
        multiple=True,
        shell_complete=completions.inputs,
        metavar="[BLOB=]FILE",
        help=f"{note} Repeatable.",
    )


def plot(note: str) -> Callable[[Any], Any]:
    """``--plot FILE``; ``note`` describes the picture."""
    return click.option("--plot", metavar="FILE.png|svg", callback=_picture, help=f"Draw {note}.")


def _picture(_: click.Context, parameter: click.Parameter, path: str | None) -> str | None:
    if path is not None:
        picture_format(path, f"{parameter.opts[0]}")
    return path


def phase(default: str | None, note: str = "") -> Callable[[Any], Any]:
    """``--phase``; ``note`` describes the phase that is used if there is no default."""
    return click.option(
        "--phase",
        type=click.Choice(["TRAIN", "TEST"]),
        default=default,
        show_default=default is not None,
        help=f"Phase for the include and exclude rules{note}.",
    )


def state(default: str | None, note: str = "") -> Callable[[Any], Any]:
    """``--phase``, ``--level`` and ``--stage``: they decide which layers belong to the net."""

    def put(function: Any) -> Any:
        for option in (
            click.option(
                "--stage", "stages", multiple=True, metavar="NAME",
                help="Stage for the include and exclude rules. Repeatable.",
            ),
            click.option(
                "--level", type=int, default=0, show_default=True,
                help="Level for the include and exclude rules.",
            ),
            phase(default, note),
        ):  # fmt: skip
            function = option(function)
        return function

    return put


def state_of(options: dict[str, Any]) -> State:
    """Remove phase, level and stages from a command's options and return them."""
    return {
        "phase": options.pop("phase"),
        "level": options.pop("level"),
        "stages": options.pop("stages"),
    }


_READING = ("phase", "level", "stages", "dialect", "identities")


def reading_of(options: dict[str, Any]) -> dict[str, Any]:
    """Remove the options for the interpretation of a net from a command's options and return those
    that have a value, as keyword arguments of ``pg.load``."""
    values = {key: options.pop(key) for key in _READING if key in options}
    return {key: value for key, value in values.items() if value is not None}


def lengths(text: str) -> tuple[int, ...]:
    """The shape of ``1,3,224,224`` or ``1x3x224x224``.

    Raises:
        InputError: the text is not a list of whole numbers.
    """
    words = re.split("[,x]", text)
    if not all(word.isascii() and word.isdigit() for word in words):
        raise InputError(
            f"{text!r} is not a shape", subject="--input-shape", advice="Write 1,3,224,224."
        )
    return tuple(map(int, words))


def shapes(texts: Sequence[str], names: Callable[[], Sequence[str]]) -> dict[str, tuple[int, ...]]:
    """Shapes by blob from ``[BLOB=]N,C,H,W``.

    Args:
        texts: the values of ``--input-shape``.
        names: returns the net's inputs; it is called only for a text without ``BLOB=``.

    Raises:
        InputError: a text is malformed, or a blob must be named because the net has several inputs.
    """
    result = {}
    for text in texts:
        name, equals, dims = text.rpartition("=")
        if equals and not name:
            raise InputError(
                f"missing blob name in {text!r}",
                subject="--input-shape",
                advice="Write data=1,3,224,224.",
            )
        shape = lengths(dims)
        result[name or only(names(), "--input-shape", "N,C,H,W")] = shape
    return result


def shapes_for(net: str, texts: Sequence[str], **reading: Any) -> dict[str, tuple[int, ...]]:
    """``shapes`` for a prototxt; the net is read only to find the name of its one input."""

    def names() -> Sequence[str]:
        from protogen.net.net import load, unassuming

        with unassuming():
            return load(net, tolerant=True, **reading).inputs

    return shapes(texts, names)


def onnx_shapes(model: str, texts: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """The values of ``--input-shape`` for an ONNX model."""

    def names() -> tuple[str, ...]:
        from protogen.onnx import input_shapes, load_model

        return tuple(input_shapes(load_model(model)))

    return shapes(texts, names)


def numbers(text: str, option: str) -> tuple[float, ...]:
    """The numbers of ``104,117,123``; InputError if the text is not a list of finite numbers."""
    with suppress(ValueError):
        values = tuple(float(word) for word in text.split(","))
        if all(map(isfinite, values)):
            return values
    problem = f"{text!r} is not a list of numbers"
    raise InputError(problem, subject=option, advice="Write 104,117,123.")


def mean(text: str) -> Any:
    """The mean of ``--mean``: numbers, one for each channel, or the array of a mean file.

    Raises:
        InputError: the text is not a list of numbers, the file cannot be read, or a value is not
            finite.
    """
    import numpy as np

    from protogen.preprocessing import meanfiles

    if text == "-" or Path(text).suffix[1:].isalpha():
        text = filetypes.read_from(text, "--mean")
        array = np.asarray(meanfiles.read(text))
    else:
        array = np.array(numbers(text, "--mean"))
    if not np.isfinite(array).all():
        raise InputError("the mean contains NaN or infinite values", subject="--mean", where=text)
    return array


def named_files(texts: Sequence[str]) -> list[tuple[str, str]]:
    """``BLOB=FILE`` as (BLOB, FILE); BLOB is empty in a text without it."""
    pairs = []
    for text in texts:
        name, equals, path = text.partition("=")
        name, path = (name, path) if equals else ("", text)
        pairs.append((name, filetypes.read_from(path, "--input")))
    return pairs


def arrays(texts: Sequence[str], inputs: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Arrays by blob from ``[BLOB=]FILE.npy`` or ``FILE.npz``; None if no file is named.

    Args:
        texts: the values of ``--input``.
        inputs: the net's inputs, if they are known: a file without a name belongs to the only one,
            and other names are refused.

    Raises:
        InputError: a file is not an array file, or it is not clear which input it belongs to.
    """
    from protogen.formats.arrayfiles import read_arrays

    result: dict[str, Any] = {}
    for name, path in named_files(texts):
        for key, array in read_arrays(path).items():
            blob = name or key
            if inputs is not None:
                blob = blob or only(inputs)
                check_input(blob, inputs)
            if not blob:
                raise InputError("missing input name", where=path, advice=f"Write BLOB={path}.")
            result[blob] = array
    return result or None


def only(names: Sequence[str], option: str = "--input", value: str = "FILE") -> str:
    """The one input of a net.

    Raises:
        InputError: it has none, or several.
    """
    if len(names) != 1:
        raise InputError(
            f"the net has {quantity(len(names), 'input')} ({', '.join(names) or 'none'})",
            subject=option,
            advice=f"Name one: {option} BLOB={value}.",
        )
    return names[0]


def check_input(name: str, names: Sequence[str]) -> None:
    """Raise InputError if the net has no input of this name."""
    if name not in names:
        problem = f"unknown input (inputs: {', '.join(names) or 'none'})"
        raise InputError(problem, subject=f'"{name}"', advice=did_you_mean(name, names))


def picture_format(path: str, option: str = "") -> Any:
    """``png`` or ``svg``, from a file's extension.

    Raises:
        InputError: it is another extension.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in PICTURES:
        raise InputError(
            f"unsupported image extension {suffix!r}: expected .png or .svg"
            if suffix
            else "missing image extension: expected .png or .svg",
            subject=option,
            where=path,
        )
    return suffix[1:]
