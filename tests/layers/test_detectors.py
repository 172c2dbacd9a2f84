"""Published two-stage detectors: whole nets become ONNX, and one of them runs as its layers say."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from comparing import blobs_of
from places import CORPUS
from test_proposals import of_python, python_anchors
from test_regions import of_fast_rcnn

import protogen as pg
from protogen.onnx import lower

F = np.float32
FOLDERS = ("rbgirshick__py-faster-rcnn", "soeaver__caffe-model")
FILES = sorted(
    path.relative_to(CORPUS).as_posix()
    for folder in FOLDERS
    for path in (CORPUS / folder).glob("*")
    if "rcnn" in path.name or "rfcn" in path.name
)
# A file that Caffe refuses: its 30 anchors do not fit the 18 channels of its Reshape.
WRONG = "soeaver__caffe-model/det__rfcn__models__coco__inception-v4__rpn_rcnn_deploys__rpn_deploy_rfcn_coco_inception-v4-merge-aligned.prototxt"
SAMPLING = {"AnchorTargetLayer", "ProposalTargetLayer"}  # of nets for training

pytestmark = [
    pytest.mark.skipif(not FILES, reason="needs ../shared, which contains the nets"),
    pytest.mark.filterwarnings("ignore::protogen.errors.ProtogenWarning"),
]


def with_weights(net, make):
    """Set the weights of all layers: ``make`` returns an array of a shape."""
    for layer in net.layers:
        shapes = net.parameter_shapes[layer.name]
        if shapes:
            net.weights[layer.name] = [make(shape) for shape in shapes]
    return net


@pytest.mark.parametrize("file", [file for file in FILES if file != WRONG])
def test_published_detector_becomes_onnx(file):
    """All layers have a form in ONNX, except those that draw samples for training."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.ProtogenWarning)
        net = pg.load(CORPUS / file)
        kinds = {layer.params.python_param.layer for layer in net.layers}
        with_weights(net, lambda shape: np.broadcast_to(F(0.01), shape))
    training = kinds & SAMPLING
    source = any("RoIDataLayer" in kind for kind in kinds)
    if training:
        with pytest.raises(pg.UnsupportedError) as caught:
            lower(net, fold=False)
        named = {line.split('"')[1] for line in str(caught.value).splitlines() if 'layer "' in line}
        assert named == {
            layer.name for layer in net.layers if layer.params.python_param.layer in SAMPLING
        }
        return
    if (
        source
    ):  # Fast R-CNN for training: a configuration outside of the net sets the targets' shapes
        with pytest.raises(pg.InputError, match="does not define the shape of its top"):
            lower(net, fold=False)
        return
    assert len(lower(net, fold=False).nodes) > 10


def test_a_wrong_file_is_refused():
    if not (CORPUS / WRONG).exists():
        pytest.skip("needs ../shared, which contains the nets")
    with pytest.raises(pg.InputError, match="cannot reshape 1x2x570x38"):
        _ = pg.load(CORPUS / WRONG).graph


def test_faster_rcnn_of_zf_runs_as_its_layers_say():
    """The regions are those of rpn/proposal_layer.py for the maps of the net, and their features
    those of roi_pooling_layer.cpp."""
    file = CORPUS / FOLDERS[0] / "models__pascal_voc__ZF__faster_rcnn_end2end__test.prototxt"
    if not file.exists():
        pytest.skip("needs ../shared, which contains the nets")
    rng = np.random.default_rng(0)

    def make(shape):
        inputs = int(np.prod(shape[1:])) or 1
        return (
            (rng.standard_normal(shape, F) * F((2 / inputs) ** 0.5)).astype(F)
            if len(shape) > 1
            else np.zeros(shape, F)
        )

    net = with_weights(pg.load(file, input_shapes={"data": (1, 3, 160, 224)}), make)
    net.weights["rpn_bbox_pred"][0] *= F(0.05)
    feeds = {
        "data": rng.normal(0, 20, (1, 3, 160, 224)).astype(F),
        "im_info": np.array([[160, 224, 1]], F),
    }
    blobs = [
        "conv5",
        "rpn_cls_prob_reshape",
        "rpn_bbox_pred",
        "rois",
        "roi_pool_conv5",
        "cls_prob",
        "bbox_pred",
    ]
    values = blobs_of(net, blobs, feeds)
    maps = {
        "s": values["rpn_cls_prob_reshape"],
        "d": values["rpn_bbox_pred"],
        "i": feeds["im_info"],
    }
    rows, _ = of_python(maps, python_anchors((0.5, 1, 2), (8, 16, 32)), 16)
    assert 20 < len(rows) <= 300
    np.testing.assert_allclose(values["rois"], rows, rtol=0, atol=2e-5 * 224)
    pooled = of_fast_rcnn(values["conv5"], values["rois"], (6, 6), 0.0625)
    np.testing.assert_array_equal(values["roi_pool_conv5"], pooled)
    assert values["cls_prob"].shape == (len(rows), 21)
    assert values["bbox_pred"].shape == (len(rows), 84)
    np.testing.assert_allclose(values["cls_prob"].sum(1), 1, atol=1e-5)
