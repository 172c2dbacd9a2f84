"""Every published net is read, formatted and summarised; other files are refused with their place."""

from __future__ import annotations

import csv
import re
import warnings

import pytest
from places import CORPUS

import protogen as pg
from protogen.errors import ProtogenWarning
from protogen.formats import prototxt
from protogen.layers import kind_of
from protogen.net.cost import costs
from protogen.net.upgrade import upgrade

if (CORPUS / "manifest.csv").exists():
    with (CORPUS / "manifest.csv").open(encoding="utf-8") as _file:
        ROWS = list(csv.DictReader(_file))
else:
    ROWS = []

pytestmark = [
    pytest.mark.skipif(not ROWS, reason="no ../shared beside this checkout: it holds the nets"),
    pytest.mark.filterwarnings("ignore::protogen.errors.ProtogenWarning"),
]
SOUND = [row["file"] for row in ROWS if row["kind"] != "malformed"]
MALFORMED = [row["file"] for row in ROWS if row["kind"] == "malformed"]
DEPLOY = [row["file"] for row in ROWS if row["kind"] == "deploy"]


@pytest.mark.parametrize("file", SOUND)
def test_fmt_keeps_every_value_and_is_idempotent(file):
    kind = prototxt.kind_of(CORPUS / file)
    net = prototxt.read(CORPUS / file, kind)
    text = prototxt.write(net)
    again = prototxt.parse(text, file, kind)
    assert again == net
    assert prototxt.write(again) == text
    comments = [re.sub(r"\s+$", "", c) for c in re.findall(r"#[^\n]*", net.source.text)]
    assert sum(text.count(c) for c in set(comments)) >= len(set(comments))


@pytest.mark.parametrize("file", MALFORMED)
def test_malformed_files_are_refused_with_their_place(file):
    with pytest.raises(pg.InputError) as caught:
        prototxt.read(CORPUS / file)
    assert re.match(rf"{re.escape(str(CORPUS / file))}:\d+:\d+: ", str(caught.value))


@pytest.mark.parametrize("file", DEPLOY)
def test_deploy_nets_have_shapes_and_costs(file):
    net = pg.load(CORPUS / file, tolerant=True)
    table = costs(net.graph)
    assert len(table) == len(net.layers)
    known = [shape for shape in net.shapes.values() if shape is not None]
    python = any(layer.type == "Python" for layer in net.layers)
    assert python or len(known) > 0.9 * len(net.shapes)


@pytest.mark.parametrize("file", [f for f in SOUND if f not in DEPLOY])
def test_training_nets_load_in_both_phases(file):
    if prototxt.kind_of(CORPUS / file) == "SolverParameter":
        pytest.skip("a solver file that holds a net: read and laid out above")
    loaded = [phase for phase in ("TRAIN", "TEST") if _loads(file, phase)]
    assert loaded


def _loads(file: str, phase: str) -> bool:
    """A net need not be complete in a phase that it was not written for."""
    try:
        pg.load(CORPUS / file, phase=phase)
    except pg.InputError as error:
        if "but no layer produces it" in str(error):
            return False
        raise
    return True


def test_data_layers_have_shapes():
    """59 nets have a layer that reads pictures. When such layers got no shape but what ImageData and
    WindowData said outright, it was known in 4 of them. In the 8 that are left nothing crops or
    resizes: the size stands in the data alone."""
    known, unknown, assumed = set(), set(), set()
    for file in SOUND:
        if prototxt.kind_of(CORPUS / file) == "SolverParameter":
            continue
        for phase in ("TRAIN", "TEST"):
            try:
                net = pg.load(CORPUS / file, phase=phase, tolerant=True)
            except pg.InputError:  # it is a net in the other phase
                continue
            for layer in net.layers:
                kind = kind_of(layer)
                if kind is not None and kind.is_source and layer.type not in ("Input", "HDF5Data"):
                    (known if net.shapes[layer.tops[0]] else unknown).add(file)
            if net.graph.assumed:
                assumed.add(file)
    assert (len(known), len(unknown)) == (51, 8)
    assert not known & unknown
    assert len(assumed) == 3


@pytest.mark.parametrize("file", SOUND[::7])
def test_upgrade_changes_nothing_twice(file):
    net = upgrade(prototxt.read(CORPUS / file))
    changes: list[str] = []
    assert upgrade(net, changes) is net
    assert not changes


def test_few_warnings():
    """Union of all dialects: what is left is in no published caffe.proto."""
    warned = {}
    for file in SOUND:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ProtogenWarning)
            prototxt.read(CORPUS / file, prototxt.kind_of(CORPUS / file))
        if caught:
            warned[file] = len(caught)
    assert sum(warned.values()) <= 5, warned
