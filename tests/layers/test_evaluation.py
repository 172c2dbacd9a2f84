"""DetectionEvaluate of SSD and its forks, against the loops of the source."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import net_with
from test_ssd import F, overlap, run

import protogen as pg

SETTINGS = settings(max_examples=60, deadline=None, derandomize=True)


def label_of(p, label):
    """The class of a label: ``GetGroundTruth`` of each fork."""
    if p["dialect"] in ("refinedet", "synopsys") and p["classes"] == 2 and label >= 2:
        return 1
    if p["dialect"] == "openvino":
        return p["background"] + 1 if p["classes"] == 2 else min(label, p["classes"] - 1)
    return label


def evaluated(p, detections, labels):
    """``DetectionEvaluateLayer::Forward_cpu`` of weiliu89/caffe (branch ssd), src/caffe/layers/
    detection_evaluate_layer.cpp, and ``GetDetectionResults`` and ``GetGroundTruth`` of its bbox_util."""
    detected, wanted, count, skipped = {}, {}, 0, 0
    for row in detections[0, 0]:
        count += int(row[1]) != -1
        skipped += int(row[1]) != -1 and int(row[0]) == -1
        if int(row[0]) != -1:
            detected.setdefault(int(row[0]), {}).setdefault(int(row[1]), []).append(row)
    for row in labels[0, 0]:
        if int(row[0]) == -1:
            break
        of_image = wanted.setdefault(int(row[0]), {})
        of_image.setdefault(label_of(p, int(row[1])), []).append(row)
    rows = []
    for c in range(p["classes"]):
        if c != p["background"]:
            every = [row for of_image in wanted.values() for row in of_image.get(c, [])]
            rows.append([-1, c, sum(p["difficult"] or row[7] == 0 for row in every), -1, -1])
    for image in sorted(detected):
        for label in sorted(detected[image]):
            if label == -1:
                continue
            boxes = detected[image][label]
            if label not in wanted.get(image, {}):
                rows += [[image, label, row[2], 0, 1] for row in boxes]
                continue
            truth, visited = wanted[image][label], set()
            for row in sorted(boxes, key=lambda row: -row[2]):
                overlaps = [overlap(row[3:7], other[3:7]) for other in truth]
                best = int(np.argmax(overlaps))
                result = [0, 1]
                if overlaps[best] >= F(p["threshold"]):
                    if not p["difficult"] and truth[best][7] != 0:
                        result = [0, 0]
                    elif best not in visited:
                        visited.add(best)
                        result = [1, 0]
                rows.append([image, label, row[2], *result])
    return np.array(rows + [[0] * 5] * skipped, F).reshape(1, 1, -1, 5)


@st.composite
def layers(draw):
    return {
        "dialect": draw(
            st.sampled_from(["ssd", "ssd", "intel", "refinedet", "synopsys", "openvino"])
        ),
        "classes": draw(st.integers(2, 4)),
        "background": draw(st.sampled_from([0, 0, 1])),
        "threshold": draw(st.sampled_from([0.1, 0.3, 0.5, 0.9])),
        "difficult": draw(st.booleans()),
        "detections": draw(st.sampled_from([1, 2, 5, 16, 40])),
        "labels": draw(st.sampled_from([1, 2, 6, 15])),
        "images": draw(st.integers(1, 3)),
        "ties": draw(st.booleans()),
        "seed": draw(st.integers(0, 999)),
    }


def feeds_of(p):
    """Return detections and labels. Some boxes are those of labels, moved a little; some rows are those
    of images without boxes, and labels may end early."""
    rng = np.random.default_rng(p["seed"])

    def boxes(count):
        low = rng.random((count, 2)) * 0.5
        return np.concatenate([low, low + rng.uniform(-0.05, 0.5, (count, 2))], 1)

    classes = [c for c in range(p["classes"]) if c != p["background"]]
    d, g = p["detections"], p["labels"]
    truth = boxes(g)
    near = truth[rng.integers(0, g, d)] + rng.normal(0, 0.03, (d, 4))
    near = np.where(rng.random((d, 1)) < 0.7, near, boxes(d))
    score = rng.permutation(d) / d
    if p["ties"] and d <= 16:
        score = np.round(score * 3) / 3
    detected = [rng.integers(0, p["images"], d), rng.choice(classes, d), score, *near.T]
    labelled = [rng.integers(0, p["images"], g), rng.choice(classes, g), np.zeros(g), *truth.T]
    detections = np.stack(detected, 1)
    labels = np.stack([*labelled, rng.integers(0, 2, g)], 1)
    if p["dialect"] in ("refinedet", "openvino"):
        labels[:, 1] += rng.integers(0, 2, g)
        labels[labels[:, 1] == p["background"], 1] += 1
    if p["seed"] % 3 == 0:
        detections[rng.integers(0, d)] = [rng.integers(0, 2), *[-1] * 6]
    if p["seed"] % 4 == 0:
        labels[rng.integers(0, g), 0] = -1
    if p["seed"] % 5 == 0:
        detections[rng.integers(0, d), 0] = -1
    return {
        "detections": detections[None, None].astype(F),
        "labels": labels[None, None].astype(F),
    }


def text_of(p):
    return (
        f'type: "DetectionEvaluate" detection_evaluate_param {{ num_classes: {p["classes"]} '
        f"background_label_id: {p['background']} overlap_threshold: {p['threshold']} "
        f"evaluate_difficult_gt: {str(p['difficult']).lower()} }}"
    )


@SETTINGS
@given(layers())
def test_evaluate(p):
    """The rule of the named dialects: also sfzhang15/RefineDet, foss-for-synopsys-dwc-arc-processors/
    synopsys-caffe and openvinotoolkit/training_toolbox_caffe, src/caffe/util/bbox_util.cpp."""
    feeds = feeds_of(p)
    actual = run(text_of(p), feeds, p["dialect"])
    np.testing.assert_array_equal(actual, evaluated(p, *feeds.values()))


def test_detections_of_a_layer():
    """The number of detections depends on data."""
    text = """
    layer { name: "o" type: "DetectionOutput" bottom: "location" bottom: "confidence" bottom: "priors"
      top: "d" detection_output_param { num_classes: 3 confidence_threshold: 0.5
        nms_param { nms_threshold: 0.4 } } }
    layer { name: "e" type: "DetectionEvaluate" bottom: "d" bottom: "labels" top: "y"
      detection_evaluate_param { num_classes: 3 overlap_threshold: 0.3 } }
    """
    rng = np.random.default_rng(0)
    low = rng.random((8, 2)) * 0.5
    priors = np.concatenate([low, low + 0.4], 1)
    labels = np.zeros((1, 1, 4, 8))
    labels[0, 0, :, 0] = [0, 0, 1, 1]
    labels[0, 0, :, 1] = [1, 2, 1, 1]
    labels[0, 0, :, 3:7] = priors[:4]
    feeds = {
        "location": np.zeros((2, 32)),
        "priors": np.stack([priors.ravel(), np.full(32, 0.1)])[None],
        "labels": labels,
    }
    p = {"dialect": "", "classes": 3, "background": 0, "threshold": 0.3, "difficult": True}
    for scale in (0.4, 1.0):
        feeds["confidence"] = rng.random((2, 24)) * scale
        arrays = {name: array.astype(F) for name, array in feeds.items()}
        net = net_with({name: array.shape for name, array in arrays.items()}, text)
        top = pg.run(net, arrays, ["d", "y"])
        expected = evaluated(p, top["d"], arrays["labels"])
        np.testing.assert_array_equal(top["y"], expected)
        assert (expected[0, 0, 2:, 3] == 1).any() == (scale == 1.0)


@pytest.mark.parametrize(
    ("widths", "words", "said"),
    [
        ((7, 8), 'name_size_file: "sizes.txt"', "name_size_file is the size of each image"),
        ((15, 16), "", "overlaps of polygons"),
    ],
)
def test_unsupported(widths, words, said):
    feeds = {"d": np.zeros((1, 1, 2, widths[0]), F), "g": np.zeros((1, 1, 2, widths[1]), F)}
    text = f'type: "DetectionEvaluate" detection_evaluate_param {{ num_classes: 3 {words} }}'
    with pytest.raises(pg.UnsupportedError) as error:
        run(text, feeds)
    assert said in str(error.value)


def test_background_beyond_the_classes():
    feeds = {"d": np.zeros((1, 1, 2, 7), F), "g": np.zeros((1, 1, 2, 8), F)}
    text = 'type: "DetectionEvaluate" detection_evaluate_param { num_classes: 2 background_label_id: 2 }'
    with pytest.raises(pg.InputError, match="background_label_id 2 must be below num_classes 2"):
        run(text, feeds)
