"""The command line as a whole: groups, help, and options that mean the same on every command."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from protogen.cli import COMMANDS, GROUPS, cli


def leaves() -> Iterator[tuple[str, click.Command]]:
    """Every command with its name, those of groups too."""
    ctx = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(ctx, name)
        if isinstance(command, click.Group):
            for inner in command.commands.values():
                yield f"{name} {inner.name}", inner
        else:
            yield name, command


ALL = dict(leaves())
OPTIONS = {
    name: {opt: one for one in command.params if isinstance(one, click.Option)
           for opt in one.opts if opt.startswith("--")}
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


def test_help_has_no_line_that_is_cut_or_wrapped():
    lines = help_of().splitlines()
    for name, entry in ((n, e) for group in GROUPS.values() for n, e in group.items()):
        (line,) = (line for line in lines if line.startswith(f"  {name} "))
        assert line.endswith(f"  {entry.summary}")
        assert len(line) <= 80


@pytest.mark.parametrize("name", COMMANDS)
def test_a_summary_is_the_first_line_of_the_commands_help(name):
    command = cli.get_command(click.Context(cli), name)
    assert command.help.partition("\n")[0] == COMMANDS[name].summary


def test_help_imports_no_command():
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


def test_completion_is_hidden_and_works():
    assert "completion" not in help_of()
    assert "_PROTOGEN_COMPLETE" in CliRunner().invoke(cli, ["completion", "bash"]).output


@pytest.mark.parametrize(
    "name",
    ["shapes", "downgrade", "check-onnx", "audit", "binaryproto", "doctor", "diagnose"],
)
def test_merged_commands_are_gone(name, protogen):
    done = protogen(name)
    assert done.returncode == 2
    assert done.stderr.startswith(f"protogen: unknown command '{name}'.")


def test_a_misspelt_command_gets_a_suggestion(protogen):
    assert protogen("sumary").stderr == (
        "protogen: unknown command 'sumary'. Did you mean summary? Try 'protogen --help'.\n"
    )


# Options whose value differs from command to command, and why.
VARIANTS = {
    "--output": "the kind of file",
    "--caffemodel": "",
    "--input-shape": "makers of layers have one input",
    "--dialect": "convert writes one, too",
    "--name": "the default",
    "--bottom": "the default",
    "--top": "the default",
    "--weights": "",
    "--phase": "the default is the command's purpose; draw and report find it",
    "--target": "check takes one",
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
    "--images": "the use",
    "--blob": "what is done with it",
    "--exact": "check reports, upsample writes",
    "--to": "the forms",
    "--scale": "",
}  # fmt: skip


def test_an_option_means_one_thing():
    """The same name has the same kind of value, and the same help but for the listed variants."""
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


def test_output_is_a_file():
    for name, options in OPTIONS.items():
        for opt, option in options.items():
            if "-o" in option.opts or opt == "--output":
                assert {"-o", "--output"} <= set(option.opts), name
                assert option.metavar.startswith("FILE"), name


def test_blobs_are_named_by_the_options_for_blobs():
    """--to-blob cuts a net, --blob shows a blob; a shape and data are never the same option."""
    for name, options in OPTIONS.items():
        for opt in ("--blob", "--to-blob"):
            if opt in options:
                assert options[opt].metavar == "BLOB", name
        if "--input" in options:
            assert options["--input"].metavar == "[BLOB=]FILE", name
        if "--input-shape" in options:
            assert "=FILE" not in options["--input-shape"].metavar, name


NO_JSON = {"mlp", "templates list", "templates show", "upgrade", "fmt", "draw", "report",
           "mean convert", "completion"}  # fmt: skip


def test_every_command_is_quiet_on_demand_and_those_with_results_print_json():
    assert [name for name, options in OPTIONS.items() if "--quiet" not in options] == []
    assert {name for name, options in OPTIONS.items() if "--json" not in options} == NO_JSON


READS_A_NET = {"convert", "rewrite", "preprocess", "init", "summary", "draw", "report", "check",
               "verify", "run", "health", "train-log"}  # fmt: skip


def test_commands_that_read_a_net_have_the_same_options_for_it():
    for name in READS_A_NET:
        assert {"--proto", "--plugin", "--dialect"} <= OPTIONS[name].keys(), name
        if name != "verify":  # the shapes are those of the input data
            assert "--input-shape" in OPTIONS[name], name


def test_upsample_and_resize_have_the_same_options():
    assert OPTIONS["resize"].keys() - OPTIONS["upsample"].keys() == set()
    classic = {"--exact", "--trainable", "--kernels", "--spec", "--template"}
    assert OPTIONS["upsample"].keys() - OPTIONS["resize"].keys() == classic
