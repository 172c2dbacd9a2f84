"""Groups of commands, help texts, and options that mean the same in every command."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from protogen.cli import COMMANDS, GROUPS, cli


def all_commands() -> Iterator[tuple[str, click.Command]]:
    """Yield the name of each command with the command, including subcommands."""
    ctx = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(ctx, name)
        if isinstance(command, click.Group):
            for inner in command.commands.values():
                yield f"{name} {inner.name}", inner
        else:
            yield name, command


ALL = dict(all_commands())
OPTIONS = {
    name: {opt: option for option in command.params if isinstance(option, click.Option)
           for opt in option.opts if opt.startswith("--")}
    for name, command in ALL.items()
}  # fmt: skip


def help_of(*words: str) -> str:
    return CliRunner().invoke(cli, [*words, "--help"], terminal_width=80).output


def test_help_lists_the_commands_in_groups():
    lines = help_of().splitlines()
    titles = [line[:-1] for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert titles == ["Options", "Make", "Convert", "Look", "Check", "Learn"]
    for title, group in GROUPS.items():
        start = lines.index(f"{title}:") + 1
        assert [line.split()[0] for line in lines[start : start + len(group)]] == list(group)


def test_help_shows_complete_summaries_on_one_line():
    lines = help_of().splitlines()
    for name, entry in ((n, e) for group in GROUPS.values() for n, e in group.items()):
        (line,) = (line for line in lines if line.startswith(f"  {name} "))
        assert line.endswith(f"  {entry.summary}")
        assert len(line) <= 80


def test_summary_is_the_first_line_of_the_help_of_the_command():
    context = click.Context(cli)
    first_lines = {name: cli.get_command(context, name).help.split("\n")[0] for name in COMMANDS}
    assert first_lines == {name: entry.summary for name, entry in COMMANDS.items()}


def test_help_imports_no_module_of_a_command():
    import subprocess
    import sys

    code = (
        "import sys; from click.testing import CliRunner; from protogen.cli import COMMANDS, cli\n"
        "CliRunner().invoke(cli, ['--help'])\n"
        "print([t for t in {e.target.partition(':')[0] for e in COMMANDS.values()}"
        " if f'protogen.cli.{t}' in sys.modules], 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] False\n"


def test_completion_command_is_hidden_and_works():
    assert "completion" not in help_of()
    assert "_PROTOGEN_COMPLETE" in CliRunner().invoke(cli, ["completion", "bash"]).output


@pytest.mark.parametrize(
    "name",
    ["shapes", "downgrade", "check-onnx", "audit", "binaryproto", "doctor", "diagnose"],
)
def test_removed_command_is_unknown(name, protogen):
    done = protogen(name)
    assert done.returncode == 2
    assert done.stderr.startswith(f"protogen: unknown command '{name}'.")


def test_suggestion_for_a_misspelt_command(protogen):
    assert protogen("sumary").stderr == (
        "protogen: unknown command 'sumary'. Did you mean summary? Try 'protogen --help'.\n"
    )


# Options whose help text differs between commands, and why. An empty reason: the wording only.
VARIANTS = {
    "--output": "the kind of file",
    "--caffemodel": "",
    "--input-shape": "commands that write a layer have one input",
    "--dialect": "convert also writes a dialect",
    "--name": "the default",
    "--bottom": "the default",
    "--top": "the default",
    "--weights": "",
    "--phase": "the default differs; draw, report and view choose it",
    "--target": "check accepts one target",
    "--tolerance": "with --verify, or always",
    "--opset": "",
    "--fold": "preprocess changes one layer",
    "--batch": "random data, or training",
    "--input": "pictures are for run",
    "--plot": "the picture",
    "--verify": "what is compared",
    "--limit": "the default",
    "--mean": "the files",
    "--size": "pictures, or the output",
    "--images": "how the images are used",
    "--blob": "how the blob is used",
    "--exact": "check reports, upsample writes",
    "--to": "the forms",
    "--scale": "",
    "--explain": "the forms of a layer, or the steps of a resize",
    "--external-data": "cut writes models only from models",
}  # fmt: skip


def test_option_has_the_same_kind_and_help_in_every_command():
    """Only the help texts of options in VARIANTS differ."""
    forms = defaultdict(set)
    texts = defaultdict(set)
    for options in OPTIONS.values():
        for opt, option in options.items():
            kind = "flag" if option.is_flag else type(option.type).__name__
            forms[opt].add(kind)
            texts[opt].add(option.help)
    assert {opt: kinds for opt, kinds in forms.items() if len(kinds) > 1} == {}
    assert {opt for opt, helps in texts.items() if len(helps) > 1} <= VARIANTS.keys()


def test_every_option_has_help():
    missing = [
        (name, opt)
        for name, options in OPTIONS.items()
        for opt, option in options.items()
        if not option.help and not option.hidden
    ]
    assert missing == []


def test_output_option_takes_a_file():
    for name, options in OPTIONS.items():
        for opt, option in options.items():
            if "-o" in option.opts or opt == "--output":
                assert {"-o", "--output"} <= set(option.opts), name
                assert option.metavar.startswith("FILE"), name


def test_options_for_blobs_shapes_and_data_have_the_same_metavar():
    """--input takes data and --input-shape takes a shape, never the other."""
    for name, options in OPTIONS.items():
        for opt in ("--blob", "--from-blob", "--to-blob"):
            if opt in options:
                assert options[opt].metavar == "BLOB", name
        if "--input" in options:
            assert options["--input"].metavar == "[BLOB=]FILE", name
        if "--input-shape" in options:
            assert "=FILE" not in options["--input-shape"].metavar, name


WITHOUT_JSON = {"mlp", "templates list", "templates show", "upgrade", "fmt", "draw", "report",
                "view", "mean convert", "completion"}  # fmt: skip


def test_quiet_in_every_command_and_json_in_commands_with_results():
    assert [name for name, options in OPTIONS.items() if "--quiet" not in options] == []
    assert {name for name, options in OPTIONS.items() if "--json" not in options} == WITHOUT_JSON


READS_A_NET = {"convert", "rewrite", "preprocess", "init", "summary", "draw", "report", "view", "check",
               "verify", "run", "try", "health", "train-log", "cut"}  # fmt: skip


def test_commands_that_read_a_net_have_the_same_options():
    for name in READS_A_NET:
        assert {"--proto", "--plugin", "--dialect"} <= OPTIONS[name].keys(), name
        if name != "verify":  # the shapes are those of the input data
            assert "--input-shape" in OPTIONS[name], name


def test_upsample_and_resize_have_the_same_options():
    assert OPTIONS["resize"].keys() - OPTIONS["upsample"].keys() == set()
    classic = {"--exact", "--trainable", "--kernels", "--spec", "--template"}
    assert OPTIONS["upsample"].keys() - OPTIONS["resize"].keys() == classic
