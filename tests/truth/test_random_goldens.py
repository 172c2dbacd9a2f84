"""Random nets of another generator with what real Caffe made of them: tests/golden/random. The 660 of
BVLC's types are BVLC Caffe's (9b89154), the 202 of forks' types are tpucaffe's."""

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

# Nets of forks' types on which protogen differs from tpucaffe, or which it refuses, with the reason. The
# list may only grow shorter: a net that agrees must leave it.
EXPECTED = {
    "bvlc": {},
    "forks": {
        **dict.fromkeys((13, 19), "BN with four blobs and no field that says so"),
        **dict.fromkeys(range(40, 50), "MatMul"),
        **dict.fromkeys(range(80, 90), "Padding"),
        **dict.fromkeys(range(110, 115), "ROIPooling with regions of four axes"),
        **dict.fromkeys(range(125, 132), "Reorg, whose order of channels forks do not share"),
        **dict.fromkeys(range(152, 162), "Reverse"),
        **dict.fromkeys((174, 178), "DetectionOutput keeps other boxes"),
        **dict.fromkeys((175, 180, 181), "DetectionOutput with share_location: false"),
        **dict.fromkeys(range(182, 192), "Lstm"),
        **dict.fromkeys(range(192, 202), "Proposal"),
    },
}
COUNTS = {"bvlc": 660, "forks": 202}


@functools.cache
def archive(name):
    """The index of a set, and the arrays of each net."""
    with np.load(RANDOM / f"{name}.npz") as file:
        index = json.loads(file["index"].tobytes())
        arrays = [{} for _ in index]
        for key in file.files:
            number, _, rest = key.partition(":")
            if rest:
                arrays[int(number)][rest] = file[key]
    return index, arrays


def disagreement(entry, arrays):
    """What differs from Caffe; empty where nothing does."""
    try:
        net = parsed(entry["net"], entry["phase"])
        weights = {}
        for key in sorted((k for k in arrays if k.startswith("param:")),
                          key=lambda k: int(k.rsplit(":", 1)[1])):  # fmt: skip
            weights.setdefault(key.split(":")[1], []).append(arrays[key])
        net.take_weights(weights)
        blobs = [key[4:] for key in arrays if key.startswith("out:")]
        feeds = {key[3:]: array for key, array in arrays.items() if key.startswith("in:")}
        found = blobs_of(net, blobs, feeds)
    except pg.ProtogenError as error:
        return "" if entry["caffe"] == "refuses" else f"refused: {error}"
    if entry["caffe"] == "refuses":
        return f"runs, but Caffe refuses: {entry['why']}"
    said = (f"{blob} {difference(found[blob], arrays[f'out:{blob}'])}" for blob in blobs)
    return next((one for one in said if not one.endswith(" ")), "")


@pytest.mark.filterwarnings("ignore::protogen.errors.ProtogenWarning")
@pytest.mark.parametrize("name", COUNTS)
def test_random_nets(name):
    index, arrays = archive(name)
    assert len(index) == COUNTS[name]
    told = {}
    for number, (entry, own) in enumerate(zip(index, arrays, strict=True)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pg.ProtogenWarning)
            said = disagreement(entry, own)
        if said:
            told[number] = f"{entry['kind']}: {said}"
    expected = EXPECTED[name]
    assert {n: said for n, said in told.items() if n not in expected} == {}
    assert [n for n in expected if n not in told] == [], "these agree now: take them off the list"
