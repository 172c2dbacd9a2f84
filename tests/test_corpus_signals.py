"""Fillers, signals and preprocessing on published nets."""

from __future__ import annotations

import csv
import warnings

import numpy as np
import pytest
from places import CORPUS

import protogen as pg
from protogen.formats import prototxt
from protogen.layers import fillers
from protogen.net.upgrade import upgrade
from protogen.preprocessing.transforms import Transform, transform_of
from protogen.training.initialisation import blobs_of

if (CORPUS / "manifest.csv").exists():
    with (CORPUS / "manifest.csv").open(encoding="utf-8") as _file:
        ROWS = list(csv.DictReader(_file))
else:
    ROWS = []
DEPLOY = [row["file"] for row in ROWS if row["kind"] == "deploy"]
BVLC = "BVLC__caffe/"

pytestmark = [
    pytest.mark.skipif(not ROWS, reason="needs ../shared, which contains the nets"),
    pytest.mark.filterwarnings("ignore::protogen.errors.ProtogenWarning"),
]


@pytest.mark.parametrize("file", DEPLOY)
def test_every_blob_of_a_deploy_net_has_a_filler(file):
    """The net's own fillers and the recommended ones. Small nets are also initialised."""
    net = pg.load(CORPUS / file, tolerant=True)
    if None in net.parameter_shapes.values():
        with pytest.raises(pg.InputError, match="the shapes of its blobs are unknown"):
            blobs_of(net)
        return
    own, recommended = blobs_of(net), blobs_of(net, recommend=True)
    assert [b.shape for b in own] == [s for shapes in net.parameter_shapes.values() for s in shapes]
    for blob in recommended:
        blob.values(0)  # raises InputError if the filler is not valid for the shape
        if blob.reason and blob.is_weight:
            assert blob.filler.type in ("xavier", "msra", "gaussian")
    if sum(blob.values(0).size for blob in own) < 2_000_000:
        pg.initialise(net)
        net.check_weights()


TRAINING = {
    BVLC + "examples__mnist__lenet_train_test.prototxt": {"data": (32, 1, 28, 28), "label": (32,)},
    BVLC + "examples__cifar10__cifar10_full_train_test.prototxt": {
        "data": (32, 3, 32, 32), "label": (32,)},
    BVLC + "examples__cifar10__cifar10_full_sigmoid_train_test_bn.prototxt": {
        "data": (32, 3, 32, 32), "label": (32,)},
    BVLC + "examples__mnist__mnist_autoencoder.prototxt": {"data": (32, 1, 28, 28)},
    BVLC + "examples__siamese__mnist_siamese_train_test.prototxt": {
        "pair_data": (32, 2, 28, 28), "sim": (32,)},
    BVLC + "examples__hdf5_classification__nonlinear_train_val.prototxt": {
        "data": (32, 4), "label": (32,)},
    BVLC + "models__bvlc_alexnet__train_val.prototxt": {"data": (4, 3, 227, 227), "label": (4,)},
    BVLC + "models__bvlc_googlenet__train_val.prototxt": {"data": (4, 3, 224, 224), "label": (4,)},
    "forresti__SqueezeNet/SqueezeNet_v1.1__train_val.prototxt": {
        "data": (4, 3, 227, 227), "label": (4,)},
    "chuanqi305__MobileNet-SSD/deploy.prototxt": {},
    "s9xie__hed/examples__hed__deploy.prototxt": {},
    "kpzhang93__MTCNN_face_detection_alignment/code__codes__MTCNNv1__model__det3.prototxt": {},
}  # fmt: skip


@pytest.mark.parametrize("file", TRAINING)
def test_health_report_has_finite_signals_and_names_layers(file):
    net = pg.load(CORPUS / file, phase="TRAIN", input_shapes=TRAINING[file])
    report = pg.health(net, batch=None if TRAINING[file] else 2)
    assert len(report.signals) > len(report.stages) >= 2
    assert all(signal.finite for signal in report.signals)
    for finding in report.findings:
        assert set(finding.layers) <= {layer.name for layer in net.layers}


def test_gradient_reaches_the_first_layer_of_googlenet():
    """The gradients of all three losses are added."""
    file = BVLC + "models__bvlc_googlenet__train_val.prototxt"
    net = pg.load(CORPUS / file, phase="TRAIN", input_shapes=TRAINING[file])
    report = pg.health(net, batch=2, gradients=True)
    first = next(signal for signal in report.signals if signal.layer == "conv1/7x7_s2")
    assert first.gradient is not None
    assert first.gradient > 0


PICTURES = [
    BVLC + "models__bvlc_googlenet__deploy.prototxt",
    "forresti__SqueezeNet/SqueezeNet_v1.1__deploy.prototxt",
    "shicai__MobileNet-Caffe/mobilenet_deploy.prototxt",
    "kpzhang93__MTCNN_face_detection_alignment/code__codes__MTCNNv1__model__det2.prototxt",
]


@pytest.mark.parametrize("file", PICTURES)
def test_preprocessing_is_exact_and_folding_needs_no_padding(file):
    net = pg.initialise(pg.load(CORPUS / file), rules={"*": "msra"})
    net.weights = {name: [np.array(b) for b in blobs] for name, blobs in net.weights.items()}
    mean = np.array([104.0, 117, 123])
    transform = Transform(mean, np.eye(3) / 128, swap=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inserted = pg.preprocess(net, transform, verify=True)
        folded = pg.preprocess(net, transform, fold=True)
    assert inserted.error < 1e-4
    first = next(layer for layer in net.layers if layer.reads)
    pads = list(first.params.convolution_param.pad)
    assert bool(folded.border) == bool(any(pads))


def test_transform_params_of_training_nets_are_read():
    """Published training nets set a mean for each channel, a scale, or a mean file."""
    kinds = set()
    for row in ROWS:
        if row["kind"] != "train":
            continue
        net = upgrade(prototxt.read(CORPUS / row["file"]))
        if any(item.value.transform_param.mean_file for item in net.all("layer")):
            with pytest.raises(pg.InputError, match="cannot be read"):  # the file is not published
                transform_of(net, CORPUS)
            kinds.add("file")
            continue
        transform = transform_of(net, CORPUS)
        if transform is not None:
            kinds.add("mean" if transform.mean is not None else "scale")
    assert kinds == {"file", "mean", "scale"}


def test_fillers_of_published_nets_are_types_of_caffe():
    types = set()
    for file in DEPLOY[::3]:
        net = pg.load(CORPUS / file, tolerant=True)
        if None not in net.parameter_shapes.values():
            types |= {blob.filler.type for blob in blobs_of(net)}
    assert types <= {"constant", "xavier", "msra", "gaussian", "bilinear"} & set(fillers.CAFFES)
