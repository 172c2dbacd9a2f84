"""Conversion of a PyTorch module to a Caffe net, proved against the module."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from protogen.converting.comparison import TOLERANCE
from protogen.errors import (
    InputError,
    MismatchError,
    ProtogenError,
    ProtogenWarning,
    UnsupportedError,
    warn,
)
from protogen.pytorch.net import TorchNet
from protogen.pytorch.steps import Form, Task

if TYPE_CHECKING:
    from torch import nn

    from protogen.pytorch.steps import Target


def from_torch(
    module: nn.Module,
    example_inputs: Any,
    *,
    target: Target | None = None,
    dialect: str = "",
    outputs: Sequence[str] = (),
    input_names: Sequence[str] = (),
    output_names: Sequence[str] = (),
    fold: bool = False,
    exporter: str = "",
    seed: int = 0,
    tolerance: float = TOLERANCE,
    progress: Callable[[str], object] | None = None,
) -> TorchNet:
    """Convert a PyTorch module to a Caffe net, and compare what both compute.

    The module is converted as it computes in evaluation (``module.eval()``); its own mode is restored. Both
    of PyTorch's exporters are tried: the newer one (``torch.export``) first, the older one
    (``torch.jit.trace``) if the newer one fails or writes operators that Caffe lacks. Layers and blobs have
    the names of the module's parts: ``layer1.0.conv1``. Weights are not copied.

    The net is run on ``example_inputs`` and on random inputs, and each value that it shares with the
    module is compared: the outputs, and what the parts of the module return.

    Args:
        module: the module.
        example_inputs: a tensor or numpy array, a tuple of arguments, or a dict of keyword arguments of
            ``forward``. Their shapes are those of the net. An argument that is not a tensor is constant.
        target: the toolchain or toolchains that the net is for, by name or file; see ``pg.legalize``.
        dialect: the Caffe that the net is for; see ``pg.from_onnx``. A target decides it.
        outputs: what becomes the outputs of the net, to leave out what follows: paths of parts of the
            module (``backbone.layer4``), or names of values. By default what the module returns.
        input_names: names of the inputs; by default the parameters of ``forward``.
        output_names: names of what the module returns; by default the keys of a dict, else the names of
            the layers.
        fold: fold BatchNorm into the convolution before it.
        exporter: use only ``torch.export`` or only ``torch.jit.trace``.
        seed: seed of the random inputs.
        tolerance: the largest error relative to a value's largest magnitude.
        progress: called with a text before each step.

    Raises:
        InputError: an argument is invalid.
        UnsupportedError: PyTorch is not installed; the module's Python code reads values that depend on the
            inputs; the module is random; PyTorch cannot export it; or operators have no equivalent in
            Caffe, or no form for the target.
        MismatchError: the net computes something else than the module, or nothing is proved.

    Warns:
        ProtogenWarning: some values prove nothing, or an operator is converted approximately.
    """
    from protogen.pytorch.dependence import check_independent
    from protogen.pytorch.examples import checked_module, examples_of, load_torch
    from protogen.pytorch.exporting import EXPORTERS
    from protogen.pytorch.state import same_random_numbers

    load_torch()
    tell = progress or (lambda text: None)
    if exporter and exporter not in EXPORTERS:
        raise InputError(
            f"unknown exporter (exporters: {', '.join(EXPORTERS)})", subject=f'"{exporter}"'
        )
    module = checked_module(module)
    task = Task(module, examples_of(module, example_inputs, input_names), tuple(output_names))
    form = Form(target, dialect, tuple(outputs), fold)
    with same_random_numbers(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ProtogenWarning)
        tell("run the module")
        task = task.until(form.ends)
        returned = task.returned()
        if not check_independent(module, task.examples, task.stop, exporter):
            exporter = "torch.export"
        converted = _first(task, returned, form, exporter, seed, tolerance, tell)
    for one in caught:
        if isinstance(one.message, ProtogenWarning):
            warn(one.message)
        else:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    return converted


def _first(
    task: Task,
    returned: tuple[str, ...],
    form: Form,
    exporter: str,
    seed: int,
    tolerance: float,
    tell: Callable[[str], object],
) -> TorchNet:
    """Return the net of the first exporter whose net can be written and is proved."""
    from protogen.pytorch.exporting import EXPORTERS

    failures: dict[str, ProtogenError] = {}
    for name in [exporter] if exporter else EXPORTERS:
        try:
            tell(f"export with {name}")
            source = task.exported(name, returned)
            tell("import the model")
            net = task.imported(source, form)
            tell("compare the net with the module")
            return task.proved(net, failures, seed, tolerance)
        except (UnsupportedError, MismatchError) as error:
            failures[name] = error
    raise _failed(failures)


def _failed(failures: Mapping[str, ProtogenError]) -> ProtogenError:
    """Return the error for a module that no exporter could convert: the first one, unless PyTorch itself
    failed there; with what the other one said."""
    (name, first), *others = failures.items()
    lines = list(first.diagnostic.lines)
    for other, error in others:
        if str(error) != str(first):
            lines.append(f"With {other}: {error}")
    return first.with_parts(lines=tuple(lines), problem=f"with {name}: {first.diagnostic.problem}")
