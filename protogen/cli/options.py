"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from protogen.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from protogen.net.rules import State


def _add_protos(_: click.Context, __: click.Parameter, paths: tuple[str, ...]) -> None:
    if paths:
        from protogen.formats.schema.extension import add_proto

        for path in paths:
            add_proto(path)


proto = click.option(
    "--proto",
    multiple=True,
    metavar="FILE",
    is_eager=True,
    expose_value=False,
    callback=_add_protos,
    help="A vendor's .proto (or descriptor set), added by name; may repeat.",
)
plugin = click.option(
    "--plugin",
    multiple=True,
    metavar="FILE.py",
    is_eager=True,
    expose_value=False,
    callback=lambda _, __, paths: _run_plugins(paths),
    help="Run a file of yours that registers layers with pg.layer; may repeat.",
)
identity = click.option(
    "--layer-as-identity",
    "identities",
    multiple=True,
    metavar="NAME|TYPE",
    help="A layer that hands on its first bottom, whatever it is; may repeat.",
)
ignored_fields = click.option(
    "--ignore-field",
    "ignored_fields",
    multiple=True,
    metavar="BLOCK.FIELD",
    help="A field that is set and not read, and changes nothing, as you know; may repeat.",
)
dialect = click.option(
    "--dialect",
    default="",
    metavar="NAME",
    help="The fork that the net was written for: ssd, yolo, segnet, ...",
)


def phase(default: str | None, note: str = "") -> Callable[[Any], Any]:
    """``--phase``; ``note`` says what counts where there is no default."""
    return click.option(
        "--phase",
        type=click.Choice(["TRAIN", "TEST"]),
        default=default,
        show_default=default is not None,
        help=f"Which layers take part{note}.",
    )


def state(default: str) -> Callable[[Any], Any]:
    """What decides which layers take part: ``--phase``, ``--level`` and ``--stage``."""

    def put(function: Any) -> Any:
        for option in (
            click.option(
                "--stage", "stages", multiple=True, metavar="NAME",
                help="A stage that include and exclude rules name; may repeat.",
            ),
            click.option(
                "--level", type=int, default=0, show_default=True,
                help="What min_level and max_level are compared with.",
            ),
            phase(default),
        ):  # fmt: skip
            function = option(function)
        return function

    return put


def state_of(given: dict[str, Any]) -> State:
    """Phase, level and stages, taken out of what a command was given."""
    return {"phase": given.pop("phase"), "level": given.pop("level"), "stages": given.pop("stages")}


inputs = click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="BLOB=N,C,H,W",
    help="A blob's shape, for nets with data layers. May repeat.",
)
seed = click.option("--seed", type=click.IntRange(0), default=0, show_default=True)


def _run_plugins(paths: tuple[str, ...]) -> None:
    """Runs files that the user names; nothing in a net can name one."""
    if paths:
        from protogen.layers.plugins import run_plugin

        for path in paths:
            run_plugin(path)


def parse_inputs(given: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """``BLOB=1,3,224,224`` as a name and a shape.

    Raises:
        InputError: the text has another form.
    """
    made = {}
    for text in given:
        name, equals, dims = text.rpartition("=")
        lengths = dims.split(",")
        if not name or not equals or not all(n.isascii() and n.isdigit() for n in lengths):
            raise InputError(
                f"{text!r} is no BLOB=N,C,H,W",
                subject="--input",
                advice="Write it like data=1,3,224,224.",
            )
        made[name] = tuple(map(int, lengths))
    return made


def numbers(given: str, option: str) -> tuple[float, ...]:
    """``104,117,123`` as numbers.

    Raises:
        InputError: the text is no such list.
    """
    try:
        return tuple(float(word) for word in given.split(","))
    except ValueError:
        raise InputError(
            f"{given!r} is no list of numbers", subject=option, advice="Write 104,117,123."
        ) from None


def named_files(given: tuple[str, ...]) -> list[tuple[str, str]]:
    """``BLOB=FILE`` as (BLOB, FILE); an empty BLOB where there is none."""
    made = []
    for text in given:
        name, equals, path = text.partition("=")
        made.append((name, path) if equals else ("", text))
    return made


def arrays(given: tuple[str, ...]) -> dict[str, Any] | None:
    """Arrays by blob of ``[BLOB=]FILE.npy`` or ``FILE.npz``; None where nothing is given.

    Raises:
        InputError: a file is no array file, or an .npy has no blob's name.
    """
    from protogen.formats.arrayfiles import read_arrays

    made: dict[str, Any] = {}
    for name, path in named_files(given):
        found = read_arrays(path)
        for key, array in found.items():
            if not (name or key):
                raise InputError("which input is it?", where=path, advice=f"Write BLOB={path}.")
            made[name or key] = array
    return made or None


def only(names: Sequence[str]) -> str:
    """The one input of a net.

    Raises:
        InputError: it has none, or several.
    """
    if len(names) != 1:
        raise InputError(
            f"the net has {len(names)} inputs ({', '.join(names) or 'none'})",
            subject="--input",
            advice="Name one: --input BLOB=...",
        )
    return names[0]


def known(name: str, names: Sequence[str]) -> None:
    """Raises InputError where the net has no such input."""
    if name not in names:
        problem = f"the net has no such input (inputs: {', '.join(names) or 'none'})"
        raise InputError(problem, subject=f'"{name}"', advice=did_you_mean(name, names))


def one_input(names: Sequence[str], text: str) -> dict[str, tuple[int, ...]]:
    """``N,C,H,W`` for the only input, or ``BLOB=N,C,H,W``."""
    return parse_inputs((text if "=" in text else f"{only(names)}={text}",))


def picture_form(path: str) -> Any:
    """``png`` or ``svg`` of a picture's name.

    Raises:
        InputError: it has another ending.
    """
    suffix = path.rpartition(".")[2].lower()
    if suffix not in ("png", "svg"):
        raise InputError(
            "is no picture by its ending", where=path, advice="Name a .png or .svg file."
        )
    return suffix


def fillers(text: str) -> list[str]:
    """``gaussian:0.01,xavier,uniform:-1,1`` as a list of fillers: numbers belong to the one before.

    Raises:
        InputError: one is not known.
    """
    from protogen.layers.fillers import parse_filler

    found: list[str] = []
    for word in filter(None, text.split(",")):
        if (found and not word[0].isalpha()) or (found and "=" in word.partition(":")[0]):
            found[-1] += f",{word}"
        else:
            found.append(word)
    for one in found:
        if one not in ("net", "recommended"):
            parse_filler(one)
    return found
