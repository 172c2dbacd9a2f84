"""``init`` of VGG16: 138 million random weights, written to a caffemodel, against ``cp`` of the file."""

from __future__ import annotations

import shutil
from pathlib import Path

from caffe_nets import TINY, vgg16
from measuring import PROTOGEN, Row, usages


def rows(folder: Path) -> list[Row]:
    """Measure in a folder; see ``performance.py``."""
    net, tiny = folder / "net.prototxt", folder / "tiny.prototxt"
    net.write_text(vgg16())
    tiny.write_text(TINY)
    weights, tiny_weights, copy = (folder / name for name in ("w", "t", "copy"))
    weights, tiny_weights = (
        weights.with_suffix(".caffemodel"),
        tiny_weights.with_suffix(".caffemodel"),
    )
    result = []
    for filler in ("gaussian:0.01", "xavier"):
        init = (PROTOGEN, "init", "--set", f"*={filler}")
        usages([(*init, net, "-o", weights)], runs=1)
        start, floor, ours = usages(
            [
                (*init, tiny, "-o", tiny_weights),
                (shutil.which("cp") or "cp", weights, copy),
                (*init, net, "-o", weights),
            ],
            before=lambda: copy.unlink(missing_ok=True),
        )
        work, seconds = f"init VGG16, {filler}", ours.seconds - start.seconds
        result += [
            Row(f"{work}, beyond start-up", "cp", "time", seconds, floor.seconds, 10, "s"),
            Row(work, "", "memory", ours.peak, None, 100, "MiB"),
        ]
    return result
