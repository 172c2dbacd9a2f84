"""The table of measured toolchains and the forms behind it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from forms import FORMS
from preparing import caffemodel_of, feeds_of, parsed, weights_of
from table import read

import protogen as pg
from protogen.formats.schema.pool import message_class
from protogen.layers import LayerType
from protogen.net.net import Net

pytestmark = pytest.mark.filterwarnings("ignore::protogen.ProtogenWarning")

# Types that protogen refuses, or does not know, although a Caffe or a toolchain runs them.
WITHOUT_PROTOGEN = {
    "Reorg", "Lstm", "Padding", "Reverse", "MatMul", "Proposal", "DepthwiseConv", "Elu",
}  # fmt: skip
REFUSED = {  # forms that protogen refuses to build
    "combining/eltwise-broadcast-gate",
}
LOSSES = {kind for kind, one in LayerType.registry.items() if one.is_loss}
READS_FILES = {
    "Data", "AnnotatedData", "LaneData", "HDF5Data", "ImageData", "ImageLabelmapData",
    "DenseImageData", "ImageSegData", "WindowData",
}  # fmt: skip
LEFT_OUT = {
    **dict.fromkeys(LOSSES, "only in training nets"),
    **dict.fromkeys(READS_FILES, "reads files of a data set"),
    "Accuracy": "only in training nets",
    "HDF5Output": "writes a file",
    "ExactResize": "protogen's own type, which no toolchain has",
}
VERDICTS = ("right", "wrong", "refused", "crashed", "hung")


def test_every_form_builds_or_is_known_to_be_refused():
    refused = set()
    for form in FORMS:
        message = parsed(form)
        try:
            net = Net(message, phase="TEST")
        except pg.ProtogenError:
            assert form.type in WITHOUT_PROTOGEN or form.id in REFUSED, form.id
            refused.add(form.id)
            net = Net(message, phase="TEST", tolerant=True)
        assert {name for name, _, _ in form.feeds} >= set(feeds_of(form)) >= set(net.inputs)
    assert refused >= REFUSED


def test_caffemodel_has_every_layer_unless_stripped():
    form = next(form for form in FORMS if form.id == "net/deep-in-place")
    message = parsed(form)
    weights = weights_of(form, Net(message, phase="TEST"))
    full = message_class("NetParameter").FromString(caffemodel_of(form, message, weights))
    assert {"data", "r1", "d1"} <= {layer.name for layer in full.layer}
    stripped = replace(form, weights="stripped")
    bare = message_class("NetParameter").FromString(caffemodel_of(stripped, message, weights))
    assert [layer.name for layer in bare.layer] == ["a", "n1", "s1", "y", "n2", "s2"]
    assert not any(layer.HasField("convolution_param") for layer in bare.layer)


def test_ids_and_texts_are_unique():
    assert [one for one, count in Counter(form.id for form in FORMS).items() if count > 1] == []
    texts = Counter((form.type, form.text, form.weights) for form in FORMS)
    assert [text for text, count in texts.items() if count > 1] == []


def test_table_has_a_row_for_each_form():
    """A form that changes must be measured again: measure.py --only ID --work FOLDER."""
    rows = read()
    assert [(row["id"], row["type"], row["form"]) for row in rows] == [
        (form.id, form.type, form.text) for form in FORMS
    ]
    for row in rows:
        for tool in list(row)[3:]:
            assert row[tool].split()[0] in VERDICTS, row["id"]


def test_every_layer_type_of_bvlc_is_measured():
    """Most types of forks are in no toolchain; those that several have are among the forms."""
    known = {kind for kind, one in LayerType.registry.items() if one.has_form and one.stock}
    used = {layer.type for form in FORMS for layer in parsed(form).layer}
    assert known - used <= set(LEFT_OUT)
