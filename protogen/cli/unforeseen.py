"""The sentence for an exception that no part of protogen has turned into one."""

from __future__ import annotations

import os
import sys
from types import TracebackType

from protogen.memory import lacks_memory, shortage

UNFORESEEN = 70  # exit code: EX_SOFTWARE of sysexits.h
_PACKAGE = os.path.dirname(os.path.dirname(__file__))
_LONGEST = 200  # characters of the exception's own text


def unforeseen(error: Exception) -> tuple[str, int]:
    """Return the message and the exit code for an exception."""
    if lacks_memory(error):
        return shortage(), 3
    if isinstance(error, RecursionError):
        limit = sys.getrecursionlimit()
        return f"the input is nested too deeply: Python allows {limit} calls in each other.", 3
    text = " ".join(str(error).split())[:_LONGEST]
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if plugin := _plugin(error.__traceback__):
        return f"{plugin}: the plugin raised {what}. --traceback prints the calls before it.", 2
    place = _place(error.__traceback__)
    return (
        f"unforeseen error: {what}{place}. This is a fault of protogen. Please report it, with the command, "
        "the files, and what the command prints with --traceback.",
        UNFORESEEN,
    )


def _plugin(traceback: TracebackType | None) -> str:
    """Return file and line of a plugin if it raised the exception; empty if protogen's own code did."""
    from protogen.layers.plugins import plugin_files

    place = ""
    while traceback is not None:
        path = traceback.tb_frame.f_code.co_filename
        if path in plugin_files:
            place = f"{path}:{traceback.tb_lineno}"
        elif path.startswith(_PACKAGE + os.sep):
            place = ""
        traceback = traceback.tb_next
    return place


def _place(traceback: TracebackType | None) -> str:
    """Return the last place in protogen's own code, in parentheses."""
    place = ""
    while traceback is not None:
        path = traceback.tb_frame.f_code.co_filename
        if path.startswith(_PACKAGE + os.sep):
            place = f" ({os.path.relpath(path, _PACKAGE)}:{traceback.tb_lineno})"
        traceback = traceback.tb_next
    return place
