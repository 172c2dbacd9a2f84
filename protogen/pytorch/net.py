"""The result of a conversion: a Caffe net, the proof, and the names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from protogen._late import Shown
from protogen.converting.comparison import Comparison
from protogen.errors import quantity
from protogen.legalization.legalize import Legalized
from protogen.net.net import Net

if TYPE_CHECKING:
    from protogen.onnx.importer.net import ImportedNet


@dataclass(frozen=True, eq=False, repr=False)
class TorchNet(Shown):
    """A Caffe net that was converted from a PyTorch module.

    Attributes:
        name: the class of the module.
        net: the net. Weights that are not changed by the conversion are views of the module's
            parameters: they change if the module is trained on.
        checked: the comparison of the net with the module, value by value.
        exporter: PyTorch's exporter that was used: ``torch.export`` or ``torch.jit.trace``.
        inputs: the input blobs, in the order of the module's tensors.
        outputs: the output blobs, in the order of the module's outputs, or of ``outputs``.
        modules: the blobs that hold what each part of the module returns, by its path, in the order of the
            calls. A part of which a tensor is in no blob is not among them: a layer in place writes over it
            later, or nothing reads it.
        imported: the import of the ONNX model, with the reasons of its layers.
        legalized: the net in the forms of the target; None without a target.
        notes: how the conversion differs from what was asked for, one sentence each.
    """

    name: str
    net: Net
    checked: Comparison
    exporter: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    modules: Mapping[str, tuple[str, ...]]
    imported: ImportedNet
    legalized: Legalized | None = None
    notes: tuple[str, ...] = field(default=())

    def save(self, stem: str | Path) -> tuple[Path, ...]:
        """Write ``stem.prototxt``, and ``stem.caffemodel`` if the net has weights; returns the paths.

        Raises:
            InputError: a file cannot be written.
        """
        text = str(stem)
        for suffix in (".prototxt", ".caffemodel"):
            text = text.removesuffix(suffix)
        paths = [Path(f"{text}.prototxt")]
        if self.net.weights:
            paths.append(Path(f"{text}.caffemodel"))
        self.net.save(*paths)
        return tuple(paths)

    def __repr__(self) -> str:
        names = [one.name for one in self.legalized.toolchains] if self.legalized else []
        target = f" for {', '.join(names)}" if names else ""
        rows, tried = self.checked.rows, len(self.checked.tried)
        unproved = len(self.checked.unproved)
        some = f", {unproved} of them unproved" if unproved else ""
        return (
            f"<TorchNet {self.name}: {quantity(len(self.net.layers), 'layer')}{target}; "
            f"{quantity(len(rows), 'value')} compared with the module on {quantity(tried, 'input')}"
            f"{some}, largest error {self.checked.worst:.2g}>"
        )
