"""SSD's layers for training and evaluation, data layers of video, and MTCNN's windows."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import net_with

import protogen as pg

SETTINGS = settings(max_examples=30, deadline=None, derandomize=True)


def predict_box(p, score, shift, third):
    """``PredictBoxLayer::Forward_cpu`` of happynear/caffe-windows,
    src/caffe/layers/predict_box_layer.cpp."""
    n, _, h, w = score.shape
    top = np.zeros((n, 5, h, w), np.float32)
    is_nms = third is not None and third.shape[1] == 2
    is_stitched = third is not None and third.shape[1] == 3
    for i, x, y in np.ndindex(n, w, h):
        s = score[i, 1, y, x]
        if not s > np.float32(p["positive_thresh"]):
            continue
        if is_nms and not s > third[i, 1, y, x] - 1e-5:
            continue
        if is_stitched and third[i, 2, y, x] == 0:
            continue
        bias_x, bias_y, field = third[i, :, y, x] if is_stitched else (0, 0, p["receptive_field"])
        box = [(x * p["stride"] - bias_x) / 12 * field, (y * p["stride"] - bias_y) / 12 * field]
        box += [field, field]
        if shift is not None:
            r = shift[i, :, y, x]
            if p["bbreg_exp"]:
                box[0] += r[0] * field
                box[1] += r[1] * field
                box[2] *= math.exp(r[2])
                box[3] *= math.exp(r[3])
            else:
                box[0] += r[1] * field
                box[1] += r[0] * field
                box[2] += (r[3] - r[1]) * field
                box[3] += (r[2] - r[0]) * field
        top[i, :, y, x] = [*box, s]
    return top


@SETTINGS
@given(st.data())
def test_predict_box(data):
    shape = data.draw(st.sampled_from([(1, 3, 4), (2, 1, 5), (3, 4, 1)]))
    p = {
        "stride": data.draw(st.sampled_from([1, 2, 3])),
        "receptive_field": data.draw(st.sampled_from([12, 7])),
        "positive_thresh": data.draw(st.sampled_from([0.5, 0.1, -1.0])),
        "bbreg_exp": data.draw(st.booleans()),
    }
    count, third = data.draw(st.sampled_from([(1, 0), (2, 0), (3, 2), (3, 3)]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    n, h, w = shape
    feeds = {"score": rng.random((n, 2, h, w)).astype(np.float32)}
    if count > 1:
        feeds["shift"] = rng.normal(0, 0.5, (n, 4, h, w)).astype(np.float32)
    if count > 2:
        values = rng.integers(0, 3, (n, third, h, w)) if third == 3 else rng.random((n, 2, h, w))
        feeds["third"] = values.astype(np.float32)
        if third == 2:  # half of the pixels are the maximum nearby
            is_best = rng.random((n, h, w)) < 0.5
            feeds["third"][:, 1][is_best] = feeds["score"][:, 1][is_best]
    bottoms = " ".join(f'bottom: "{name}"' for name in feeds)
    fields = " ".join(f"{name}: {str(value).lower()}" for name, value in p.items())
    net = net_with(
        {name: array.shape for name, array in feeds.items()},
        f'layer {{ name: "l" type: "PredictBox" {bottoms} top: "y" '
        f"predict_box_param {{ {fields} }} }}",
    )
    expected = predict_box(p, feeds["score"], feeds.get("shift"), feeds.get("third"))
    actual = pg.run(net, feeds)["y"]
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-5 * max(1, abs(expected).max()))


PRIORS = {"loc": (2, 48), "conf": (2, 36), "prior": (1, 2, 48), "label": (1, 1, 7, 8)}
DETECTIONS = {"d": (1, 1, 9, 7), "g": (1, 1, 4, 8)}


def built(inputs, text, top="y"):
    bottoms = " ".join(f'bottom: "{name}"' for name in inputs)
    return net_with(inputs, f'layer {{ name: "l" {bottoms} top: "{top}" {text} }}')


@pytest.mark.parametrize(
    ("text", "inputs", "shape"),
    [
        ('type: "MultiBoxLoss" multibox_loss_param { num_classes: 3 }', PRIORS, ()),
        (
            'type: "MultiBoxLoss" multibox_loss_param { num_classes: 3 share_location: false }',
            PRIORS | {"loc": (2, 144)},
            (),
        ),
        ('type: "SsdDetection" detection_output_param { num_classes: 21 keep_top_k: 100 }',
         {"loc": (2, 12, 3, 3), "conf": (2, 63, 3, 3), "image": (2, 3, 30, 30)}, (2, 764, 1, 1)),
    ],
)  # fmt: skip
def test_shapes_without_numbers(text, inputs, shape):
    """weiliu89/caffe (branch ssd), src/caffe/layers/multibox_loss_layer.cpp; Cambricon/caffe,
    src/caffe/layers/mlu_ssd_detection_layer.cpp."""
    net = built(inputs, text)
    assert net.shapes["y"] == shape
    feeds = {name: np.zeros(size, np.float32) for name, size in inputs.items()}
    with pytest.raises(pg.UnsupportedError):
        pg.run(net, feeds)


@pytest.mark.parametrize(
    ("text", "inputs", "said"),
    [
        ('type: "MultiBoxLoss" multibox_loss_param { num_classes: 2 }', PRIORS,
         'bottom "conf" must have 24 values per sample for 12 priors and num_classes 2, got 2x36'),
        ('type: "MultiBoxLoss" multibox_loss_param { num_classes: 3 }', PRIORS | {"loc": (2, 44)},
         'bottom "loc" must have 48 values per sample for 12 priors, got 2x44'),
        ('type: "DetectionEvaluate" detection_evaluate_param { num_classes: 3 }',
         DETECTIONS | {"g": (1, 1, 4, 7)}, "must have shapes 1x1xDx7 and 1x1xGx8"),
        ('type: "PredictBox"', {"s": (1, 3, 4, 4)}, 'bottom "s" must have 2 channels, got 3'),
        ('type: "PredictBox"', {"s": (1, 2, 4, 4), "r": (1, 4, 4, 3)},
         'bottom "r" must have shape 1x4x4x4, got 1x4x4x3'),
    ],
)  # fmt: skip
def test_invalid(text, inputs, said):
    feeds = {name: np.zeros(size, np.float32) for name, size in inputs.items()}
    with pytest.raises(pg.InputError) as error:
        pg.run(built(inputs, text), feeds)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("fields", "shapes"),
    [
        ("data_param { batch_size: 2 } transform_param { force_color: true "
         "resize_param { height: 300 width: 200 } }",
         [(2, 3, 300, 200), (2,)]),
        ("data_param { batch_size: 1 }", [None, (1,)]),
        ("video_data_param { batch_size: 4 new_height: 20 new_width: 30 new_length: 5 }",
         [(4, 10, 20, 30), (4, 1, 1, 1)]),
        ("video_data_param { batch_size: 4 new_height: 20 new_width: 30 num_segments: 3 modality: RGB } "
         "transform_param { crop_size: 16 }", [(4, 9, 16, 16), (4, 1, 1, 1)]),
        ("video_data_param { batch_size: 4 new_height: 20 new_width: 30 modality: RGB grayscale: true }",
         [(4, 1, 20, 30), (4, 1, 1, 1)]),
    ],
)  # fmt: skip
def test_video_data(fields, shapes):
    """weiliu89/caffe (branch ssd) and yjxiong/caffe, src/caffe/layers/video_data_layer.cpp."""
    net = net_with({}, f'layer {{ name: "v" type: "VideoData" top: "x" top: "label" {fields} }}')
    assert [net.shapes["x"], net.shapes["label"]] == shapes
