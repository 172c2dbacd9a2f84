"""A field that is set but not read is refused by name wherever numbers are computed."""

import json

import numpy as np
import pytest
from nets import net_with

import protogen as pg

MAP = (1, 4, 6, 6)
# Layers and their error messages: fields of forks that no layer reads, fields that no schema defines,
# unknown enum values, blocks of forks.
REFUSED = {
    'type: "Convolution" convolution_param { num_output: 2 kernel_size: 1 width_group: 2 }':
        "convolution_param.width_group is set to 2 (a field of ssd), but Convolution does not read it.",
    'type: "Pooling" pooling_param { kernel_size: 2 dilation: 2 count_include_pad: false }':
        "pooling_param.dilation is set to 2 (a field of openvino), but Pooling does not read it.",
    'type: "Pooling" pooling_param { kernel_size: 2 round_mode: floor }':
        "pooling_param.round_mode has the unknown value floor.",
    'type: "LRN" lrn_param { norm_region: WITHIN_CHANNELS }':
        "lrn_param.norm_region has the unknown value WITHIN_CHANNELS.",
    'type: "Upsample" upsample_param { scale: 1 stride: 2 }':
        "upsample_param.stride is set to 2 (a field of huawei), but Upsample does not read it.",
    'type: "ShuffleChannel" shuffle_param { group: 2 }':
        "shuffle_param is set, but no known caffe.proto defines it.",
    'type: "ReLU" batch_reductions_param { level: 3 }':
        "batch_reductions_param is set, but no known caffe.proto defines it.",
    'type: "ReLU" permute_param { order: 1 }':
        "permute_param.order is set to 1 (a field of nvcaffe, intel, ssd, refinedet, yolo, pytorch2caffe and 12 more), but ReLU does not read it.",
    'type: "Reshape" reshape_param { shape { dim: 1 dim: -1 dims: 3 } }':
        "reshape_param.shape.dims is set to 3, but no known caffe.proto defines it.",
}  # fmt: skip
HARMLESS = [
    'type: "Convolution" convolution_param { num_output: 2 kernel_size: 1 engine: CAFFE force_nd_im2col: true }',
    'type: "Convolution" convolution_param { num_output: 2 kernel_size: 1 width_group: 1 }',  # its default
    'type: "ReLU" pooling_param { kernel_size: 2 }',  # BVLC's ReLU ignores it: PG105
    'type: "BatchNorm" batch_norm_param { moving_average_fraction: 0.5 }',
    'type: "Convolution" convolution_param { num_output: 2 kernel_size: 1 weight_filler { type: "xavier" } }',
    'type: "ReLU" loss_weight: 0 propagate_down: false',
    'type: "ReLU" quantization_param { precision: DYNAMIC_FIXED_POINT bw_params: 8 }',
]


def net(text: str, **options) -> pg.Net:
    parsed = net_with({"data": MAP}, f'layer {{ name: "y" bottom: "data" top: "y" {text} }}')
    tolerant = pg.Net(parsed.message, tolerant=True, **options)
    for layer, shapes in tolerant.parameter_shapes.items():
        if shapes:
            tolerant.weights[layer] = [np.ones(shape, np.float32) for shape in shapes]
    return tolerant


@pytest.mark.filterwarnings("ignore::protogen.errors.ProtogenWarning")
@pytest.mark.parametrize("text", REFUSED)
def test_unread_field_is_refused(text):
    tolerant = net(text)  # loading the net is allowed
    with pytest.raises(pg.UnsupportedError) as caught:
        pg.run(tolerant, {"data": np.ones(MAP, np.float32)})
    first = caught.value.diagnostics[0]
    assert f"{first.problem}." == REFUSED[text]
    assert first.layer == "y"
    assert first.place.line == 2
    assert "--ignore-field" in first.advice
    report = pg.check_text(str(tolerant.message.source.text), "net.prototxt")
    errors = [one for one in report.diagnostics if one.code in ("PG101", "PG109")]
    assert errors
    assert {one.severity for one in errors} == {"error"}


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_field_is_accepted(text):
    pg.run(net(text), {"data": np.ones(MAP, np.float32)})


@pytest.mark.filterwarnings("ignore::protogen.errors.ProtogenWarning")
def test_one_error_names_all_unread_fields():
    text = 'type: "Pooling" pooling_param { kernel_size: 2 dilation: 2 count_include_pad: false }'
    with pytest.raises(pg.UnsupportedError) as caught:
        pg.to_onnx(net(text))
    assert len(caught.value.diagnostics) == 2


@pytest.mark.filterwarnings("ignore::protogen.errors.ProtogenWarning")
def test_ignored_field_is_accepted():
    text = 'type: "Pooling" pooling_param { kernel_size: 2 dilation: 2 }'
    pg.to_onnx(net(text, ignored_fields=["pooling_param.dilation"]))
    with pytest.raises(pg.InputError, match=r"Did you mean pooling_param\.dilation\?"):
        net(text, ignored_fields=["pooling_param.dilatio"])
    with pytest.raises(pg.InputError, match="no layer sets this field without reading it"):
        net(
            text, ignored_fields=["pooling_param.kernel_size"]
        )  # the layer reads it, so it cannot be ignored


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "net.prototxt"
    text = 'type: "Pooling" pooling_param { kernel_size: 2 spacing: 2 }'
    path.write_text(net_text(text))
    return path


def net_text(text: str) -> str:
    shape = " ".join(f"dim: {n}" for n in MAP)
    return (
        f'layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ {shape} }} }} }}\n'
        f'layer {{ name: "y" bottom: "data" top: "y" {text} }}\n'
    )


def test_commands_refuse_an_unread_field_unless_it_is_ignored(protogen, file):
    """Exit code 3 and no output file. With --ignore-field the receipt names the field."""
    problem = "pooling_param.spacing is set to 2, but no known caffe.proto defines it"
    for command in (
        ("convert", file, "-o", "x.onnx"),
        ("run", file, "--random"),
        ("rewrite", file, "-o", "x.prototxt", "--require-all"),
    ):
        done = protogen(*command)
        assert done.returncode == 3, done.stderr
        assert problem in done.stderr
    assert list(file.parent.iterdir()) == [file]
    done = protogen("convert", file, "-o", "x.onnx", "--ignore-field", "pooling_param.spacing",
                    "--receipt", "r.json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    receipt = json.loads((file.parent / "r.json").read_text())
    assert receipt["options"]["ignored_fields"] == ["pooling_param.spacing"]
    assert protogen("verify", file, "x.onnx").returncode == 3
    ignored = ("--ignore-field", "pooling_param.spacing")
    assert protogen("verify", file, "x.onnx", *ignored).returncode == 0
    other = file.with_name("other.prototxt")
    other.write_text(file.read_text().replace("spacing: 2", ""))
    assert protogen("verify", file, other, *ignored).returncode == 0
    done = protogen("check", file)
    assert done.returncode == 1
    assert "unknown field spacing in PoolingParameter" in done.stdout


def test_unread_field_of_a_forks_proto_is_refused(protogen, file):
    """With --proto the field has a type, but the layer still does not read it."""
    (file.parent / "fork.proto").write_text(
        "message PoolingParameter { optional uint32 spacing = 99 [default = 1]; }"
    )
    done = protogen("convert", file, "-o", "x.onnx", "--proto", "fork.proto")
    assert done.returncode == 3
    assert (
        "pooling_param.spacing is set to 2 (a field of fork), but Pooling does not read it"
        in done.stderr
    )
    done = protogen("check", file, "--proto", "fork.proto")
    assert "PG109 pooling_param.spacing is set to 2 (a field of fork)" in done.stdout


def test_check_reports_fields_that_bvlc_lacks(protogen, file):
    file.write_text(net_text('type: "Dropout" dropout_param { scale_train: false }'))
    assert protogen("check", file).returncode == 0
    done = protogen("check", file, "--dialect", "bvlc")
    assert done.returncode == 1
    assert (
        "PG110 the dialect bvlc does not have dropout_param.scale_train. "
        "Supported by: pytorch2caffe, huawei, synopsys, cambricon, ctpn, textboxes and 2 more."
        in done.stdout
    )
    file.write_text(net_text('type: "Pooling" pooling_param { kernel_size: 2 pool: AVE_EXC_PAD }'))
    done = protogen("check", file, "--dialect", "bvlc")
    assert (
        "PG110 the dialect bvlc does not have pooling_param.pool: AVE_EXC_PAD. "
        "Supported by: synopsys." in done.stdout
    )


def test_rewrite_replaces_fields_of_forks_by_stock_layers(protogen, file):
    """``rewrite`` writes a net that BVLC Caffe can read."""
    layers = {
        'type: "Dropout" dropout_param { dropout_ratio: 0.25 scale_train: false }': ["Power"],
        'type: "Eltwise" bottom: "data" eltwise_param { operation: SUB }': ["Eltwise"],
        'type: "Eltwise" bottom: "data" eltwise_param { operation: DIV }': ["Power", "Eltwise"],
        'type: "Eltwise" bottom: "data" eltwise_param { operation: MIN }': ["Power", "Power", "Eltwise", "Power"],
        'type: "BatchNorm" batch_norm_param { scale_bias: true relu: true }': ["BatchNorm", "Scale", "ReLU"],
        'type: "Convolution" convolution_param { num_output: 2 kernel_size: 2 hole: 2 relu: true }': ["Convolution", "ReLU"],
    }  # fmt: skip
    for text, types in layers.items():
        file.write_text(net_text(text))
        rewritten = pg.rewrite(file)
        assert not rewritten.retained, (text, rewritten.retained)
        assert [layer.type for layer in rewritten.net.layers] == ["Input", *types], text
