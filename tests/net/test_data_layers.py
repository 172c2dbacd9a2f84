"""Shapes of data layers: from the net, from the weights, and by assumption with a warning."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

import protogen as pg
from protogen.formats import prototxt
from protogen.net.net import Assumed, Net
from protogen.net.upgrade import upgrade

CONV = (
    'layer { name: "c" type: "Convolution" bottom: "data" top: "c" '
    'convolution_param { num_output: 2 kernel_size: 1 weight_filler { type: "xavier" } } }'
)


def net_of(text: str, **options) -> Net:
    return Net(upgrade(prototxt.parse(text, "net.prototxt")), **options)


def data(type_: str, params: str, tops: int = 2) -> str:
    names = " ".join(f'top: "{name}"' for name in ("data", "label", "third")[:tops])
    return f'layer {{ name: "data" type: "{type_}" {names} {params} }}'


def shapes(type_: str, params: str, tops: int = 2, **options) -> tuple:
    """Return the shapes of a net with one data layer, which may be invalid for other reasons."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.ProtogenWarning)
        warnings.simplefilter("error", Assumed)
        net = net_of(data(type_, params, tops), tolerant=True, **options)
    return tuple(net.shapes.values())


BGR = "mean_value: 104 mean_value: 117 mean_value: 123"


@pytest.mark.parametrize(
    ("type_", "params", "expected"),
    [
        ("Data", f"data_param {{ batch_size: 8 }} transform_param {{ crop_size: 5 {BGR} }}", ((8, 3, 5, 5), (8,))),
        ("Data", f"data_param {{ batch_size: 8 crop_size: 5 }} transform_param {{ {BGR} }}", ((8, 3, 5, 5), (8,))),
        ("Data", "data_param { batch_size: 8 } transform_param { crop_size: 5 force_gray: true }", ((8, 1, 5, 5), (8,))),
        ("Data", "data_param { batch_size: 8 } transform_param { crop_size: 5 force_color: true mean_value: 128 }", ((8, 3, 5, 5), (8,))),
        ("Data", "data_param { batch_size: 8 force_encoded_color: true } transform_param { crop_size: 5 }", ((8, 3, 5, 5), (8,))),
        ("Data", "data_param { batch_size: 8 } transform_param { crop_size: 5 mean_value: 1 mean_value: 2 }", ((8, 2, 5, 5), (8,))),
        # A size or batch that the net does not set is unknown; crop_size 0 is not a size.
        ("Data", "data_param { batch_size: 8 }", (None, (8,))),
        ("Data", f"data_param {{ batch_size: 8 }} transform_param {{ crop_size: 0 {BGR} }}", (None, (8,))),
        ("Data", f'data_param {{ batch_size: 8 }} transform_param {{ mean_file: "m.binaryproto" {BGR} }}', (None, (8,))),
        ("Data", f"transform_param {{ crop_size: 5 {BGR} }}", (None, None)),
        ("Data", "", (None, None)),
        # Forks: crop_size has priority over crop_h and crop_w, a crop over resize_param.
        ("Data", f"data_param {{ batch_size: 2 }} transform_param {{ crop_h: 6 crop_w: 7 {BGR} }}", ((2, 3, 6, 7), (2,))),
        ("Data", f"data_param {{ batch_size: 2 }} transform_param {{ crop_height: 6 crop_width: 7 {BGR} }}", ((2, 3, 6, 7), (2,))),
        ("Data", f"data_param {{ batch_size: 2 }} transform_param {{ crop_size: 5 crop_h: 6 crop_w: 7 {BGR} }}", ((2, 3, 5, 5), (2,))),
        ("Data", f"data_param {{ batch_size: 2 }} transform_param {{ crop_h: 6 {BGR} }}", (None, (2,))),
        ("Data", f"data_param {{ batch_size: 2 }} transform_param {{ resize_param {{ height: 6 width: 7 }} {BGR} }}", ((2, 3, 6, 7), (2,))),
        ("Data", f"data_param {{ batch_size: 2 }} transform_param {{ resize_param {{ height: 6 width: 7 }} crop_h: 4 {BGR} }}", ((2, 3, 4, 7), (2,))),
        ("Data", "data_param { batch_size: 2 } transform_param { resize_param { height: 6 width: 7 resize_mode: FIT_SMALL_SIZE } "
                 f"{BGR} }}", (None, (2,))),
        ("Data", "data_param { batch_size: 2 } transform_param { resize_param { height: 6 width: 7 } resize_param { height: 9 width: 9 } "
                 f"{BGR} }}", ((2, 3, 6, 7), (2,))),
        ("AnnotatedData", f"data_param {{ batch_size: 2 }} transform_param {{ resize_param {{ height: 6 width: 7 }} {BGR} }}",
         ((2, 3, 6, 7), None)),
        ("AnnotatedData", f"data_param {{ batch_size: 2 }} transform_param {{ resize_param {{ height: 6 width: 7 }} {BGR} }} "
                          "annotated_data_param { yolo_data_type: 1 }", ((2, 3, 6, 7), (2, 1, 300, 5))),
        ("ImageData", "image_data_param { batch_size: 4 new_height: 6 new_width: 7 }", ((4, 3, 6, 7), (4,))),
        ("ImageData", "image_data_param { new_height: 6 new_width: 7 is_color: false }", ((1, 1, 6, 7), (1,))),
        ("ImageData", "image_data_param { batch_size: 4 new_height: 6 new_width: 7 } transform_param { crop_size: 5 }", ((4, 3, 5, 5), (4,))),
        ("ImageData", "image_data_param { batch_size: 4 new_height: 6 }", (None, (4,))),
        ("ImageData", "image_data_param { batch_size: 4 }", (None, (4,))),
        ("ImageLabelmapData", "image_data_param { batch_size: 4 new_height: 6 new_width: 7 }", ((4, 3, 6, 7), (4, 1, 6, 7))),
        ("DenseImageData", "dense_image_data_param { batch_size: 4 new_height: 6 new_width: 7 }", ((4, 3, 6, 7), (4, 1, 6, 7))),
        ("WindowData", "window_data_param { batch_size: 4 } transform_param { crop_size: 5 }", ((4, 3, 5, 5), (4,))),
        ("WindowData", "window_data_param { batch_size: 4 }", (None, (4,))),
        ("WindowData", "window_data_param { batch_size: 4 } transform_param { crop_h: 5 crop_w: 5 }", (None, (4,))),
        ("MemoryData", "memory_data_param { batch_size: 4 channels: 2 height: 6 width: 7 }", ((4, 2, 6, 7), (4,))),
        ("MemoryData", "memory_data_param { batch_size: 4 channels: 2 height: 6 }", (None, (4,))),
        ("HDF5Data", "hdf5_data_param { batch_size: 4 }", (None, None)),
        # The message of another layer type has no effect.
        ("DummyData", f"dummy_data_param {{ shape {{ dim: 2 dim: 9 }} }} transform_param {{ crop_size: 5 {BGR} }}", ((2, 9), (2, 9))),
    ],
)  # fmt: skip
def test_shapes_from_the_net(type_, params, expected):
    assert shapes(type_, params) == expected


def test_shapes_of_three_tops():
    seg = "image_data_param { batch_size: 4 } transform_param { crop_size: 9 }"
    assert shapes("ImageSegData", seg, 3) == ((4, 3, 9, 9), (4, 1, 9, 9), (4, 1, 1, 2))
    lanes = f"data_param {{ batch_size: 2 }} transform_param {{ crop_h: 16 crop_w: 32 {BGR} }}"
    assert shapes("LaneData", lanes, 3) == ((2, 3, 16, 32), (2, 1, 1, 1), (2, 1, 2, 4))


def test_shape_of_a_single_top():
    params = f"data_param {{ batch_size: 8 }} transform_param {{ crop_size: 5 {BGR} }}"
    assert shapes("Data", params, 1) == ((8, 3, 5, 5),)


def test_shapes_of_a_v1_net():
    """A V1 net has crop_size in data_param."""
    net = net_of(
        'layers { name: "d" type: DATA top: "data" top: "label" data_param { batch_size: 8 '
        f"crop_size: 5 }} transform_param {{ {BGR} }} }}"
    )
    assert tuple(net.shapes.values()) == ((8, 3, 5, 5), (8,))


OPEN = "data_param { batch_size: 8 } transform_param { crop_size: 5 }"
SENTENCE = (
    'net.prototxt:1:1: layer "data" (Data): 3 channels are assumed: the net does not set the number of '
    "channels. Give --input-shape data=8,C,5,5 if the number is different."
)


@pytest.mark.parametrize("more", ["", "mean_value: 128", 'mean_file: "mean.binaryproto"'])
def test_three_channels_are_assumed_with_one_warning(more):
    text = data("Data", OPEN.replace("crop_size: 5", f"crop_size: 5 {more}")) + CONV
    with pytest.warns(Assumed) as warned:
        net = net_of(text)
    assert [str(w.message) for w in warned] == [SENTENCE]
    assert [str(diagnostic) for diagnostic in net.graph.assumed] == [SENTENCE]
    assert net.shapes["data"] == (8, 3, 5, 5)
    assert net.parameter_shapes["c"] == ((2, 3, 1, 1), (2,))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other = net.with_inputs({"data": (2, 1, 5, 5)})
        assert not other.graph.assumed
        assert net_of(text, input_shapes={"data": (2, 1, 5, 5)}).shapes == other.shapes
    assert other.shapes == {"data": (2, 1, 5, 5), "label": (2,), "c": (2, 2, 5, 5)}


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
@pytest.mark.parametrize(
    "first",
    [
        CONV,
        CONV.replace("num_output: 2", "num_output: 2 bias_term: false"),
        'layer { name: "p" type: "Pooling" bottom: "data" top: "p" pooling_param { kernel_size: 2 } }'
        'layer { name: "c" type: "InnerProduct" bottom: "p" top: "c" '
        'inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }',
        'layer { name: "b" type: "BatchNorm" bottom: "data" top: "b" }'
        'layer { name: "c" type: "Scale" bottom: "b" top: "c" }',
    ],
)
def test_weights_determine_the_channels(first, channels, tmp_path):
    text = data("Data", OPEN) + first
    path, model = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    path.write_text(text)
    pg.initialise(pg.load(path, input_shapes={"data": (8, channels, 5, 5)}), fill=True).save(
        tmp_path / "copy.prototxt", model
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = pg.load(path, model)
    assert net.shapes["data"] == (8, channels, 5, 5)
    assert not net.graph.assumed


def test_weights_set_later_determine_the_channels():
    with pytest.warns(Assumed):
        net = net_of(data("Data", OPEN) + CONV)
    net.take_weights({"c": [np.zeros((2, 4, 1, 1), np.float32), np.zeros(2, np.float32)]})
    assert net.shapes["data"] == (8, 4, 5, 5)
    assert not net.graph.assumed


def test_weights_of_another_net_do_not_determine_the_channels(tmp_path):
    with pytest.warns(Assumed):
        net = net_of(data("Data", OPEN) + CONV)
    with pytest.raises(
        pg.InputError, match="blob 0 of the weights has shape 3x5x2x1, expected 2x3x1x1"
    ):
        net.take_weights({"c": [np.zeros((3, 5, 2, 1), np.float32), np.zeros(2, np.float32)]})


@pytest.mark.parametrize(
    "rest",
    [
        'layer { name: "c" type: "Convolution" bottom: "data" top: "c" '
        "convolution_param { num_output: 4 kernel_size: 1 group: 2 } }",
        'layer { name: "c" type: "Slice" bottom: "data" top: "a" top: "b" slice_param { slice_point: 3 } }',
        # A pair of grey pictures: both convolutions share their weights.
        'layer { name: "s" type: "Slice" bottom: "data" top: "a" top: "b" slice_param { slice_point: 1 } }'
        + "".join(
            f'layer {{ name: "{n}" type: "Convolution" bottom: "{n}" top: "y{n}" param {{ name: "w" }} '
            "convolution_param { num_output: 1 kernel_size: 1 bias_term: false } }"
            for n in "ab"
        ),
    ],
)
def test_no_assumption_if_it_would_make_the_net_invalid(rest):
    with warnings.catch_warnings():
        warnings.simplefilter("error", Assumed)
        net = net_of(data("Data", OPEN) + rest)
    assert net.shapes["data"] is None
    assert net.shapes["label"] == (8,)


def test_user_shape_of_one_top_sets_the_batch_of_the_others():
    text = data("Data", OPEN)
    assert net_of(text, input_shapes={"label": (2,), "data": (2, 1, 5, 5)}).shapes["label"] == (2,)
    with pytest.warns(Assumed, match="Give --input-shape data=2,C,5,5"):
        assert net_of(text, input_shapes={"label": (2, 1)}).shapes["data"] == (2, 3, 5, 5)
    memory = data(
        "MemoryData", "memory_data_param { batch_size: 4 channels: 2 height: 6 width: 7 }"
    )
    assert net_of(memory, input_shapes={"label": (9,)}).shapes["data"] == (9, 2, 6, 7)
    assert net_of(memory, input_shapes={"data": (9, 1, 1, 1)}).shapes["label"] == (9,)
    seg = data("ImageSegData", "image_data_param { batch_size: 4 }", 3)
    wide = net_of(seg, input_shapes={"data": (2, 3, 6, 7)}).shapes
    assert (wide["label"], wide["third"]) == ((2, 1, 6, 7), (2, 1, 1, 2))


TRAIN_VAL = f"""
layer {{ name: "data" type: "Data" top: "data" top: "label" include {{ phase: TRAIN }}
  data_param {{ batch_size: 8 }} transform_param {{ crop_size: 5 {BGR} }} }}
layer {{ name: "data" type: "Data" top: "data" top: "label" include {{ phase: TEST }}
  data_param {{ batch_size: 2 }} transform_param {{ crop_size: 7 {BGR} }} }}
layer {{ name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
  inner_product_param {{ num_output: 4 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }}
layer {{ name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy" }}
"""


def test_each_phase_has_its_own_batch(tmp_path):
    for phase, n, size in (("TRAIN", 8, 5), ("TEST", 2, 7)):
        net = net_of(TRAIN_VAL, phase=phase)
        assert net.shapes["data"] == (n, 3, size, size)
        assert net.shapes["label"] == (n,)
        assert net.shapes["accuracy"] == ()
        assert net.inputs == ("data", "label")
    pg.initialise(net)
    labels = np.array([1, 3], np.float32)
    outputs = pg.run(net, {"data": np.zeros((2, 3, 7, 7), np.float32), "label": labels})
    assert outputs["loss"] == pytest.approx(np.log(4))


def test_data_layer_together_with_legacy_inputs():
    text = 'input: "x" input_dim: 8 input_dim: 3 input_dim: 5 input_dim: 5\n' + data(
        "Data", f"data_param {{ batch_size: 8 }} transform_param {{ crop_size: 5 {BGR} }}"
    ) + 'layer { name: "e" type: "Eltwise" bottom: "x" bottom: "data" top: "e" }'  # fmt: skip
    net = net_of(text)
    assert net.shapes["e"] == (8, 3, 5, 5)
    assert net.inputs == ("x", "data")


# The command line


def test_summary_notes_assumed_channels(protogen, tmp_path):
    (tmp_path / "net.prototxt").write_text(data("Data", OPEN) + CONV)
    done = protogen("summary", "net.prototxt")
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == f"note: {SENTENCE}"
    assert json.loads(protogen("summary", "net.prototxt", "--json").stdout)["assumed"] == [SENTENCE]
    other = protogen("summary", "net.prototxt", "--input-shape", "data=1,1,5,5")
    assert "note" not in other.stdout


def test_commands_warn_once_of_assumed_channels(protogen, tmp_path):
    (tmp_path / "net.prototxt").write_text(data("Data", OPEN) + CONV)
    first = protogen("init", "net.prototxt", "-o", "net.caffemodel")
    assert first.stderr == f"protogen: warning: {SENTENCE}\n"
    # From here on the weights determine the number of channels.
    assert protogen("convert", "net.prototxt", "net.caffemodel", "-o", "a.onnx").stderr == ""
    assert protogen("run", "net.prototxt", "net.caffemodel", "--random").stderr == ""
    relu = CONV.replace('type: "Convolution"', 'type: "ReLU"').partition("convolution_param")[0]
    (tmp_path / "plain.prototxt").write_text(data("Data", OPEN) + relu + "}")
    sentence = f"protogen: warning: {SENTENCE.replace('net.prototxt', 'plain.prototxt')}\n"
    assert protogen("convert", "plain.prototxt", "-o", "b.onnx").stderr == sentence
    assert protogen("run", "plain.prototxt", "--random").stderr == sentence
    for command in (("convert", "-o", "c.onnx"), ("run", "--random")):
        done = protogen(command[0], "plain.prototxt", *command[1:], "--input-shape", "data=1,1,4,4")
        assert (done.returncode, done.stderr) == (0, "")


def test_convert_asks_for_an_unknown_shape(protogen, tmp_path):
    (tmp_path / "net.prototxt").write_text(
        data("ImageData", "image_data_param { batch_size: 4 }")
        + 'layer { name: "r" type: "ReLU" bottom: "data" top: "r" }'
    )
    done = protogen("convert", "net.prototxt", "-o", "net.onnx")
    assert done.returncode == 2
    assert done.stderr == (
        'protogen: net.prototxt:1:1: layer "data" (ImageData): the net does not define the shape of '
        'its top "data". Give it with --input-shape data=N,C,H,W.\n'
    )
    assert (
        protogen(
            "convert", "net.prototxt", "-o", "n.onnx", "--input-shape", "data=4,3,6,7"
        ).returncode
        == 0
    )
