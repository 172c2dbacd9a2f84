"""Templates to prototxt text, in a sandbox where no value can escape its place.

Every value that a template prints becomes prototxt of its own type: a string is quoted and
escaped, a number is a number, a truth value true or false. A template cannot forget it, so a name
with quotes, braces or line ends can never add a field.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import (
    Environment,
    FileSystemLoader,
    StrictUndefined,
    TemplateError,
    TemplateSyntaxError,
    nodes,
    pass_context,
)
from jinja2.exceptions import TemplateNotFound
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from protogen import geometry
from protogen.errors import InputError
from protogen.formats import prototxt
from protogen.formats.confined import confined
from protogen.formats.message import Name

SUFFIX = ".prototxt.j2"

LONGEST_CONDITION = 500  # characters
# Comparisons and sums of whole numbers: nothing that can grow without end.
_SAYABLE = (
    nodes.Compare,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Const,
    nodes.Name,
    nodes.List,
    nodes.Tuple,
    nodes.Add,
    nodes.Sub,
    nodes.Mul,
    nodes.Mod,
    nodes.FloorDiv,
    nodes.Neg,
    nodes.Pos,
)

# What an expression of a template can raise besides Jinja's own errors.
# SyntaxError and NameError: of the Python that Jinja makes of odd names.
_FAULTS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    NameError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
)


@cache
def own_templates() -> Path:
    """The folder of protogen's own templates: in the package, or beside it in a checkout."""
    package = Path(__file__).parent.parent
    inside = package / "templates"
    return inside if inside.is_dir() else package.parent / "templates"


def names(directory: str | Path | None = None) -> Iterator[tuple[str, Path]]:
    """Name and file of every template, a user's own in place of ours."""
    found = {path.name.removesuffix(SUFFIX): path for path in own_templates().glob(f"*{SUFFIX}")}
    if directory is not None:
        _check_directory(directory)
        own = Path(directory).glob(f"*{SUFFIX}")
        found |= {path.name.removesuffix(SUFFIX): path for path in own}
    yield from sorted(found.items())


def render(
    name: str,
    values: Mapping[str, Any],
    *,
    directory: str | Path | None = None,
    file: str | Path | None = None,
) -> str:
    """The text of template ``name``.

    Args:
        values: what the template may use; a name that is missing is an error.
        directory: a user's own templates, which take the place of ours by name.
        file: a template file to use in place of ``name``; it may include the others.

    Raises:
        InputError: the template is missing or broken (file and line are named), or one that is
            not ours takes more time, memory or text than a net can need.
    """
    if directory is not None:
        _check_directory(directory)
    if directory is None and file is None:
        return _render(name, values, None, None)
    # A template of somebody else is a program of somebody else.
    return confined(
        _render,
        name,
        dict(values),
        directory,
        file,
        what="the template",
        where=str(file or directory),
    )


def _render(
    name: str, values: Mapping[str, Any], directory: str | Path | None, file: str | Path | None
) -> str:
    """``render`` in this process."""
    folders = (str(own_templates()),)
    environment = _environment(folders if directory is None else (str(directory), *folders))
    try:
        if file is not None:
            template = environment.from_string(_read(file))
            template.filename = str(file)
        else:
            template = environment.get_template(name + SUFFIX)
        return template.render(values)
    except TemplateSyntaxError as error:
        where = f"{error.filename or file or name}:{error.lineno}"
        raise _broken(where, error.message or "cannot be read") from None
    except TemplateNotFound as error:
        raise _broken(str(file or name), f"there is no template named {error.name}") from None
    except (TemplateError, *_FAULTS) as error:
        raise _broken(_line(error, file, name), str(error) or type(error).__name__) from None


def condition(text: str) -> Callable[[Mapping[str, Any]], bool]:
    """A condition such as ``kernel <= 7 and stride in [2, 4]`` as a function of its words.

    Raises:
        InputError: it is no expression; or, from the function, a word is not known.
    """
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
    environment.globals.clear()
    environment.filters.clear()
    shown = text[:LONGEST_CONDITION]
    try:
        if len(text) > LONGEST_CONDITION:
            raise TemplateSyntaxError(f"it is longer than {LONGEST_CONDITION} characters", 1)
        for node in environment.parse("{{" + text + "}}").find_all(nodes.Expr):
            if not isinstance(node, _SAYABLE) or _is_text(node):
                raise TemplateSyntaxError(f"{type(node).__name__} has no place in it", 1)
        expression = environment.compile_expression(text, undefined_to_none=False)
    except TemplateError as error:
        raise InputError(f"{shown!r} is no condition: {error.message}") from None
    except _FAULTS as error:
        raise InputError(f"{shown!r} is no condition: {error}") from None

    def holds(words: Mapping[str, Any]) -> bool:
        try:
            return bool(expression(words))
        except (TemplateError, *_FAULTS) as error:
            known = ", ".join(sorted(words))
            raise InputError(
                f"{text!r} cannot be decided: {error}", advice=f"It may use {known}."
            ) from None

    return holds


class _Loader(FileSystemLoader):
    """Reads templates of its folders only: a link that leads out of them is not there."""

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Any]:
        found = super().get_source(environment, template)
        real = Path(os.path.realpath(found[1]))
        if not any(real.is_relative_to(os.path.realpath(folder)) for folder in self.searchpath):
            raise TemplateNotFound(template)
        return found


def _is_text(node: nodes.Expr) -> bool:
    return isinstance(node, nodes.Const) and isinstance(node.value, str)


@cache  # compiled templates are kept; a file that changed is read again
def _environment(folders: tuple[str, ...]) -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        loader=_Loader(folders),
        undefined=StrictUndefined,
        finalize=_finalize,
        # Macros and includes return text that is prototxt already; only then is it Markup.
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    del environment.filters["safe"]
    environment.filters["enum"] = _enum
    environment.filters["comment"] = _comment
    for formula in (
        geometry.upsample_kernel,
        geometry.upsample_stride,
        geometry.upsample_pad,
        geometry.conv_out,
        geometry.deconv_out,
    ):
        environment.filters[formula.__name__] = formula
    return environment


@pass_context  # never at compile time: there Jinja would escape constants as HTML first
def _finalize(_: object, value: Any) -> Any:
    """What ``{{ value }}`` prints."""
    if isinstance(value, (Markup, StrictUndefined)):
        return value
    if isinstance(value, (bool, int, float, str, bytes)):
        return Markup(prototxt.scalar(value))
    raise TypeError(f"{value!r} cannot be written as a prototxt value")


def _enum(value: str) -> Name:
    """Filter: a word without quotes, as enums' values are written."""
    if not value.isidentifier() or not value.isascii():
        raise ValueError(f"{value!r} is no enum's value")
    return Name(value)


def _comment(value: str) -> Markup:
    """Filter: a text as a comment, whatever it holds."""
    return Markup("\n".join(f"# {line}".rstrip() for line in value.splitlines()))


def _read(file: str | Path) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
    except UnicodeDecodeError:
        problem = "is not UTF-8 text"
    raise InputError(problem, where=str(file), advice="Name a template file.")


def _check_directory(directory: str | Path) -> None:
    if not Path(directory).is_dir():
        raise InputError(
            "is no folder", where=str(directory), advice="Name a folder with templates."
        )


def _broken(where: str, problem: str) -> InputError:
    return InputError(f"the template is broken: {problem}", where=where)


def _line(error: BaseException, file: str | Path | None, name: str) -> str:
    """Jinja maps its frames to template lines: the last such frame is where it broke."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename == str(file) or frame.filename.endswith(SUFFIX):
            return f"{frame.filename}:{frame.lineno}"
    return str(file or name)
