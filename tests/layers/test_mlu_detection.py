"""Detection layers of Cambricon's fork, against the loops of its source."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ssd import F, best_of_image, decode, overlap, run, size_of

import protogen as pg

SETTINGS = settings(max_examples=40, deadline=None, derandomize=True)


def check(actual, expected, labels):
    """Labels and number of rows are equal; the rest is close."""
    assert actual.shape == expected.shape
    np.testing.assert_array_equal(actual[..., labels], expected[..., labels])
    atol = 2e-5 * np.abs(expected).max(initial=1e-6)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=atol)


# DetectionPoseOutput


def nms(boxes, scores, p):
    """``ApplyNMS`` of src/caffe/util/bbox_util.cpp."""
    pairs = sorted(((-s, i) for i, s in enumerate(scores)), key=lambda pair: pair[0])
    top_k, indices = p.get("top_k", -1), []
    pairs = [i for _, i in (pairs[:top_k] if top_k > -1 else pairs)]
    while pairs:
        best = pairs.pop(0)
        if size_of(boxes[best]) < 1e-5:
            continue
        indices.append(best)
        if top_k > -1 and len(indices) >= top_k:
            break
        pairs = [
            i
            for i in pairs
            if size_of(boxes[i]) >= 1e-5 and not overlap(boxes[best], boxes[i]) > F(p["nms"])
        ]
    return indices


def poses_of(p, location, confidence, poses, priors, _):
    """``DetectionPoseOutputLayer::Forward_cpu`` of Cambricon/caffe, src/caffe/layers/
    detection_pose_output_layer.cpp."""
    count, classes = p["priors"], p["classes"]
    sets, kinds = 1 if p["share"] else classes, 1 if p["share_pose"] else classes
    prior, variance = priors.reshape(2, count, 4)
    rows = []
    for n in range(len(location)):
        place = location[n].reshape(count, sets, 4)
        boxes = [
            [
                decode(prior[k], variance[k], p["code"], p["in_target"], place[k, s])
                for k in range(count)
            ]
            for s in range(sets)
        ]
        scores = confidence[n].reshape(count, classes).T
        by_class = {
            c: nms(boxes[0 if sets == 1 else c], scores[c], p)
            for c in range(classes)
            if c != p["background"]
        }
        for c, i in best_of_image(by_class, scores, p["keep"]):
            box = np.clip(boxes[0 if sets == 1 else c][i], 0, 1)
            pose = poses[n].reshape(count, kinds, -1)[i, 0 if kinds == 1 else c]
            rows.append([n, c, scores[c][i], *box, np.argmax(pose), pose.max()])
    return np.array(rows, F).reshape(1, 1, -1, 9)


@st.composite
def posed(draw):
    p = {
        "classes": draw(st.integers(1, 3)),
        "poses": draw(st.integers(1, 4)),
        "share": draw(st.booleans()),
        "share_pose": draw(st.booleans()),
        "code": draw(st.sampled_from(["CORNER", "CENTER_SIZE", "CORNER_SIZE"])),
        "in_target": draw(st.booleans()),
        "background": draw(st.sampled_from([0, 1, -2])),
        "keep": draw(st.sampled_from([-1, 0, 2, 50])),
        "nms": draw(st.sampled_from([0.0, 0.2, 0.45, 0.9])),
        "priors": draw(st.sampled_from([1, 3, 9])),
        "images": draw(st.integers(1, 2)),
        "seed": draw(st.integers(0, 999)),
    }
    if draw(st.booleans()):
        p["top_k"] = draw(st.sampled_from([-1, 1, 3, 100]))
    return p


def pose_text(p):
    top_k = f"top_k: {p['top_k']}" if "top_k" in p else ""
    return (
        'type: "DetectionPoseOutput" detection_pose_output_param { '
        f"num_classes: {p['classes']} num_poses: {p['poses']} code_type: {p['code']} "
        f"share_location: {str(p['share']).lower()} share_pose: {str(p['share_pose']).lower()} "
        f"variance_encoded_in_target: {str(p['in_target']).lower()} keep_top_k: {p['keep']} "
        f"background_label_id: {p['background']} confidence_threshold: 0.9 "
        f"nms_param {{ nms_threshold: {p['nms']} {top_k} }} }}"
    )


def pose_feeds(p):
    rng = np.random.default_rng(p["seed"])
    n, count, classes = p["images"], p["priors"], p["classes"]
    sets, kinds = 1 if p["share"] else classes, 1 if p["share_pose"] else classes
    low = rng.random((count, 2)) * 0.5
    size = rng.uniform(0.05, 0.5, (count, 2)) * (rng.random((count, 1)) > 0.2)
    priors = np.stack([np.concatenate([low, low + size], 1), np.full((count, 4), 0.2)])
    arrays = {
        "location": rng.normal(0, 0.4, (n, count * sets * 4)),
        "confidence": rng.permutation(n * count * classes).reshape(n, -1) / 9 - 1,
        "poses": rng.normal(size=(n, count * kinds * p["poses"])),
        "priors": priors.reshape(1, 2, -1),
        "image": np.zeros((n, 3, 4, 4)),
    }
    return {name: array.astype(F) for name, array in arrays.items()}


@SETTINGS
@given(posed())
def test_poses(p):
    feeds = pose_feeds(p)
    check(run(pose_text(p), feeds, "cambricon"), poses_of(p, *feeds.values()), [0, 1, 2, 7])


# DetectionOut


def cut(box):
    """``setNormalizedBBox`` of include/caffe/util/bbox.hpp."""
    x, y, w, h = box
    corners = [x - w / F(2), y - h / F(2), x + w / F(2), y + h / F(2)]
    return [
        max(corners[0], F(0)),
        max(corners[1], F(0)),
        min(corners[2], F(1)),
        min(corners[3], F(1)),
    ]


def region_boxes(p, x):
    """``DetectionOutLayer::Forward_cpu`` of Cambricon/caffe, src/caffe/layers/detection_out_layer.cpp,
    for one image, and ``ApplyNms`` of include/caffe/util/bbox.hpp."""

    def sigmoid(v):
        return F(1) / (F(1) + np.exp(-v))

    side, candidates, rows = p["side"], [], []
    values = x[0].transpose(1, 2, 0).reshape(side, side, p["boxes"], -1)
    for j in range(side):
        for i in range(side):
            for n in range(p["boxes"]):
                v = values[j, i, n]
                box = [
                    (i + sigmoid(v[0])) / F(side),
                    (j + sigmoid(v[1])) / F(side),
                    np.exp(v[2]) * F(p["biases"][2 * n]) / F(side),
                    np.exp(v[3]) * F(p["biases"][2 * n + 1]) / F(side),
                ]
                chance = np.exp(v[5:] - v[5:].max())
                chance = chance / chance.sum()
                chance[~(chance > F(p["threshold"]))] = 0
                for c in range(p["classes"]):
                    score = sigmoid(v[4]) * chance[c]
                    if score > F(p["threshold"]):
                        candidates.append((c, score, box))
    for c in range(p["classes"]):
        own = sorted((f for f in candidates if f[0] == c), key=lambda f: -f[1])
        gone = set()
        for i in range(len(own) - 1):
            if i in gone:
                continue
            for j in range(i + 1, len(own)):
                if j not in gone and overlap(cut(own[i][2]), cut(own[j][2])) >= F(p["nms"]):
                    gone.add(j if own[i][1] > own[j][1] else i)
        rows += [[0, c, own[i][1], *own[i][2]] for i in range(len(own)) if i not in gone]
    return np.array(rows, F).reshape(1, -1, 1, 7)


def region_text(p):
    biases = " ".join(f"biases: {b}" for b in p["biases"])
    return (
        f'type: "DetectionOut" detection_out_param {{ side: {p["side"]} num_classes: {p["classes"]} '
        f"num_box: {p['boxes']} confidence_threshold: {p['threshold']} nms_threshold: {p['nms']} "
        f"{biases} }}"
    )


@SETTINGS
@given(
    st.fixed_dictionaries(
        {
            "side": st.integers(1, 4),
            "classes": st.integers(1, 3),
            "boxes": st.integers(1, 3),
            "threshold": st.sampled_from([0.01, 0.1, 0.4, 0.9]),
            "nms": st.sampled_from([0.05, 0.3, 0.45, 0.9, 1.5]),
            "biases": st.just([1.0, 2.0, 0.5, 0.7, 3.0, 2.0]),
            "seed": st.integers(0, 999),
        }
    )
)
def test_regions(p):
    rng = np.random.default_rng(p["seed"])
    shape = (1, p["boxes"] * (5 + p["classes"]), p["side"], p["side"])
    x = rng.normal(0, 1.5, shape).astype(F)
    check(run(region_text(p), {"x": x}, "cambricon"), region_boxes(p, x), [0, 1])


# ImageDetect


def image_boxes(p, deltas, scores, regions):
    """``ImageDetectLayer::Forward_cpu`` of Cambricon/caffe, src/caffe/layers/image_detect_layer.cpp."""
    n, classes, rois = len(regions), p["classes"], regions / F(p["scale"])
    deltas, scores = deltas.reshape(n, classes, 4), scores.reshape(n, classes)
    boxes = np.zeros((n, classes, 4), F)
    for i in range(n):
        w, h = rois[i, 3] - rois[i, 1] + F(1), rois[i, 4] - rois[i, 2] + F(1)
        cx, cy = rois[i, 1] + w / F(2), rois[i, 2] + h / F(2)
        for c in range(classes):
            dx, dy, dw, dh = deltas[i, c]
            x, y = cx + w * dx, cy + h * dy
            bw, bh = np.exp(dw) * w, np.exp(dh) * h
            low = [v if v > 0 else 0 for v in (x - F(0.5) * bw, y - F(0.5) * bh)]
            high = [
                v if v < end else end - 1
                for v, end in ((x + F(0.5) * bw, p["im_w"]), (y + F(0.5) * bh, p["im_h"]))
            ]
            boxes[i, c] = [*low, *high]
    size = (boxes[..., 3] - boxes[..., 1]) * (boxes[..., 2] - boxes[..., 0])
    use, rows = np.ones((n, classes), bool), []
    for c in range(classes):
        for i in range(n):
            if not use[i, c]:
                continue
            a = boxes[i, c]
            for j in range(i + 1, n):
                b = boxes[j, c]
                w, h = (
                    int(min(a[2], b[2]) - max(a[0], b[0])),
                    int(min(a[3], b[3]) - max(a[1], b[1])),
                )
                common = F(max(w, 0) * max(h, 0))
                with np.errstate(invalid="ignore", divide="ignore"):
                    ratio = common / (size[i, c] + size[j, c] - common)
                if ratio < F(p["nms"]):
                    continue
                if scores[j, c] > scores[i, c]:
                    use[i, c] = False
                    break
                use[j, c] = False
            if use[i, c] and scores[i, c] > F(p["threshold"]):
                rows.append([*boxes[i, c], c, scores[i, c]])
    rows += [[0] * 6] * (n * classes - len(rows))
    return np.array(rows, F)[None, :, None]


def detect_text(p):
    return (
        f'type: "ImageDetect" image_detect_param {{ num_class: {p["classes"]} im_h: {p["im_h"]} '
        f"im_w: {p['im_w']} scale: {p['scale']} nms_thresh: {p['nms']} score_thresh: {p['threshold']} }}"
    )


@SETTINGS
@given(
    st.fixed_dictionaries(
        {
            "classes": st.integers(1, 3),
            "regions": st.sampled_from([1, 2, 5, 14]),
            "im_h": st.sampled_from([40, 224]),
            "im_w": st.sampled_from([60, 200]),
            "scale": st.sampled_from([1.0, 1.5]),
            "nms": st.sampled_from([0.0, 0.1, 0.3, 0.6]),
            "threshold": st.sampled_from([0.05, 0.5]),
            "ties": st.booleans(),
            "seed": st.integers(0, 999),
        }
    )
)
def test_image_detect(p):
    rng = np.random.default_rng(p["seed"])
    n, classes = p["regions"], p["classes"]
    low = rng.random((n, 2)) * 30
    regions = np.concatenate([np.zeros((n, 1)), low, low + rng.uniform(5, 40, (n, 2))], 1)
    scores = rng.random((n, classes))
    feeds = {
        "deltas": rng.normal(0, 0.2, (n, 4 * classes)),
        "scores": np.round(scores * 4) / 4 if p["ties"] else scores,
        "regions": regions * p["scale"],
    }
    feeds = {name: array.astype(F) for name, array in feeds.items()}
    check(run(detect_text(p), feeds, "cambricon"), image_boxes(p, *feeds.values()), [4, 5])


# what is refused


@pytest.mark.parametrize(
    ("text", "shapes", "said"),
    [
        (
            "DetectionPoseOutput",
            ((1, 16), (1, 8), (1, 12), (1, 2, 16)),
            "expected 5 bottoms, got 4",
        ),
        (
            "DetectionPoseOutput",
            ((1, 16), (1, 8), (1, 8), (1, 2, 16), (1, 3, 2, 2)),
            '"b2" must have 12 values for each of 1 images, got 1x8',
        ),
        ("DetectionOut", ((1, 7, 4, 4),), '"b0" must have shape Nx14x4x4 for num_box 2'),
        ("DetectionOut", ((1, 14, 4, 5),), '"b0" must have shape Nx14x4x4 for num_box 2'),
        (
            "ImageDetect",
            ((3, 8), (3, 2), (4, 5)),
            '"b2" must have 5 values for each of 3 regions, got 4x5',
        ),
    ],
)
def test_invalid(text, shapes, said):
    words = {
        "DetectionPoseOutput": "detection_pose_output_param { num_classes: 2 num_poses: 3 }",
        "DetectionOut": "detection_out_param { num_classes: 2 num_box: 2 side: 4 biases: 1 biases: 2 "
        "biases: 1 biases: 2 }",
        "ImageDetect": "image_detect_param { num_class: 2 }",
    }
    feeds = {f"b{i}": np.zeros(shape, F) for i, shape in enumerate(shapes)}
    with pytest.raises(pg.InputError) as error:
        run(f'type: "{text}" {words[text]}', feeds)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("images", "overlap", "said"),
    [(2, 0.5, "lists the boxes of each image again"), (1, 0.0, "leaves one box of each class")],
)
def test_unsupported(images, overlap, said):
    p = {"side": 2, "classes": 1, "boxes": 1, "threshold": 0.1, "nms": overlap, "biases": [1, 1]}
    with pytest.raises(pg.UnsupportedError) as error:
        run(region_text(p), {"x": np.zeros((images, 6, 2, 2), F)})
    assert said in str(error.value)
