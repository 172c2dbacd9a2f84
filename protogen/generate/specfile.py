"""Read upsampling layers from a TOML specification file.

name = "head"                    # the net's name; optional
[inputs]                         # optional: with it the result is a complete net
score = [1, 21, 16, 16]
[defaults]                       # optional: values for layers that do not set the key
channels = 21
[[upsample]]                     # one table per layer, in order
name = "up2"                     # the top has the same name by default
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
_TOP_LEVEL = {"name": str, "inputs": dict, "defaults": dict, "upsample": list}
_TYPE_NAMES = {
    int: "an integer",
    str: "a string",
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
    """Return the upsampling layers that a TOML file specifies.

    Raises:
        InputError: the file cannot be read, is not valid TOML, or has an unknown key or an invalid
            value (the message names it).
    """
    where = str(path)
    data = tomlfiles.read(path)
    for key, value in data.items():
        if key not in _TOP_LEVEL:
            raise _unknown_key(where, key, key, _TOP_LEVEL)
        if not isinstance(value, _TOP_LEVEL[key]):
            problem = f"expected {_TYPE_NAMES[_TOP_LEVEL[key]]}, got {_type_name(value)}"
            raise InputError(problem, where=where, subject=key)
    defaults = data.get("defaults", {})
    _check_keys(where, "defaults", defaults)
    tables = data.get("upsample", [])
    if not tables:
        raise InputError(
            "the file specifies no layer",
            where=where,
            subject="upsample",
            advice="Add a [[upsample]] table.",
        )
    specs = [_parse_table(where, i, table, defaults, len(tables)) for i, table in enumerate(tables)]
    inputs = _parse_inputs(where, data.get("inputs", {}))
    try:
        return Upsampling(
            specs, inputs, name=data.get("name", ""), template=template, templates=templates
        )
    except InputError as error:
        raise error.with_parts(where=where) from None


def _parse_table(
    where: str, index: int, table: object, defaults: Mapping[str, Any], count: int
) -> UpsampleSpec:
    key = f"upsample[{index}]"
    if not isinstance(table, dict):
        raise InputError(
            f"expected a table, got {_type_name(table)}",
            where=where,
            subject=key,
            advice="Write [[upsample]].",
        )
    _check_keys(where, key, table)
    options = {**defaults, **table}
    if "factor" not in options:
        raise InputError("required key is missing", where=where, subject=f"{key}.factor")
    options.setdefault("name", "upsample" if count == 1 else f"upsample{index + 1}")
    options.setdefault("top", options["name"])
    try:
        options["factor"] = parse_factor(options["factor"])
        return UpsampleSpec(**options)
    except InputError as error:
        raise error.with_parts(where=where, subject=f"{key}.{error.diagnostic.subject}") from None


def _check_keys(where: str, path: str, table: Mapping[str, Any]) -> None:
    for key, value in table.items():
        if key not in _TYPES:
            raise _unknown_key(where, f"{path}.{key}", key, _TYPES)
        types = _TYPES[key]
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            expected = " or ".join(_TYPE_NAMES[t] for t in types)
            problem = f"expected {expected}, got {value!r}"
            raise InputError(problem, where=where, subject=f"{path}.{key}")


def _parse_inputs(where: str, table: Mapping[str, Any]) -> dict[str, Shape]:
    try:
        return {name: parse_shape(shape, f"inputs.{name}") for name, shape in table.items()}
    except InputError as error:
        raise error.with_parts(where=where) from None


def _type_name(value: object) -> str:
    return _TYPE_NAMES.get(type(value), type(value).__name__)


def _unknown_key(where: str, subject: str, key: str, known: Mapping[str, Any]) -> InputError:
    advice = did_you_mean(key, known) or f"Known keys: {', '.join(known)}."
    return InputError("unknown key", where=where, subject=subject, advice=advice)
