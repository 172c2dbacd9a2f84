"""Generates docs/exit_codes.md: the exit codes of all commands, and everything that they find."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from types import ModuleType

from protogen.cli import GROUPS
from protogen.lint.rule import FAMILIES
from protogen.lint.rules import all_rules

# What exit code 1 means. Every other command never ends with 1.
ONE = {
    "upsample": "with `--verify`: the layer does not compute what was asked for (inside the border, for the classic layer)",
    "resize": "with `--verify`: the layers are not exact",
    "dense": "with `--verify`: the layer computes something else than the matrix",
    "convert": "with `--verify`: a blob differs, or nothing is proved; with `--half-check`: a value does not fit into "
    "float16; with `--dry-run`: an operator or a layer does not convert, or the toolchain of `--target` does not take it; "
    "for several nets: one of them was not converted",
    "cut": "with `--verify`: an output differs, or nothing is proved",
    "rewrite": "the layers that were written compute something else (a fault of protogen); with `--half-check`: a value "
    "does not fit into float16",
    "preprocess": "with `--verify`: the new net computes something else, or nothing is proved",
    "rescue": "a part could not be done; the output names it, and the rest is written",
    "diff": "the nets differ",
    "fmt": "with `--check`: a file is not formatted",
    "check": "a rule has a finding; with `--target`: the toolchain refuses a layer or computes something else",
    "verify": "a blob differs, an output exists in one model only, or nothing is proved",
    "try": "a toolchain does not compute the net as Caffe does",
    "run": "with `--half-check`: a value does not fit into float16",
    "health": "there is a finding (not with `--compare-init`)",
    "train-log": "there is a finding",
    "dialects": "no known Caffe has all layer types and fields of a net",
}  # fmt: skip

# The findings of health and train-log: what they say, and what to do.
HEALTH = {
    "not-finite": ("an output contains NaN or infinite values", "make the data or the weights smaller"),
    "zero-weights": ("all weights of a layer are 0", "set a `weight_filler`, or run `protogen init --recommend`"),
    "symmetric": ("all units of a layer have the same weights, and will never differ", "use a random filler"),
    "shrinking": ("the signal gets smaller from layer to layer", "use the filler that the finding names"),
    "growing": ("the signal gets larger from layer to layer", "use the filler that the finding names"),
    "saturated": ("most values are at the ends of the activation, where its slope is nearly 0", "make the weights before it smaller, or use another activation"),
    "dead": ("many rectifiers are 0 for all data", "look at the biases, and use the filler `msra`"),
    "gradient-shrinks": ("hardly any gradient reaches the first layers", "use a recommended filler, another activation, or batch normalisation"),
    "gradient-grows": ("the gradient gets larger towards the first layers, and training diverges", "make the weights smaller"),
    "one-sign": ("nearly all inputs of a layer are positive", "centre the data, or use `TanH` instead of `Sigmoid`"),
    "fan": ("Caffe's filler counts the inputs of the layer wrongly", "use `gaussian` with the deviation that the finding names"),
    "loss": ("the loss starts above the loss of equal scores", "make the weights of the last layer smaller"),
}  # fmt: skip
LOG = {
    "loss-nan": ("the loss is NaN or infinite", "lower `base_lr` by a factor of 10, or set `clip_gradients`; from the first iteration on: check data and initial weights"),
    "loss-87": ("the loss is 87.3, the largest that float32 allows", "lower `base_lr`, make the weights smaller, and check the labels"),
    "lr-nan": ("the learning rate is NaN or infinite", "give the policy its `max_iter`, `gamma`, `power` or `stepsize`"),
    "lr-zero": ("the learning rate is 0", "set `base_lr`"),
    "loss-stuck": ("the loss stays at the value of equal scores", "set fillers, raise `base_lr`, and check that the labels match the data"),
    "loss-grows": ("the loss grows", "lower `base_lr`"),
    "dead-layer": ("the output of a layer is 0 everywhere", "set a `weight_filler`, or lower `base_lr`"),
    "no-gradient": ("the weights of a layer get no gradient", "look at the layers after it"),
    "gradient-shrinks": ("hardly any gradient reaches the first layers", "run `protogen health`, or `protogen init --recommend`"),
    "gradient-grows": ("the gradient gets larger towards the first layers", "make the weights smaller"),
}  # fmt: skip

# Why a blob proves nothing although it agrees.
UNPROVED = {
    "constant": ("the blob does not depend on the input", "the sentence names the cause, such as weights that are 0; give "
    "the right weights, or real data with `--input`"),
    "saturated": ("all values are at the ends of an activation", "give real data with `--input`, or smaller weights"),
    "not finite": ("no value is finite", "look for weights that are NaN or too large (`protogen check --untrusted`)"),
    "empty": ("the blob has no values", "give an input for which it has some, for example a picture with an object"),
}  # fmt: skip
DIFFERENT = {
    "differs by ... of its largest value": "The numbers differ. The sentence names the layer, and the cause if it is a known "
    "mistake of other tools.",
    "has the shape ...": "Usually another rounding of the output size, or an axis in another place.",
    "has NaN or infinite values at different positions": "One of the models overflows, or divides by 0.",
    "exists only in the first (or second) model": "Give `--pair A=B` if the other model has it under another name, or "
    "`--blob` to compare other outputs.",
    "the models have no blob of the same name": "Give `--pair A=B`.",
}  # fmt: skip
VERDICTS = {
    "taken": "the toolchain computes the layer as Caffe does",
    "refused": "the toolchain ends with an error, or leaves out the layer and then fails: use `convert` or `rewrite` with `--target`",
    "wrong": "the toolchain computes other numbers without a message: the same",
    "ignored": "the toolchain does not read a field, without an effect on this net",
    "unknown": "no source says what the toolchain does: measure it with `protogen try`",
}  # fmt: skip
OUTCOMES = {
    "right": "the outputs agree",
    "wrong": "an output is missing, has another shape, or differs",
    "refused": "the toolchain ended with a message, which is shown",
    "crashed": "its process ended without an answer",
    "hung": "it did not end in time (`--seconds`)",
    "missing": "it is not installed in this Python",
}
HEAD = """\
# Exit codes and findings

<!-- Generated by tests/site/test_exit_codes.py: pytest tests/site/test_exit_codes.py --update-golden -->

## Exit codes

| code | meaning |
|---|---|
| 0 | the command has done what was asked for, and found nothing |
| 1 | the command ran, and a check has failed or found something; the table below says what |
| 2 | the input is invalid: an option, a file, a net, or data that do not fit it. The sentence says what is wrong, where, and what to do |
| 3 | the input is valid, but protogen, ONNX, Caffe or the toolchain of `--target` cannot do it |
| 70 | a fault of protogen: an error that nothing foresaw. Please report it, with what `--traceback` prints |
| 130 | interrupted with Ctrl-C (SIGINT) |
| 143 | ended by SIGTERM |

Errors are one message on stderr that begins with `protogen:`. After every exit code other than 0, each output file is
either the old one or a whole new one ([Reliability](reliability.md)). In Python the codes are exceptions: `MismatchError`
(1), `InputError` (2) and `UnsupportedError` (3).

A code of 137 does not come from protogen: the system has ended the process, usually because the memory was not enough.

"""


def generated() -> str:
    """Return the text of the page."""
    return HEAD + "\n".join([*_commands(), *_rules(), *_targets(), *_proofs(), *_training()])


def kinds(*modules: ModuleType) -> set[str]:
    """Return the kinds of all findings that these modules create."""
    calls = (
        node
        for module in modules
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding"
    )
    return {
        part.value
        for call in calls
        for part in ast.walk(call.args[0])
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    }


def _commands() -> Iterator[str]:
    names = [name for group in GROUPS.values() for name in group]
    yield "## Exit code 1 of each command\n"
    yield "| command | 1 means |"
    yield "|---|---|"
    yield from (f"| [`{name}`](cli.md#{name}) | {ONE[name]} |" for name in names if name in ONE)
    others = ", ".join(f"`{name}`" for name in names if name not in ONE)
    yield f"\nThe other commands never end with 1: {others}."


def _rules() -> Iterator[str]:
    yield "\n## Findings of check\n"
    yield "`protogen check` prints the place, the code, and what is wrong. [Rules](rules.md) has an example and the fixed"
    yield "form for each; `protogen rule CODE` prints the same. *Off* means that a rule runs only if `--select` names it."
    yield "PG100 is a file that cannot be parsed.\n"
    for family, title in FAMILIES.items():
        yield f"\n### {family}: {title}\n"
        yield "| code | name | finds | fix | |"
        yield "|---|---|---|---|---|"
        for code, rule in all_rules().items():
            if code.startswith(family):
                fix = "" if not rule.fixes else "`--fix`" if rule.safe else "`--unsafe-fixes`"
                state = "" if rule.usual else "off"
                anchor = f"{code}-{rule.name}".lower()
                yield f"| [{code}](rules.md#{anchor}) | `{rule.name}` | {_cell(rule.what)} | {fix} | {state} |"


def _targets() -> Iterator[str]:
    yield "\n## Verdicts about a toolchain\n"
    yield "`protogen check --target` and `protogen convert --dry-run --target` say of each layer:\n"
    yield from _table("verdict", VERDICTS)
    yield "\n`protogen try` says of each toolchain that it ran:\n"
    yield from _table("outcome", OUTCOMES)


def _proofs() -> Iterator[str]:
    yield "\n## Results of verify\n"
    yield "`protogen verify`, and `--verify` of other commands, name the first blob that does not agree:\n"
    yield from _table("the blob", DIFFERENT)
    yield "\nA blob that agrees can still prove nothing. It is reported as *unproved*, and if all blobs are, the exit code"
    yield "is 1:\n"
    yield "| reason | meaning | what to do |"
    yield "|---|---|---|"
    yield from (
        f"| {name} | {meaning} | {advice} |" for name, (meaning, advice) in UNPROVED.items()
    )


def _training() -> Iterator[str]:
    for title, advised in (("health", HEALTH), ("train-log", LOG)):
        yield f"\n## Findings of {title}\n"
        yield "| finding | meaning | what to do |"
        yield "|---|---|---|"
        yield from (
            f"| `{name}` | {meaning} | {advice} |" for name, (meaning, advice) in advised.items()
        )
    yield "\n[Initial weights and training signals](initialisation.md) explains them.\n"


def _table(head: str, rows: dict[str, str]) -> Iterator[str]:
    yield f"| {head} | meaning |"
    yield "|---|---|"
    yield from (f"| {name} | {meaning} |" for name, meaning in rows.items())


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")
