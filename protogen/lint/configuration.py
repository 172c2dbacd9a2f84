"""The linter's configuration of a project.

It is the table [check] in protogen.toml, or [tool.protogen.check] in pyproject.toml, in the folder of
the checked file or in a folder above it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from protogen.errors import InputError, did_you_mean
from protogen.formats import tomlfiles


@dataclass(frozen=True, slots=True)
class Configuration:
    """The same options as on the command line. Options of the command line take precedence."""

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    dialect: str = ""
    target: str = ""
    exact: bool = False


def find(start: str | Path) -> Configuration:
    """Return the configuration for a file or folder; an empty one if there is no configuration file.

    Raises:
        InputError: the configuration file cannot be read, or has an unknown option or an invalid
            value.
    """
    located = tomlfiles.project_table(start, "check")
    return Configuration() if located is None else _read(*located)


def _read(path: Path, table: dict[str, Any]) -> Configuration:
    """Return the options of a table.

    Raises:
        InputError: an option is unknown, or its value has the wrong type.
    """
    options = [option.name for option in fields(Configuration)]
    configuration = Configuration()
    for key, value in table.items():
        if key not in options:
            advice = did_you_mean(key, options) or f"Known options: {', '.join(options)}."
            raise InputError("unknown option", where=str(path), subject=key, advice=advice)
        default = getattr(configuration, key)
        if isinstance(default, tuple):
            if not isinstance(value, list) or not all(isinstance(code, str) for code in value):
                raise InputError("must be a list of rule codes", where=str(path), subject=key)
            value = tuple(value)
        elif type(value) is not type(default):
            expected = "true or false" if isinstance(default, bool) else "a string"
            raise InputError(f"must be {expected}", where=str(path), subject=key)
        configuration = replace(configuration, **{key: value})
    return configuration
