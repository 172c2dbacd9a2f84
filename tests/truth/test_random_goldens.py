"""Random nets of another generator with the results of real Caffe: tests/golden/random.

The 660 nets of BVLC's types have the results of BVLC Caffe (9b89154), the 202 of forks' types those of
tpucaffe.
"""

from __future__ import annotations

import functools
import json
import warnings

import numpy as np
import pytest
from comparing import blobs_of, difference, parsed
from places import GOLDEN

import protogen as pg

RANDOM = GOLDEN / "random"

# Nets of forks' types on which protogen differs from tpucaffe, or which it refuses, with the reason. A
# test fails if a net of the list agrees, so that it is removed.
EXPECTED = {
    "bvlc": {},
    "forks": {
        # Its nine anchors need 18 channels: with 6, its code reads other memory, which differs from run to run.
        **dict.fromkeys((192, 194, 195, 201), "Proposal without enough channels"),
    },
}
COUNTS = {"bvlc": 660, "forks": 202}
# tpucaffe selects boxes as Intel's Caffe does: the first box stands for each box below the threshold.
DIALECTS = {"DetectionOutput": "intel", "Reorg": "tpumlir", "ROIPooling": "tpumlir"}


@functools.cache
def archive(name):
    """Return the index of a set, and the arrays of each net."""
    with np.load(RANDOM / f"{name}.npz") as file:
        index = json.loads(file["index"].tobytes())
        arrays = [{} for _ in index]
        for key in file.files:
            number, _, rest = key.partition(":")
            if rest:
                arrays[int(number)][rest] = file[key]
    return index, arrays


def disagreement(entry, arrays):
    """Describe the difference from Caffe; empty if there is none."""
    try:
        dialect = DIALECTS.get(entry["kind"], "")
        net = parsed(entry["net"], entry["phase"], dialect=dialect)
        weights = {}
        for key in sorted((k for k in arrays if k.startswith("param:")),
                          key=lambda k: int(k.rsplit(":", 1)[1])):  # fmt: skip
            weights.setdefault(key.split(":")[1], []).append(arrays[key])
        net.take_weights(weights)
        blobs = [key[4:] for key in arrays if key.startswith("out:")]
        feeds = {key[3:]: array for key, array in arrays.items() if key.startswith("in:")}
        actual = blobs_of(net, blobs, feeds)
    except pg.ProtogenError as error:
        return "" if entry["caffe"] == "refuses" else f"refused: {error}"
    if entry["caffe"] == "refuses":
        return f"runs, but Caffe refuses: {entry['why']}"
    problems = (f"{blob} {difference(actual[blob], arrays[f'out:{blob}'])}" for blob in blobs)
    return next((problem for problem in problems if not problem.endswith(" ")), "")


@pytest.mark.filterwarnings("ignore::protogen.errors.ProtogenWarning")
@pytest.mark.parametrize("name", COUNTS)
def test_random_nets_agree_with_caffe(name):
    index, arrays = archive(name)
    assert len(index) == COUNTS[name]
    problems = {}
    for number, (entry, net_arrays) in enumerate(zip(index, arrays, strict=True)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pg.ProtogenWarning)
            problem = disagreement(entry, net_arrays)
        if problem:
            problems[number] = f"{entry['kind']}: {problem}"
    expected = EXPECTED[name]
    assert {n: problem for n, problem in problems.items() if n not in expected} == {}
    assert [n for n in expected if n not in problems] == [], (
        "these agree now: remove them from the list"
    )
