"""The command line: one thin function per command, each the mirror of a library function."""

from __future__ import annotations

import gc
import os
import signal
import sys
import warnings
from importlib import import_module
from typing import Any

import click

from protogen._version import __version__
from protogen.errors import ProtogenError, ProtogenWarning

# Commands by name, with module and function: a module is loaded when its command is used.
COMMANDS = {
    "activations": "activations:command",
    "audit": "check:audit",
    "binaryproto": "weights:binaryproto",
    "check": "check:check",
    "check-onnx": "check_onnx:command",
    "completion": "completion:command",
    "convert": "convert:command",
    "dense": "dense:dense",
    "diagnose": "diagnose:command",
    "diff": "text:diff",
    "doctor": "doctor:command",
    "downgrade": "text:downgrade",
    "draw": "report:draw",
    "fmt": "text:fmt",
    "health": "health:command",
    "init": "init:command",
    "layers": "layers:command",
    "mean": "preprocess:mean",
    "mlp": "dense:mlp",
    "preprocess": "preprocess:preprocess",
    "report": "report:report",
    "resize": "resize:command",
    "rewrite": "rewrite:command",
    "rule": "check:rule",
    "run": "run:command",
    "shapes": "summary:shapes",
    "summary": "summary:summary",
    "targets": "resize:targets",
    "templates": "templates:command",
    "upgrade": "text:upgrade",
    "upsample": "upsample:command",
    "verify": "verify:command",
    "weights": "weights:weights",
}


class _Commands(click.Group):
    """A group that imports a command's module only when that command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(f"protogen.cli.{module}"), name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="protogen %(version)s")
def cli() -> None:
    """The Caffe toolchain that needs no Caffe.

    \b
    Examples:
      protogen upsample --factor 2
      protogen upsample --factor 4 --channels 21 --input-shape 1,21,16,16 -o up.prototxt
      protogen summary deploy.prototxt
      protogen weights net.caffemodel
    """


def main() -> None:
    """Runs the command line: one sentence for a mistake, and its exit code."""
    gc.set_threshold(100_000)  # a short process gains a tenth of its time by collecting less
    warnings.showwarning = _show_warning
    if hasattr(signal, "SIGTERM"):  # whoever ends us gently shall find no half of a file
        signal.signal(signal.SIGTERM, _end)
    warnings.simplefilter("always", ProtogenWarning)
    try:
        code = cli.main(prog_name="protogen", standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except ProtogenError as error:
        _fail(str(error), error.exit_code)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "protogen"
        _fail(f"{error.format_message()} Try '{path} --help'.", error.exit_code)
    except click.ClickException as error:
        _fail(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted", 130)
    except BrokenPipeError:  # the reader of our output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _end(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def _fail(message: str, code: int) -> None:
    click.echo(_harmless(f"protogen: {message}"), err=True)
    sys.exit(code)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    kind = "warning" if issubclass(category, ProtogenWarning) else category.__name__
    click.echo(_harmless(f"protogen: {kind}: {message}"), err=True)


def _harmless(text: str) -> str:
    """Names come from strangers' files: no control characters reach the terminal."""
    from protogen.cli.tables import printable

    return "\n".join(map(printable, text.split("\n")))
