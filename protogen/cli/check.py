"""``protogen check``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from protogen.cli import completions, filetypes, options, output
from protogen.errors import InputError, ProtogenError, quantity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from protogen.lint.context import Settings
    from protogen.lint.engine import Checked

TARGET_RULES = ("PG401", "PG405")
_NETS = ".prototxt"
_WEIGHTS = ".caffemodel"
_FORMATS = ("text", "json", "github", "sarif")


def _codes(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word.strip() for text in texts for word in text.split(",") if word.strip())


@click.command("check")
@options.proto
@options.plugin
@click.argument("paths", nargs=-1, required=True, type=filetypes.INPUT, metavar="FILE|DIR...")
@click.option(
    "--select",
    multiple=True,
    shell_complete=completions.several_rules,
    metavar="CODE,...",
    help="Run only these rules, or ALL.",
)
@click.option(
    "--ignore",
    multiple=True,
    shell_complete=completions.several_rules,
    metavar="CODE,...",
    help="Do not run these rules.",
)
@options.dialect
@options.target
@click.option("--exact", is_flag=True, help="Report upsampling that is inexact at the border.")
@options.input_shapes
@click.option("--fix", is_flag=True, help="Apply safe fixes: the net computes the same.")
@click.option("--unsafe-fixes", is_flag=True, help="Apply all fixes. Review the changes.")
@click.option(
    "--untrusted",
    is_flag=True,
    help="Look for dangers in an untrusted net: FILE.prototxt [FILE.caffemodel].",
)
@click.option("--opencv5", is_flag=True, help="Find code in DIR that OpenCV 5 breaks.")
@click.option(
    "--format",
    "form",
    type=click.Choice(_FORMATS),
    default="text",
    show_default=True,
    help="Format of the findings.",
)
@options.as_json
@click.pass_context
def command(ctx: click.Context, /, paths: tuple[str, ...], **flags: Any) -> None:
    """Find mistakes in nets: the linter for prototxt.

    Each rule has a code; protogen rule lists them. The comment "# protogen: ignore[PG301]" turns a
    rule off for its line, or for the layer that begins on that line; "# protogen:
    ignore-file[PG3]" turns rules off for the file. Project settings are read from [check] in
    protogen.toml or from [tool.protogen.check] in pyproject.toml. The exit code is 1 if there are
    findings. A caffemodel after a net is its weights; the two must have been written together.

    --untrusted runs other rules, and ignores comments and project settings: Python layers that run
    code, layers that are hidden by phase rules, paths that leave the folder, very large sizes,
    weights that do not match the net or contain NaN. Nothing is run.

    --target says of each layer whether the toolchain takes it, refuses it, computes something else
    without a message (wrong), or ignores a field, or that no source says (unknown). protogen
    targets lists the toolchains. Only the rules about targets run, unless --select names others;
    the exit code is 1 if a layer is refused or wrong. Give the caffemodel where there is one: some
    toolchains read parameters there.

    --opencv5 searches source code (Python, C++, C#, Java, JavaScript, ...) for calls that read Caffe
    nets, which OpenCV 5 cannot do any more, and prints replacement code. Nothing is changed or run.

    \b
    Examples:
      protogen check train_val.prototxt
      protogen check nets/ --select PG2,PG3 --format github
      protogen check deploy.prototxt net.caffemodel --target rknn2
      protogen check net.prototxt --fix
      protogen check --untrusted deploy.prototxt net.caffemodel
      protogen check --opencv5 src
    """
    form = _format(flags.pop("as_json"), flags.pop("form"))
    untrusted, opencv5 = flags.pop("untrusted"), flags.pop("opencv5")
    if untrusted or opencv5:
        _refuse_others(flags, "--untrusted" if untrusted else "--opencv5")
    if untrusted and opencv5:
        raise InputError("--untrusted and --opencv5 exclude each other", advice="Keep one.")
    if opencv5:
        from protogen.cli.opencv5 import examine

        findings = examine(paths, form)
    else:
        if flags["toolchain"]:
            flags["select"] = flags["select"] or TARGET_RULES
        files, fixed = _untrusted(paths) if untrusted else _checked(paths, flags)
        findings = _show(files, fixed, form, bool(flags["toolchain"]) and not untrusted)
    if findings:
        ctx.exit(1)


def _format(as_json: bool, form: str) -> str:
    if as_json and form not in ("text", "json"):
        raise InputError(f"--json and --format {form} exclude each other", advice="Keep one.")
    return "json" if as_json else form


def _refuse_others(flags: dict[str, Any], mode: str) -> None:
    """Refuse options that have no meaning together with ``mode``."""
    for key, value in flags.items():
        if value:
            names = {"input_shapes": "input-shape", "toolchain": "target"}
            flag = names.get(key, key).replace("_", "-")
            raise InputError(f"--{flag} and {mode} exclude each other", advice="Keep one.")


def _checked(paths: Sequence[str], flags: dict[str, Any]) -> tuple[list[Checked], int]:
    """The files with their findings, and the number of fixes that were applied."""
    from protogen.formats import files
    from protogen.lint.engine import check_file, selected

    checked: list[Checked] = []
    fixed = 0
    for path, weights in _pairs(paths):
        settings = _configured(path, flags)
        file = check_file(
            path,
            selected(settings["select"], settings["ignore"]),
            _settings(settings, path, flags["input_shapes"]),
            caffemodel=weights,
            fix=flags["fix"],
            unsafe_fixes=flags["unsafe_fixes"],
        )
        if file.fixed is not None:
            with files.replacing(path) as stream:
                stream.write(file.encode())
            fixed += file.count_fixed
        checked.append(file)
    return checked, fixed


def _untrusted(paths: Sequence[str]) -> tuple[list[Checked], int]:
    """The findings of the rules for untrusted files."""
    from protogen.lint.engine import check_file, selected

    rules = selected(untrusted=True)
    pairs = _pairs(paths)
    return [check_file(net, rules, caffemodel=weights, trusted=False) for net, weights in pairs], 0


def _pairs(paths: Sequence[str]) -> list[tuple[str, str | None]]:
    """Return each net with its weights; weights belong to the net before them."""
    pairs: list[tuple[str, str | None]] = []
    for path in paths:
        if path.endswith(_WEIGHTS):
            if not pairs or pairs[-1][1] is not None:
                raise InputError(
                    "weights must come after their prototxt",
                    where=path,
                    advice=f"Write protogen check NET.prototxt {path}.",
                )
            pairs[-1] = (pairs[-1][0], path)
        else:
            pairs += [(file, None) for file in _files([path])]
    return pairs


def _show(checked: Sequence[Checked], fixed: int, form: str, with_target: bool) -> int:
    """Print the findings and return how many there are."""
    from protogen.cli import target_table
    from protogen.lint import formats

    count = sum(len(file.diagnostics) for file in checked)
    if form == "json":
        more = {"targets": target_table.plain(checked)} if with_target else {}
        output.print_json("check", findings=formats.plain(checked), **more)
        return count
    if with_target and form == "text":
        others = target_table.show(checked)
        click.echo(formats.written(others, form), nl=False)
        return count
    click.echo(formats.written(checked, form), nl=False)
    if form == "text":
        _note_forks(checked)
        output.note(_totals(checked, count, fixed))
    return count


def _note_forks(checked: Sequence[Checked]) -> None:
    """Say which dialects the nets with layers of forks can be of."""
    from protogen.net.forks import in_a_sentence

    for file in checked:
        if file.forks is not None:
            output.note(output.printable(f"{file.filename}: {in_a_sentence(file.forks)}."))


def _totals(checked: Sequence[Checked], count: int, fixed: int) -> str:
    text = f"{quantity(len(checked), 'file')}: "
    text += f"{fixed} fixed, " if fixed else ""
    text += quantity(count, "finding") if count else "no findings"
    fixes = [one.fix.safe for file in checked for one in file.diagnostics if one.fix]
    for option, number in (
        ("--fix [*]", fixes.count(True)),
        ("--unsafe-fixes [-]", fixes.count(False)),
    ):
        text += f", {number} fixable with {option}" if number else ""
    return text


def _files(paths: Sequence[str]) -> Iterator[str]:
    """The named files, and the .prototxt files in the named folders."""
    for path in paths:
        if Path(path).is_dir():
            inside = sorted(str(file) for file in Path(path).rglob(f"*{_NETS}"))
            if not inside:
                raise InputError(f"the folder contains no {_NETS} files", where=path)
            yield from inside
        else:
            yield path


def _configured(path: str, flags: dict[str, Any]) -> dict[str, Any]:
    """The command's options, or the project's settings where an option is missing."""
    from protogen.lint.configuration import find

    project = find(Path(path).parent)
    return {
        "select": _codes(flags["select"]) or project.select,
        "ignore": (*project.ignore, *_codes(flags["ignore"])),
        "dialect": flags["dialect"] or project.dialect,
        "target": flags["toolchain"] or project.target,
        "exact": flags["exact"] or project.exact,
    }


def _settings(settings: dict[str, Any], path: str, input_shapes: tuple[str, ...]) -> Settings:
    from protogen.lint.context import Settings
    from protogen.toolchains.dialects import forks_of
    from protogen.toolchains.toolchain import load_toolchain

    if settings["dialect"]:
        forks_of(settings["dialect"])
    return Settings(
        dialect=settings["dialect"],
        target=load_toolchain(settings["target"]) if settings["target"] else None,
        exact=settings["exact"],
        input_shapes=_shapes(path, input_shapes),
    )


def _shapes(path: str, texts: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    if any("=" not in text for text in texts):
        try:
            return options.shapes_for(path, texts)
        except ProtogenError as error:
            if error.diagnostic.subject == "--input-shape":
                raise
            return {}  # the net cannot be built: the rules report why
    return options.shapes(texts, tuple)
