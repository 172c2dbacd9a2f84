"""The steps of a conversion: run the module, export it, import the model, compare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
    warn,
)
from protogen.legalization.legalize import Legalized, legalize
from protogen.net.net import Net
from protogen.pytorch.net import TorchNet

if TYPE_CHECKING:
    from torch import Tensor, nn

    from protogen.onnx.importer.net import ImportedNet
    from protogen.pytorch.examples import Examples
    from protogen.pytorch.exporting import Exported
    from protogen.pytorch.naming import Named
    from protogen.pytorch.parts import Observed
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
    """A module, example inputs, and names for what the module returns; the steps of ``from_torch``.

    ``stop``: leave out what follows this number of calls of parts, and the module's own outputs; 0: nothing.
    """

    module: nn.Module
    examples: Examples
    output_names: tuple[str, ...] = ()
    stop: int = 0

    @property
    def subject(self) -> str:
        return f"module {type(self.module).__name__}"

    def observed(self, parts: bool = True) -> Observed:
        """Return the module as a function of tensors; see ``Observed``."""
        from protogen.pytorch.parts import Observed

        return Observed(self.module, self.examples, parts=parts or bool(self.stop), stop=self.stop)

    def until(self, paths: Sequence[str]) -> Task:
        """Return the task without what follows the last call of some parts of the module; the same task if
        a path is not that of a part, which can be the name of a value.

        Raises:
            InputError: a part is not called.
        """
        from protogen.pytorch.parts import aliases

        first_paths = aliases(self.module)
        if not paths or any(path not in first_paths for path in paths):
            return self
        observed = self.observed()
        _run(observed, self)
        calls = observed.record.calls
        stop = 0
        for path in paths:
            if first_paths[path] not in calls:
                raise InputError(
                    "the module does not call this part",
                    subject=f'outputs "{path}"',
                    advice=did_you_mean(path, calls),
                )
            stop = max(stop, len(calls) - calls[::-1].index(first_paths[path]))
        return replace(self, stop=stop, output_names=())

    def returned(self) -> tuple[str, ...]:
        """Return the keys of what the module returns, after a check that it is not random.

        Raises:
            InputError: it returns no tensor, or ``output_names`` has another number of names.
            UnsupportedError: two runs give different values.
        """
        import torch

        observed = self.observed(parts=False)
        first, second = (_run(observed, self) for _ in range(2))
        if not first:
            raise InputError("returns no tensor", subject=self.subject)
        for value, again in zip(first, second, strict=True):
            if not torch.equal(torch.nan_to_num(value), torch.nan_to_num(again)):
                raise UnsupportedError(
                    "returns different values for the same inputs, also in evaluation",
                    subject=self.subject,
                    advice="Leave out random numbers, and pass training=self.training to dropout.",
                )
        names, count = self.output_names, len(observed.record.keys)
        if names and (len(names) != count or len(set(names)) != count):
            raise InputError(
                f"expected {quantity(count, 'different name')}, got {', '.join(names)}",
                subject="output_names",
            )
        for name in names:
            if name in self.examples.tensors:
                raise InputError(f'"{name}" is the name of an input', subject="output_names")
        return observed.record.keys

    def exported(self, exporter: str, returned: Sequence[str]) -> Source:
        """Export the module, and name the values of the model.

        Args:
            exporter: the name of the exporter.
            returned: what ``returned`` returns.

        Raises:
            UnsupportedError: the exporter fails.
        """
        from protogen.pytorch.exporting import exported_by
        from protogen.pytorch.naming import name_after_modules
        from protogen.pytorch.parts import aliases

        inputs = self.examples.tensors
        try:
            exported = exported_by(exporter, self.observed(), inputs)
        except UnsupportedError:
            if self.stop:
                raise
            # It may only fail to export what a part of the module returns.
            exported = exported_by(exporter, self.observed(parts=False), inputs)
        names = self.output_names or [
            key if _is_name(key) and key not in inputs else "" for key in returned
        ]
        return Source(
            exported, name_after_modules(exported, list(inputs), names, aliases(self.module))
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
        ends = tuple(_resolved(form.ends, self._modules(named), known | set(named.outputs)))
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
        from protogen.pytorch.comparing import ModuleSide, compare, matched

        net, imported, named = unproved.net, unproved.imported, unproved.source.named
        final = imported.compared((*named.outputs, *unproved.ends))
        ends = tuple(final.get(name, name) for name in unproved.ends or named.outputs)
        parts = [(path, final.get(name, name)) for path, name in named.returned]
        outputs = [final.get(name, name) for name in named.outputs]
        observed = self.observed(parts=bool(parts))
        observed.run(self.examples.tensors.values())
        parts = matched(observed.record.paths, parts)
        side = ModuleSide(observed, self.examples, outputs, parts, ends)
        checked = compare(side, net, seed, tolerance)
        unchecked = tuple(
            f'output "{name}" is not compared: no part of the module returns it'
            for name in dict.fromkeys(ends)
            if name not in side.values() and name not in self.examples.tensors
        )
        approximated = _grouped(imported.approximated)
        for sentence in (*unchecked, *approximated):
            warn(ProtogenWarning(sentence))
        blobs = {top for layer in net.layers for top in layer.tops}
        modules = {
            path: tuple(final.get(name, name) for name in names)
            for path, names in self._modules(named).items()
        }
        return TorchNet(
            type(self.module).__name__,
            net,
            checked,
            unproved.source.exported.exporter,
            tuple(self.examples.tensors),
            ends,
            {path: names for path, names in modules.items() if blobs.issuperset(names)},
            imported,
            unproved.legalized,
            (
                *(f"{name} was tried before: {error}" for name, error in failures.items()),
                *unchecked,
                *approximated,
            ),
        )

    def _modules(self, named: Named) -> dict[str, list[str]]:
        """Return what each part of the module returns, by each of its paths."""
        from protogen.pytorch.parts import aliases

        modules = named.modules
        return {path: modules[one] for path, one in aliases(self.module).items() if one in modules}


def _run(observed: Observed, task: Task) -> tuple[Tensor, ...]:
    """Run a module on the example inputs.

    Raises:
        InputError: it raises an error.
    """
    from protogen.pytorch.exporting import FAILURES, first_line

    try:
        return observed.run(task.examples.tensors.values())
    except (*FAILURES, AssertionError) as error:
        raise InputError(
            f"fails on the example inputs: {type(error).__name__}: {first_line(str(error))}",
            subject=task.subject,
        ) from error


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


def _resolved(
    ends: Sequence[str], modules: Mapping[str, Sequence[str]], known: set[str]
) -> Iterator[str]:
    """Yield the values that ``outputs`` of ``from_torch`` means: what a part of the module returns, or a value.

    Raises:
        InputError: the module has no such part or value.
    """
    for name in dict.fromkeys(ends):
        if name in modules:
            yield from modules[name]
        elif name in known:
            yield name
        else:
            raise InputError(
                "the module has no such part or value",
                subject=f'outputs "{name}"',
                advice=did_you_mean(name, [*modules, *known]),
            )


def _spelled(advice: str) -> str:
    """Return an advice with arguments of ``from_torch`` in place of options of the command line."""
    before, option, after = advice.partition(" --to-blob ")
    if not option:
        return "" if "--from-blob" in advice else advice
    names = after.removesuffix(".").split(" --to-blob ")
    listed = ", ".join(f'"{name}"' for name in names)
    return f"{before} outputs=[{listed}]."
