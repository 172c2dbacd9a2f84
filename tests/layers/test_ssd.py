"""DetectionOutput of SSD and its forks, against loops as in the forks' sources."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import net_with

import protogen as pg

SETTINGS = settings(max_examples=25, deadline=None, derandomize=True)
F = np.float32


def run(text, feeds, dialect="", **options):
    """Return the top of a layer that reads all feeds."""
    bottoms = " ".join(f'bottom: "{name}"' for name in feeds)
    shapes = {name: array.shape for name, array in feeds.items()}
    built = net_with(shapes, f'layer {{ name: "l" {bottoms} top: "y" {text} }}')
    return pg.run(pg.Net(built.message, dialect=dialect, **options), feeds)["y"]


# the loops of the sources


def decode(prior, variance, code, in_target, location):
    """``DecodeBBox`` of weiliu89/caffe (branch ssd), src/caffe/util/bbox_util.cpp."""
    v = np.ones(4, F) if in_target else variance
    x0, y0, x1, y1 = prior
    w, h = F(x1 - x0), F(y1 - y0)
    if code == "CORNER":
        return [prior[i] + v[i] * location[i] for i in range(4)]
    if code == "CORNER_SIZE":
        return [prior[i] + v[i] * location[i] * (w, h)[i % 2] for i in range(4)]
    cx = v[0] * location[0] * w + F((x0 + x1) / F(2))
    cy = v[1] * location[1] * h + F((y0 + y1) / F(2))
    bw, bh = F(np.exp(v[2] * location[2])) * w, F(np.exp(v[3] * location[3])) * h
    return [cx - bw / F(2), cy - bh / F(2), cx + bw / F(2), cy + bh / F(2)]


def size_of(box):
    """``BBoxSize``."""
    return F(0) if box[2] < box[0] or box[3] < box[1] else (box[2] - box[0]) * (box[3] - box[1])


def overlap(a, b):
    """``IntersectBBox`` and ``JaccardOverlap``."""
    if b[0] > a[2] or b[2] < a[0] or b[1] > a[3] or b[3] < a[1]:
        return F(0)
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    if not (w > 0 and h > 0):
        return F(0)
    common = w * h
    return common / (size_of(a) + size_of(b) - common)


def fast_nms(boxes, scores, p, intel):
    """``GetMaxScoreIndex`` and ``ApplyNMSFast``; those of intel/caffe leave pairs of 0 and 0 in the
    list for scores that are not above the threshold."""
    threshold = p.get("threshold", -np.finfo(F).max)
    pairs = [(s, i) for i, s in enumerate(scores) if s > threshold]
    if intel:
        pairs = [(s, i) if s > threshold else (F(0), 0) for i, s in enumerate(scores)]
    pairs.sort(key=lambda pair: -pair[0])  # stable
    top_k = p.get("top_k", -1)
    if -1 < top_k < len(pairs):
        pairs = pairs[:top_k]
    limit, indices = F(p["nms"]), []
    for _, i in pairs:
        keep = all(overlap(boxes[i], boxes[j]) <= limit for j in indices)
        if keep:
            indices.append(i)
        if keep and p["eta"] < 1 and limit > 0.5:
            limit = limit * F(p["eta"])
    return indices


def best_of_image(by_class, scores, keep):
    """The part of ``Forward_cpu`` after the suppression: the pairs of class and box of an image."""
    pairs = [(c, i) for c, indices in by_class.items() for i in indices]
    if not -1 < keep < len(pairs):
        return pairs
    pairs = sorted(pairs, key=lambda pair: -scores[pair[0]][pair[1]])[:keep]
    return sorted(pairs, key=lambda pair: pair[0])


def detection_output(p, location, confidence, priors, intel=False, rest=None):
    """``DetectionOutputLayer::Forward_cpu``. ``rest(location, prior, variance)`` returns what a fork
    adds to a row."""
    count, classes, sets = priors.size // 8, p["classes"], 1 if p["share"] else p["classes"]
    prior, variance = priors.reshape(2, count, 4)
    location = location.reshape(len(location), count, sets, -1)
    confidence = confidence.reshape(len(confidence), count, classes)
    rows, width = [], 7
    for n in range(len(location)):
        boxes = {
            s: [decode(prior[k] if prior.ndim == 2 else prior[n][k], variance[k], p["code"],
                       p["in_target"], location[n, k, s]) for k in range(count)]
            for s in range(sets)
        }  # fmt: skip
        scores = [confidence[n, :, c] for c in range(classes)]
        by_class = {
            c: fast_nms(boxes[0 if p["share"] else c], scores[c], p, intel)
            for c in range(classes) if c != p["background"]
        }  # fmt: skip
        for c, i in best_of_image(by_class, scores, p["keep"]):
            s = 0 if p["share"] else c
            more = [] if rest is None else rest(location[n, i, s], prior[i], variance[i])
            rows.append([n, c, scores[c][i], *boxes[s][i], *more])
            width = len(rows[0])
    if not rows:
        rows = [[n, *[-1] * (width - 1)] for n in range(len(location))]
    return np.array(rows, F)[None, None]


# random layers


@st.composite
def layers(draw, share=None, code=None):
    """Draw the parameters of a layer, and the shapes and the seed of its bottoms."""
    p = {
        "classes": draw(st.integers(1, 4)),
        "share": draw(st.booleans()) if share is None else share,
        "code": code or draw(st.sampled_from(["CORNER", "CENTER_SIZE", "CORNER_SIZE"])),
        "in_target": draw(st.booleans()),
        "background": draw(st.sampled_from([0, 0, 1, -2, 9])),
        "keep": draw(st.sampled_from([-1, 0, 1, 3, 50])),
        "nms": draw(st.sampled_from([0.0, 0.2, 0.45, 0.6, 0.8, 0.95, 1.0, 1.5])),
        "eta": draw(st.sampled_from([1.0, 1.0, 0.5, 0.8, 0.97])),
        "priors": draw(st.sampled_from([1, 2, 5, 9, 14])),
        "images": draw(st.integers(1, 3)),
        "ties": draw(st.booleans()),
        "seed": draw(st.integers(0, 999)),
    }
    if draw(st.booleans()):
        p["top_k"] = draw(st.sampled_from([-1, 0, 1, 3, 6, 100]))
    if draw(st.integers(0, 3)):
        p["threshold"] = draw(st.sampled_from([0.0, 0.01, 0.3, 0.6, 1.5, -0.5]))
    return p


def text_of(p, more=""):
    nms = f"nms_threshold: {p['nms']} eta: {p['eta']}"
    nms += f" top_k: {p['top_k']}" if "top_k" in p else ""
    threshold = f" confidence_threshold: {p['threshold']}" if "threshold" in p else ""
    return (
        'type: "DetectionOutput" detection_output_param { '
        f"num_classes: {p['classes']} share_location: {str(p['share']).lower()} "
        f"code_type: {p['code']} variance_encoded_in_target: {str(p['in_target']).lower()} "
        f"background_label_id: {p['background']} keep_top_k: {p['keep']} "
        f"nms_param {{ {nms} }}{threshold} {more} }}"
    )


def bottoms_of(p, width=4):
    """Return location, confidence and priors. Some boxes overlap much, some have a negative size, and
    scores may be equal. At most 16 boxes of an image have equal scores: beyond these, the order of
    C++'s sort is undefined."""
    rng = np.random.default_rng(p["seed"])
    count, classes = p["priors"], p["classes"]
    sets = 1 if p["share"] else classes
    location = rng.normal(0, rng.choice([0.3, 1, 2]), (p["images"], count * sets * width))
    confidence = rng.random((p["images"], count * classes)) - (0.2 if p["seed"] % 3 else 0)
    if p["ties"] and count * classes <= 16:
        confidence = np.round(confidence * 4) / 4
    low = rng.random((count, 2)) * rng.choice([0.1, 0.7])
    corners = np.concatenate([low, low + rng.uniform(0.05, 0.5, (count, 2))], 1)
    priors = np.stack([corners, rng.uniform(0.05, 0.3, (count, 4))]).reshape(1, 2, -1)
    arrays = {"location": location, "confidence": confidence, "priors": priors}
    return {name: array.astype(F) for name, array in arrays.items()}


def check(actual, expected):
    assert actual.shape == expected.shape
    np.testing.assert_array_equal(actual[..., :3], expected[..., :3])
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@SETTINGS
@given(layers())
def test_ssd(p):
    """weiliu89/caffe (branch ssd), src/caffe/layers/detection_output_layer.cpp."""
    feeds = bottoms_of(p)
    check(run(text_of(p), feeds), detection_output(p, *feeds.values()))


@SETTINGS
@given(layers())
def test_intel(p):
    """intel/caffe, src/caffe/util/bbox_util.cpp: the first box stands for each box below the
    threshold."""
    feeds = bottoms_of(p)
    expected = detection_output(p, *feeds.values(), intel=True)
    check(run(text_of(p), feeds, "intel"), expected)


@SETTINGS
@given(layers(share=True), st.sampled_from([None, 0.01, 0.5]), st.booleans())
def test_refinedet(p, objectness, has_location):
    """sfzhang15/RefineDet, src/caffe/util/bbox_util.cpp: ``OSGetConfidenceScores`` and
    ``CasRegDecodeBBoxesAll``."""
    feeds = bottoms_of(p)
    rng = np.random.default_rng(p["seed"])
    images, count = p["images"], p["priors"]
    arm = rng.random((images, 2 * count)).astype(F)
    shift = rng.normal(0, 0.2, (images, 4 * count)).astype(F)
    feeds["arm"] = arm
    if has_location:
        feeds["shift"] = shift
    more = "" if objectness is None else f"objectness_score: {objectness}"
    actual = run(text_of(p, more), feeds, "refinedet")
    rows = []
    for n in range(images):
        prior, variance = feeds["priors"].reshape(2, count, 4)
        scores = feeds["confidence"][n].reshape(count, -1).copy()
        for k in range(count):
            if arm[n, 2 * k + 1] < F(0.01 if objectness is None else objectness):
                scores[k] = [float(c == 0) for c in range(p["classes"])]
        if has_location:
            prior = np.array([decode(prior[k], variance[k], p["code"], p["in_target"],
                                     shift[n, 4 * k : 4 * k + 4]) for k in range(count)])  # fmt: skip
        priors = np.stack([prior, variance])[None]
        one = detection_output(p, feeds["location"][n : n + 1], scores.reshape(1, -1), priors)[0, 0]
        rows += [[n, *row[1:]] for row in one if row[1] >= 0]
    if not rows:
        rows = [[n, *[-1] * 6] for n in range(images)]
    check(actual, np.array(rows, F)[None, None])


def polygon(location, prior, variance):
    """``DecodeBBoxPolygon`` of MhLiao/TextBoxes_plusplus, src/caffe/util/bbox_util.cpp."""
    w, h = prior[2] - prior[0], prior[3] - prior[1]
    corners = [(0, 1), (2, 1), (2, 3), (0, 3)]
    points = location[4:]
    return [
        value
        for k, (x, y) in enumerate(corners)
        for value in (
            variance[0] * points[2 * k] * w + prior[x],
            variance[1] * points[2 * k + 1] * h + prior[y],
        )
    ]


def rectangle(location, prior, variance):
    """``DecodeBBoxRBox`` of the same file."""
    w, h = prior[2] - prior[0], prior[3] - prior[1]
    cx, cy = (prior[0] + prior[2]) / 2, (prior[1] + prior[3]) / 2
    x1, y1, x2, y2, height = location[4:]
    return [
        variance[0] * x1 * w + cx,
        variance[1] * y1 * h + cy,
        variance[0] * x2 * w + cx,
        variance[1] * y2 * h + cy,
        np.exp(variance[3] * height) * h,
    ]


@SETTINGS
@given(layers(code="CENTER_SIZE"), st.booleans())
def test_textboxes(p, is_polygon):
    """MhLiao/TextBoxes_plusplus: 8 or 5 more numbers per box."""
    p["in_target"] = False
    feeds = bottoms_of(p, 12 if is_polygon else 9)
    actual = run(text_of(p, "" if is_polygon else "use_polygon: false"), feeds)
    expected = detection_output(p, *feeds.values(), rest=polygon if is_polygon else rectangle)
    if expected[0, 0, 0, 1] < 0:
        width = 15 if is_polygon else 12
        expected = np.array([[n, *[-1] * (width - 1)] for n in range(p["images"])], F)[None, None]
    check(actual, expected)


@SETTINGS
@given(layers())
def test_cambricon(p):
    """Cambricon/caffe, src/caffe/layers/detection_output_layer.cpp: boxes clipped to the image, one row
    of -1, and no eta."""
    feeds = bottoms_of(p)
    expected = detection_output({**p, "eta": 1.0}, *feeds.values())
    if expected[0, 0, 0, 1] < 0:
        expected = np.full((1, 1, 1, 7), -1, F)
    else:
        expected[..., 3:] = expected[..., 3:].clip(0, 1)
    check(run(text_of(p), feeds, "cambricon"), expected)


@SETTINGS
@given(layers(share=True), st.integers(1, 3), st.integers(1, 3), st.integers(1, 2))
def test_extended(p, h, w, anchors):
    """openvinotoolkit/training_toolbox_caffe, caffe/src/caffe/layers/
    detection_output_extended_layer.cpp: the place of each prior."""
    p.update(classes=2, background=0, priors=h * w * anchors)
    feeds = bottoms_of(p)
    text = text_of(p).replace("DetectionOutput", "DetectionOutputExtended")
    text = text.replace("background_label_id: 0 ", "")
    places = {}
    for y in range(h):
        for x in range(w):
            for k in range(anchors):
                places[len(places)] = [k, x, y]
    prior = feeds["priors"].reshape(2, -1, 4)[0]
    numbers = {tuple(prior[k]): k for k in range(len(prior))}
    expected = detection_output(
        p, *feeds.values(), rest=lambda _, prior, __: places[numbers[tuple(prior)]]
    )
    if expected[0, 0, 0, 1] < 0:
        expected = np.array([[n, *[-1] * 9] for n in range(p["images"])], F)[None, None]
    feeds["location"] = feeds["location"].reshape(p["images"], h, w, 4 * anchors)
    check(run(text, feeds), expected)


def test_opsets():
    """The model is the same in the first and the newest opset."""
    p = {"classes": 3, "share": False, "code": "CORNER", "in_target": False, "background": 0,
         "keep": 4, "nms": 0.9, "eta": 0.8, "priors": 14, "images": 2, "ties": False, "seed": 5,
         "top_k": 6}  # fmt: skip
    feeds = bottoms_of(p)
    names = " ".join(f'bottom: "{name}"' for name in feeds)
    net = net_with(
        {name: array.shape for name, array in feeds.items()},
        f'layer {{ name: "l" {names} top: "y" {text_of(p)} }}',
    )
    from protogen.onnx import lower
    from protogen.running.runtime import run_program

    expected = detection_output(p, *feeds.values())
    for opset in (13, 18, 21):
        check(run_program(lower(net, opset=opset), feeds)["y"], expected)


CASES = [
    ("", (1, 16), (1, 8), (1, 2, 16), "background_label_id: -1", "background_label_id: -1 with"),
    ("", (1, 16), (1, 8), (1, 2, 16), "nms_param { nms_threshold: -1 }", "nms_threshold must be at"),
    ("", (1, 16), (1, 8), (1, 2, 16), "nms_param { eta: 0 }", "eta must be above 0"),
    ("", (2, 16), (1, 8), (1, 2, 16), "", "the same number of images, got 2 and 1"),
    ("", (1, 4, 4), (1, 8), (1, 2, 16), "", "must have 16 channels for 4 priors"),
    ("", (1, 16), (1, 9), (1, 2, 16), "", "must have 8 channels for 4 priors"),
    ("", (1, 16), (1, 8), (1, 2, 15), "", "must have shape 1x2x(4 * priors)"),
    ("", (1, 48), (1, 8), (1, 2, 16), "use_polygon: false", "has 12 locations per prior"),
    ("", (1, 36), (1, 8), (1, 2, 16), "", "has 9 locations per prior"),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "location", "confidence", "priors", "fields", "said"), CASES)
def test_invalid(dialect, location, confidence, priors, fields, said):
    feeds = {
        "location": np.zeros(location, F),
        "confidence": np.zeros(confidence, F),
        "priors": np.zeros(priors, F),
    }
    text = f'type: "DetectionOutput" detection_output_param {{ num_classes: 2 {fields} }}'
    with pytest.raises(pg.InputError) as error:
        run(text, feeds, dialect)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            "nms_param { nms_threshold: 0.99 eta: 0.999 }",
            "eta 0.999 lowers the threshold 0.99 in 683",
        ),
        ("code_type: CORNER", "TextBoxes++ decodes its polygons only with code_type: CENTER_SIZE"),
    ],
)
def test_unsupported(fields, said):
    width = 48 if "code_type" in fields else 16
    feeds = {
        "location": np.zeros((1, width), F),
        "confidence": np.zeros((1, 8), F),
        "priors": np.zeros((1, 2, 16), F),
    }
    text = f'type: "DetectionOutput" detection_output_param {{ num_classes: 2 {fields} }}'
    with pytest.raises(pg.UnsupportedError) as error:
        run(text, feeds)
    assert said in str(error.value)
