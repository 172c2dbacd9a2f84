"""DetectionOutput of Synopsys' fork with bottoms of each feature map, against the loops of its source."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ssd import F, best_of_image, check, decode, fast_nms, layers, run, text_of

import protogen as pg

SETTINGS = settings(max_examples=30, deadline=None, derandomize=True)


# the loops of src/caffe/layers/detection_output_layer.cpp, for one image


def read_locations(p, blob):
    """``all_loc_preds`` of a map: boxes by label."""
    data, sets, listed = blob.ravel(), p["sets"], {}
    channels = blob.shape[1]
    if p["order"] == "flat":
        for i in range(channels // sets // 4):
            for c in range(sets):
                at = i * sets * 4 + c * 4
                listed.setdefault(c, []).append(data[at : at + 4])
    elif p["order"] == "ratio":
        count = channels // sets // 4
        for i in range(count):
            listed.setdefault(0, []).append(np.array([data[i + j * count] for j in range(4)]))
    else:
        count = blob.shape[2] * blob.shape[3]
        for r in range(channels // 4):
            for i in range(count):
                at = r * 4 * count + i
                box = np.array([data[at + j * count] for j in range(4)])
                listed.setdefault(0, []).append(box)
    return listed


def read_scores(p, blob, anchors):
    """``all_conf_scores`` of a map: scores by class."""
    data, classes, listed = blob.ravel(), p["classes"], {}
    if p["order"] == "plane":
        height, width = blob.shape[2:]
        for c in range(classes):
            for r in range(height):
                for i in range(width):
                    score = data[c * height * width + r * width + i]
                    if anchors is not None:
                        which = classes % 2 + 1
                        low = anchors.ravel()[which * height * width + r * width + i]
                        if low < F(p["objectness"]):
                            score = F(c == 0)
                    listed.setdefault(c, []).append(score)
        return listed
    count = blob.shape[1] // classes
    for i in range(count):
        for c in range(classes):
            at = i * classes + c if p["order"] == "flat" else i + c * count
            listed.setdefault(c, []).append(data[at])
    return listed


def read_priors(p, locations, blobs):
    """``prior_bboxes`` and ``prior_variances``."""
    boxes, variances = [], []
    if p["own"]:
        for blob in blobs:
            data, count = blob.ravel(), blob.shape[2] // 4
            for i in range(count):
                if p["order"] == "flat":
                    boxes.append(data[4 * i : 4 * i + 4])
                    variances.append(data[(count + i) * 4 : (count + i) * 4 + 4])
                else:
                    boxes.append(np.array([data[i + j * count] for j in range(4)]))
                    start = count * 4 + i
                    variances.append(np.array([data[start + j * count] for j in range(4)]))
        return boxes, variances
    data, total, start = blobs[0].ravel(), blobs[0].shape[2] // 4, 0
    if p["order"] == "flat":
        return [data[4 * i : 4 * i + 4] for i in range(total)], [
            data[4 * (total + i) : 4 * (total + i) + 4] for i in range(total)
        ]
    for n, blob in enumerate(locations):
        count = blob.size // 4
        ratios = blob.shape[1] // 4 if p["order"] == "plane" else p["ratios"][n]
        for i in range(start, start + count):
            pixels = count // ratios
            place = (i - start) % pixels * ratios + (i - start) // pixels
            at = (place + start) * 4
            boxes.append(data[at : at + 4])
            variances.append(data[(total + i) * 4 : (total + i) * 4 + 4])
        start += count
    return boxes, variances


def joined(parts):
    """Append the lists of each map, by label."""
    every = {}
    for part in parts:
        for label, values in part.items():
            every.setdefault(label, []).extend(values)
    return every


def detections(p, feeds):
    """``Forward_cpu``: the rows of the image."""
    blobs, n = list(feeds.values()), p["maps"]
    locations = joined(read_locations(p, blob) for blob in blobs[n : 2 * n])
    has_anchors = p.get("filters", False)
    scores = joined(
        read_scores(p, blobs[i], blobs[2 * n + 1 + i] if has_anchors else None) for i in range(n)
    )
    prior_blobs = blobs[2 * n : 3 * n] if p["own"] else blobs[2 * n : 2 * n + 1]
    prior, variance = read_priors(p, blobs[n : 2 * n], prior_blobs)
    if p.get("refines"):
        shift = joined(read_locations(p, blob) for blob in blobs[3 * n + 1 : 4 * n + 1])[0]
        prior = [
            np.array(decode(prior[k], variance[k], p["code"], p["in_target"], shift[k]))
            for k in range(len(prior))
        ]
    boxes = {
        label: [
            decode(prior[k], variance[k], p["code"], p["in_target"], listed[k])
            for k in range(len(prior))
        ]
        for label, listed in locations.items()
    }
    by_class = {
        c: fast_nms(boxes[0 if p["sets"] == 1 else c], scores[c], p, False)
        for c in range(p["classes"])
        if c != p["background"]
    }
    rows = [
        [0, c, scores[c][i], *boxes[0 if p["sets"] == 1 else c][i]]
        for c, i in best_of_image(by_class, scores, p["keep"])
    ]
    return np.array(rows or [[0, *[-1] * 6]], F)[None, None]


@st.composite
def maps(draw, order, anchors=False):
    """Draw a layer of several maps."""
    p = draw(layers())
    n = draw(st.integers(2 if order == "flat" else 1, 6))
    p.update(maps=n, order=order, images=1, objectness=draw(st.sampled_from([0.01, 0.4])))
    p["sets"] = p["classes"] if order == "flat" and not p["share"] else 1
    p["share"] = p["sets"] == 1 and (p["share"] or order != "flat")
    p["own"] = order != "plane" and n > 1 and draw(st.booleans())
    p["ratios"] = [draw(st.integers(1, 3)) for _ in range(n)]
    p["sizes"] = [(draw(st.integers(1, 2)), draw(st.integers(1, 3))) for _ in range(n)]
    p["filters"] = anchors and draw(st.booleans())
    p["refines"] = anchors and (not p["filters"] or draw(st.booleans()))
    return p


def feeds_of(p):
    """Return confidences, locations and priors, and those of RefineDet's anchors."""
    rng = np.random.default_rng(p["seed"])
    counts = [r * h * w for r, (h, w) in zip(p["ratios"], p["sizes"], strict=True)]
    scores, locations = [], []
    for r, (h, w), count in zip(p["ratios"], p["sizes"], counts, strict=True):
        if p["order"] == "plane":
            scores.append((1, p["classes"], r, h * w))
            locations.append((1, 4 * r, h, w))
        else:
            scores.append((1, count * p["classes"]))
            locations.append((1, count * 4 * p["sets"]))
    low = rng.random((sum(counts), 2)) * rng.choice([0.1, 0.7])
    corners = np.concatenate([low, low + rng.uniform(0.05, 0.5, (sum(counts), 2))], 1)
    halves = np.stack([corners, rng.uniform(0.05, 0.3, (sum(counts), 4))])
    blobs = [rng.permutation(np.prod(s)).reshape(s) / np.prod(s) + rng.random() for s in scores]
    blobs += [rng.normal(0, 0.7, s) for s in locations]
    if p["own"]:
        ends = np.cumsum(counts)
        for count, end in zip(counts, ends, strict=True):
            half = halves[:, end - count : end]
            half = half.transpose(0, 2, 1) if p["order"] == "ratio" else half
            blobs.append(half.reshape(1, 2, -1))
    else:
        blobs.append(halves.reshape(1, 2, -1))
    if p["filters"] or p["refines"]:
        blobs += [rng.random((1, 3, *s[2:])) for s in scores]
        blobs += [rng.normal(0, 0.2, s) for s in locations]
    return {f"b{i}": blob.astype(F) for i, blob in enumerate(blobs)}


def words_of(p):
    words = f"nbottom: {p['maps']}" if p["maps"] != 6 else ""
    words += {"flat": "", "ratio": " ratio_permute: true", "plane": " no_permute: true"}[p["order"]]
    if p["order"] == "ratio":
        words += " " + " ".join(f"ratio{i}: {r}" for i, r in enumerate(p["ratios"]))
    words += " arm_conf_no_concat: true" if p["filters"] else ""
    words += " arm_loc_no_concat: true" if p["refines"] else ""
    return words + f" objectness_score: {p['objectness']}"


@pytest.mark.parametrize("order", ["flat", "ratio", "plane"])
def test_maps(order):
    """foss-for-synopsys-dwc-arc-processors/synopsys-caffe,
    src/caffe/layers/detection_output_layer.cpp."""

    @SETTINGS
    @given(maps(order))
    def compare(p):
        feeds = feeds_of(p)
        check(run(text_of(p, words_of(p)), feeds, "synopsys"), detections(p, feeds))

    compare()


@SETTINGS
@given(maps("plane", anchors=True))
def test_anchors(p):
    """The same file: ``arm_conf_no_concat`` and ``arm_loc_no_concat``."""
    feeds = feeds_of(p)
    check(run(text_of(p, words_of(p)), feeds, "synopsys"), detections(p, feeds))


def zeros(*shapes):
    return {f"b{i}": np.zeros(shape, F) for i, shape in enumerate(shapes)}


PLANES = ((1, 2, 3, 4), (1, 2, 1, 6), (1, 12, 2, 2), (1, 4, 2, 3), (1, 2, 72))
FLAT = ((1, 12), (1, 24), (1, 24), (1, 48), (1, 2, 72))


@pytest.mark.parametrize(
    ("shapes", "words", "said"),
    [
        (PLANES[:4], "nbottom: 2", "4 bottoms do not fit nbottom 2: expected 3 to 5 joined ones"),
        (PLANES, "nbottom: 0", "nbottom must be at least 1, got 0"),
        (PLANES, "nbottom: 2 no_permute: true ratio_permute: true", "are both true"),
        (PLANES, "nbottom: 2", '"b0" must have shape N x (2 * boxes), got 1x2x3x4'),
        (FLAT, "nbottom: 2 no_permute: true", '"b2" must have shape N x (4 * ratios) x H x W'),
        (FLAT, "nbottom: 2 arm_loc_no_concat: true", "nbottom 2 requires 9 bottoms, got 5"),
        (
            ((1, 2, 4, 3), *PLANES[1:]),
            "nbottom: 2 no_permute: true",
            '"b0" must have shape N x 2x3x4 beside "b2", got 1x2x4x3',
        ),
        ((*FLAT[:4], (1, 2, 76)), "nbottom: 2", "it has 19 priors, but locations of 18 boxes"),
        ((*FLAT[:4], (1, 1, 72)), "nbottom: 2", "must have shape 1x2x(4 * priors)"),
        (((2, 12), *FLAT[1:]), "nbottom: 2", "the same number of images, got 2 and 1"),
    ],
)
def test_invalid(shapes, words, said):
    text = f'type: "DetectionOutput" detection_output_param {{ num_classes: 2 {words} }}'
    with pytest.raises(pg.InputError) as error:
        run(text, zeros(*shapes))
    assert said in str(error.value)


ANCHORS = ((1, 2, 3, 4), (1, 12, 2, 2), (1, 2, 48), (1, 2, 3, 4), (1, 12, 2, 2))


def test_anchors_of_another_shape():
    words = "nbottom: 1 no_permute: true arm_loc_no_concat: true arm_conf_no_concat: true"
    text = f'type: "DetectionOutput" detection_output_param {{ num_classes: 2 {words} }}'
    run(text, zeros(*ANCHORS))
    with pytest.raises(pg.InputError, match='"b4" must have the shape of "b1", 1x12x2x2'):
        run(text, zeros(*ANCHORS[:4], (1, 12, 4, 1)))
    three = ((1, 3, 3, 4), *ANCHORS[1:])
    with pytest.raises(pg.InputError, match='"b3" must have at least 3 channels'):
        run(text.replace("num_classes: 2", "num_classes: 3"), zeros(*three))


@pytest.mark.parametrize(
    ("shapes", "words", "said"),
    [
        (((2, 12), (2, 24), (2, 24), (2, 48), (1, 2, 72)), "", "its 2 images all get the boxes of"),
        (
            ((1, 12), (1, 24), (1, 48), (1, 96), (1, 2, 72)),
            "share_location: false ratio_permute: true",
            "with share_location: false are undefined",
        ),
        (
            (*PLANES[:4], (1, 2, 48), (1, 2, 24)),
            "no_permute: true",
            "no_permute with priors of each map is undefined",
        ),
        (FLAT, "ratio_permute: true ratio0: 4", "ratio0 4 does not divide the 6 boxes of its map"),
        (
            (*FLAT, *FLAT[:4]),
            "arm_loc_no_concat: true",
            "are undefined without no_permute",
        ),
    ],
)
def test_unsupported(shapes, words, said):
    text = f'type: "DetectionOutput" detection_output_param {{ num_classes: 2 nbottom: 2 {words} }}'
    with pytest.raises(pg.UnsupportedError) as error:
        run(text, zeros(*shapes))
    assert said in str(error.value)


def test_more_ratios_than_fields():
    shapes = (*[(1, 4)] * 7, *[(1, 8)] * 7, (1, 2, 56))
    words = "num_classes: 2 nbottom: 7 ratio_permute: true"
    with pytest.raises(pg.UnsupportedError, match="undefined for more than 6 maps"):
        run(f'type: "DetectionOutput" detection_output_param {{ {words} }}', zeros(*shapes))


def test_tflite():
    words = "num_classes: 2 tflite_detection: true"
    with pytest.raises(pg.UnsupportedError, match="tflite_detection"):
        run(
            f'type: "DetectionOutput" detection_output_param {{ {words} }}',
            zeros((1, 16), (1, 8), (1, 2, 16)),
        )
