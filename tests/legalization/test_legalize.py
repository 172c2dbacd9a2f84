"""A net in the forms of a toolchain: what is replaced, what stays, what is written, what is refused."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
from nets import net_with
from places import ROOT

import protogen as pg
from protogen.converting.comparison import verify
from protogen.errors import InputError, UnsupportedError
from protogen.formats import prototxt
from protogen.formats.caffemodel import read_weights
from protogen.formats.schema.pool import renumbered_class
from protogen.generate.targeting import rewrite_for
from protogen.legalization.legalize import legalize
from protogen.net.net import Net
from protogen.net.targets import check_target
from protogen.onnx.importer.net import import_model
from protogen.toolchains.toolchain import load_toolchain

SIX = ("caffe-1.0", "mnn", "mindspore-lite", "opencv4", "tpu-mlir", "rknn2")
NETS = sorted((ROOT / "benchmarks/nets").glob("*.onnx"))
CONV = "convolution_param { num_output: 4 kernel_size: 3 pad: 1 }"


def layer(name: str, type_: str, bottom: str, top: str = "", more: str = "") -> str:
    bottoms = " ".join(f'bottom: "{one}"' for one in bottom.split())
    tops = " ".join(f'top: "{one}"' for one in (top or name).split())
    return f'layer {{ name: "{name}" type: "{type_}" {bottoms} {tops} {more} }}'


def weighted(net: Net) -> Net:
    random = np.random.default_rng(0)
    net.weights = {
        name: [random.uniform(0.2, 1.0, shape).astype(np.float32) for shape in shapes]
        for name, shapes in net.parameter_shapes.items()
        if shapes
    }
    return net


def small(*layers: str, shape: tuple[int, ...] = (1, 3, 8, 9)) -> Net:
    return weighted(net_with({"data": shape}, "\n".join(layers)))


def types(net: Net) -> list[str]:
    return [one.type for one in net.layers if one.type != "Input"]


@pytest.mark.parametrize("target", SIX)
def test_relu6_and_swish(target: str):
    net = small(
        layer("conv", "Convolution", "data", more=CONV),
        layer("clip", "Clip", "conv", more="clip_param { min: 0 max: 6 }"),
        layer("swish", "Swish", "clip"),
    )
    legal = legalize(net, target)
    assert "Clip" not in types(legal.net)
    assert legal.net.outputs == ("swish",)
    verify(net, legal.net, outputs=["clip", "swish"], tolerance=1e-5)


def test_layers_that_are_taken_stay():
    net = small(
        layer("conv", "Convolution", "data", more=CONV),
        layer("relu", "ReLU", "conv", "conv"),
        layer("pool", "Pooling", "conv", more="pooling_param { kernel_size: 2 stride: 2 }"),
    )
    legal = legalize(net, "mnn")
    assert not legal.changes
    assert types(legal.net) == ["Convolution", "ReLU", "Pooling"]
    assert legal.net.layers[2].tops == ("conv",)  # still in place


def test_layers_without_effect_are_removed():
    net = small(
        layer("conv", "Convolution", "data", more=CONV),
        layer("drop", "Dropout", "conv", "conv"),
        layer(
            "flat",
            "Reshape",
            "conv",
            more="reshape_param { shape { dim: 0 dim: 0 dim: 0 dim: 0 } }",
        ),
        layer("relu", "ReLU", "flat"),
    )
    legal = legalize(net, "mindspore-lite")
    assert types(legal.net) == ["Convolution", "ReLU"]
    verify(net, legal.net, outputs=["relu"])


def test_dropout_of_a_fork_scales():
    net = small(
        layer("conv", "Convolution", "data", more=CONV),
        layer("drop", "Dropout", "conv", more="dropout_param { scale_train: false }"),
    )
    legal = legalize(net, "rknn2")
    assert "Dropout" not in types(legal.net)
    verify(net, legal.net, outputs=["drop"])


def test_one_spelling():
    net = small(
        layer(
            "conv", "Convolution", "data",
            more="convolution_param { num_output: 4 kernel_size: 3 kernel_size: 3 pad_h: 1 pad_w: 1 "
            'stride: 1 engine: CAFFE weight_filler { type: "xavier" } }',
        ),
        layer("a b", "Slice", "conv", "a b", more="slice_param { slice_dim: 1 }"),
        layer("c", "Concat", "a b", more="concat_param { concat_dim: 1 }"),
    )  # fmt: skip
    legal = legalize(net, "caffe-1.0")
    text = prototxt.write(legal.net.message)
    assert text.count("kernel_size: 3") == 1
    assert "pad: 1" in text
    assert "slice_point: 2" in text
    for absent in ("engine", "filler", "slice_dim", "concat_dim"):
        assert absent not in text


def test_statistics_are_divided_by_the_third_blob():
    net = small(layer("bn", "BatchNorm", "data"))
    net.weights["bn"][2][:] = 4
    legal = legalize(net, "mnn")
    assert legal.net.weights["bn"][2] == 1
    verify(net, legal.net)
    net.weights["bn"][2][:] = 0
    zero = legalize(net, "mnn")
    assert not zero.net.weights["bn"][0].any()


def test_transposed_weights():
    net = small(
        layer(
            "fc",
            "InnerProduct",
            "data",
            more="inner_product_param { num_output: 5 transpose: true }",
        )
    )
    legal = legalize(net, "opencv4")
    assert "transpose" not in prototxt.write(legal.net.message)
    verify(net, legal.net)


def test_an_input_has_a_layer_of_its_own():
    net = weighted(
        Net(
            prototxt.parse(
                'layer { name: "input" type: "Input" top: "a" top: "b" input_param { shape { dim: 1 '
                "dim: 2 dim: 3 dim: 4 } } }" + layer("sum", "Eltwise", "a b")
            )
        )
    )
    legal = legalize(net, "rknn2")
    assert [(one.name, one.tops) for one in legal.net.layers[:2]] == [("a", ("a",)), ("b", ("b",))]


def test_a_layer_in_place_that_becomes_several_gets_a_blob_of_its_own():
    net = small(
        layer("conv", "Convolution", "data", more=CONV),
        layer("act", "HardSwish", "conv", "conv"),
        layer("next", "Convolution", "conv", more=CONV),
    )
    legal = legalize(net, "tpu-mlir")
    legal.net.check_weights()
    verify(net, legal.net, outputs=["next"])


def test_equal_layers_share_one_search():
    """100 equal layers take little longer than one: the search is done once."""
    layers = [layer("conv", "Convolution", "data", more=CONV)]
    previous = "conv"
    for i in range(60):
        layers.append(layer(f"act{i}", "HardSwish", previous))
        previous = f"act{i}"
    net = small(*layers)
    legal = legalize(net, "rknn2")
    assert len(legal.changes) == 60
    assert len({one.name for one in legal.net.layers}) == len(legal.net.layers)
    verify(net, legal.net, outputs=[previous])


def test_several_targets_at_once():
    net = small(
        layer("conv", "Convolution", "data", more=CONV),
        layer("act", "HardSwish", "conv"),
        layer("power", "Power", "act", more="power_param { scale: 2 }"),
    )
    legal = legalize(net, SIX)
    for target in SIX:
        assert not set(types(legal.net)) & {"HardSwish", "Power", "Clip"}, target
    verify(net, legal.net, outputs=["power"])


def test_a_layer_without_a_form_is_refused_with_what_was_tried():
    net = small(layer("conv", "Convolution", "data", more=CONV), layer("cut", "Threshold", "conv"))
    with pytest.raises(UnsupportedError) as caught:
        legalize(net, "mindspore-lite")
    text = str(caught.value)
    assert 'layer "cut" (Threshold): it does not have the type Threshold' in text
    assert "mindspore-lite takes no form of 1 layer" in text
    assert "End the net before them: --to-blob conv." in text


def test_a_field_that_is_not_read_is_refused():
    net = small(layer("relu", "ReLU", "data", more="relu_param { fuse: true }"))
    with pytest.raises(UnsupportedError, match="fuse"):
        legalize(net, "mnn")


def test_an_unknown_target():
    with pytest.raises(InputError, match="unknown name 'rknn'"):
        legalize(small(layer("relu", "ReLU", "data")), "rknn")


def test_a_target_of_ones_own(tmp_path: Path):
    """Adding a target is a data file."""
    path = tmp_path / "npu.toml"
    path.write_text(
        'types_complete = true\n[sources]\nown = "my notes"\n[types]\nown = ["Input", "Convolution", '
        '"ReLU", "Eltwise"]\n[[rule]]\nlayers = ["Convolution"]\nwhen = "group > 1"\nis = "refused"\n'
        'text = "no groups"\n'
    )
    net = small(layer("conv", "Convolution", "data", more=CONV), layer("act", "ReLU6", "conv"))
    legal = legalize(net, path)
    assert set(types(legal.net)) == {"Convolution", "ReLU"}
    assert all(one.params.convolution_param.group == 1 for one in legal.net.layers)
    verify(net, legal.net, outputs=["act"])


@pytest.mark.parametrize("path", NETS, ids=lambda path: path.stem)
def test_imported_nets(path: Path):
    """What is written for a tool is taken by it, by its own data, and computes the same."""
    target = SIX[NETS.index(path) % len(SIX)]
    try:
        imported = import_model(path, richest=True)
        legal = legalize(imported.net, target)
    except UnsupportedError:
        return
    verify(imported.net, legal.net, outputs=list(imported.net.outputs), tolerance=1e-4)


# Files


def test_the_caffemodel_has_every_layer_with_its_parameters(tmp_path: Path):
    net = small(
        layer("conv", "Convolution", "data", more=CONV),
        layer("pool", "Pooling", "conv", more="pooling_param { pool: AVE kernel_size: 2 }"),
    )
    net.save(tmp_path / "a.prototxt", tmp_path / "a.caffemodel")
    stored = read_weights(tmp_path / "a.caffemodel").layers
    assert [one.name for one in stored] == ["data", "conv", "pool"]
    assert all(one.has_parameters for one in stored)


def test_layers_that_share_blobs_get_a_copy_each():
    shared = 'param { name: "w" } param { name: "b" } convolution_param { num_output: 3 kernel_size: 3 pad: 1 }'
    net = small(
        layer("a", "Convolution", "data", more=shared), layer("b", "Convolution", "a", more=shared)
    )
    del net.weights["b"]  # a caffemodel need not repeat them
    legal = legalize(net, "mnn")
    legal.net.check_weights()
    np.testing.assert_array_equal(legal.net.weights["a"][0], legal.net.weights["b"][0])
    verify(net, legal.net)


def test_a_layer_without_its_weights_is_not_in_the_caffemodel(tmp_path: Path):
    """Caffe refuses a layer with too few blobs, and fills one that is missing."""
    net = small(
        layer("a", "Convolution", "data", more=CONV), layer("b", "Convolution", "a", more=CONV)
    )
    del net.weights["b"]
    net.save(tmp_path / "a.prototxt", tmp_path / "a.caffemodel")
    stored = read_weights(tmp_path / "a.caffemodel").layers
    assert [one.name for one in stored] == ["data", "a"]


def test_the_caffemodel_has_the_numbers_of_the_target(tmp_path: Path):
    """MNN has interp_param at 2210; BVLC Caffe does not have it."""
    net = small(
        layer("conv", "Convolution", "data", more=CONV),
        layer("up", "Interp", "conv", more="interp_param { height: 16 width: 18 }"),
    )
    net.save(tmp_path / "a.prototxt", tmp_path / "a.caffemodel")
    written = rewrite_for("mnn", tmp_path / "a.prototxt", tmp_path / "a.caffemodel")
    written.save(tmp_path / "b.prototxt", tmp_path / "b.caffemodel")
    schema = load_toolchain("mnn").schema
    class_ = renumbered_class(schema.lacks, tuple(sorted(schema.fields.items())))
    model = read_weights(tmp_path / "b.caffemodel")
    start, end = model.layers[-1].span
    up = class_.FromString(bytes(model.bytes_.data[start:end]))
    assert (up.interp_param.height, up.interp_param.width) == (16, 18)
    assert up.DESCRIPTOR.fields_by_name["interp_param"].number == 2210


def test_rewrite_for_compares_with_the_original(tmp_path: Path):
    net = small(
        layer("conv", "Convolution", "data", more=CONV),
        layer("elt", "Eltwise", "conv conv", more="eltwise_param { coeff: 1 coeff: -3 }"),
    )
    net.save(tmp_path / "a.prototxt", tmp_path / "a.caffemodel")
    assert not check_target(tmp_path / "a.prototxt", "tpu-mlir").usable
    written = rewrite_for("tpu-mlir", tmp_path / "a.prototxt", tmp_path / "a.caffemodel")
    assert written.checked is not None
    written.save(tmp_path / "b.prototxt", tmp_path / "b.caffemodel")
    assert check_target(tmp_path / "b.prototxt", "tpu-mlir", tmp_path / "b.caffemodel").usable


def test_public_names():
    assert inspect.unwrap(pg.legalize) is legalize
    assert inspect.unwrap(pg.rewrite_for) is rewrite_for
