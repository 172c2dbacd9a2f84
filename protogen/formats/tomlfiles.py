"""Reader for TOML files. Its errors name line and column."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from protogen.errors import InputError
from protogen.formats import contents, files

MOST_BYTES = 1 << 20  # a specification has one line for each layer
# Keys of 32 or more dotted parts: tomllib's time and memory grow with the square of their number.
_PARTS = re.compile(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){32}""")


def read(path: str | Path) -> dict[str, Any]:
    """Return the tables of the file at ``path``.

    Raises:
        InputError: the file cannot be read, is not valid TOML (with line and column), or is too
            large.
    """
    try:
        with files.opened(path) as file:
            raw = file.read(MOST_BYTES + 1)
        if raw:
            contents.check(path, "toml", raw[: contents.START])
        if len(raw) > MOST_BYTES:
            raise InputError(f"the file is larger than {MOST_BYTES >> 20} MB", where=str(path))
        text = raw.decode("utf-8")
        if match := _PARTS.search(text):
            line = text.count("\n", 0, match.start()) + 1
            raise InputError("the key has too many parts", where=f"{path}:{line}")
        return tomllib.loads(text)
    except OSError as error:
        raise files.unreadable(path, error) from None
    except UnicodeDecodeError:
        raise InputError("is not UTF-8 text", where=str(path)) from None
    except RecursionError:
        raise InputError("the values are nested too deep", where=str(path)) from None
    except tomllib.TOMLDecodeError as error:
        place = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)", str(error))
        text = str(error)[: place.start()] if place else str(error)
        where = f"{path}:{place[1]}:{place[2]}" if place and place[1] else str(path)
        raise InputError(f"not valid TOML: {text}", where=where) from None
    except ValueError as error:  # an invalid date, or a number of thousands of digits
        raise InputError(f"not valid TOML: {error}", where=str(path)) from None


def project_table(start: str | Path, name: str) -> tuple[Path, dict[str, Any]] | None:
    """Return the table ``[name]`` of protogen.toml, or ``[tool.protogen.name]`` of pyproject.toml, in
    the folder of a file or the nearest folder above it, with the path of its file; None without one.

    Raises:
        InputError: a file cannot be read.
    """
    start = Path(start).resolve()
    for folder in (start, *start.parents):
        for file, keys in (
            ("protogen.toml", (name,)),
            ("pyproject.toml", ("tool", "protogen", name)),
        ):
            if (folder / file).is_file():
                table: Any = read(folder / file)
                for key in keys:
                    table = table.get(key) if isinstance(table, dict) else None
                if isinstance(table, dict):
                    return folder / file, table
    return None
