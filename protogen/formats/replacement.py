"""Files that replace others: all of one result at once, or none of them.

A file is written beside its target under another name. When the outermost ``replacing`` of a thread ends
without an error, every file written in it is complete and closed, and all are renamed one directly after the
other. If a rename fails, the targets before it get their old files back.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from protogen.errors import InputError

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from pathlib import Path

ENDING = ".part"  # of files that are being written; hidden, beside their targets
_OLD = ".old"  # of the links to the old files while the new ones get their names


class _Finished(NamedTuple):
    """A complete file, its target, and the open file that holds its lock."""

    temporary: str
    target: str
    lock: int


class _Results(threading.local):
    """The files of a thread that are complete and wait for the end of the outermost block."""

    def __init__(self) -> None:
        self.depth = 0
        self.finished: list[_Finished] = []


_results = _Results()
_cleaned: set[str] = set()  # folders in which this process has looked for files of dead processes


@contextlib.contextmanager
def replacing_file(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file that replaces the regular file at ``path``, or is new; see ``files.replacing``.

    If ``path`` is a link, the target of the link is replaced. The new file gets the mode, the
    owner and the extended attributes of the old one, as far as the system allows.

    Raises:
        InputError: the folder is missing, the path cannot be written, or the file is read-only.
    """
    target = os.path.realpath(path)
    first = len(_results.finished)
    _results.depth += 1
    try:
        if os.path.exists(target) and not os.stat(target).st_mode & 0o222:
            raise InputError(
                "is read-only", where=str(path), advice="Make it writable, or choose another file."
            )
        _remove_dead(os.path.dirname(target))
        temporary, file, lock = _created(target)
        try:
            with file:
                yield file
            if os.path.exists(target):
                _hand_on(target, temporary)
        except BaseException:
            _close(lock)
            _unlink(temporary)
            raise
        _results.finished.append(_Finished(temporary, target, lock))
        if _results.depth == 1:
            _rename(_taken(0))
    except OSError as error:
        _discard(_taken(first))
        raise InputError(
            f"cannot be written ({error.strerror})", where=str(path), advice="Choose another path."
        ) from None
    except BaseException:
        _discard(_taken(first))
        raise
    finally:
        _results.depth -= 1


def _taken(first: int) -> list[_Finished]:
    """Remove and return the finished files from ``first`` on."""
    taken = _results.finished[first:]
    del _results.finished[first:]
    return taken


def _name(target: str, ending: str) -> str:
    """Return a new hidden name beside a target."""
    folder, name = os.path.split(target)
    return os.path.join(folder, f".{name[:100]}.{os.getpid()}.{os.urandom(4).hex()}{ending}")


def _rename(finished: list[_Finished]) -> None:
    """Give all files their names.

    Raises:
        InputError: a rename failed; the targets before it have their old files again. Without links in the
            file system they keep their new files, and the pair ids tell that one is old.
    """
    is_new = [not os.path.exists(one.target) for one in finished]
    old = [_linked(one.target) for one in finished] if len(finished) > 1 else []
    try:
        for position, one in enumerate(finished):
            try:
                os.replace(one.temporary, one.target)
            except OSError as error:
                for renamed, link, new in zip(finished[:position], old, is_new, strict=False):
                    if link:
                        _put_back(link.temporary, renamed.target)
                    elif new:
                        _unlink(renamed.target)
                raise InputError(
                    f"cannot be written ({error.strerror})",
                    where=one.target,
                    advice="Choose another path.",
                ) from None
    finally:
        _discard([*finished, *(link for link in old if link)])


def _created(target: str) -> tuple[str, BinaryIO, int]:
    """Create a file beside its target; returns its path, the open file and its lock.

    Another process may remove the file before it is locked, as that of a dead process. Then a new one is
    created.
    """
    while True:
        temporary = _name(target, ENDING)
        file = open(temporary, "xb")  # noqa: SIM115  # the caller closes it
        try:
            lock = _locked(file.fileno())
        except BaseException:
            file.close()
            _unlink(temporary)
            raise
        if lock < 0 or _is_at(file.fileno(), temporary):
            return temporary, file, lock
        file.close()
        _close(lock)


def _linked(target: str) -> _Finished | None:
    """Give an existing file a second name; None if there is none, or the system has no links."""
    link = _name(target, _OLD)
    try:
        os.link(target, link)
        with open(link, "rb") as file:
            # The lock is one of the old file, which another program may have locked: do not wait for it.
            return _Finished(link, target, _locked(file.fileno(), wait=False))
    except OSError:
        _unlink(link)
        return None


def _is_at(number: int, path: str) -> bool:
    """Return whether a path is that of an open file."""
    try:
        return os.path.samestat(os.fstat(number), os.stat(path))
    except FileNotFoundError:
        return False


def _put_back(link: str, target: str) -> None:
    with contextlib.suppress(OSError):
        os.replace(link, target)


def _discard(finished: list[_Finished]) -> None:
    """Remove files that do not get their names, and the locks of all."""
    for one in finished:
        _unlink(one.temporary)
        _close(one.lock)


def _hand_on(target: str, temporary: str) -> None:
    """Give a new file the owner, the mode and the extended attributes of the one that it replaces."""
    import shutil

    status = os.stat(target)
    if sys.platform != "win32":
        with contextlib.suppress(OSError):  # only root may give a file to another user
            os.chown(temporary, status.st_uid, status.st_gid)
    with contextlib.suppress(OSError):
        shutil.copystat(target, temporary)  # attributes too, where the system has them
    os.chmod(temporary, stat.S_IMODE(status.st_mode))
    os.utime(temporary)


def _locked(number: int, wait: bool = True) -> int:
    """Lock an open file, and return a copy of its number that holds the lock; -1 without a lock.

    The lock is shared: several processes may replace the same file. ``wait`` while another process looks
    whether the file is that of a dead one.
    """
    if sys.platform == "win32":
        return -1
    try:
        fcntl.flock(number, fcntl.LOCK_SH | (0 if wait else fcntl.LOCK_NB))
    except OSError:  # a file system without locks, or another program has locked the file
        return -1
    return os.dup(number)


def _remove_dead(folder: str) -> None:
    """Remove what killed processes have left in a folder: files that no process has locked."""
    if folder in _cleaned or sys.platform == "win32":
        return
    _cleaned.add(folder)
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            hidden = entry.name.startswith(".") and entry.name.endswith((ENDING, _OLD))
            if hidden and _is_ours(entry.name) and entry.is_file(follow_symlinks=False):
                _remove_unlocked(entry.path)


def _is_ours(name: str) -> bool:
    """Return whether a name has the form of those that ``_name`` returns."""
    parts = name.rsplit(".", 3)
    return (
        len(parts) == 4
        and parts[1].isdecimal()
        and len(parts[2]) == 8
        and not set(parts[2]) - set("0123456789abcdef")
    )


def _remove_unlocked(path: str) -> None:
    if sys.platform == "win32":
        return
    with contextlib.suppress(OSError), open(path, "rb") as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)


def _unlink(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def _close(lock: int) -> None:
    if lock >= 0:
        os.close(lock)
