"""Writes the small nets of this folder as ONNX files, with seeded weights.

    python benchmarks/nets/make.py [NAME ...]

It needs PyTorch, whose TorchScript exporter writes the files. The nets have the structure of published
ones at a small width.
"""

from __future__ import annotations

import argparse
import io
import warnings
from pathlib import Path

import classifiers  # noqa: F401
import detectors  # noqa: F401
import maps  # noqa: F401
import onnx
import others  # noqa: F401
import torch
from parts import RECIPES, Recipe, fill

FOLDER = Path(__file__).parent


def numbered(name: str, count: int) -> list[str]:
    """Return names for the inputs or outputs of a net."""
    return [name] if count == 1 else [f"{name}{i}" for i in range(count)]


def export(name: str, recipe: Recipe) -> bytes:
    """Return a net as ONNX."""
    model = recipe.build()
    fill(model, recipe.shapes, name)
    inputs = tuple(torch.randn(shape) for shape in recipe.shapes)
    outputs = model(*inputs)
    count = 1 if isinstance(outputs, torch.Tensor) else len(outputs)
    mode = torch.onnx.TrainingMode
    file = io.BytesIO()
    torch.onnx.export(
        model,
        inputs,
        file,
        opset_version=recipe.opset,
        input_names=numbered("input", len(inputs)),
        output_names=numbered("output", count),
        training=mode.EVAL if recipe.fold else mode.PRESERVE,
    )
    written = onnx.load_from_string(file.getvalue())
    onnx.checker.check_model(written, full_check=True)
    for node in written.graph.node:
        node.doc_string = ""
    data: bytes = written.SerializeToString()
    return data


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="the nets; all by default")
    names = parser.parse_args().names or list(RECIPES)
    warnings.simplefilter("ignore")
    for name in names:
        data = export(name, RECIPES[name])
        (FOLDER / f"{name}.onnx").write_bytes(data)
        print(f"{name}: {len(data) / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
