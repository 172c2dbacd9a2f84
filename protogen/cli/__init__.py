"""The command line: one thin function per command, each the mirror of a library function."""

from __future__ import annotations

import gc

gc.set_threshold(100_000)  # before the imports: fewer collections make a short process 10 % faster

import re
import signal
import sys
import warnings
from contextlib import suppress
from importlib import import_module
from typing import Any, NamedTuple

import click

from protogen._version import __version__
from protogen.cli import streams
from protogen.cli.output import quiet_option
from protogen.cli.waiting import label, waiting_line
from protogen.errors import ProtogenError, ProtogenWarning, printable_lines
from protogen.memory import limit_memory


class Entry(NamedTuple):
    """A command: where it is defined (``module:function``) and its line in ``protogen --help``."""

    target: str
    summary: str


# The groups of ``protogen --help``. The summaries stand here so that the help needs no import of
# the commands; a test compares each with the first sentence of the command's own help.
GROUPS: dict[str, dict[str, Entry]] = {
    "Make": {
        "upsample": Entry("upsample:command", "Write an upsampling layer, or an exact plan of layers."),
        "resize": Entry("resize:command", "Resize up or down, exactly, with stock Caffe layers."),
        "dense": Entry("dense:command", "Write an InnerProduct layer from a weight matrix."),
        "mlp": Entry("mlp:command", "Write a net of dense layers with suitable fillers."),
        "templates": Entry("templates:command", "List and show the prototxt templates."),
    },
    "Convert": {
        "convert": Entry("convert:command", "Convert Caffe to ONNX, or ONNX to Caffe."),
        "cut": Entry("cut:command", "Write a part of a net or model, and the rest."),
        "rewrite": Entry("rewrite:command", "Rewrite a net in stock Caffe layers, or for a toolchain."),
        "preprocess": Entry("preprocess:command", "Add preprocessing to a net."),
        "rescue": Entry("rescue:command", "Make an old net run today: upgrade, rewrite, convert, prove."),
        "upgrade": Entry("upgrade:command", "Convert a net or caffemodel between Caffe's formats."),
        "init": Entry("init:command", "Create initial weights from a net's fillers."),
        "mean": Entry("mean:command", "Compute and convert mean files."),
    },
    "Look": {
        "summary": Entry("summary:command", "List layers, shapes, parameters and cost of a net."),
        "draw": Entry("draw:command", "Draw a net as SVG or PNG."),
        "report": Entry("report:command", "Write a net as one interactive HTML page."),
        "view": Entry("view:command", "Show a net in the browser, and again after every save."),
        "weights": Entry("weights:command", "List or convert the weights in a caffemodel."),
        "diff": Entry("diff:command", "Compare two nets by layers and parameters."),
        "fmt": Entry("fmt:command", "Format prototxt files."),
    },
    "Check": {
        "check": Entry("check:command", "Find mistakes in nets: the linter for prototxt."),
        "rule": Entry("rule:command", "Explain a rule of check, or list all rules."),
        "verify": Entry("verify:command", "Run two models and compare their blobs."),
        "try": Entry("try_net:command", "Run a net in vendors' toolchains and compare."),
        "run": Entry("run:command", "Run a Caffe net on images or arrays."),
        "health": Entry("health:command", "Measure signals and gradients before training."),
        "train-log": Entry("train_log:command", "Find training problems in a Caffe log."),
    },
    "Learn": {
        "layers": Entry("layers:command", "List the layer types that protogen knows."),
        "targets": Entry("targets:command", "List toolchains, and what each takes and limits."),
        "dialects": Entry("dialects:command", "List dialects of Caffe, or those that a net can be of."),
        "activations": Entry("activations:command", "Compare activation functions."),
    },
}  # fmt: skip
_HIDDEN = {"completion": Entry("completion:command", "Print a shell completion script.")}
COMMANDS = {name: entry for group in (*GROUPS.values(), _HIDDEN) for name, entry in group.items()}


class _Commands(click.Group):
    """A group that imports a command's module only when that command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for group in GROUPS.values() for name in group]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].target.partition(":")
        command: click.Command = getattr(import_module(f"protogen.cli.{module}"), name)
        _add_shared(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            from protogen.errors import did_you_mean

            advice = did_you_mean(name, COMMANDS)
            ctx.fail(f"unknown command {name!r}." + (f" {advice}" if advice else ""))
        label(f"protogen {name}")
        return super().resolve_command(ctx, args)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with streams.reader_stops():  # --help
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with waiting_line("protogen"), streams.reader_stops():
                return super().invoke(ctx)
        except ProtogenError as error:
            command = self.get_command(ctx, ctx.invoked_subcommand or "")
            raise _with_option(error, command) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))
        for title, group in GROUPS.items():
            with formatter.section(title):
                for name, entry in group.items():
                    formatter.write(f"  {name:<{width}}  {entry.summary}\n")


def _with_option(error: ProtogenError, command: click.Command | None) -> ProtogenError:
    """Return an error about an argument of the library as one about the option that was typed. An error
    with a place is about a file."""
    subject, where = error.diagnostic.subject, error.diagnostic.where
    option = f"--{subject.replace('_', '-')}"
    if where or not subject.isidentifier() or option not in _options(command):
        return error
    return error.with_parts(subject=option)


def _options(command: click.Command | None) -> set[str]:
    if isinstance(command, click.Group):
        return {option for inner in command.commands.values() for option in _options(inner)}
    return {opt for param in command.params for opt in param.opts} if command else set()


def _add_shared(command: click.Command) -> None:
    """Give the command, and the commands of a group, the options that all have."""
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            _add_shared(inner)
    elif not any("--quiet" in option.opts for option in command.params):
        command.params += [quiet_option(), traceback_option(hidden=True)]


def traceback_option(hidden: bool = False) -> click.Option:
    """``--traceback``, of the program and, not in their help, of every command."""
    return click.Option(
        ["--traceback"],
        is_flag=True,
        expose_value=False,
        hidden=hidden,
        help="After an unforeseen error, print where in protogen it was raised.",
    )


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    params=[traceback_option()],
)
@click.version_option(__version__, message="protogen %(version)s")
def cli() -> None:
    """The Caffe toolchain that needs no Caffe.

    \b
    Examples:
      protogen upsample --factor 2
      protogen convert deploy.prototxt net.caffemodel -o net.onnx --verify
      protogen summary deploy.prototxt
      protogen check deploy.prototxt

    \b
    protogen COMMAND --help describes a command.
    """


def main() -> None:
    """Run the command line; a ProtogenError becomes one sentence on stderr and its exit code."""
    streams.open_closed()
    limit_memory()
    warnings.showwarning = _show_warning
    if hasattr(signal, "SIGTERM"):  # raise SystemExit so that temporary files are removed
        signal.signal(signal.SIGTERM, _exit_on_signal)
    warnings.simplefilter("always", ProtogenWarning)
    try:
        code = cli.main(prog_name="protogen", standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except ProtogenError as error:
        _fail(str(error), error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "protogen"
        _fail(f"{error.format_message()} {_meant(error)}Try '{path} --help'.", error.exit_code)
    except click.ClickException as error:
        _fail(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted", 130)
    except (BrokenPipeError, streams.PipeClosedError):
        streams.drop_output()
        sys.exit(0)
    except Exception as error:  # noqa: BLE001 (the last place where it can become a sentence)
        if isinstance(error, OSError) and streams.of_stream(error):
            streams.drop_output()
            _fail(f"a standard stream cannot be written ({error.strerror})", 2)
        from protogen.cli.unforeseen import unforeseen

        message, code = unforeseen(error)
        if "--traceback" in sys.argv:
            import traceback

            traceback.print_exception(error)
        _fail(message, code)


def _meant(error: click.UsageError) -> str:
    """Return ``Did you mean X?`` for a value that is none of the choices of an option."""
    if not (isinstance(error, click.BadParameter) and error.param is not None):
        return ""
    word = re.match(r"'([^']*)' is not one of ", error.message)
    if word is None or not isinstance(error.param.type, click.Choice):
        return ""
    from protogen.errors import did_you_mean

    advice = did_you_mean(word[1], [str(one) for one in error.param.type.choices])
    return f"{advice} " if advice else ""


def _exit_on_signal(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def _fail(message: str, code: int) -> None:
    with suppress(OSError):  # the standard error cannot be written either
        click.echo(printable_lines(f"protogen: {message}"), err=True)
    sys.exit(code)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    kind = "warning" if issubclass(category, ProtogenWarning) else category.__name__
    click.echo(printable_lines(f"protogen: {kind}: {message}"), err=True)
