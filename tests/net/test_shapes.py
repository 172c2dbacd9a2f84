"""Shapes of blobs and parameters: equal to real Caffe's, layer by layer and net by net."""

from __future__ import annotations

import gzip
import json
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nets import net_with
from places import CASES, CORPUS, SHARED

import protogen as pg
from protogen import geometry
from protogen.formats import prototxt
from protogen.layers import LayerType
from protogen.layers.graph import free_name
from protogen.net.cost import costs
from protogen.net.net import Net

ALL = sorted(CASES.glob("*/*"))
NETS = sorted((SHARED / "golden" / "nets").glob("*.json.gz"))


@pytest.mark.parametrize("case", ALL, ids=lambda p: p.name)
def test_shapes_of_a_layer_equal_caffe(case):
    gold = np.load(case / "golden.npz")
    net = pg.load(case / "net.prototxt")
    expected: dict[str, dict[int, tuple[int, ...]]] = {}
    for key in gold:
        kind, _, rest = key.partition(":")
        if kind == "out":
            assert net.shapes[rest] == gold[key].shape
        elif kind == "param":
            layer, _, index = rest.rpartition(":")
            expected.setdefault(layer, {})[int(index)] = gold[key].shape
    actual = {name: dict(enumerate(blobs)) for name, blobs in net.parameter_shapes.items() if blobs}
    assert actual == expected


def corpus_path(golden: Path) -> Path:
    repository, project, rest = golden.name.removesuffix(".json.gz").split("__", 2)
    return CORPUS / f"{repository}__{project}" / rest


@pytest.mark.skipif(
    not NETS, reason="needs ../shared next to this checkout: it holds the goldens of whole nets"
)
@pytest.mark.parametrize("golden", NETS, ids=lambda p: p.name.removesuffix(".prototxt.json.gz"))
def test_shapes_of_a_whole_net_equal_caffe(golden):
    with gzip.open(golden) as file:
        gold = json.load(file)
    net = pg.load(corpus_path(golden))
    depends_on_data = {
        top for layer in net.layers if layer.type == "DetectionOutput" for top in layer.tops
    }
    for name, blob in gold["blobs"].items():
        if "_split_" in name:
            continue
        actual, expected = list(net.shapes[name]), blob["shape"]
        if name in depends_on_data:  # the number of rows
            del actual[2], expected[2]
        assert actual == expected, name
    parameters = {
        name: [list(s) for s in blobs] for name, blobs in net.parameter_shapes.items() if blobs
    }
    assert parameters == gold["parameters"]
    assert {name: list(net.shapes[name]) for name in net.inputs} == gold["inputs"]


def test_every_bvlc_type_is_known():
    bvlc = [
        "AbsVal",
        "Accuracy",
        "ArgMax",
        "BNLL",
        "BatchNorm",
        "BatchReindex",
        "Bias",
        "Clip",
        "Concat",
        "ContrastiveLoss",
        "Convolution",
        "Crop",
        "Data",
        "Deconvolution",
        "Dropout",
        "DummyData",
        "ELU",
        "Eltwise",
        "Embed",
        "EuclideanLoss",
        "Exp",
        "Filter",
        "Flatten",
        "HDF5Data",
        "HDF5Output",
        "HingeLoss",
        "Im2col",
        "ImageData",
        "InfogainLoss",
        "InnerProduct",
        "Input",
        "LRN",
        "LSTM",
        "LSTMUnit",
        "Log",
        "MVN",
        "MemoryData",
        "MultinomialLogisticLoss",
        "PReLU",
        "Parameter",
        "Pooling",
        "Power",
        "Python",
        "RNN",
        "ReLU",
        "Reduction",
        "Reshape",
        "SPP",
        "Scale",
        "Sigmoid",
        "SigmoidCrossEntropyLoss",
        "Silence",
        "Slice",
        "Softmax",
        "SoftmaxWithLoss",
        "Split",
        "Swish",
        "TanH",
        "Threshold",
        "Tile",
        "WindowData",
    ]
    forks = [
        "Permute",
        "Normalize",
        "PriorBox",
        "DetectionOutput",
        "Upsample",
        "Interp",
        "Resize",
        "ReLU6",
        "PixelShuffle",
        "DepthwiseConvolution",
        "ConvolutionDepthwise",
        "ROIPooling",
        "PSROIPooling",
        "Proposal",
        "Reorg",
        "ShuffleChannel",
        "Axpy",
        "BN",
        "HardSwish",
        "HardSigmoid",
        "Mish",
        "SmoothL1Loss",
    ]
    assert set(bvlc + forks) <= set(LayerType.registry)
    with pytest.raises(TypeError, match="defined twice"):
        type("Convolution", (LayerType,), {})


# Shape rules that the cases do not cover


def layer_shapes(text: str, **inputs: tuple[int, ...]) -> dict[str, tuple[int, ...] | None]:
    """Return the shapes of a net with Input layers and the layers of ``text``."""
    return layer_net(text, **inputs).shapes


def layer_net(text: str, **inputs: tuple[int, ...]) -> Net:
    return net_with(inputs, text)


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        ('type: "Upsample" upsample_param { scale: 2 }', (1, 3, 4, 5), (1, 3, 8, 10)),
        ('type: "Interp" interp_param { zoom_factor: 8 }', (1, 3, 4, 5), (1, 3, 25, 33)),
        ('type: "Interp" interp_param { shrink_factor: 2 }', (1, 3, 9, 5), (1, 3, 5, 3)),
        ('type: "Interp" interp_param { height: 7 width: 9 }', (1, 3, 4, 5), (1, 3, 7, 9)),
        ('type: "Resize" resize_param { height: 7 width: 9 }', (1, 3, 4, 5), (1, 3, 7, 9)),
        ('type: "Reorg" reorg_param { stride: 2 }', (1, 4, 6, 8), (1, 16, 3, 4)),
        ('type: "Reorg" reorg_param { stride: 2 reverse: true }', (1, 16, 3, 4), (1, 4, 6, 8)),
        ('type: "ShuffleChannel"', (1, 6, 3, 3), (1, 6, 3, 3)),
        ('type: "Pooling" pooling_param { kernel_size: 3 stride: 2 ceil_mode: false }', (1, 3, 8, 8), (1, 3, 3, 3)),
        ('type: "Pooling" pooling_param { kernel_size: 3 stride: 2 }', (1, 3, 8, 8), (1, 3, 4, 4)),
        ('type: "Pooling" pooling_param { global_pooling: true }', (1, 3, 8, 5), (1, 3, 1, 1)),
        ('type: "SPP" spp_param { pyramid_height: 1 }', (1, 3, 8, 5), (1, 3, 1, 1)),
        ('type: "ArgMax" argmax_param { out_max_val: true top_k: 3 }', (2, 9), (2, 2, 3)),
        ('type: "Python" python_param { module: "m" layer: "l" }', (1, 3), None),
    ],
)  # fmt: skip
def test_top_shape_of_a_layer(layer, shape, expected):
    shapes = layer_shapes(f'layer {{ name: "op" bottom: "x" top: "y" {layer} }}', x=shape)
    assert shapes["y"] == expected


def test_segnet_upsample_with_a_mask():
    text = """
    layer { name: "p" type: "Pooling" bottom: "x" top: "p" top: "mask"
      pooling_param { kernel_size: 2 stride: 2 } }
    layer { name: "u" type: "Upsample" bottom: "p" bottom: "mask" top: "u" %s }
    """
    plain = layer_shapes(text % "upsample_param { scale: 2 }", x=(1, 3, 8, 8))
    assert plain["u"] == (1, 3, 8, 8)
    sized = layer_shapes(text % "upsample_param { upsample_h: 7 upsample_w: 8 }", x=(1, 3, 7, 8))
    assert sized["u"] == (1, 3, 7, 8)
    padded = layer_shapes(text % "upsample_param { scale: 2 pad_out_h: true }", x=(1, 3, 7, 8))
    assert padded["u"] == (1, 3, 7, 8)


def test_lstm_with_static_input_and_exposed_hidden_state():
    net = layer_net(
        'layer { name: "l" type: "LSTM" bottom: "x" bottom: "c" bottom: "s" bottom: "h" bottom: "i"'
        ' top: "y" top: "hT" top: "cT" recurrent_param { num_output: 5 expose_hidden: true } }',
        x=(4, 2, 3), c=(4, 2), s=(2, 7), h=(1, 2, 5), i=(1, 2, 5),
    )  # fmt: skip
    assert net.shapes["y"] == (4, 2, 5)
    assert net.shapes["hT"] == net.shapes["cT"] == (1, 2, 5)
    assert net.parameter_shapes["l"] == ((20, 3), (20,), (20, 7), (20, 5))


def test_shapes_of_detection_layers():
    shapes = layer_shapes(
        """
    layer { name: "r" type: "ROIPooling" bottom: "x" bottom: "rois" top: "r" roi_pooling_param { pooled_h: 6 pooled_w: 7 } }
    layer { name: "p" type: "PSROIPooling" bottom: "m" bottom: "rois" top: "p" psroi_pooling_param { output_dim: 2 group_size: 3 } }
    layer { name: "q" type: "Proposal" bottom: "t" bottom: "x" bottom: "i" top: "q" proposal_param { post_nms_topn: 50 ratio: 1 scale: 8 } }
    layer { name: "a" type: "Axpy" bottom: "s" bottom: "x" bottom: "x" top: "a" }
    """,
        x=(1, 4, 9, 9),
        m=(1, 18, 9, 9),
        t=(1, 2, 9, 9),
        i=(1, 3),
        rois=(20, 5),
        s=(1, 4),
    )
    assert shapes["r"] == (20, 4, 6, 7)
    assert shapes["p"] == (20, 2, 3, 3)
    assert shapes["q"] == (50, 5)
    assert shapes["a"] == (1, 4, 9, 9)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ('type: "Convolution" convolution_param { num_output: 4 kernel_size: 9 }',
         'output size must be at least 1, got 0 for input size 8 (kernel_size 9, stride 1, pad 0). Use a smaller kernel or pad, or a larger input.'),
        ('type: "Convolution" convolution_param { num_output: 4 }', "missing kernel_size. Set kernel_size, or kernel_h and kernel_w."),
        ('type: "Convolution" convolution_param { kernel_size: 1 }', "num_output is 0 or missing. Set it to the number of output channels."),
        ('type: "Convolution" convolution_param { num_output: 4 kernel_size: 1 group: 2 }',
         "group 2 does not divide 3 input and 4 output channels. Choose a group that divides both."),
        ('type: "Convolution" convolution_param { num_output: 4 kernel_size: 3 kernel_h: 3 kernel_w: 3 }',
         "kernel_size and kernel_h or kernel_w are both set. Keep one of them."),
        ('type: "Convolution" convolution_param { num_output: 4 kernel_size: 1 stride: 0 }', "stride must be at least 1, got 0."),
        ('type: "Pooling" pooling_param { kernel_size: 2 pad: 2 }', "pad 2 must be smaller than kernel_size 2. Use a smaller pad."),
        ('type: "Reshape" reshape_param { shape { dim: 7 dim: -1 } }', "cannot reshape 1x3x8x8 (192 values) to 7x-1."),
        ('type: "Slice" slice_param { slice_point: 9 }', "expected 0 slice_point (one less than tops), got 1."),
        ('type: "Flatten" flatten_param { axis: 4 }', "axis 4 is out of range for a blob with 4 axes."),
        ('type: "LRN" lrn_param { local_size: 4 }', "local_size must be odd, got 4."),
        ('type: "Eltwise" eltwise_param { operation: MAX }', "expected at least 2 bottoms, got 1."),
        ('type: "InnerProduct" inner_product_param { num_output: 2000000000 axis: 2 }',
         'its top "y" would have shape 1x3x2000000000: more than the 2147483647 values that a blob can hold. Use smaller sizes.'),
        ('type: "Permute" permute_param { order: 1 order: 1 }', "order must name axes from 0 to 3, each at most once, got [1, 1]."),
    ],
)  # fmt: skip
def test_invalid_layer_is_rejected_with_its_name_and_place(layer, message):
    with pytest.raises(pg.InputError) as caught:
        layer_shapes(f'layer {{ name: "op" bottom: "x" top: "y" {layer} }}', x=(1, 3, 8, 8))
    where, _, sentence = str(caught.value).partition(" ")
    assert where == "net.prototxt:2:1:"
    assert sentence == f'layer "op" ({layer.split(chr(34))[1]}): {message}'


def test_bottom_with_too_few_axes_is_rejected():
    with pytest.raises(pg.InputError, match="too few axes"):
        layer_shapes(
            'layer { name: "r" type: "ROIPooling" bottom: "x" bottom: "rois" top: "y" roi_pooling_param { pooled_h: 1 pooled_w: 1 } }',
            x=(3,),
            rois=(3, 5),
        )


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 9), st.integers(0, 8))
def test_pool_out_counts_windows_that_begin_inside_the_input(n, k, s, p):
    if p >= k or n + 2 * p < k:
        return
    out = geometry.pool_out(n, k, s, p)
    begins = [i * s - p for i in range(out)]
    if p:
        assert all(begin < n for begin in begins)
    # The windows cover every pixel that stride and kernel can reach.
    assert begins[-1] + k + s > n + p or begins[-1] + s >= n
    assert geometry.pool_out(n, k, s, p, ceil=False) <= out


# Graph: phases, in-place, sharing, unknown types

TRAIN_VAL = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 } } include { phase: TRAIN } }
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 9 dim: 2 } } include { phase: TEST } }
layer { name: "s" type: "ReLU" bottom: "data" top: "s" include { stage: "x" min_level: 1 } }
layer { name: "t" type: "ReLU" bottom: "data" top: "t" exclude { phase: TEST not_stage: "y" } }
"""


@pytest.mark.parametrize(
    ("options", "names", "batch"),
    [
        ({}, ["data"], 9),
        ({"phase": "TRAIN"}, ["data", "t"], 1),
        ({"level": 1, "stages": ["x"]}, ["data", "s"], 9),
        ({"stages": ["y"]}, ["data", "t"], 9),
    ],
)
def test_include_and_exclude_rules_select_layers(options, names, batch):
    net = Net(prototxt.parse(TRAIN_VAL), **options)
    assert [layer.name for layer in net.layers] == names
    assert net.shapes["data"] == (batch, 2)


def test_each_in_place_layer_writes_a_new_value():
    net = layer_net(
        """
    layer { name: "c" type: "InnerProduct" bottom: "x" top: "c" inner_product_param { num_output: 4 } }
    layer { name: "r" type: "ReLU" bottom: "c" top: "c" }
    layer { name: "d" type: "Dropout" bottom: "c" top: "c" }
    """,
        x=(1, 3),
    )
    assert [layer.writes for layer in net.layers] == [("x",), ("c@c",), ("c@r",), ("c",)]
    assert [layer.reads for layer in net.layers] == [(), ("x",), ("c@c",), ("c@r",)]
    assert net.outputs == ("c",)
    assert set(net.shapes) == {"x", "c"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('layer { name: "a" type: "ReLU" bottom: "missing" top: "y" }', 'reads "missing", but no layer produces it. Check the name.'),
        ('layer { name: "a" type: "ReLU" bottom: "z" top: "y" } layer { name: "b" type: "ReLU" bottom: "x" top: "z" }',
         'reads "z", but layer "b" (ReLU) produces it only later. Caffe runs layers in file order: move the producer up.'),
        ('layer { name: "a" type: "ReLU" bottom: "x" top: "y" } layer { name: "b" type: "ReLU" bottom: "x" top: "y" }',
         'another layer already produces its top "y". Rename one of the tops.'),
        ('layer { name: "a" type: "ReLU" bottom: "x" top: "y" include { phase: TEST } exclude { phase: TRAIN } }',
         "has both include and exclude rules. Remove one kind: Caffe refuses a layer with both."),
    ],
)  # fmt: skip
def test_invalid_bottom_top_or_rules_are_rejected(text, message):
    with pytest.raises(pg.InputError) as caught:
        layer_shapes(text, x=(1, 3))
    assert str(caught.value).endswith(message)


def test_unknown_type_warns_once_and_other_shapes_are_inferred():
    text = 'layer { name: "u%d" type: "Weird" bottom: "x" top: "u%d" }'
    layers = "\n".join(text % (i, i) for i in range(3))
    with pytest.warns(pg.ProtogenWarning) as warned:
        net = layer_net(
            f'{layers} layer {{ name: "r" type: "ReLU" bottom: "x" top: "r" }} layer {{ name: "v" type: "ReLU" bottom: "u0" top: "v" }}',
            x=(1, 3),
        )
    assert len(warned) == 1
    assert net.shapes["u0"] is net.shapes["v"] is None
    assert net.shapes["r"] == (1, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with_shape = Net(net.message, input_shapes={"u0": (7, 7)})
    assert with_shape.shapes["v"] == (7, 7)


def test_shared_parameters_must_have_equal_shapes():
    text = """
    layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" inner_product_param { num_output: 3 } param { name: "w" } param { name: "b" } }
    layer { name: "b" type: "InnerProduct" bottom: "a" top: "b" inner_product_param { num_output: %d } param { name: "w" } param { name: "b" } }
    """
    net = layer_net(text % 3, x=(1, 3))
    assert net.graph.owners[("b", 0)] == ("a", 0)
    assert [cost.parameters for cost in costs(net.graph)] == [0, 12, 0]
    with pytest.raises(pg.InputError, match='the shared param "w" has shape 3x3 in layer "a"'):
        layer_net(text % 4, x=(1, 3))


# Costs


def test_totals_equal_published_counts(shared):
    """Published counts: AlexNet 60,965,224 parameters; GoogLeNet 6,998,552; ResNet-50 25.6 M."""
    corpus = shared / "corpus"
    for path, parameters in (
        ("BVLC__caffe/models__bvlc_alexnet__deploy.prototxt", 60_965_224),
        ("BVLC__caffe/models__bvlc_googlenet__deploy.prototxt", 6_998_552),
    ):
        net = pg.load(corpus / path)
        assert sum(cost.parameters or 0 for cost in costs(net.graph)) == parameters
    net = pg.load(corpus / "BVLC__caffe/models__bvlc_alexnet__deploy.prototxt")
    batch = net.shapes["data"][0]
    assert sum(c.multiply_adds or 0 for c in costs(net.graph)) / batch == pytest.approx(
        724e6, rel=0.01
    )


def test_receptive_field_and_stride():
    net = layer_net(
        """
    layer { name: "a" type: "Convolution" bottom: "x" top: "a" convolution_param { num_output: 1 kernel_size: 3 stride: 2 } }
    layer { name: "b" type: "Convolution" bottom: "a" top: "b" convolution_param { num_output: 1 kernel_size: 3 dilation: 2 } }
    layer { name: "c" type: "Pooling" bottom: "b" top: "c" pooling_param { kernel_size: 2 stride: 2 } }
    layer { name: "d" type: "Deconvolution" bottom: "c" top: "d" convolution_param { num_output: 1 kernel_size: 4 stride: 2 pad: 1 } }
    layer { name: "e" type: "InnerProduct" bottom: "d" top: "e" inner_product_param { num_output: 1 } }
    """,
        x=(1, 1, 65, 65),
    )
    fields = {c.layer.name: (c.receptive_field, c.stride) for c in costs(net.graph)}
    assert fields["a"] == ((3, 3), (2, 2))
    assert fields["b"] == ((11, 11), (2, 2))
    assert fields["c"] == ((13, 13), (4, 4))
    assert fields["d"] == ((17, 17), (2, 2))
    assert fields["e"] == (None, None)


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.integers(3, 12))
def test_multiply_adds_of_a_convolution(group, out, kernel, size):
    net = layer_net(
        f'layer {{ name: "c" type: "Convolution" bottom: "x" top: "y" convolution_param {{ num_output: {out * group} kernel_size: {kernel} group: {group} }} }}',
        x=(2, 6, size, size),
    )
    cost = costs(net.graph)[-1]
    blob = net.parameter_shapes["c"][0]
    assert cost.multiply_adds == math.prod(net.shapes["y"]) * math.prod(blob[1:])


@given(st.sets(st.integers(1, 40)), st.sampled_from(["", ".", "_"]))
def test_free_name_is_unused_and_has_the_next_free_number(numbers, between):
    used = {"a"} | {f"a{between}{n}" for n in numbers if n > 1}
    before = set(used)
    name = free_name("a", used, between)
    assert name not in before
    assert used == before | {name}
    run = {"a", *(f"b{between}{n}" for n in range(2, len(numbers) + 2)), "b"}
    assert free_name("b", run, between) == f"b{between}{len(numbers) + 2}"
    assert free_name("c", run, between) == "c"


REPEATED = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 dim: 9 dim: 9 } } }
layer { name: "a" type: "Convolution" bottom: "data" top: "a" convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "b" type: "Convolution" bottom: "a" top: "b" convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "d" type: "Convolution" bottom: "data" top: "d" convolution_param { num_output: 5 kernel_size: 3 } }
layer { name: "e" type: "Slice" bottom: "a" top: "e1" top: "e2" slice_param { axis: 2 } }
layer { name: "f" type: "Slice" bottom: "a" top: "f" slice_param { axis: 2 } }
layer { name: "g" type: "Pooling" bottom: "a" top: "g" pooling_param { kernel_size: 99 } }
layer { name: "h" type: "Pooling" bottom: "a" top: "h" pooling_param { kernel_size: 99 } }
layer { name: "i" type: "InnerProduct" bottom: "d" top: "i" inner_product_param { num_output: 2
  weight_filler { type: "none" } } }
layer { name: "j" type: "InnerProduct" bottom: "d" top: "j" inner_product_param { num_output: 2
  weight_filler { type: "none" } } }
"""


def test_equal_layers_have_the_shapes_and_the_errors_of_each_alone(monkeypatch):
    def built():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            graph = Net(prototxt.parse(REPEATED, "net"), tolerant=True).graph
        return graph.shapes, graph.parameter_shapes, [str(one.message) for one in caught]

    shapes, parameters, messages = built()
    assert (shapes["a"], shapes["b"], shapes["d"]) == ((1, 4, 7, 7), (1, 4, 5, 5), (1, 5, 7, 7))
    assert parameters["c"] == parameters["a"] == ((4, 4, 3, 3), (4,))
    assert [sum(f'layer "{name}"' in one for one in messages) for name in "ghij"] == [1, 1, 1, 1]
    monkeypatch.setattr("protogen.net.shapes._key", lambda *_: None)
    assert built() == (shapes, parameters, messages)
