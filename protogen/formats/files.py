"""The files that protogen opens.

Writing is atomic: a reader sees the old file or the new one, never a part of it. The standard input and
pipes can be read once only; protogen opens a file several times, so it reads a copy of them.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from io import BufferedReader
from typing import TYPE_CHECKING, Any, BinaryIO

from protogen.errors import InputError, check_utf8
from protogen.formats.replacement import replacing_file

if TYPE_CHECKING:
    from pathlib import Path

STDIN, STDOUT = "<stdin>", "<stdout>"  # the names of the streams, also in messages
MOST_STREAMED = 1 << 32  # bytes of a pipe; the formats of protogen's inputs hold at most half
_copies: dict[str, str] = {}  # the copies of pipes, by name
_stdout: list[BinaryIO] = []  # where STDOUT is written, see stdout_to


def stdout_to(stream: BinaryIO) -> None:
    """Write the bytes of STDOUT to a stream from now on; without a call, to ``sys.stdout.buffer``."""
    _stdout[:] = [stream]


def opened(path: str | Path) -> BufferedReader:
    """Open a file for reading. A pipe is copied first, see ``regular``.

    Raises:
        OSError: the file cannot be opened.
        InputError: it is a device, or a pipe with too many bytes.
    """
    return open(regular(path), "rb")


def regular(path: str | Path) -> str:
    """Return the path of a regular file with the bytes of ``path``: the path itself, or the copy of a
    pipe, a socket or the standard input (STDIN), which is made at the first call and removed when the
    process ends.

    Raises:
        OSError: the path does not exist or cannot be read.
        InputError: it is a device, or a pipe with too many bytes.
    """
    name = str(path)
    if name in _copies:
        return _copies[name]
    if name == STDIN and sys.stdin is None:
        raise InputError("the standard input is closed", where=name, advice="Name a file.")
    mode = (os.fstat(sys.stdin.fileno()) if name == STDIN else os.stat(name)).st_mode
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        terminal = name == STDIN and sys.stdin.isatty()
        advice = "Redirect a file to it." if name == STDIN else "Name a file."
        raise InputError(
            "is a terminal, not a file" if terminal else "is a device, not a file",
            where=name,
            advice=advice,
        )
    if name == STDIN:
        with open(sys.stdin.fileno(), "rb", closefd=False) as stream:
            return _copied(name, stream)
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        with open(name, "rb") as stream:
            return _copied(name, stream)
    return name


def _copied(name: str, stream: BinaryIO) -> str:
    import shutil
    import tempfile

    if not _copies:
        folder = tempfile.mkdtemp(prefix="protogen.")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        _copies[""] = folder
    path = os.path.join(_copies[""], str(len(_copies)))
    size = 0
    with open(path, "xb") as file:
        while piece := stream.read(1 << 20):
            size += len(piece)
            if size > MOST_STREAMED:
                file.truncate(0)
                raise InputError(f"has more than {MOST_STREAMED} bytes", where=name)
            file.write(piece)
    _copies[name] = path
    return path


def unreadable(path: str | Path, error: OSError) -> InputError:
    """Return the error for a file that cannot be read."""
    return InputError(
        f"cannot be read ({error.strerror or error})", where=str(path), advice="Check the path."
    )


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """Open a binary file that replaces ``path`` when the block ends without an error.

    It writes a temporary file in the same folder and renames it. Files whose blocks are in each other are
    renamed together, when the outermost block ends. If ``path`` is a link, the target of the link is
    replaced. A device or a pipe is written directly. The standard output (STDOUT) gets the bytes when the
    block ends without an error.

    Raises:
        InputError: the folder is missing, the path cannot be written, or the file is read-only.
    """
    if str(path) == STDOUT:
        import shutil
        import tempfile

        with tempfile.NamedTemporaryFile(prefix="protogen.") as whole:
            yield whole  # type: ignore[misc]  # it has the methods of a BinaryIO
            whole.seek(0)
            stream = _stdout[0] if _stdout else sys.stdout.buffer
            shutil.copyfileobj(whole, stream)
            stream.flush()
        return
    target = os.path.realpath(path)
    if os.path.isdir(target):
        raise InputError("is a folder, not a file", where=str(path), advice="Give a file name.")
    if not os.path.exists(target) or stat.S_ISREG(os.stat(target).st_mode):
        with replacing_file(path) as file:
            yield file
        return
    try:
        with open(target, "wb") as direct:
            yield direct
    except OSError as error:
        raise InputError(
            f"cannot be written ({error.strerror})", where=str(path), advice="Choose another path."
        ) from None


def json_bytes(data: Any) -> bytes:
    """Return data as the text of a JSON file. Bytes of names that are not UTF-8 are escaped."""
    text = json.dumps(data, indent=2, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace") + b"\n"


def with_ending(path: str | Path, ending: str) -> Path:
    """Return the path with another ending.

    Raises:
        InputError: the path has no name: it is empty, or a folder such as ``.``.
    """
    from pathlib import Path

    try:
        return Path(path).with_suffix(ending)
    except ValueError:
        raise InputError(
            f'"{path}" does not name a file', advice="Give the name of a file."
        ) from None


def beside(output: str | Path, ending: str, option: str) -> Path:
    """Return the file that belongs to ``output``: the same name with another ending.

    Raises:
        InputError: it exists without ``output``, and so belongs to something else. The advice names the
            option for another file.
    """
    path = with_ending(output, ending)
    if path.exists() and not os.path.exists(output):
        raise InputError(
            f"the file exists, and does not belong to {output}",
            where=str(path),
            advice=f"Name the file for the weights: {option} FILE{ending}.",
        )
    return path


def external_data(model: str | Path) -> Path:
    """Return the file for the weights of an ONNX model: beside the model itself, which a link may name.

    Raises:
        InputError: the name is not valid UTF-8, or the model goes to the standard output.
    """
    from pathlib import Path

    if str(model) == STDOUT:
        raise InputError(
            "a model with external data is two files, and needs a name", advice="Name it with -o."
        )
    path = Path(f"{os.path.realpath(model) if os.path.islink(model) else model}.data")
    check_utf8(path.name, "ONNX requires of a file with weights", str(model))
    return path


def distinct(
    outputs: Iterable[tuple[str, str | Path | None]], inputs: Iterable[str | Path | None] = ()
) -> None:
    """Check that all outputs (option name and path) are different files, and none is an input.

    Raises:
        InputError: two outputs are the same file, or an output is one of ``inputs``.
    """
    read = {os.path.realpath(path) for path in inputs if path is not None and str(path) != STDIN}
    seen: dict[str, str] = {}
    for option, path in outputs:
        if path is None or str(path) == os.devnull:
            continue
        real = os.path.realpath(path) if str(path) != STDOUT else STDOUT
        if real in read:
            raise InputError(
                f"is an input, and {option} would overwrite it",
                where=str(path),
                advice="Choose another output file.",
            )
        if real in seen:
            raise InputError(
                f"{seen[real]} and {option} write the same file",
                where=str(path),
                advice="Choose a different file for each output.",
            )
        seen[real] = option
