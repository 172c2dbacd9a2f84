"""``protogen weights`` and ``protogen binaryproto``."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from protogen.errors import InputError
from protogen.formats import files

if TYPE_CHECKING:
    from protogen.formats.caffemodel import CaffeModel, Entry


@click.command("weights")
@click.argument("model", metavar="NET.caffemodel")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--quick", is_flag=True, help="Names, types and shapes only: values are not read.")
@click.option("--to-npz", metavar="FILE", help="Write arrays named LAYER/INDEX.")
@click.option("--to-safetensors", metavar="FILE", help="The same as safetensors.")
@click.option("--hdf5", metavar="FILE", help="Write Caffe's HDF5 form (.caffemodel.h5).")
@click.option("--from-npz", metavar="FILE", help="Take these arrays in place of the model's.")
@click.option("-o", "--output", metavar="FILE", help="With --from-npz: the new caffemodel.")
def weights(model: str, as_json: bool, quick: bool, **options: Any) -> None:
    """List what a caffemodel holds: layers, shapes, dtypes, norms, NaN and Inf; or convert it.

    The file is mapped, not loaded. --hdf5 and --to-safetensors need the extras hdf5 and
    safetensors; a .h5 file is read as well.

    \b
    Examples:
      protogen weights net.caffemodel
      protogen weights net.caffemodel --to-npz net.npz
      protogen weights net.caffemodel --from-npz changed.npz -o new.caffemodel
    """
    outputs = {key: options[key] for key in ("to_npz", "to_safetensors", "hdf5", "output")}
    files.distinct(
        ((f"--{key.replace('_', '-')}", path) for key, path in outputs.items()),
        [model, options["from_npz"]],
    )
    if bool(options["from_npz"]) != bool(options["output"]):
        raise InputError("--from-npz FILE and -o FILE go together")
    if any(outputs.values()):
        _convert(model, options)
        return
    _list(model, as_json, quick)


def _convert(path: str, options: dict[str, Any]) -> None:
    from protogen.formats import weightfiles

    found = weightfiles.read_any(path)
    with ExitStack() as stack:

        def out(key: str) -> Any:
            return stack.enter_context(files.replacing(options[key]))

        if options["from_npz"]:
            from protogen.formats.caffemodel import read_weights, write_weights

            model = read_weights(path)
            entries = _replaced(model, options["from_npz"])
            write_weights(out("output"), model.name, entries)
        if options["to_npz"]:
            weightfiles.write_npz(out("to_npz"), weightfiles.flatten(found))
        if options["to_safetensors"]:
            out("to_safetensors").write(weightfiles.safetensors_bytes(found))
        if options["hdf5"]:
            weightfiles.write_hdf5(out("hdf5"), found)
    for key in ("to_npz", "to_safetensors", "hdf5", "output"):
        if options[key]:
            click.echo(f"wrote {options[key]}")


def _replaced(model: CaffeModel, npz: str) -> list[Entry]:
    """The model's layers with the arrays of an npz, which must fit."""
    from protogen.cli.tables import shape
    from protogen.formats.caffemodel import Entry
    from protogen.formats.weightfiles import read_npz
    from protogen.net.binary import upgraded_entries

    arrays = read_npz(npz)
    names = {layer.name for layer in model.layers}
    for name in arrays:
        if name not in names:
            raise InputError("the model has no such layer", where=npz, subject=f"layer {name!r}")
    made = []
    for layer, entry in zip(model.layers, upgraded_entries(model, []), strict=True):
        new = arrays.get(layer.name)
        if new is None:
            made.append(entry)
            continue
        before, after = ([a.shape for a in group] for group in (entry.arrays, new))
        if before != after:
            raise InputError(
                f"its arrays are {', '.join(map(shape, after))}, but must be "
                f"{', '.join(map(shape, before))}",
                where=npz,
                subject=f"layer {layer.name!r}",
            )
        made.append(Entry(entry.header, new))
    return made


def _list(path: str, as_json: bool, quick: bool) -> None:
    from protogen.cli import tables
    from protogen.formats.caffemodel import read_weights

    if path.endswith((".h5", ".hdf5")):
        raise InputError(
            "is HDF5: it can be converted, not listed", where=path, advice="Say --to-npz FILE."
        )
    model = read_weights(path)
    rows = []
    for layer in model.layers:
        for index, blob in enumerate(layer.blobs):
            row: dict[str, Any] = {
                "layer": layer.name,
                "type": layer.type,
                "blob": index,
                "shape": list(blob.shape),
                "dtype": "float64" if blob.dtype == "<f8" else "float32",
            }
            if not quick:
                row |= _statistics(layer, index)
            rows.append(row)
    if as_json:
        click.echo(json.dumps({"name": model.name, "blobs": rows}, indent=2))
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
    click.echo(f"{len(model.layers)} layers ({forms}), {len(rows)} blobs, {total:,} values")


def _statistics(layer: Any, index: int) -> dict[str, Any]:
    """Norm, mean and standard deviation of the finite values, in pieces of a few MB."""
    import math

    import numpy as np

    flat = layer.array(index).reshape(-1)
    nan = inf = count = 0
    total = squares = 0.0
    for start in range(0, flat.size, 1 << 20):
        piece = flat[start : start + (1 << 20)]
        finite = np.isfinite(piece)
        if not finite.all():
            bad = int(np.isnan(piece).sum())
            nan += bad
            inf += int((~finite).sum()) - bad
            piece = piece[finite]
        count += piece.size
        total += float(piece.sum(dtype=np.float64))
        squares += float(np.square(piece, dtype=np.float64).sum())
    mean = total / count if count else 0.0
    variance = max(0.0, squares / count - mean * mean) if count else 0.0
    return {
        "norm": math.sqrt(squares),
        "mean": mean,
        "std": math.sqrt(variance),
        "nan": nan,
        "inf": inf,
    }


@click.command("binaryproto")
@click.argument("source", metavar="IN")
@click.option("-o", "--output", required=True, metavar="OUT", help="The file to write.")
def binaryproto(source: str, output: str) -> None:
    """Convert a mean file between .binaryproto, .npy and .png, by the files' endings.

    Arrays are (C, H, W), channels in Caffe's order (blue, green, red). A PNG is 8-bit: values are
    rounded and must lie in 0 to 255. PNG needs the extra picture.

    \b
    Examples:
      protogen binaryproto mean.binaryproto -o mean.npy
      protogen binaryproto mean.binaryproto -o mean.png
    """
    from protogen.preprocessing import meanfiles

    files.distinct([("-o", output)], [source])
    array = meanfiles.read(source)
    with files.replacing(output) as file:
        meanfiles.write(file, array, Path(output).suffix)
    click.echo(f"wrote {output}")
