"""``protogen rewrite`` of PSPNet: the proofs of its replacements, and the time against their runs.

The net is a published one of ../shared/corpus; without that folder there are no rows. Its 116 layers of
forks are BN and Interp. Each replacement is proved by two runs, that of the layer and that of its
replacement. Equal layers share a proof.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

from measuring import PROTOGEN, PYTHON, Row, against, usages

import protogen as pg
from protogen.net.net import Net
from protogen.onnx import encode, lower, to_model
from protogen.running import runtime

NET = (
    Path(__file__).parents[3]
    / "shared/corpus/hszhao__PSPNet/evaluation__prototxt__pspnet101_VOC2012_473.prototxt"
)
PROOFS = 0.18  # of the replaced layers: 20 differ in parameters or shapes, of 116
# One proof for each layer took 10.7 times the floor. The goal is 3.5 times faster.
GOAL = 10.7 / 3.5

_FLOOR = """
import json
import sys
import numpy as np
import onnxruntime
for path, shapes in json.load(open(sys.argv[1])):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    session.run(None, {name: np.ones(shape, np.float32) for name, shape in shapes.items()})
"""


def rows(folder: Path) -> list[Row]:
    """Return the proofs against the replaced layers, and the time and memory against the runs alone."""
    if not NET.exists():
        return []
    runs, layers = runs_of(folder)
    listed = folder / "runs.json"
    listed.write_text(json.dumps(runs))
    floor, ours = usages(
        [
            [PYTHON, "-c", _FLOOR, listed],
            [PROTOGEN, "rewrite", NET, "-o", folder / "stock.prototxt"],
        ]
    )
    work, alone = "rewrite of PSPNet 101", "onnxruntime alone, the same proofs"
    proofs = Row(
        work, "its replaced layers", "proofs", len(runs) / 2, float(layers), PROOFS, "proofs"
    )
    return [proofs, *against(work, alone, ours, floor, {"CPU time": GOAL})]


def runs_of(folder: Path) -> tuple[list[tuple[str, dict[str, list[int]]]], int]:
    """Rewrite the net, and return a model for each run of a proof, with the shapes of its inputs, and the
    number of layers that were replaced."""
    runs: list[tuple[str, dict[str, list[int]]]] = []
    run = runtime.run

    def noted(net: Net, feeds: Mapping[str, Any]) -> Any:
        path = folder / f"{len(runs)}.onnx"
        path.write_bytes(encode(to_model(lower(net))))
        runs.append((str(path), {name: list(array.shape) for name, array in feeds.items()}))
        return run(net, feeds)

    with patch.object(runtime, "run", noted), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rewritten = pg.rewrite(NET)
    return runs, len(rewritten.replaced)
