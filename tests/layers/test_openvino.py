"""Fields and rules of OpenVINO that no public Caffe has."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import input_layer, net_with
from test_ssd import F, check, layers, overlap, run, text_of

import protogen as pg
from protogen.formats import prototxt

SETTINGS = settings(max_examples=40, deadline=None, derandomize=True)


# the loops of openvinotoolkit/openvino, src/core/reference/include/openvino/reference/
# detection_output.hpp


def decode(p, prior, variance, box):
    """``DecodeBBox``."""
    x0, y0, x1, y1 = prior
    if not p["normalized"]:
        x0, y0 = x0 / F(p["width"]), y0 / F(p["height"])
        x1, y1 = x1 / F(p["width"]), y1 / F(p["height"])
    v = np.ones(4, F) if p["in_target"] else variance
    if p["code"] == "CORNER":
        return [corner + v[i] * box[i] for i, corner in enumerate((x0, y0, x1, y1))]
    w, h = x1 - x0, y1 - y0
    cx, cy = v[0] * box[0] * w + (x0 + x1) / F(2), v[1] * box[1] * h + (y0 + y1) / F(2)
    bw, bh = F(np.exp(v[2] * box[2])) * w, F(np.exp(v[3] * box[3])) * h
    return [cx - bw / F(2), cy - bh / F(2), cx + bw / F(2), cy + bh / F(2)]


def chosen(p, boxes, scores):
    """``GetMaxScoreIndex`` and ``caffeNMS``. The reader of Caffe nets turns a top_k of 0 into -1."""
    threshold = p.get("threshold", 0.0)
    pairs = sorted(
        ((-s, i) for i, s in enumerate(scores) if s > F(threshold)), key=lambda pair: pair
    )
    top_k = p.get("top_k", -1) or -1
    pairs = pairs[:top_k] if top_k > -1 else pairs
    indices = []
    for _, i in pairs:
        if all(overlap(boxes[i], boxes[j]) <= F(p["nms"]) for j in indices):
            indices.append(i)
    return indices


def detections(p, location, confidence, priors):
    """``run``: the rows before the one that starts with -1."""
    count, sets, offset = (
        p["priors"],
        1 if p["share"] else p["classes"],
        0 if p["normalized"] else 1,
    )
    size = 4 + offset
    rows = []
    for n in range(p["images"]):
        prior = priors[n if len(priors) > 1 else 0].ravel()
        corners = [prior[k * size + offset : k * size + offset + 4] for k in range(count)]
        variances = [prior[count * size + 4 * k : count * size + 4 * k + 4] for k in range(count)]
        boxes = [
            [
                decode(p, corners[k], variances[k], location[n].reshape(count, sets, 4)[k, s])
                for k in range(count)
            ]
            for s in range(sets)
        ]
        scores = confidence[n].reshape(count, -1).T
        pairs = [
            (c, i)
            for c in range(p["classes"])
            if c != p["background"]
            for i in chosen(p, boxes[0 if sets == 1 else c], scores[c])
        ]
        if -1 < p["keep"] < len(pairs):
            pairs = sorted(pairs, key=lambda pair: (-scores[pair[0]][pair[1]], pair[1]))
            pairs = sorted(pairs[: p["keep"]], key=lambda pair: pair[0])
        rows += [[n, c, scores[c][i], *boxes[0 if sets == 1 else c][i]] for c, i in pairs]
    return np.array(rows or [[n, *[-1] * 6] for n in range(p["images"])], F)[None, None]


@st.composite
def drawn(draw):
    p = draw(layers())
    p["code"] = draw(st.sampled_from(["CORNER", "CENTER_SIZE"]))
    p["normalized"] = draw(st.booleans())
    p["width"], p["height"] = draw(st.sampled_from([(992, 544), (7, 300)]))
    p["per_image"] = draw(st.booleans())
    p["background"] = draw(st.sampled_from([-1, 0, 1, 9]))
    return p


def feeds_of(p):
    rng = np.random.default_rng(p["seed"])
    count, classes, images = p["priors"], p["classes"], p["images"]
    sets = 1 if p["share"] else classes
    scores = rng.permutation(images * count * classes) / (images * count * classes) + rng.random()
    batch, size = images if p["per_image"] else 1, 4 if p["normalized"] else 5
    low = rng.random((batch, count, 2)) * rng.choice([0.1, 0.7])
    corners = np.concatenate([low, low + rng.uniform(0.05, 0.5, (batch, count, 2))], 2)
    if size == 5:
        corners = corners * [p["width"], p["height"], p["width"], p["height"]]
        corners = np.concatenate([rng.integers(0, 2, (batch, count, 1)), corners], 2)
    kinds = 1 if p["in_target"] else 2
    priors = rng.uniform(0.05, 0.3, (batch, kinds, count * size))
    priors[:, 0] = corners.reshape(batch, -1)
    arrays = {
        "location": rng.normal(0, rng.choice([0.3, 1]), (images, count * sets * 4)),
        "confidence": scores.reshape(images, -1) - 0.3,
        "priors": priors,
    }
    return {name: array.astype(F) for name, array in arrays.items()}


def words_of(p):
    size = f"input_width: {p['width']} input_height: {p['height']}"
    return f"normalized: {str(p['normalized']).lower()} {size}"


@SETTINGS
@given(drawn())
def test_detection_output(p):
    """openvinotoolkit/openvino, docs/ops/detection/DetectionOutput_1.md, and the reference above."""
    feeds = feeds_of(p)
    check(run(text_of(p, words_of(p)), feeds), detections(p, *feeds.values()))


PIXELS = "normalized: false input_width: 9 input_height: 9"


@pytest.mark.parametrize(
    ("priors", "words", "said"),
    [
        ((1, 1, 20), "normalized: false", "requires input_width and input_height"),
        ((1, 1, 20), f"{PIXELS} code_type: CORNER_SIZE", "OpenVINO has no code_type: CORNER_SIZE"),
        ((1, 1, 20), PIXELS, "must have shape 1x2x(5 * priors), got 1x1x20"),
        ((1, 2, 16), f"{PIXELS} variance_encoded_in_target: true", "1x(1 or 2)x(5 * priors)"),
        ((2, 2, 20), PIXELS, "must have shape 1x2x(5 * priors), got 2x2x20"),
        ((1, 2, 25), PIXELS, "must have 20 values per image for 5 priors and 1 images"),
    ],
)
def test_invalid(priors, words, said):
    feeds = {
        "location": np.zeros((1, 16), F),
        "confidence": np.zeros((1, 8), F),
        "priors": np.zeros(priors, F),
    }
    with pytest.raises(pg.InputError) as error:
        run(f'type: "DetectionOutput" detection_output_param {{ num_classes: 2 {words} }}', feeds)
    assert said in str(error.value)


def test_more_bottoms():
    feeds = {
        "location": np.zeros((1, 16), F),
        "confidence": np.zeros((1, 8), F),
        "priors": np.zeros((1, 2, 20), F),
        "anchors": np.zeros((1, 8), F),
    }
    with pytest.raises(pg.UnsupportedError, match="supported with three bottoms only"):
        run(f'type: "DetectionOutput" detection_output_param {{ num_classes: 2 {PIXELS} }}', feeds)


REGIONS = """
layer { name: "proposal" type: "Proposal" bottom: "scores" bottom: "deltas" bottom: "info" top: "rois"
  proposal_param { feat_stride: 16 base_size: 16 min_size: 1 ratio: 1 scale: 2 scale: 4
                   pre_nms_topn: 30 post_nms_topn: 9 nms_thresh: 0.3 } }
layer { name: "l" type: "PSROIPooling" bottom: "boxes" bottom: "rois" top: "p"
  psroi_pooling_param { spatial_scale: 0.0625 output_dim: 8 group_size: 1 } }
layer { name: "s" type: "PSROIPooling" bottom: "kinds" bottom: "rois" top: "q"
  psroi_pooling_param { spatial_scale: 0.0625 output_dim: 2 group_size: 1 } }
layer { name: "a" type: "Reshape" bottom: "p" top: "location"
  reshape_param { shape { dim: 1 dim: -1 } } }
layer { name: "b" type: "Reshape" bottom: "q" top: "confidence"
  reshape_param { shape { dim: 1 dim: -1 } } }
layer { name: "c" type: "Reshape" bottom: "rois" top: "priors"
  reshape_param { shape { dim: 1 dim: 1 dim: -1 } } }
layer { name: "d" type: "DetectionOutput" bottom: "location" bottom: "confidence" bottom: "priors"
  top: "y" detection_output_param { num_classes: 2 share_location: false normalized: false
    input_width: 96 input_height: 64 code_type: CENTER_SIZE variance_encoded_in_target: true
    keep_top_k: 20 nms_param { nms_threshold: 0.4 top_k: 5 } } }
"""


@pytest.mark.parametrize("seed", range(6))
def test_number_of_regions_depends_on_data(seed):
    """Regions of a Proposal are the priors, as in person-detection-retail-0002."""
    rng = np.random.default_rng(seed)
    feeds = {
        "scores": rng.random((1, 4, 4, 6)),
        "deltas": rng.normal(0, 0.2, (1, 8, 4, 6)),
        "info": np.array([[64, 96, 1]]),
        "boxes": rng.normal(0, 0.3, (1, 8, 4, 6)),
        "kinds": rng.random((1, 2, 4, 6)),
    }
    feeds = {name: array.astype(F) for name, array in feeds.items()}
    net = net_with({name: array.shape for name, array in feeds.items()}, REGIONS)
    blobs = pg.run(net, feeds, ["location", "confidence", "priors", "y"])
    p = {
        "priors": blobs["priors"].size // 5,
        "share": False,
        "classes": 2,
        "normalized": False,
        "images": 1,
        "width": 96,
        "height": 64,
        "in_target": True,
        "code": "CENTER_SIZE",
        "background": 0,
        "keep": 20,
        "nms": 0.4,
        "top_k": 5,
    }
    assert p["priors"] <= 9
    check(blobs["y"], detections(p, blobs["location"], blobs["confidence"], blobs["priors"]))


SIZES = {  # openvinotoolkit/openvino, model-optimizer/extensions/ops/interp.py
    "zoom_factor: 2": (18, 12),
    "zoom_factor: 4 pad_beg: -1 pad_end: -1": (28, 16),
    "shrink_factor: 2": (5, 3),
    "height: 17 width: 5": (17, 5),
    "height: 17 width: 5 zoom_factor: 1": (17, 5),
    "height: 17 width: 5 zoom_factor: 2": (18, 12),
    "height: 17 width: 5 shrink_factor: 2": (5, 3),
    "height: 17 width: 5 zoom_factor: 2 shrink_factor: 2": (17, 5),
    "height: 17 zoom_factor: 2": (18, 12),
    "height: 17": (9, 6),
    "": (9, 6),
}


def openvino(shapes, layers, dialect="openvino"):
    """Return a net of this dialect."""
    lines = [*(input_layer(name, shape) for name, shape in shapes.items()), layers]
    return pg.Net(prototxt.parse("\n".join(lines), "net"), dialect=dialect)


def interp(words):
    return f'layer {{ name: "r" type: "Interp" bottom: "x" top: "y" interp_param {{ {words} }} }}'


@pytest.mark.parametrize("words", SIZES)
def test_interp(words):
    """Sizes, and values with aligned corners."""
    x = np.random.default_rng(0).normal(size=(2, 3, 9, 6)).astype(F)
    y = pg.run(openvino({"x": x.shape}, interp(words)), {"x": x})["y"]
    assert y.shape == (2, 3, *SIZES[words])
    inner = x[:, :, 1:-1, 1:-1] if "pad" in words else x
    along = []
    for n, m in zip(inner.shape[2:], y.shape[2:], strict=True):
        at = np.arange(m) * (n - 1) / max(1, m - 1)
        low = np.minimum(at.astype(int), n - 2)
        weights = np.zeros((m, n))
        weights[np.arange(m), low], weights[np.arange(m), low + 1] = 1 - at + low, at - low
        along.append(weights)
    expected = np.einsum("ih,nchw,jw->ncij", along[0], inner, along[1])
    np.testing.assert_allclose(y, expected, atol=2e-5)


def test_interp_with_both_factors():
    text, x = interp("zoom_factor: 2 shrink_factor: 2"), {"x": np.ones((1, 1, 9, 9), F)}
    net = openvino({"x": (1, 1, 9, 9)}, text)
    with pytest.raises(pg.UnsupportedError, match="releases of OpenVINO compute different sizes"):
        pg.to_onnx(net)
    assert pg.run(openvino({"x": (1, 1, 9, 9)}, text, "pspnet"), x)["y"].shape[2:] == (9, 9)


def test_interp_too_small():
    with pytest.raises(pg.InputError, match="must be at least 1, got 0x0, 1 and 1"):
        openvino({"x": (1, 1, 9, 9)}, interp("pad_beg: -9"))


def test_mismatch_advises_the_dialect():
    """Sizes as in semantic-segmentation-adas-0001."""
    text = (
        interp("zoom_factor: 2")
        + 'layer { name: "e" type: "Eltwise" bottom: "y" bottom: "b" top: "z" }'
    )
    shapes = {"x": (1, 2, 32, 64), "b": (1, 2, 64, 128)}
    with pytest.raises(pg.InputError, match="set --dialect openvino"):
        openvino(shapes, text, "")
    pg.to_onnx(openvino(shapes, text))


@pytest.mark.parametrize("name", ["filler", "blob_filler"])
def test_filler_of_a_parameter(name):
    """openvinotoolkit/training_toolbox_caffe, caffe/include/caffe/layers/parameter_layer.hpp, and
    happynear/caffe-windows."""
    words = f'shape {{ dim: 3 dim: 5 }} {name} {{ type: "constant" value: 2.5 }}'
    net = net_with(
        {}, f'layer {{ name: "p" type: "Parameter" top: "y" parameter_param {{ {words} }} }}'
    )
    top = pg.run(pg.initialise(net), {})["y"]
    np.testing.assert_array_equal(top, np.full((3, 5), 2.5, F))
