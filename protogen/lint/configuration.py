"""What a project says of its checks: [check] in protogen.toml, or [tool.protogen.check] in
pyproject.toml, in the folder of the file or above it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from protogen.errors import InputError, did_you_mean
from protogen.formats import tomlfiles


@dataclass(frozen=True, slots=True)
class Configuration:
    """Options as they are on the command line, which come first."""

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    dialect: str = ""
    target: str = ""
    exact: bool = False


def find(start: str | Path) -> Configuration:
    """The configuration that holds for a file or folder; the empty one where there is none.

    Raises:
        InputError: the file that has it cannot be read, or says something that is not known.
    """
    folder = Path(start).resolve()
    for one in (folder, *folder.parents):
        for name, keys in (
            ("protogen.toml", ("check",)),
            ("pyproject.toml", ("tool", "protogen", "check")),
        ):
            path = one / name
            if path.is_file():
                table = _table(path, keys)
                if table is not None:
                    return _read(path, table)
    return Configuration()


def _table(path: Path, keys: tuple[str, ...]) -> dict[str, Any] | None:
    found: Any = tomlfiles.read(path)
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else None


def _read(path: Path, table: dict[str, Any]) -> Configuration:
    known = {one.name: one for one in fields(Configuration)}
    made = Configuration()
    for key, value in table.items():
        if key not in known:
            advice = did_you_mean(key, known) or f"Known are {', '.join(known)}."
            raise InputError("is not known", where=str(path), subject=key, advice=advice)
        default = getattr(made, key)
        if isinstance(default, tuple):
            if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
                raise InputError("must be a list of codes", where=str(path), subject=key)
            value = tuple(value)
        elif type(value) is not type(default):
            wanted = "true or false" if isinstance(default, bool) else "a text"
            raise InputError(f"must be {wanted}", where=str(path), subject=key)
        made = replace(made, **{key: value})
    return made
