"""``protogen mlp``."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import click

from protogen.cli import filetypes, options, output
from protogen.formats import files


@click.command("mlp")
@click.argument("sizes", metavar="784-300-100-10")
@click.option(
    "--activation",
    default="relu",
    show_default=True,
    metavar="NAME",
    help="tanh, relu, sigmoid, elu or swish.",
)
@options.output_text
@click.option(
    "--train-val",
    type=filetypes.PROTOTXT,
    metavar="FILE.prototxt",
    help="Write the training net here.",
)
@click.option(
    "--solver", type=filetypes.PROTOTXT, metavar="FILE.prototxt", help="Write its solver here."
)
@click.option(
    "--batch", type=click.IntRange(1), default=64, show_default=True, help="Batch size of training."
)
@click.option(
    "--source",
    default="data",
    show_default=True,
    help="Prefix of the databases: SOURCE_train, SOURCE_test.",
)
@options.templates
def command(sizes: str, activation: str, **flags: Any) -> None:
    """Write a net of dense layers with suitable fillers.

    \b
    Examples:
      protogen mlp 784-300-100-10
      protogen mlp 784-300-100-10 --activation tanh -o deploy.prototxt \\
          --train-val train_val.prototxt --solver solver.prototxt --source mnist
    """
    from protogen.generate.dense import perceptron

    paths = (flags["output"], flags["train_val"], flags["solver"])
    files.distinct(zip(("--output", "--train-val", "--solver"), paths, strict=True))
    net = perceptron(
        sizes,
        activation,
        batch=flags["batch"],
        source=flags["source"],
        net_file=flags["train_val"] or "train_val.prototxt",
        templates=flags["templates"],
    )
    if not any(paths):
        click.echo(net.deploy, nl=False)
        return
    with ExitStack() as stack:
        for path, text in zip(paths, (net.deploy, net.train_val, net.solver), strict=True):
            if path:
                stack.enter_context(files.replacing(path)).write(text.encode())
    output.wrote(*paths)
