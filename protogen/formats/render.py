"""Renders templates to prototxt, in a sandbox that prevents injection of fields.

Every value that a template prints is converted to prototxt by its type: strings are quoted and
escaped, numbers and booleans become literals. The conversion is automatic, so a name with quotes,
braces or line ends can never add a field.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import (
    Environment,
    FileSystemBytecodeCache,
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
from protogen.formats import files
from protogen.formats.message import Name
from protogen.formats.prototxt.writer import scalar

SUFFIX = ".prototxt.j2"

LONGEST_CONDITION = 500  # characters
# Comparisons, fields of words such as param.axis, and arithmetic with numbers. No operation whose
# result can grow without limit.
_ALLOWED = (
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
    nodes.Getattr,
)

# Exceptions that an expression of a template can raise besides Jinja's own errors.
# SyntaxError and NameError come from the Python code that Jinja generates for unusual names.
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
    """Return the folder of protogen's templates: in the package, or next to it in a checkout."""
    package = Path(__file__).parent.parent
    inside = package / "templates"
    return inside if inside.is_dir() else package.parent / "templates"


def names(directory: str | Path | None = None) -> Iterator[tuple[str, Path]]:
    """Yield name and file of every template. User templates replace protogen's by name."""
    paths = {path.name.removesuffix(SUFFIX): path for path in own_templates().glob(f"*{SUFFIX}")}
    if directory is not None:
        _check_directory(directory)
        own = Path(directory).glob(f"*{SUFFIX}")
        paths |= {path.name.removesuffix(SUFFIX): path for path in own}
    yield from sorted(paths.items())


def render(
    name: str,
    values: Mapping[str, Any],
    *,
    directory: str | Path | None = None,
    file: str | Path | None = None,
) -> str:
    """Return the text of template ``name``.

    Args:
        values: the variables of the template; use of a missing one is an error.
        directory: a folder of user templates, which replace protogen's by name.
        file: a template file to use instead of ``name``; it may include the other templates.

    Raises:
        InputError: the template is missing or invalid (with file and line), or a user template
            exceeds the limits of time, memory or text.
    """
    if directory is not None:
        _check_directory(directory)
    if directory is None and file is None:
        return _render(name, values, None, None)
    from protogen.formats.confined import confined

    # A user template is an untrusted program.
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
        raise _invalid(where, error.message or "cannot be read") from None
    except TemplateNotFound as error:
        raise _invalid(str(file or name), f"unknown template {error.name}") from None
    except (TemplateError, *_FAULTS) as error:
        raise _invalid(_line(error, file, name), str(error) or type(error).__name__) from None


def condition(text: str) -> Callable[[Mapping[str, Any]], bool]:
    """Return a condition such as ``kernel <= 7 and stride in [2, 4]`` as a function of its
    variables.

    Raises:
        InputError: the text is not a valid condition; or, from the function, a variable is unknown.
    """
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
    environment.globals.clear()
    environment.filters.clear()
    shown = text[:LONGEST_CONDITION]
    try:
        if len(text) > LONGEST_CONDITION:
            raise TemplateSyntaxError(f"it is longer than {LONGEST_CONDITION} characters", 1)
        for node in environment.parse("{{" + text + "}}").find_all(nodes.Expr):
            hidden = isinstance(node, nodes.Getattr) and node.attr.startswith("_")
            if not isinstance(node, _ALLOWED) or _grows(node) or hidden:
                raise TemplateSyntaxError(f"{type(node).__name__} is not allowed", 1)
        expression = environment.compile_expression(text, undefined_to_none=False)
    except TemplateError as error:
        raise InputError(f"invalid condition {shown!r}: {error.message}") from None
    except _FAULTS as error:
        raise InputError(f"invalid condition {shown!r}: {error}") from None

    def holds(variables: Mapping[str, Any]) -> bool:
        try:
            return bool(expression(variables))
        except (TemplateError, *_FAULTS) as error:
            known = ", ".join(sorted(variables))
            raise InputError(
                f"the condition {text!r} cannot be evaluated: {error}",
                advice=f"A condition may use {known}.",
            ) from None

    return holds


class _Loader(FileSystemLoader):
    """Loader of templates in its folders. It does not follow links that lead out of them."""

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Any]:
        source = super().get_source(environment, template)
        real = Path(os.path.realpath(source[1]))
        if not any(real.is_relative_to(os.path.realpath(folder)) for folder in self.searchpath):
            raise TemplateNotFound(template)
        return source


def _grows(node: nodes.Expr) -> bool:
    """Return whether arithmetic has a text or a list as an operand; its result can be long."""
    if not isinstance(node, nodes.Add | nodes.Sub | nodes.Mul | nodes.Mod | nodes.FloorDiv):
        return False
    return any(
        isinstance(one, nodes.List | nodes.Tuple)
        or (isinstance(one, nodes.Const) and isinstance(one.value, str))
        for one in (node.left, node.right)
    )


@cache  # the environment caches compiled templates; it reloads a file that changed
def _environment(folders: tuple[str, ...]) -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        loader=_Loader(folders),
        bytecode_cache=_compiled(folders),
        undefined=StrictUndefined,
        finalize=_finalize,
        # Macros and includes return text that is prototxt already: Markup marks it.
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


def _compiled(folders: tuple[str, ...]) -> FileSystemBytecodeCache | None:
    """Return the store of compiled templates: ``__pycache__`` beside protogen's own templates, as Python
    has for its modules. Who can write there can write the templates too. User templates have none."""
    own = str(own_templates())
    if folders != (own,) or sys.dont_write_bytecode or not os.access(own, os.W_OK):
        return None
    store = os.path.join(own, "__pycache__")
    try:
        os.makedirs(store, exist_ok=True)
    except OSError:
        return None
    return FileSystemBytecodeCache(store, f"%s.{sys.implementation.cache_tag}.cache")


@pass_context  # prevents a call at compile time, where Jinja would escape constants as HTML first
def _finalize(_: object, value: Any) -> Any:
    """Return the text that ``{{ value }}`` prints."""
    if isinstance(value, (Markup, StrictUndefined)):
        return value
    if isinstance(value, (bool, int, float, str, bytes)):
        return Markup(scalar(value))
    raise TypeError(f"{value!r} cannot be written as a prototxt value")


def _enum(value: str) -> Name:
    """Filter: a word without quotes, the form of enum values."""
    if not value.isidentifier() or not value.isascii():
        raise ValueError(f"{value!r} is not a valid enum value")
    return Name(value)


def _comment(value: str) -> Markup:
    """Filter: a text of any content as a comment."""
    return Markup("\n".join(f"# {line}".rstrip() for line in value.splitlines()))


def _read(file: str | Path) -> str:
    try:
        with files.opened(file) as opened:
            return opened.read().decode("utf-8")
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
    except UnicodeDecodeError:
        problem = "is not UTF-8 text"
    raise InputError(problem, where=str(file), advice="Give a template file.")


def _check_directory(directory: str | Path) -> None:
    if not Path(directory).is_dir():
        raise InputError(
            "is not a folder", where=str(directory), advice="Give a folder with templates."
        )


def _invalid(where: str, problem: str) -> InputError:
    return InputError(f"invalid template: {problem}", where=where)


def _line(error: BaseException, file: str | Path | None, name: str) -> str:
    """Return file and line of an error. Jinja maps its stack frames to template lines: the last
    such frame is the place of the error."""
    import traceback

    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename == str(file) or frame.filename.endswith(SUFFIX):
            return f"{frame.filename}:{frame.lineno}"
    return str(file or name)
