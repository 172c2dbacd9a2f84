"""Writing files so that a reader sees the old file or the new one, never a half."""

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
    """A binary file that takes the place of ``path`` when the block ends without an error.

    It is written beside the target and renamed over it. A link keeps pointing where it points; a
    device or a pipe is written as it is.

    Raises:
        InputError: the folder is missing, the place cannot be written, or the file is read-only.
    """
    target = Path(os.path.realpath(path))
    try:
        if target.is_dir():
            raise InputError("is a folder", where=str(path), advice="Name a file in it.")
        if target.exists() and not stat.S_ISREG(target.stat().st_mode):
            with target.open("wb") as direct:
                yield direct
            return
        if target.exists() and not target.stat().st_mode & 0o222:
            raise InputError(
                "is read-only", where=str(path), advice="Make it writable, or choose another."
            )
        beside = target.with_name(f".{target.name[:100]}.{os.getpid()}.{os.urandom(4).hex()}.part")
        try:
            with beside.open("xb") as file:
                yield file
            if target.exists():  # a replaced file keeps its mode
                os.chmod(beside, stat.S_IMODE(target.stat().st_mode))
            os.replace(beside, target)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputError(
            f"cannot be written ({error.strerror})", where=str(path), advice="Choose another place."
        ) from None


def distinct(
    outputs: Iterable[tuple[str, str | Path | None]], inputs: Iterable[str | Path | None] = ()
) -> None:
    """Refuses two outputs (option name and path) that are one file, and an output that is one of
    the inputs, where it is something else than they are.

    Raises:
        InputError: naming the file.
    """
    read = {os.path.realpath(path) for path in inputs if path is not None}
    seen: dict[str, str] = {}
    for option, path in outputs:
        if path is None or str(path) == os.devnull:
            continue
        real = os.path.realpath(path)
        if real in read:
            raise InputError(
                f"is read, and {option} would write over it",
                where=str(path),
                advice="Write to another file.",
            )
        if real in seen:
            raise InputError(
                f"{seen[real]} and {option} write the same file",
                where=str(path),
                advice="Give each output a name of its own.",
            )
        seen[real] = option
