"""Checks of the arguments of public functions, by the functions' own annotations.

A wrong argument is reported by its name, where the caller wrote it, and not by what fails later inside of
protogen. Only what an annotation states is checked; ranges and words are checked by the functions.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, wraps
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar

from protogen.errors import ArgumentError, did_you_mean

P = ParamSpec("P")
R = TypeVar("R")

# Names in annotations that exist for type checkers only, or that have a short meaning.
_ALIASES = {
    "Shape": "Sequence[int]",
    "Arrays": "Mapping[str, NDArray[Any]]",
    "protogen.converting.comparison.Source": "Net | Model | Program | str | Path | tuple",
    "protogen.converting.cutting.Blobs": "Sequence[str]",
}
# Classes that are recognised by their name, so that no module is imported for a check.
_CLASSES = {
    "Net": "a Net",
    "Model": "an ONNX model",
    "Program": "a Program",
    "Document": "a Document (protogen.formats.prototxt.read)",
    "Message": "a NetParameter",
    "Log": "a Log",
    "Transform": "a Transform",
    "Preprocessing": "a Preprocessing",
    "Upsampling": "an Upsampling",
    "Settings": "Settings (protogen.lint.context)",
    "Toolchain": "a Toolchain",
    "CaffeModel": "a CaffeModel",
    "Rule": "a Rule (protogen.lint.engine.selected)",
    "Checked": "a Checked",
    "StoredWeights": "StoredWeights",
}
_OTHER_NAMES = {"Model": "ModelProto"}  # the name of the class itself
_WORDS = {
    "str": "a string",
    "Path": "a Path",
    "int": "an integer",
    "float": "a number",
    "bool": "True or False",
    "None": "None",
    "NDArray": "an array",
    "Callable": "a function",
}
_SEQUENCES = ("Sequence", "Collection", "Iterable", "list", "tuple")
_MAPPINGS = ("Mapping", "dict")
_PLURALS = {
    "str": "strings",
    "Path": "paths",
    "int": "integers",
    "float": "numbers",
    "NDArray": "arrays",
    "Rule": "rules (protogen.lint.engine.selected)",
    "Toolchain": "toolchains",
}
_MOST = 1000  # elements of a sequence or mapping that are checked
_UNKNOWN_KEYWORD = re.compile(r"got an unexpected keyword argument '(\w+)'")


def checked(function: Callable[P, R], title: str = "") -> Callable[P, R]:
    """Return the function with a check of its arguments: each must be of the type of its annotation.

    Args:
        function: the function.
        title: the name of the function that the user called; by default its own name.

    Raises:
        ArgumentError: an argument has another type, is missing, or is unknown; it is named.
    """

    name_of_call = title or function.__name__

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = _bound(function, args, kwargs, name_of_call)
        for name, value, annotation in _annotated(function, bound, name_of_call):
            _check(name, value, annotation, function.__module__)
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            match = _UNKNOWN_KEYWORD.search(str(error))
            if match is None or match[1] not in kwargs or match[1] in _names(function):
                raise
            raise _unknown(name_of_call, match[1], _names(function)) from None

    return call


def _bound(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], title: str
) -> inspect.BoundArguments:
    signature = _signature(function)
    try:
        return signature.bind(*args, **kwargs)
    except TypeError as error:
        for name in kwargs:
            if name not in signature.parameters and not _takes_any(signature):
                raise _unknown(title, name, _names(function)) from None
        if (
            match := re.search(r"missing a required (?:\S+ )?argument: '(\w+)'", str(error))
        ) is None:
            raise ArgumentError(str(error), subject=f"{title}()") from None
        raise ArgumentError(
            f"{title}() needs this argument, and it is missing", subject=match[1]
        ) from None


@cache
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


def _takes_any(signature: inspect.Signature) -> bool:
    return any(one.kind is one.VAR_KEYWORD for one in signature.parameters.values())


def _options(function: Callable[..., Any]) -> dict[str, str] | None:
    """Return the annotations of the options behind ``**options: Unpack[Options]``; None if there are no
    such options, or if they are not listed."""
    for one in _signature(function).parameters.values():
        if one.kind is one.VAR_KEYWORD:
            match = re.fullmatch(r"Unpack\[(\w+)\]", str(one.annotation))
            options = function.__globals__.get(match[1]) if match else None
            if options is None:
                return None
            return {
                name: getattr(value, "__forward_arg__", str(value))
                for name, value in options.__annotations__.items()
            }
    return None


def _names(function: Callable[..., Any]) -> list[str]:
    """Return the names of all arguments that are listed."""
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    own = [x.name for x in _signature(function).parameters.values() if x.kind not in kinds]
    return [*own, *(_options(function) or ())]


def _unknown(title: str, name: str, known: Iterable[str]) -> ArgumentError:
    return ArgumentError(
        f"{title}() has no argument of this name",
        subject=name,
        advice=did_you_mean(name, known),
    )


def _annotated(
    function: Callable[..., Any], bound: inspect.BoundArguments, title: str
) -> Iterator[tuple[str, Any, str]]:
    """Yield name, value and annotation of each argument.

    Raises:
        ArgumentError: the options list their names, and an argument is not among them.
    """
    options = _options(function)
    for name, value in bound.arguments.items():
        parameter = _signature(function).parameters[name]
        if parameter.kind is parameter.VAR_KEYWORD:
            for key, option in value.items() if options is not None else ():
                if options is None or key not in options:
                    raise _unknown(title, key, _names(function))
                yield key, option, options[key]
        elif parameter.kind is not parameter.VAR_POSITIONAL and isinstance(
            parameter.annotation, str
        ):
            yield name, value, parameter.annotation


@cache
def _parsed(annotation: str) -> ast.expr:
    return ast.parse(annotation, mode="eval").body


def _check(name: str, value: Any, annotation: str, module: str) -> None:
    """Raise ArgumentError if a value is not of the type of an annotation."""
    choices = list(_choices(_parsed(annotation), module))
    matching = [one for one in choices if _matches(value, one)]
    if not matching:
        raise ArgumentError(
            f"expected {_in_words(choices)}, got {_described(value)}",
            subject=name,
            advice=_advice(value, choices),
        )
    if len(matching) == 1:
        _check_elements(name, value, matching[0], module)


def _choices(node: ast.expr, module: str) -> Iterator[ast.expr]:
    """Yield the alternatives of ``A | B | None``, without aliases."""
    if isinstance(node, ast.BinOp):
        yield from _choices(node.left, module)
        yield from _choices(node.right, module)
        return
    head = _head(node)
    alias = _ALIASES.get(f"{module}.{head}", _ALIASES.get(head))
    if alias is None:
        yield node
    else:
        yield from _choices(_parsed(alias), module)


def _head(node: ast.expr) -> str:
    """Return the name of a type without its arguments: ``Sequence`` for ``Sequence[str]``."""
    if isinstance(node, ast.Subscript):
        return _head(node.value)
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Constant):
        return str(node.value)
    return node.id if isinstance(node, ast.Name) else ""


def _arguments(node: ast.expr) -> list[ast.expr]:
    if not isinstance(node, ast.Subscript):
        return []
    return list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]


def _matches(value: Any, node: ast.expr) -> bool:
    head = _head(node)
    if head in _SEQUENCES:
        return isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping))
    if head in _MAPPINGS:
        return hasattr(value, "keys") and hasattr(value, "__getitem__")
    match head:
        case "str":
            return isinstance(value, str)
        case "Path":
            return isinstance(value, os.PathLike)
        case "None":
            return value is None
        case "int":
            return isinstance(value, Integral)
        case "float":
            return isinstance(value, Real)
        case "bool":
            return isinstance(value, int) or type(value).__name__ in ("bool_", "bool")
        case "NDArray":
            return isinstance(value, (list, tuple)) or hasattr(value, "shape")
        case "Callable":
            return callable(value)
    if head in _CLASSES:
        name = _OTHER_NAMES.get(head, head)
        return any(one.__name__ == name for one in type(value).__mro__)
    return True  # a type that is not known here


def _check_elements(name: str, value: Any, node: ast.expr, module: str) -> None:
    """Check the elements of a list or tuple, or the values of a dictionary."""
    head, arguments = _head(node), _arguments(node)
    if head in _MAPPINGS and len(arguments) == 2 and isinstance(value, dict):
        annotation = ast.unparse(arguments[1])
        for key, element in list(value.items())[:_MOST]:
            _check(f"{name}[{key!r}]", element, annotation, module)
    elif head in _SEQUENCES and arguments and isinstance(value, (list, tuple)):
        annotation = ast.unparse(arguments[0])
        for index, element in enumerate(value[:_MOST]):
            _check(f"{name}[{index}]", element, annotation, module)


def _in_words(choices: list[ast.expr]) -> str:
    words = list(dict.fromkeys(_word(one) for one in choices))
    last = words.pop()
    return f"{', '.join(words)} or {last}" if words else last


def _word(node: ast.expr) -> str:
    head, arguments = _head(node), _arguments(node)
    if head in _SEQUENCES:
        return f"a sequence of {_plural(arguments[0])}" if arguments else "a tuple"
    if head in _MAPPINGS:
        return f"a mapping of names to {_plural(arguments[1])}" if arguments else "a mapping"
    return _WORDS.get(head) or _CLASSES.get(head, head)


def _plural(node: ast.expr) -> str:
    heads = [_head(one) for one in _choices(node, "")]
    if heads[0] in _SEQUENCES:
        return "sequences"
    return " or ".join(dict.fromkeys(_PLURALS.get(head, head) for head in heads))


def _described(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, str):
        return f"the string {value if len(value) <= 40 else value[:37] + '...'!r}"
    if isinstance(value, Real):
        return f"the number {value}"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' or name == 'ndarray' else 'a'} {name}"


def _advice(value: Any, choices: list[ast.expr]) -> str:
    heads = [_head(one) for one in choices]
    elements = [_head(one) for choice in choices for one in _arguments(choice)]
    if isinstance(value, str):
        if "Net" in heads:
            return "Read the file first: pg.load(path)."
        if any(head in _SEQUENCES for head in heads) and "str" in elements:
            return f"Write [{value!r}]."
    if "Path" in heads and any(one.__name__ == "Net" for one in type(value).__mro__):
        return "Give the path of the file."
    return ""
