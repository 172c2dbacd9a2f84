"""The Python of a toolchain's environment: where it is found, and how one is created."""

from __future__ import annotations

import importlib.util
import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from protogen.errors import InputError, did_you_mean
from protogen.formats import tomlfiles
from protogen.running.toolchain import ADAPTERS
from protogen.toolchains.toolchain import Toolchain, load_toolchain, names, toolchains

VARIABLE = "PROTOGEN_TOOLCHAINS"
_PYTHONS = (Path("bin", "python"), Path("Scripts", "python.exe"))


@dataclass(frozen=True)
class Settings:
    """The table [try] of a project: the Python of toolchains by name, and the toolchains to try."""

    python: Mapping[str, Path] = field(default_factory=dict)
    names: tuple[str, ...] = ()


def folder() -> Path:
    """Return the folder of environments: ``NAME/bin/python``."""
    chosen = os.environ.get(VARIABLE)
    return Path(chosen) if chosen else Path.home() / ".cache" / "protogen" / "toolchains"


def settings(start: str | Path) -> Settings:
    """Return the table [try] of protogen.toml, or [tool.protogen.try] of pyproject.toml, in the folder
    of a file or above it; without one, empty settings.

    Raises:
        InputError: the file cannot be read, or an option is unknown or invalid.
    """
    located = tomlfiles.project_table(start, "try")
    return Settings() if located is None else _settings(*located)


def _settings(path: Path, table: Mapping[str, object]) -> Settings:
    for key in table:
        if key not in ("python", "with"):
            advice = did_you_mean(key, ("python", "with")) or "Known options: python, with."
            raise InputError("unknown option", where=str(path), subject=key, advice=advice)
    pythons, names = table.get("python", {}), table.get("with", [])
    if not isinstance(pythons, dict) or not all(isinstance(x, str) for x in pythons.values()):
        raise InputError("must be a table of paths by toolchain", where=str(path), subject="python")
    if not isinstance(names, list) or not all(isinstance(x, str) for x in names):
        raise InputError("must be a list of toolchains", where=str(path), subject="with")
    return Settings(
        {name: path.parent / Path(text).expanduser() for name, text in pythons.items()},
        tuple(str(path.parent / x) if x.endswith((".py", ".toml")) else x for x in names),
    )


def toolchain(name: str | Path) -> Toolchain:
    """Return a toolchain by its name, or from a user's file: an adapter (.py), or data (.toml) that
    names one.

    Raises:
        InputError: the name is unknown, or the file cannot be read or is invalid.
    """
    path = Path(name)
    if path.suffix != ".py":
        known = names()
        if path.suffix != ".toml" and str(name) not in known:
            advice = did_you_mean(str(name), known) or f"Known toolchains: {', '.join(known)}."
            advice += " Your own adapter must end in .py, and its data in .toml."
            raise InputError("unknown name", subject=f'toolchain "{name}"', advice=advice)
        return load_toolchain(name)
    if not path.is_file():
        raise InputError("cannot be read", where=str(name), advice="Check the path.")
    return Toolchain(name=path.stem, path=path, adapter=path.name)


def adapter(one: Toolchain) -> Path | None:
    """Return the file of a toolchain's adapter; None if it has none.

    Raises:
        InputError: there is no such file.
    """
    if not one.adapter:
        return None
    own = one.adapter.endswith(".py")
    path = one.path.parent / one.adapter if own else ADAPTERS / f"{one.adapter}.py"
    if not path.is_file():
        problem = f"its adapter {one.adapter!r} does not exist"
        raise InputError(
            problem, where=str(one.path), advice="Name one of protogen, or a .py file."
        )
    return path


def find(one: Toolchain, pythons: Mapping[str, str | Path], configured: Settings) -> Path | None:
    """Return the Python of a toolchain; None if there is none.

    Args:
        one: the toolchain.
        pythons: paths from the user, by the name of the toolchain.
        configured: the settings of the project.

    Raises:
        InputError: a path from the user does not exist.
    """
    for source, paths in (("--python", pythons), ("python of [try]", configured.python)):
        if one.name in paths:
            path = Path(paths[one.name]).expanduser()
            if not path.is_file():
                problem = "is a folder" if path.is_dir() else "does not exist"
                advice = "Give the path of its interpreter, such as ENVIRONMENT/bin/python."
                raise InputError(problem, where=str(path), subject=source, advice=advice)
            return path
    for inner in _PYTHONS:
        if (folder() / one.name / inner).is_file():
            return folder() / one.name / inner
    if not one.install.module or _has_module(one.install.module):
        return Path(sys.executable)
    return None


def installed(
    pythons: Mapping[str, str | Path], configured: Settings
) -> Iterator[tuple[Toolchain, Path]]:
    """Yield each toolchain of protogen that has an environment, with its Python. Of several toolchains
    with the same adapter in this interpreter, only the first."""
    adapters = set()
    for one in toolchains():
        if not one.adapter:
            continue
        python = (
            find(one, pythons, configured) if one.install.module or one.name in pythons else None
        )
        if python is None:
            continue
        if python == Path(sys.executable):
            if one.adapter in adapters:
                continue
            adapters.add(one.adapter)
        yield one, python


def _has_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # a parent package is missing or invalid
        return False


def commands(one: Toolchain) -> list[str]:
    """Return the shell commands that install a toolchain where ``find`` looks for it.

    Raises:
        InputError: protogen knows none.
    """
    if not one.install.packages:
        raise InputError(
            f"protogen knows no packages of {one.name}",
            subject="--how",
            advice=f"Install it as its vendor says, and name its Python with "
            f"--python {one.name}=PATH.",
        )
    place = folder() / one.name
    path = shlex.quote(str(place))
    python = shlex.quote(str(place / _PYTHONS[0]))
    return [
        f"python{one.install.python or '3'} -m venv {path}",
        f"{python} -m pip install {' '.join(map(shlex.quote, one.install.packages))}",
        *(command.replace("{folder}", path) for command in one.install.commands),
    ]
