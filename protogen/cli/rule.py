"""``protogen rule``."""

from __future__ import annotations

import click

from protogen.cli import completions, options, output
from protogen.errors import InputError, did_you_mean


@click.command("rule")
@click.argument("code", shell_complete=completions.rules, required=False)
@options.as_json
def command(code: str | None, as_json: bool) -> None:
    """Explain a rule of check, or list all rules.

    \b
    Examples:
      protogen rule
      protogen rule PG301
      protogen rule mixed-channels
    """
    from protogen.lint import formats
    from protogen.lint.rules import all_rules

    rules = all_rules()
    if code is None:
        if as_json:
            output.print_json("rule", rules=[formats.plain_rule(one) for one in rules])
        else:
            _list()
        return
    by_name = {rule.name: one for one, rule in rules.items()}
    chosen = code if code in rules else by_name.get(code)
    if chosen is None:
        advice = did_you_mean(code, [*rules, *by_name]) or "protogen rule lists all rules."
        raise InputError("unknown rule", subject=f'"{code}"', advice=advice)
    if as_json:
        output.print_json("rule", rules=[formats.plain_rule(chosen)])
    else:
        click.echo(formats.page(chosen), nl=False)


def _list() -> None:
    from protogen.lint.rule import FAMILIES
    from protogen.lint.rules import all_rules

    for family, title in FAMILIES.items():
        click.echo(f"{family}  {title}")
        for code, rule in all_rules().items():
            if code.startswith(family):
                marks = "" if rule.usual else " (off)"
                if rule.fixes:
                    marks += " [*]" if rule.safe else " [-]"
                click.echo(f"  {code}  {rule.name}{marks}")
    output.note("[*] has a safe fix, [-] has an unsafe fix, (off) runs only if it is selected")
