"""The types of the arguments and options that name files: streams, endings, completion in the shell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from protogen.cli import output
from protogen.errors import InputError
from protogen.formats import files

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    _Type = click.ParamType[str]
else:
    _Type = click.ParamType  # the oldest click that is supported has no type argument here

_INPUT = "protogen.stdin"
_STREAMS = {"/dev/stdin": files.STDIN, "/dev/stdout": files.STDOUT, "/dev/fd/1": files.STDOUT}
# What the endings say about a file; a file with another ending may hold anything.
ENDINGS = {
    ".onnx": "an ONNX model",
    ".prototxt": "prototxt",
    ".caffemodel": "a caffemodel",
    ".h5": "HDF5",
    ".hdf5": "HDF5",
    ".npz": "npz",
    ".npy": "npy",
    ".safetensors": "safetensors",
    ".binaryproto": "binaryproto",
    ".json": "JSON",
    ".html": "HTML",
    ".png": "PNG",
    ".svg": "SVG",
    ".jpg": "JPEG",
    ".csv": "CSV",
    ".toml": "TOML",
}


def read_from(text: str, option: str) -> str:
    """Return the path of a file to read: ``-`` is the standard input.

    Raises:
        InputError: two files are the standard input.
    """
    if text != "-" and text not in _STREAMS:
        return text
    ctx = click.get_current_context(silent=True)
    if ctx is not None:
        meta = ctx.find_root().meta
        if _INPUT in meta:
            raise InputError(
                f"{meta[_INPUT]} and {option} both read the standard input",
                advice="Write one of them to a file first.",
            )
        meta[_INPUT] = option
    return files.STDIN


def write_to(text: str, option: str, *contents: str) -> str:
    """Return the path of a file to write: ``-`` is the standard output, and then notes go to the standard
    error.

    Args:
        contents: what the file will hold, values of ``ENDINGS``.

    Raises:
        InputError: the ending belongs to another content, or two results go to the standard output.
    """
    if text == "-" or _STREAMS.get(text) == files.STDOUT:
        output.take_stdout(option)
        return files.STDOUT
    check_ending(text, option, *contents)
    return text


def check_ending(path: str, option: str, *contents: str) -> None:
    """Check that the ending of a path does not belong to another content.

    Raises:
        InputError: it does.
    """
    ending = ENDINGS.get(Path(path).suffix.lower(), "")
    if ending and contents and ending not in contents:
        own = next(key for key, value in ENDINGS.items() if value == contents[0])
        raise InputError(
            f"{option} writes {' or '.join(contents)}, but the ending {Path(path).suffix} is for {ending}",
            where=path,
            advice=f"Use the ending {own}.",
        )


def _option(param: click.Parameter | None) -> str:
    """Return the name that a message uses for an option or an argument."""
    if isinstance(param, click.Option):
        return max(param.opts, key=len)
    return str((param and param.metavar) or "an argument")


def _named(value: Any, param: click.Parameter | None) -> str:
    """Return the path of an option or argument.

    Raises:
        InputError: it is empty, as an unset variable of a shell is.
    """
    if not str(value):
        raise InputError(f"{_option(param)} is empty", advice="Give the name of a file.")
    return str(value)


class _Named(_Type):
    """Base of both types. The shell completes names of files."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type="file")]


class Readable(_Named):
    """A file to read; ``-`` is the standard input."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return read_from(_named(value, param), _option(param))


class Writable(_Named):
    """A file to write; ``-`` is the standard output. ``contents`` are values of ``ENDINGS``."""

    name = "file"

    def __init__(self, *contents: str) -> None:
        self.contents = contents

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return write_to(_named(value, param), _option(param), *self.contents)


INPUT = Readable()
OUTPUT = Writable()
PROTOTXT = Writable("prototxt")
CAFFEMODEL = Writable("a caffemodel")
ONNX = Writable("an ONNX model")
JSON = Writable("JSON")
