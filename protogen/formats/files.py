"""Atomic writing of files: a reader sees the old file or the new one, never a part of it."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from protogen.errors import InputError


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """Open a binary file that replaces ``path`` when the block ends without an error.

    It writes a temporary file in the same folder and renames it. If ``path`` is a link, the
    target of the link is replaced. A device or a pipe is written directly.

    Raises:
        InputError: the folder is missing, the path cannot be written, or the file is read-only.
    """
    target = Path(os.path.realpath(path))
    try:
        if target.is_dir():
            raise InputError("is a folder, not a file", where=str(path), advice="Give a file name.")
        if target.exists() and not stat.S_ISREG(target.stat().st_mode):
            with target.open("wb") as direct:
                yield direct
            return
        if target.exists() and not target.stat().st_mode & 0o222:
            raise InputError(
                "is read-only", where=str(path), advice="Make it writable, or choose another file."
            )
        temporary = target.with_name(
            f".{target.name[:100]}.{os.getpid()}.{os.urandom(4).hex()}.part"
        )
        try:
            with temporary.open("xb") as file:
                yield file
            if target.exists():  # a replaced file keeps its mode
                os.chmod(temporary, stat.S_IMODE(target.stat().st_mode))
            os.replace(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputError(
            f"cannot be written ({error.strerror})", where=str(path), advice="Choose another path."
        ) from None


def distinct(
    outputs: Iterable[tuple[str, str | Path | None]], inputs: Iterable[str | Path | None] = ()
) -> None:
    """Check that all outputs (option name and path) are different files, and none is an input.

    Raises:
        InputError: two outputs are the same file, or an output is one of ``inputs``.
    """
    read = {os.path.realpath(path) for path in inputs if path is not None}
    seen: dict[str, str] = {}
    for option, path in outputs:
        if path is None or str(path) == os.devnull:
            continue
        real = os.path.realpath(path)
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
