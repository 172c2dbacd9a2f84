"""Published nets are read, formatted and summarised; malformed files are rejected with the place."""

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
    pytest.mark.skipif(not ROWS, reason="needs ../shared, which contains the nets"),
    pytest.mark.filterwarnings("ignore::protogen.errors.ProtogenWarning"),
]
VALID = [row["file"] for row in ROWS if row["kind"] != "malformed"]
MALFORMED = [row["file"] for row in ROWS if row["kind"] == "malformed"]
DEPLOY = [row["file"] for row in ROWS if row["kind"] == "deploy"]


@pytest.mark.parametrize("file", VALID)
def test_fmt_keeps_values_and_comments_and_is_idempotent(file):
    kind = prototxt.kind_of(CORPUS / file)
    net = prototxt.read(CORPUS / file, kind)
    text = prototxt.write(net)
    again = prototxt.parse(text, file, kind)
    assert again == net
    assert prototxt.write(again) == text
    comments = [re.sub(r"\s+$", "", c) for c in re.findall(r"#[^\n]*", net.source.text)]
    assert sum(text.count(c) for c in set(comments)) >= len(set(comments))


@pytest.mark.parametrize("file", MALFORMED)
def test_malformed_file_is_rejected_with_the_place(file):
    with pytest.raises(pg.InputError) as caught:
        prototxt.read(CORPUS / file)
    assert re.match(rf"{re.escape(str(CORPUS / file))}:\d+:\d+: ", str(caught.value))


@pytest.mark.parametrize("file", DEPLOY)
def test_deploy_net_has_shapes_and_costs(file):
    net = pg.load(CORPUS / file, tolerant=True)
    table = costs(net.graph)
    assert len(table) == len(net.layers)
    known = [shape for shape in net.shapes.values() if shape is not None]
    python = any(layer.type == "Python" for layer in net.layers)
    assert python or len(known) > 0.9 * len(net.shapes)


@pytest.mark.parametrize("file", [f for f in VALID if f not in DEPLOY])
def test_training_net_loads_in_at_least_one_phase(file):
    if prototxt.kind_of(CORPUS / file) == "SolverParameter":
        pytest.skip("a solver file that contains a net")
    loads = [_loads(file, phase) for phase in ("TRAIN", "TEST")]
    assert any(loads)


def _loads(file: str, phase: str) -> bool:
    """Return whether the net is complete in the phase; only an unknown bottom means that it is not."""
    try:
        pg.load(CORPUS / file, phase=phase)
    except pg.InputError as error:
        if "but no layer produces it" in str(error):
            return False
        raise
    return True


def test_number_of_nets_whose_data_layers_have_shapes():
    """82 nets have a layer that reads pictures, and the shape of its top is known in 74 of them.

    In the other 8, no parameter crops or resizes: the size follows from the data only.
    """
    known, unknown, assumed = set(), set(), set()
    for file in VALID:
        if "data" not in (CORPUS / file).read_text(errors="replace").lower().replace('"data"', ""):
            continue  # a net without a data layer need not be loaded
        if prototxt.kind_of(CORPUS / file) == "SolverParameter":
            continue
        for phase in ("TRAIN", "TEST"):
            try:
                net = pg.load(CORPUS / file, phase=phase, tolerant=True)
            except pg.InputError:  # the net is complete in the other phase only
                continue
            for layer in net.layers:
                kind = kind_of(layer)
                if kind is not None and kind.is_source and layer.type not in ("Input", "HDF5Data"):
                    (known if net.shapes[layer.tops[0]] else unknown).add(file)
            if net.graph.assumed:
                assumed.add(file)
    assert (len(known), len(unknown)) == (74, 8)
    assert not known & unknown
    assert len(assumed) == 3


@pytest.mark.parametrize("file", VALID[::7])
def test_second_upgrade_changes_nothing(file):
    net = upgrade(prototxt.read(CORPUS / file))
    changes: list[str] = []
    assert upgrade(net, changes) is net
    assert not changes


def test_at_most_five_fields_of_all_nets_are_unknown():
    """The schema is the union of all dialects. No published caffe.proto has these fields."""
    warned = {}
    for file in VALID:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ProtogenWarning)
            prototxt.read(CORPUS / file, prototxt.kind_of(CORPUS / file))
        if caught:
            warned[file] = len(caught)
    assert sum(warned.values()) <= 5, warned
