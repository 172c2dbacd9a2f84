"""The steps of a conversion: run the module, export it, import the model, compare."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from protogen.converting.onnx_to_caffe import check_size
from protogen.errors import (
    InputError,
    ProtogenError,
    ProtogenWarning,
    UnsupportedError,
    did_you_mean,
    quantity,
)
from protogen.legalization.legalize import Legalized, legalize
from protogen.net.net import Net
from protogen.pytorch.net import TorchNet

if TYPE_CHECKING:
    from torch import nn

    from protogen.onnx.importer.net import ImportedNet
    from protogen.pytorch.examples import Examples
    from protogen.pytorch.exporting import Exported
    from protogen.pytorch.naming import Named
    from protogen.toolchains.toolchain import Toolchain

    Target = str | Path | Toolchain | Sequence[str | Path | Toolchain]


@dataclass(frozen=True)
class Form:
    """What net is wanted: the arguments of ``from_torch`` of these names; ``ends`` is ``outputs``."""

    target: Target | None = None
    dialect: str = ""
    ends: tuple[str, ...] = ()
    fold: bool = False


@dataclass(frozen=True, eq=False)
class Source:
    """An exported module, whose values have the names of the module's parts."""

    exported: Exported
    named: Named


@dataclass(frozen=True, eq=False)
class Unproved:
    """A net that was not yet compared with the module.

    Attributes:
        source: what it was imported from.
        imported, legalized: see TorchNet.
        ends: the values of the model that are the outputs of the net.
    """

    source: Source
    imported: ImportedNet
    legalized: Legalized | None
    ends: tuple[str, ...]

    @property
    def net(self) -> Net:
        return self.legalized.net if self.legalized else self.imported.net


@dataclass(frozen=True, eq=False)
class Task:
    """A module, example inputs, and names for what the module returns; the steps of ``from_torch``."""

    module: nn.Module
    examples: Examples
    output_names: tuple[str, ...] = ()

    def returned(self) -> tuple[str, ...]:
        """Return the keys of what the module returns, after a check that it is not random.

        Raises:
            InputError: it returns no tensor, or ``output_names`` has another number of names.
            UnsupportedError: two runs give different values.
        """
        import torch

        from protogen.pytorch.examples import evaluating, outputs_of

        with evaluating(self.module):
            first, second = (
                outputs_of(self.module(*self.examples.args, **self.examples.kwargs))
                for _ in range(2)
            )
        subject = f"module {type(self.module).__name__}"
        if not first:
            raise InputError("returns no tensor", subject=subject)
        for key, value in first.items():
            if not torch.equal(torch.nan_to_num(value), torch.nan_to_num(second[key])):
                raise UnsupportedError(
                    "returns different values for the same inputs, also in evaluation",
                    subject=subject,
                    advice="Leave out random numbers, and pass training=self.training to dropout.",
                )
        names = self.output_names
        if names and (len(names) != len(first) or len(set(names)) != len(names)):
            raise InputError(
                f"expected {quantity(len(first), 'different name')}, got {', '.join(names)}",
                subject="output_names",
            )
        return tuple(first)

    def exported(self, exporter: str, returned: Sequence[str]) -> Source:
        """Export the module, and name the values of the model.

        Args:
            exporter: the name of the exporter.
            returned: what ``returned`` returns.

        Raises:
            UnsupportedError: the exporter fails.
        """
        from protogen.pytorch.exporting import EXPORTERS
        from protogen.pytorch.naming import name_after_modules

        exported = EXPORTERS[exporter](self.module, self.examples)
        count = len(exported.model.model.graph.output)
        if count != len(returned):
            raise UnsupportedError(
                f"PyTorch's exporter writes {quantity(count, 'output')}, but the module "
                f"returns {quantity(len(returned), 'tensor')}"
            )
        parts = dict(self.module.named_modules())
        leaves = {path for path, part in parts.items() if path and not list(part.children())}
        names = self.output_names or [key if _is_name(key) else "" for key in returned]
        return Source(
            exported, name_after_modules(exported, list(self.examples.tensors), names, leaves)
        )

    def imported(self, source: Source, form: Form) -> Unproved:
        """Import the model, and write it for the target.

        Raises:
            InputError: the module has no part or value of a name in ``form.ends``.
            UnsupportedError: an operator has no equivalent in Caffe, or a layer no form for the target.
        """
        from protogen.onnx.importer.net import import_model

        if form.target is not None and form.dialect:
            raise InputError(
                "a target decides the layers, also where they are of a fork",
                subject=f"dialect {form.dialect}",
                advice="Leave out the dialect.",
            )
        model, named = source.exported.model, source.named
        known = {name for node in model.model.graph.node for name in node.output}
        ends = tuple(_resolved(form.ends, named, known | set(named.outputs)))
        try:
            imported = import_model(
                model,
                dialect=form.dialect or "bvlc",
                fold=form.fold,
                outputs=ends,
                richest=form.target is not None,
            )
            legalized = legalize(imported.net, form.target) if form.target is not None else None
        except UnsupportedError as error:
            raise error.with_parts(advice=_spelled(error.diagnostic.advice)) from None
        net = Unproved(source, imported, legalized, ends)
        check_size(net.net, model.name)
        return net

    def proved(
        self,
        unproved: Unproved,
        failures: Mapping[str, ProtogenError],
        seed: int,
        tolerance: float,
    ) -> TorchNet:
        """Compare the net with the module.

        Args:
            failures: the exporters that failed before, with the reason.

        Raises:
            MismatchError: they differ, or nothing is proved.
        """
        from protogen.pytorch.comparing import ModuleSide, calls_of, compare

        net, imported, named = unproved.net, unproved.imported, unproved.source.named
        final = imported.compared((*named.outputs, *unproved.ends))
        ends = tuple(final.get(name, name) for name in unproved.ends or named.outputs)
        calls = {
            path: [final.get(name, name) for name in names]
            for path, names in calls_of(self.module, self.examples, named).items()
        }
        outputs = [final.get(name, name) for name in named.outputs]
        side = ModuleSide(self.module, self.examples, outputs, calls, ends)
        checked = compare(side, net, self.examples, ends, seed, tolerance)
        approximated = _grouped(imported.approximated)
        for sentence in approximated:
            warnings.warn(sentence, ProtogenWarning, stacklevel=3)
        blobs = {top for layer in net.layers for top in layer.tops}
        modules = {
            path: [one for name in names if (one := final.get(name, name)) in blobs]
            for path, names in named.modules.items()
        }
        return TorchNet(
            type(self.module).__name__,
            net,
            checked,
            unproved.source.exported.exporter,
            tuple(self.examples.tensors),
            ends,
            {path: tuple(names) for path, names in modules.items() if names},
            imported,
            unproved.legalized,
            (
                *(f"{name} was tried before: {error}" for name, error in failures.items()),
                *approximated,
            ),
        )


def _grouped(sentences: Sequence[str]) -> tuple[str, ...]:
    """Return one sentence for all operators with the same approximation."""
    subjects: dict[str, list[str]] = {}
    for sentence in sentences:
        subject, colon, text = sentence.partition(": ")
        subjects.setdefault(text if colon else sentence, []).append(subject if colon else "")
    return tuple(
        f"{first}{f' and {len(rest)} more' if rest else ''}: {text}" if first else text
        for text, (first, *rest) in subjects.items()
    )


def _is_name(key: str) -> bool:
    """Whether the key of an output is a name, not the number of a place in a tuple."""
    return bool(key) and not key.replace(".", "").isdigit()


def _resolved(ends: Sequence[str], named: Named, known: set[str]) -> Iterator[str]:
    """Yield the values that ``outputs`` of ``from_torch`` means: what leaves a part of the module, or a value.

    Raises:
        InputError: the module has no such part or value.
    """
    for name in dict.fromkeys(ends):
        if name in named.modules:
            yield from named.modules[name]
        elif name in known:
            yield name
        else:
            raise InputError(
                "the module has no such part or value",
                subject=f'outputs "{name}"',
                advice=did_you_mean(name, [*named.modules, *known]),
            )


def _spelled(advice: str) -> str:
    """Return an advice with arguments of ``from_torch`` in place of options of the command line."""
    before, option, after = advice.partition(" --to-blob ")
    if not option:
        return "" if "--from-blob" in advice else advice
    names = after.removesuffix(".").split(" --to-blob ")
    listed = ", ".join(f'"{name}"' for name in names)
    return f"{before} outputs=[{listed}]."
