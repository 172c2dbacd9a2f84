"""``protogen weights``."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from protogen.cli import filetypes, options, output, tables
from protogen.errors import InputError, quantity
from protogen.formats import files

if TYPE_CHECKING:
    from protogen.formats.caffemodel import CaffeModel, Entry


_TO = ("to_npz", "to_safetensors", "to_hdf5", "output")


@click.command("weights")
@click.argument("model", type=filetypes.INPUT, metavar="NET.caffemodel")
@click.option("--quick", is_flag=True, help="Do not read the values: names, types and shapes only.")
@click.option(
    "--to-npz",
    type=filetypes.Writable("npz"),
    metavar="FILE.npz",
    help="Write the arrays, named LAYER/INDEX.",
)
@click.option(
    "--to-safetensors",
    type=filetypes.Writable("safetensors"),
    metavar="FILE",
    help="Write the arrays as safetensors.",
)
@click.option(
    "--to-hdf5",
    type=filetypes.Writable("HDF5"),
    metavar="FILE.h5",
    help="Write Caffe's HDF5 format.",
)
@click.option(
    "--from-npz",
    type=filetypes.INPUT,
    metavar="FILE.npz",
    help="Replace arrays of the model by these.",
)
@click.option(
    "-o",
    "--output",
    type=filetypes.CAFFEMODEL,
    metavar="FILE.caffemodel",
    help="With --from-npz: write the new model here.",
)
@options.as_json
def command(model: str, quick: bool, as_json: bool, **flags: Any) -> None:
    """List or convert the weights in a caffemodel.

    The list has layers, shapes, dtypes, norms, and the number of NaN and infinite values. The file is
    mapped, not loaded. --to-hdf5 and --to-safetensors need the extras hdf5 and safetensors; a .h5 file
    can be converted too.

    \b
    Examples:
      protogen weights net.caffemodel
      protogen weights net.caffemodel --to-npz net.npz
      protogen weights net.caffemodel --from-npz changed.npz -o new.caffemodel
    """
    files.distinct(
        ((f"--{key.replace('_', '-')}", flags[key]) for key in _TO), [model, flags["from_npz"]]
    )
    if bool(flags["from_npz"]) != bool(flags["output"]):
        raise InputError("--from-npz FILE and -o FILE must be given together")
    if any(flags[key] for key in _TO):
        if as_json or quick:
            option = "--json" if as_json else "--quick"
            raise InputError(f"{option} applies to the list, not to a conversion")
        _convert(model, flags)
        return
    _list(model, as_json, quick)


def _convert(path: str, flags: dict[str, Any]) -> None:
    from protogen.formats import weightfiles

    arrays = weightfiles.read_any(path)
    with ExitStack() as stack:

        def out(key: str) -> Any:
            return stack.enter_context(files.replacing(flags[key]))

        if flags["from_npz"]:
            from protogen.formats.caffemodel import read_weights, write_weights

            model = read_weights(path)
            entries = _replaced(model, flags["from_npz"])
            write_weights(out("output"), model.name, entries, pair=model.pair)
        if flags["to_npz"]:
            weightfiles.write_npz(out("to_npz"), weightfiles.flatten(arrays))
        if flags["to_safetensors"]:
            out("to_safetensors").write(weightfiles.safetensors_bytes(arrays))
        if flags["to_hdf5"]:
            weightfiles.write_hdf5(out("to_hdf5"), arrays)
    output.wrote(*(flags[key] for key in _TO))


def _replaced(model: CaffeModel, npz: str) -> list[Entry]:
    """The model's layers, with the arrays of an npz file in place of their own.

    Raises:
        InputError: the model has no such layer, or the shapes differ.
    """
    from protogen.formats.caffemodel import Entry
    from protogen.formats.weightfiles import read_npz
    from protogen.net.binary import upgraded_entries

    arrays = read_npz(npz)
    names = {layer.name for layer in model.layers}
    for name in arrays:
        if name not in names:
            raise InputError("unknown layer", where=npz, subject=f"layer {name!r}")
    entries = []
    for layer, entry in zip(model.layers, upgraded_entries(model, []), strict=True):
        new = arrays.get(layer.name)
        if new is None:
            entries.append(entry)
            continue
        before, after = ([a.shape for a in group] for group in (entry.arrays, new))
        if before != after:
            raise InputError(
                f"expected arrays of shape {', '.join(map(tables.shape, before))}, "
                f"got {', '.join(map(tables.shape, after))}",
                where=npz,
                subject=f"layer {layer.name!r}",
            )
        entries.append(Entry(entry.header, new))
    return entries


def _list(path: str, as_json: bool, quick: bool) -> None:
    from protogen.formats.caffemodel import read_weights

    if path.endswith((".h5", ".hdf5")):
        raise InputError(
            "an HDF5 file can be converted, but not listed", where=path, advice="Use --to-npz FILE."
        )
    model = read_weights(path)
    rows = _rows(model, quick)
    if as_json:
        output.print_json("weights", name=model.name, blobs=rows)
        return
    shown = ["layer", "type", "blob", "shape", "dtype"]
    shown += [] if quick else ["norm", "mean", "std", "NaN", "Inf"]
    tables.show(
        shown,
        [
            [
                row["layer"],
                row["type"],
                str(row["blob"]),
                tables.shape(row["shape"]),
                row["dtype"],
                *([] if quick else [f"{row[k]:.4g}" for k in ("norm", "mean", "std")]),
                *([] if quick else [str(row["nan"]), str(row["inf"])]),
            ]
            for row in rows
        ],
        right=(2, 5, 6, 7, 8, 9),
    )
    import math

    total = sum(math.prod(row["shape"]) for row in rows)
    forms = "/".join(sorted({layer.form for layer in model.layers}))
    output.note(
        f"{quantity(len(model.layers), 'layer')} ({forms}), {quantity(len(rows), 'blob')}, "
        f"{quantity(total, 'value', form=',')}"
    )


def _rows(model: CaffeModel, quick: bool) -> list[dict[str, Any]]:
    """Return a row for each blob, as in the JSON of ``protogen weights``."""
    rows: list[dict[str, Any]] = [
        {
            "layer": layer.name,
            "type": layer.type,
            "blob": index,
            "shape": list(blob.shape),
            "dtype": "float64" if blob.dtype == "<f8" else "float32",
        }
        for layer in model.layers
        for index, blob in enumerate(layer.blobs)
    ]
    if quick:
        return rows
    import numpy as np

    blobs = ((layer, index) for layer in model.layers for index in range(len(layer.blobs)))
    with np.errstate(all="ignore"):  # a sum over values that are not finite
        for row, (layer, index) in zip(rows, blobs, strict=True):
            row.update(_statistics(layer, index))
    return rows


def _statistics(layer: Any, index: int) -> dict[str, Any]:
    """Norm, mean and deviation of the finite values, computed in pieces of a few MB; the number of NaN
    and infinite values."""
    import math

    import numpy as np

    flat = layer.array(index).reshape(-1)
    nan = inf = count = 0
    total = squares = 0.0
    for start in range(0, flat.size, 1 << 20):
        piece = flat[start : start + (1 << 20)]
        part = float(np.add.reduce(piece, dtype=np.float64))
        if not math.isfinite(part):  # one value is not, or the sum is too large
            finite = np.isfinite(piece)
            bad = int(np.isnan(piece).sum())
            nan += bad
            inf += int((~finite).sum()) - bad
            piece = piece[finite]
            part = float(np.add.reduce(piece, dtype=np.float64))
        count += piece.size
        total += part
        squares += float(np.add.reduce(np.square(piece, dtype=np.float64)))
    mean = total / count if count else 0.0
    variance = max(0.0, squares / count - mean * mean) if count else 0.0
    return {
        "norm": math.sqrt(squares),
        "mean": mean,
        "std": math.sqrt(variance),
        "nan": nan,
        "inf": inf,
    }
