"""Many upsampling layers from one TOML file.

name = "head"                    # the net's name; optional
[inputs]                         # optional: with it the result is a whole net
score = [1, 21, 16, 16]
[defaults]                       # optional: for every layer that does not say otherwise
channels = 21
[[upsample]]                     # one table per layer, in order
name = "up2"                     # also the top, unless top is given
bottom = "score"
factor = 2                       # or "2x4" or [2, 4]
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protogen.errors import InputError, did_you_mean
from protogen.formats import tomlfiles
from protogen.generate.specification import UpsampleSpec, parse_factor, parse_shape
from protogen.generate.upsampling import Upsampling
from protogen.geometry import Shape

_TYPES = {
    "factor": (int, str, list),
    "channels": (int,),
    "name": (str,),
    "bottom": (str,),
    "top": (str,),
    "mode": (str,),
    "trainable": (bool,),
    "weights": (str,),
}
_TOP = {"name": str, "inputs": dict, "defaults": dict, "upsample": list}
_WORDS = {
    int: "a whole number",
    str: "a text",
    list: "a list",
    bool: "true or false",
    dict: "a table",
}


def load_spec(
    path: str | Path,
    *,
    template: str | Path | None = None,
    templates: str | Path | None = None,
) -> Upsampling:
    """The upsampling layers that a TOML file asks for.

    Raises:
        InputError: the file cannot be read, is no TOML, or a key or value is wrong (named).
    """
    where = str(path)
    data = tomlfiles.read(path)
    for key, value in data.items():
        if key not in _TOP:
            raise InputError(_unknown(key, _TOP), where=where, subject=key)
        if not isinstance(value, _TOP[key]):
            raise InputError(f"must be {_WORDS[_TOP[key]]}", where=where, subject=key)
    defaults = data.get("defaults", {})
    _check(where, "defaults", defaults)
    tables = data.get("upsample", [])
    if not tables:
        raise InputError(
            "the file asks for no layer",
            where=where,
            subject="upsample",
            advice="Add a table [[upsample]].",
        )
    specs = [_spec(where, i, table, defaults, len(tables)) for i, table in enumerate(tables)]
    inputs = _inputs(where, data.get("inputs", {}))
    try:
        return Upsampling(
            specs, inputs, name=data.get("name", ""), template=template, templates=templates
        )
    except InputError as error:
        raise error.with_parts(where=where) from None


def _spec(
    where: str, index: int, table: object, defaults: Mapping[str, Any], count: int
) -> UpsampleSpec:
    key = f"upsample[{index}]"
    if not isinstance(table, dict):
        raise InputError("must be a table", where=where, subject=key, advice="Write [[upsample]].")
    _check(where, key, table)
    given = {**defaults, **table}
    if "factor" not in given:
        raise InputError("is missing", where=where, subject=f"{key}.factor")
    given.setdefault("name", "upsample" if count == 1 else f"upsample{index + 1}")
    given.setdefault("top", given["name"])
    try:
        given["factor"] = parse_factor(given["factor"])
        return UpsampleSpec(**given)
    except InputError as error:
        raise error.with_parts(where=where, subject=f"{key}.{error.diagnostic.subject}") from None


def _check(where: str, path: str, table: Mapping[str, Any]) -> None:
    for key, value in table.items():
        if key not in _TYPES:
            raise InputError(_unknown(key, _TYPES), where=where, subject=f"{path}.{key}")
        types = _TYPES[key]
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            words = " or ".join(_WORDS[t] for t in types)
            raise InputError(f"{value!r} must be {words}", where=where, subject=f"{path}.{key}")


def _inputs(where: str, table: Mapping[str, Any]) -> dict[str, Shape]:
    try:
        return {name: parse_shape(shape, f"inputs.{name}") for name, shape in table.items()}
    except InputError as error:
        raise error.with_parts(where=where) from None


def _unknown(key: str, known: Mapping[str, Any]) -> str:
    hint = did_you_mean(key, known) or f"Known are {', '.join(known)}."
    return f"there is no such key. {hint}"
