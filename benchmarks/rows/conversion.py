"""VGG16 from Caffe to ONNX and back, against ``cp`` of its weights; and its export in memory."""

from __future__ import annotations

import shutil
from pathlib import Path

from caffe_nets import TINY, make, vgg16
from measuring import PROTOGEN, PYTHON, Row, Usage, usages

_TO_ONNX = """
import sys
import protogen as pg
pg.to_onnx(pg.load(*sys.argv[1:3]), mapped=sys.argv[3] == "mapped")
"""


def rows(folder: Path) -> list[Row]:
    """Measure in a folder; see ``performance.py``."""
    net, tiny = make(folder, "vgg16", vgg16()), make(folder, "tiny", TINY)
    model, tiny_model, copy = folder / "vgg16.onnx", folder / "tiny.onnx", folder / "copy"
    back = folder / "back.prototxt"
    cp = shutil.which("cp") or "cp"

    def clear() -> None:
        for path in (copy, model, tiny_model):
            path.unlink(missing_ok=True)

    convert = (PROTOGEN, "convert")
    floor, start, ours = usages(
        [
            (cp, net[1], copy),
            (*convert, *tiny, "-o", tiny_model),
            (*convert, *net, "-o", model),
        ],
        before=clear,
    )
    result = [_beyond("VGG16 to ONNX", ours, start, floor)]

    def clear_back() -> None:
        for path in (copy, back, back.with_suffix(".caffemodel")):
            path.unlink(missing_ok=True)

    usages([(*convert, *tiny, "-o", tiny_model), (*convert, *net, "-o", model)], runs=1)
    floor, start, ours_back = usages(
        [
            (cp, model, copy),
            (*convert, tiny_model, "-o", back),
            (*convert, model, "-o", back),
        ],
        before=clear_back,
    )
    result.append(_beyond("VGG16 from ONNX to Caffe", ours_back, start, floor))
    result += [
        Row("VGG16 to ONNX", "", "memory", ours.peak, None, 100, "MiB"),
        Row("VGG16 from ONNX to Caffe", "", "memory", ours_back.peak, None, 100, "MiB"),
    ]
    whole, mapped = usages(
        [(PYTHON, "-c", _TO_ONNX, *net, "whole"), (PYTHON, "-c", _TO_ONNX, *net, "mapped")]
    )
    size = net[1].stat().st_size / 2**20
    result += [
        Row(
            "pg.to_onnx(vgg16, mapped=True)", "the weights", "memory", mapped.peak, size, 1.2, "MiB"
        ),
        Row("pg.to_onnx(vgg16)", "the weights", "memory", whole.peak, size, 1.7, "MiB"),
    ]
    return result


def _beyond(work: str, ours: Usage, start: Usage, floor: Usage) -> Row:
    """Return the row of the time beyond that of the same command on a tiny net."""
    seconds = ours.seconds - start.seconds
    return Row(f"{work}, beyond start-up", "cp", "time", seconds, floor.seconds, 1.3, "s")
