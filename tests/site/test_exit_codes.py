"""docs/exit_codes.md lists the exit codes of all commands and all findings, as the code has them."""

from __future__ import annotations

import inspect
import shutil
import signal
import subprocess
import sys
from importlib import import_module
from typing import get_args

import exit_codes
import pytest
from places import EXAMPLES

from protogen.cli import COMMANDS
from protogen.converting.proving import Reason
from protogen.running.trying import Outcome
from protogen.toolchains.toolchain import VERDICTS

# A command that ends with each code, for each kind of command that can be brought to it by its input.
ENDINGS = {
    "check examples/tiny.prototxt": 0,
    "check examples/flawed.prototxt": 1,
    "check examples/weighted_sum.prototxt --target opencv4": 1,
    "verify examples/tiny.prototxt examples/tiny.caffemodel examples/tiny_misread.prototxt examples/tiny.caffemodel": 1,
    "diff examples/tiny.prototxt examples/small_fcn.prototxt": 1,
    "diff examples/tiny.prototxt examples/tiny.prototxt": 0,
    "fmt --check examples/flawed.prototxt": 1,
    "convert examples/weighted_sum.prototxt --dry-run --target opencv4": 1,
    "convert examples/tiny.prototxt examples/flawed.prototxt -o many": 1,
    "rescue examples/fork_head.prototxt -o stock.prototxt": 1,
    "dialects examples/fork_head.prototxt": 1,
    "health examples/deep_sigmoid.prototxt --input-shape data=8,784 --input-shape label=8 --no-gradients": 1,
    "train-log examples/deep_sigmoid.log": 1,
    "summary examples/typo.prototxt": 2,
    "summary missing.prototxt": 2,
    "activations --nonsense": 2,
    "resize --size 48x72 --input-shape 1,1,31,47 --strategy cascade": 3,
}


def test_page_is_up_to_date(golden):
    golden("../../docs/exit_codes.md", exit_codes.generated())


@pytest.mark.parametrize("line", ENDINGS)
def test_command_ends_with_the_code(line, protogen, tmp_path):
    shutil.copytree(
        EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("notebooks", "zoo")
    )
    done = protogen(*line.split())
    assert done.returncode == ENDINGS[line], done.stderr
    if ENDINGS[line] == 1:
        assert line.split()[0] in exit_codes.ONE


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_with_their_code(number, code):
    """The signal arrives while a command runs."""
    script = (
        "import os; from protogen import cli\n"
        f"cli.cli.main = lambda **_: os.kill(os.getpid(), {int(number)})\n"
        "cli.main()"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == code


def test_every_command_that_can_end_with_1_is_listed():
    """A command that never raises MismatchError and never exits by itself does not end with 1."""
    able = set()
    for name, entry in COMMANDS.items():
        source = inspect.getsource(import_module(f"protogen.cli.{entry.target.partition(':')[0]}"))
        if ".exit(" in source or "MismatchError" in source:
            able.add(name)
    assert able <= set(exit_codes.ONE)


def test_findings_of_health_and_of_logs_are_those_of_the_code():
    from protogen.training import diagnosis
    from protogen.training.signals import findings

    assert exit_codes.kinds(findings) == set(exit_codes.HEALTH)
    assert exit_codes.kinds(diagnosis) == set(exit_codes.LOG)


def test_verdicts_outcomes_and_reasons_are_those_of_the_code():
    assert set(exit_codes.VERDICTS) == set(VERDICTS)
    assert set(exit_codes.OUTCOMES) == set(get_args(Outcome))
    assert set(exit_codes.UNPROVED) == set(get_args(Reason)) - {""}
