"""``protogen check``, ``protogen audit`` and ``protogen rule``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from protogen.cli import options
from protogen.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from protogen.lint.engine import Checked

_ENDING = ".prototxt"
_FORMATS = ("text", "json", "github", "sarif")
_format = click.option(
    "--format", "form", type=click.Choice(_FORMATS), default="text", show_default=True
)


def _codes(given: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word.strip() for text in given for word in text.split(",") if word.strip())


@click.command("check")
@options.proto
@options.plugin
@click.argument("paths", nargs=-1, required=True, metavar="FILE|DIR...")
@click.option("--select", multiple=True, metavar="CODE,...", help="Only these rules; ALL for all.")
@click.option("--ignore", multiple=True, metavar="CODE,...", help="Not these.")
@click.option("--dialect", metavar="NAME", help="Whose layers there are: bvlc, ssd, ...")
@click.option("--target", metavar="NAME|FILE.toml", help="The limits of a toolchain.")
@click.option("--exact", is_flag=True, help="Exact interpolation is wanted, at the border too.")
@options.inputs
@click.option(
    "--fix", is_flag=True, help="Apply safe fixes: they leave what the net computes as it is."
)
@click.option("--unsafe-fixes", is_flag=True, help="Apply all fixes: look at what they change.")
@_format
@click.pass_context
def check(ctx: click.Context, /, paths: tuple[str, ...], **given: Any) -> None:
    """Look for what is wrong in nets: the linter for prototxt.

    Rules have codes (protogen rule lists them). "# protogen: ignore[PG301]" leaves one out on its
    line, or in the layer that opens on it; "# protogen: ignore-file[PG3]" in the file. What holds for
    a project stands in protogen.toml under [check], or in pyproject.toml under
    [tool.protogen.check]. Exits 1 where something is left.

    \b
    Examples:
      protogen check train_val.prototxt
      protogen check nets/ --select PG2,PG3 --format github
      protogen check deploy.prototxt --target horizon-x3 --dialect bvlc
      protogen check net.prototxt --fix
    """
    from protogen.formats import files
    from protogen.lint import formats
    from protogen.lint.engine import check_file, selected

    found: list[Checked] = []
    fixed = 0
    for path in _files(paths):
        how = _configured(path, given)
        rules = selected(how["select"], how["ignore"])
        made = check_file(
            path,
            rules,
            _settings(how, given["inputs"]),
            fix=given["fix"],
            unsafe_fixes=given["unsafe_fixes"],
        )
        if made.fixed is not None:
            with files.replacing(path) as file:
                file.write(made.encode())
            fixed += made.count_fixed
        found.append(made)
    click.echo(formats.written(found, given["form"]), nl=False)
    left = sum(len(one.diagnostics) for one in found)
    if given["form"] == "text":
        _sum_up(found, left, fixed)
    if left:
        ctx.exit(1)


def _sum_up(found: Sequence[Checked], left: int, fixed: int) -> None:
    many = "s" if len(found) != 1 else ""
    told = f"{len(found)} file{many}: "
    told += f"{fixed} fixed, " if fixed else ""
    told += f"{left} finding{'s' if left != 1 else ''}" if left else "nothing found"
    fixes = [one.fix.safe for file in found for one in file.diagnostics if one.fix]
    for option, count in (
        ("--fix [*]", fixes.count(True)),
        ("--unsafe-fixes [-]", fixes.count(False)),
    ):
        told += f", {count} fixable with {option}" if count else ""
    click.echo(told)


def _files(paths: Sequence[str]) -> Iterator[str]:
    """Files as they are, and the .prototxt files below folders."""
    for path in paths:
        if Path(path).is_dir():
            inside = sorted(str(one) for one in Path(path).rglob(f"*{_ENDING}"))
            if not inside:
                raise InputError(f"holds no {_ENDING} files", where=path)
            yield from inside
        else:
            yield path


def _configured(path: str, given: dict[str, Any]) -> dict[str, Any]:
    """The project's options where the command line has none."""
    from protogen.lint.configuration import find

    own = find(Path(path).parent)
    return {
        "select": _codes(given["select"]) or own.select,
        "ignore": (*own.ignore, *_codes(given["ignore"])),
        "dialect": given["dialect"] or own.dialect,
        "target": given["target"] or own.target,
        "exact": given["exact"] or own.exact,
    }


def _settings(how: dict[str, Any], inputs: tuple[str, ...]) -> Any:
    from protogen.lint.context import Settings
    from protogen.toolchains.dialects import forks_of
    from protogen.toolchains.limits import load_target

    if how["dialect"]:
        forks_of(how["dialect"])
    return Settings(
        dialect=how["dialect"],
        target=load_target(how["target"]) if how["target"] else None,
        exact=how["exact"],
        input_shapes=options.parse_inputs(inputs),
    )


@click.command("audit")
@click.argument("net", metavar="NET.prototxt")
@click.argument("caffemodel", metavar="[NET.caffemodel]", required=False)
@_format
@click.pass_context
def audit(ctx: click.Context, /, net: str, caffemodel: str | None, form: str) -> None:
    """Look at files from strangers before they are loaded anywhere.

    Python layers run code, layers hide under a phase, sources lead out of their folder, sizes take all
    memory, weights do not belong to the net or hold NaN. Nothing is run. Exits 1 where something was
    found.

    \b
    Examples:
      protogen audit deploy.prototxt
      protogen audit deploy.prototxt net.caffemodel --format sarif
    """
    from protogen.lint import formats
    from protogen.lint.engine import check_file, selected

    made = check_file(net, selected(audit=True), caffemodel=caffemodel)
    click.echo(formats.written([made], form), nl=False)
    if form == "text":
        _sum_up([made], len(made.diagnostics), 0)
    if made.diagnostics:
        ctx.exit(1)


@click.command("rule")
@click.argument("code", required=False)
def rule(code: str | None) -> None:
    """Print a rule's page, or list all rules.

    \b
    Examples:
      protogen rule
      protogen rule PG301
      protogen rule mixed-channels
    """
    from protogen.lint import formats
    from protogen.lint.rule import FAMILIES
    from protogen.lint.rules import all_rules

    rules = all_rules()
    if code is None:
        for family, title in FAMILIES.items():
            click.echo(f"{family}  {title}")
            for one, found in rules.items():
                if one.startswith(family):
                    marks = "" if found.usual else " (off)"
                    if found.fixes:
                        marks += " [*]" if found.safe else " [-]"
                    click.echo(f"  {one}  {found.name}{marks}")
        click.echo("[*] fixed by --fix, [-] by --unsafe-fixes; (off): unless selected")
        return
    by_name = {found.name: one for one, found in rules.items()}
    wanted = code if code in rules else by_name.get(code)
    if wanted is None:
        advice = did_you_mean(code, [*rules, *by_name]) or "protogen rule lists them."
        raise InputError("there is no such rule", subject=f'"{code}"', advice=advice)
    click.echo(formats.page(wanted), nl=False)
