"""Nets that converters often get wrong, with the values that real Caffe computes.

The values come from BVLC Caffe 1.0, run on these inputs.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from nets import net_with

import protogen as pg
from protogen.formats import prototxt
from protogen.net.net import Net

RAMP = np.arange(1, 25, dtype=np.float32)


def layer(type_: str, params: str = "", bottoms: str = 'bottom: "x"') -> str:
    return f'layer {{ name: "l" type: "{type_}" {bottoms} top: "y" {params} }}'


def run(text: str, phase: str = "TEST", **arrays: np.ndarray) -> np.ndarray:
    net = net_with({name: array.shape for name, array in arrays.items()}, text)
    net = Net(net.message, phase=phase)
    for one in net.layers:
        shapes = net.parameter_shapes[one.name]
        if shapes:
            net.weights[one.name] = [np.ones(s, np.float32) for s in shapes]
    return pg.run(net, arrays)["y"]


def close(output: np.ndarray, expected: object) -> None:
    expected = np.asarray(expected, np.float32)
    assert output.shape == expected.shape
    np.testing.assert_allclose(output, expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 5), (2, 5, 3), (6,), (2, 1, 3, 4)])
@pytest.mark.parametrize("across", [False, True])
def test_mvn_normalises_over_four_axes(shape, across):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    four = x.reshape((*shape, 1, 1, 1)[:4])
    axes = (1, 2, 3) if across else (2, 3)
    centred = four - four.mean(axes, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axes, keepdims=True))
    text = layer("MVN", f"mvn_param {{ across_channels: {str(across).lower()} eps: 0.1 }}")
    close(run(text, x=x), centred / (deviation + np.float32(0.1)))


def test_layer_after_mvn_reads_four_axes():
    text = layer("MVN").replace('"y"', '"m"') + '\nlayer { name: "r" type: "Reduction" bottom: "m" top: "y" reduction_param { operation: SUMSQ axis: 3 } }'  # fmt: skip
    assert run(text, x=RAMP.reshape(2, 4, 3)).shape == (2, 4, 3)


def test_inner_product_with_negative_axis():
    x = RAMP[:6].reshape(2, 3)
    close(run(layer("InnerProduct", "inner_product_param { num_output: 2 axis: -1 }"), x=x), [[7, 7], [16, 16]])  # fmt: skip


def test_softmax_loss_along_the_batch_axis():
    """outer_num is 1, so BATCH_SIZE divides by 1."""
    x, t = np.zeros((3, 3, 5), np.float32), np.zeros((3, 5), np.float32)
    text = layer("SoftmaxWithLoss", "softmax_param { axis: 0 } loss_param { normalization: BATCH_SIZE }",
                 'bottom: "x" bottom: "t"')  # fmt: skip
    close(run(text, x=x, t=t), 15 * math.log(3))


def test_accuracy_with_only_ignored_labels_is_0():
    x, t = np.zeros((3, 2), np.float32), np.ones(3, np.float32)
    close(run(layer("Accuracy", "accuracy_param { ignore_label: 1 }", 'bottom: "x" bottom: "t"'), x=x, t=t), 0)  # fmt: skip


def test_infogain_loss_skips_ignored_labels():
    x, t, h = np.zeros((2, 3), np.float32), np.float32([0, 255]), np.eye(3, dtype=np.float32)
    text = layer(
        "InfogainLoss", "loss_param { ignore_label: 255 }", 'bottom: "x" bottom: "t" bottom: "h"'
    )
    close(run(text, x=x, t=t, h=h.reshape(1, 1, 3, 3)), math.log(3))


def test_clip_with_min_above_max():
    close(
        run(layer("Clip", "clip_param { min: 0.5 max: 0.2 }"), x=np.float32([-1, 0.3, 2])),
        [0.5] * 3,
    )


@pytest.mark.parametrize(
    ("param", "expected"),
    [("power: -1 scale: 0 shift: 0", np.inf), ("power: 0.5 scale: 0 shift: -1", np.nan),
     ("power: 0 scale: 0 shift: 0", 1), ("power: 3 scale: 0 shift: 2", 8)],
)  # fmt: skip
def test_power_with_scale_0(param, expected):
    close(run(layer("Power", f"power_param {{ {param} }}"), x=RAMP[:2]), [expected] * 2)


def test_exp_with_base_1_is_1():
    close(run(layer("Exp", "exp_param { base: 1 }"), x=RAMP[:2]), [1, 1])


def test_in_place_layer_on_an_input():
    """The blob has the values of the layer's top; the model's input keeps its name."""
    net = net_with({"a": (1, 2)}, 'layer { name: "l" type: "ReLU" bottom: "a" top: "a" }')
    feeds = {"a": np.float32([[-1, 2]])}
    assert pg.run(net, feeds)["a"].tolist() == [[0, 2]]
    assert pg.run(net, feeds, ["a"])["a"].tolist() == [[0, 2]]
    model = pg.to_onnx(net, outputs=["a"])
    assert [one.name for one in model.graph.input] == ["a"]
    assert [one.name for one in model.graph.output] == ["a@l"]


def test_batch_norm_in_phase_train_uses_batch_statistics():
    """BatchNorm uses the mean and variance of the batch and ignores the weights."""
    x = np.random.default_rng(0).normal(2, 3, (4, 2)).astype(np.float32)
    expected = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    close(run(layer("BatchNorm"), "TRAIN", x=x), expected)
    known = layer("BatchNorm", "batch_norm_param { use_global_stats: true }")
    close(run(known, "TRAIN", x=x), (x - 1) / np.sqrt(1 + 1e-5))
    close(run(layer("BatchNorm"), x=x), (x - 1) / np.sqrt(1 + 1e-5))


def test_phase_of_a_layer_overrides_that_of_the_net():
    x = np.random.default_rng(0).normal(2, 3, (4, 2)).astype(np.float32)
    known = (x - 1) / np.sqrt(1 + 1e-5)
    close(run(layer("BatchNorm", "phase: TEST"), "TRAIN", x=x), known)


BATCH = [
    # SegNet's bn_layer.cpp: LEARN is the default and uses the batch's statistics in both phases.
    ('scale_filler { type: "constant" value: 1 }', "TEST", 1e-9),
    ("bn_mode: LEARN", "TRAIN", 1e-9),
    ("bn_mode: INFERENCE", "TRAIN", None),
    ("bn_mode: INFERENCE", "TEST", None),
    # PSPNet's: slope, bias, mean and variance, here all 1.
    ("momentum: 0.95", "TRAIN", 1e-5),
    ("momentum: 0.95", "TEST", "known"),
    ("frozen: true", "TRAIN", "known"),
    ("frozen: false", "TRAIN", 1e-5),
]


@pytest.mark.parametrize(("params", "phase", "eps"), BATCH)
def test_bn_of_forks_in_both_phases(params, phase, eps):
    x = np.random.default_rng(0).normal(2, 3, (4, 2, 3, 5)).astype(np.float32)
    output = run(layer("BN", f"bn_param {{ {params} }}"), phase, x=x)
    if eps is None:
        close(output, x + 1)
    elif eps == "known":
        close(output, (x - 1) / np.sqrt(1 + 1e-5) + 1)
    else:
        mean, variance = (f((0, 2, 3), keepdims=True) for f in (x.mean, x.var))
        close(output, (x - mean) / np.sqrt(variance + eps) + 1)


@pytest.mark.parametrize(("params", "phase", "eps"), BATCH)
def test_bn_of_forks_as_stock_layers(params, phase, eps, tmp_path):
    """``pg.rewrite`` runs each replacement and its original, and compares the outputs."""
    path = tmp_path / "net.prototxt"
    head = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 4 dim: 2 dim: 3 dim: 5 } } }'
    path.write_text(head + "\n" + layer("BN", f"bn_param {{ {params} }}"))
    rewritten = pg.rewrite(path, phase=phase)
    assert [item.type for item in rewritten.replaced] == ["BN"]
    params = [
        layer.params.batch_norm_param for layer in rewritten.net.layers if layer.type == "BatchNorm"
    ]
    assert [param.use_global_stats for param in params] == ([] if eps is None else [eps == "known"])


def test_batch_norm_with_batch_statistics_needs_no_weights():
    x = np.random.default_rng(0).normal(2, 3, (4, 2)).astype(np.float32)
    own = "batch_norm_param { use_global_stats: false }"
    for params, phase in ((own, "TEST"), ("", "TRAIN")):
        net = net_with({"x": x.shape}, layer("BatchNorm", params))
        output = pg.run(Net(net.message, phase=phase), {"x": x})["y"]
        close(output, (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5))
    with pytest.raises(pg.InputError, match="has no weights"):
        pg.run(net, {"x": x})
    # The factor and shift of a fork's BatchNorm are read in both phases.
    forks = net_with({"x": x.shape}, layer("BatchNorm", "batch_norm_param { scale_bias: true }"))
    with pytest.raises(pg.InputError, match="has no weights"):
        pg.run(Net(forks.message, phase="TRAIN"), {"x": x})


def test_opencv_is_unreliable_for_batch_statistics():
    from protogen.running.opencv import unreliable_layers

    text = layer("BatchNorm", "batch_norm_param { use_global_stats: false }")
    net = net_with({"x": (4, 2)}, text)
    assert [one.name for one in unreliable_layers(net.graph)] == ["l"]
    plain = net_with({"x": (4, 2)}, layer("BatchNorm"))
    assert not unreliable_layers(plain.graph)
    assert unreliable_layers(Net(plain.message, phase="TRAIN").graph)


def test_random_dropout_raises_unsupported_error():
    with pytest.raises(pg.UnsupportedError) as caught:
        run(layer("Dropout"), "TRAIN", x=RAMP)
    assert str(caught.value) == (
        'net.prototxt:2:1: layer "l" (Dropout): its values are random in phase TRAIN. Use phase '
        "TEST, or pass its bottom through with --layer-as-identity."
    )
    close(run(layer("Dropout", "dropout_param { dropout_ratio: 0 }"), "TRAIN", x=RAMP), RAMP)
    close(run(layer("Dropout"), x=RAMP), RAMP)


def test_kernel_larger_than_the_input():
    """(4 - 5) / 2 + 1 is 1 in C: the window's fifth row and column count as 0."""
    x = RAMP[:16].reshape(1, 1, 4, 4)
    text = "convolution_param { num_output: 1 kernel_size: 5 stride: 2 bias_term: false }"
    close(run(layer("Convolution", text), x=x), [[[[136]]]])
    columns = run(layer("Im2col", "convolution_param { kernel_size: 5 stride: 2 }"), x=x)
    close(columns.reshape(5, 5), np.pad(x[0, 0], (0, 1)))


def test_pooling_windows_without_a_pixel():
    """A stride beyond the kernel: AVE divides 0 by an area that is negative (0), or 0 (NaN)."""
    x = RAMP.reshape(1, 1, 6, 4)
    output = run(layer("Pooling", "pooling_param { pool: AVE kernel_size: 1 stride: 5 }"), x=x)
    close(output, [[[[1, 0], [21, 0]]]])
    output = run(
        layer("Pooling", "pooling_param { pool: AVE kernel_size: 1 stride: 4 }"), x=x[..., :5, :]
    )
    close(output, [[[[1, np.nan], [17, np.nan]]]])
    wide = RAMP[:5].reshape(1, 1, 1, 5)
    text = "pooling_param { pool: AVE kernel_h: 1 kernel_w: 1 stride_h: 1 stride_w: 3 }"
    close(run(layer("Pooling", text), x=wide), [[[[1, 4, 0]]]])


def test_unused_label_is_not_an_output():
    net = Net(prototxt.parse(
        'layer { name: "d" type: "MemoryData" top: "data" top: "label" memory_data_param '
        "{ batch_size: 2 channels: 3 height: 8 width: 8 } }\n"
        'layer { name: "r" type: "ReLU" bottom: "data" top: "r" }', "net.prototxt",
    ))  # fmt: skip
    model = pg.to_onnx(net)
    assert [one.name for one in model.graph.input] == ["data"]
    assert [one.name for one in model.graph.output] == ["r"]
    assert net.outputs == ("r",)


@pytest.mark.parametrize(("n", "m"), [(3, 7), (7, 3), (6, 10), (4, 8)])
def test_upsample_to_a_size_that_is_not_a_multiple(n, m):
    x = RAMP[:n].reshape(1, 1, 1, n)
    text = f"upsample_param {{ upsample_h: 2 upsample_w: {m} }}"
    output = run(layer("Upsample", text), x=x)
    close(output, np.broadcast_to(x[..., [i * n // m for i in range(m)]], (1, 1, 2, m)))


VIEW = """layer { name: "f" type: "Flatten" bottom: "x" top: "flat" }
layer { name: "r" type: "ReLU" bottom: "flat" top: "flat" }
"""


def test_reading_a_blob_changed_through_a_view_raises():
    """Caffe changes "x" too: a net that reads it afterwards cannot be exported."""
    x = RAMP.reshape(2, 12) - 12
    close(
        run(VIEW + 'layer { name: "l" type: "Power" bottom: "flat" top: "y" }', x=x),
        np.maximum(x, 0),
    )
    with pytest.raises(pg.UnsupportedError) as caught:
        run(VIEW + 'layer { name: "l" type: "Eltwise" bottom: "flat" bottom: "x" top: "y" }', x=x)
    assert str(caught.value) == (
        'net.prototxt:3:1: layer "r" (ReLU): works in place on "flat", which shares its memory with '
        '"x", but layer "l" (Eltwise) reads "x" afterwards. Give its top a different name.'
    )
    with pytest.raises(pg.UnsupportedError, match=r'but the net outputs "y" afterwards'):
        run('layer { name: "s" type: "Split" bottom: "x" top: "y" top: "z" }\n'
            'layer { name: "r" type: "ReLU" bottom: "z" top: "z" }', x=x)  # fmt: skip


def test_constant_output_becomes_a_parameter_layer(tmp_path):
    """ONNX to Caffe: an output that depends on no input becomes a Parameter layer."""
    net = net_with({"x": (1, 2)}, layer("Power", "power_param { power: 0 }"))
    back = pg.from_onnx(pg.to_onnx(net))
    assert [one.type for one in back.layers] == ["Input", "Parameter"]
    assert pg.run(back, {"x": np.zeros((1, 2))})["y"].tolist() == [[1, 1]]
