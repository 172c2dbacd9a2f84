"""Old formats: V0, V1 and the current format of a net give the same graph; conversion to V1."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import protogen as pg
from protogen.formats import prototxt, wire
from protogen.formats.caffemodel import parse_weights, write_weights
from protogen.formats.schema.pool import message_class
from protogen.layers.names import V1_TYPES
from protogen.net.binary import to_protobuf, upgraded_entries
from protogen.net.downgrade import downgrade, v1_entries
from protogen.net.net import Net
from protogen.net.upgrade import upgrade

V0 = """
name: "t"
layers { layer { name: "data" type: "data" source: "db" batchsize: 8 scale: 0.5 cropsize: 9 mirror: true meanfile: "m" rand_skip: 3 } top: "data" top: "label" }
layers { layer { name: "pad1" type: "padding" pad: 2 } bottom: "data" top: "pad1" }
layers {
  layer {
    name: "conv1" type: "conv" num_output: 4 kernelsize: 3 stride: 2 group: 1 biasterm: true
    weight_filler { type: "gaussian" std: 0.01 } blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0
  }
  bottom: "pad1" top: "conv1"
}
layers { layer { name: "relu1" type: "relu" } bottom: "conv1" top: "conv1" }
layers { layer { name: "norm1" type: "lrn" local_size: 3 alpha: 0.1 beta: 0.5 } bottom: "conv1" top: "norm1" }
layers { layer { name: "pool1" type: "pool" pool: AVE kernelsize: 2 stride: 2 } bottom: "norm1" top: "pool1" }
layers { layer { name: "drop" type: "dropout" dropout_ratio: 0.25 } bottom: "pool1" top: "pool1" }
layers { layer { name: "cat" type: "concat" concat_dim: 1 } bottom: "pool1" bottom: "norm2" top: "cat" }
layers { layer { name: "fc" type: "innerproduct" num_output: 10 bias_filler { type: "constant" value: 1 } } bottom: "cat" top: "fc" }
layers { layer { name: "loss" type: "softmax_loss" } bottom: "fc" bottom: "label" }
""".replace(' bottom: "norm2"', "")

V1 = """
name: "t"
layers { name: "data" type: DATA top: "data" top: "label" data_param { source: "db" batch_size: 8 scale: 0.5 crop_size: 9 mirror: true mean_file: "m" rand_skip: 3 } }
layers {
  name: "conv1" type: CONVOLUTION bottom: "data" top: "conv1"
  blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0
  convolution_param { num_output: 4 kernel_size: 3 stride: 2 group: 1 bias_term: true weight_filler { type: "gaussian" std: 0.01 } pad: 2 }
}
layers { name: "relu1" type: RELU bottom: "conv1" top: "conv1" }
layers { name: "norm1" type: LRN bottom: "conv1" top: "norm1" lrn_param { local_size: 3 alpha: 0.1 beta: 0.5 } }
layers { name: "pool1" type: POOLING bottom: "norm1" top: "pool1" pooling_param { pool: AVE kernel_size: 2 stride: 2 } }
layers { name: "drop" type: DROPOUT bottom: "pool1" top: "pool1" dropout_param { dropout_ratio: 0.25 } }
layers { name: "cat" type: CONCAT bottom: "pool1" top: "cat" concat_param { concat_dim: 1 } }
layers { name: "fc" type: INNER_PRODUCT bottom: "cat" top: "fc" inner_product_param { num_output: 10 bias_filler { type: "constant" value: 1 } } }
layers { name: "loss" type: SOFTMAX_LOSS bottom: "fc" bottom: "label" }
"""

V2 = """
name: "t"
layer { name: "data" type: "Data" top: "data" top: "label" transform_param { scale: 0.5 crop_size: 9 mirror: true mean_file: "m" } data_param { source: "db" batch_size: 8 rand_skip: 3 } }
layer {
  name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
  convolution_param { num_output: 4 kernel_size: 3 stride: 2 group: 1 bias_term: true weight_filler { type: "gaussian" std: 0.01 } pad: 2 }
}
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "norm1" type: "LRN" bottom: "conv1" top: "norm1" lrn_param { local_size: 3 alpha: 0.1 beta: 0.5 } }
layer { name: "pool1" type: "Pooling" bottom: "norm1" top: "pool1" pooling_param { pool: AVE kernel_size: 2 stride: 2 } }
layer { name: "drop" type: "Dropout" bottom: "pool1" top: "pool1" dropout_param { dropout_ratio: 0.25 } }
layer { name: "cat" type: "Concat" bottom: "pool1" top: "cat" concat_param { concat_dim: 1 } }
layer { name: "fc" type: "InnerProduct" bottom: "cat" top: "fc" inner_product_param { num_output: 10 bias_filler { type: "constant" value: 1 } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" }
"""

SHAPES = {"data": (8, 3, 9, 9), "label": (8,)}


def sorted_plain(net):
    """Return the content of a net without the order of fields, which upgrades change."""
    return {layer.name: layer.plain() for layer in net.layer}


@pytest.mark.parametrize("old", [V0, V1], ids=["V0", "V1"])
def test_upgraded_net_equals_the_current_format(old):
    upgraded = upgrade(prototxt.parse(old, "old"))
    expected = prototxt.parse(V2, "new")
    a, b = sorted_plain(upgraded), sorted_plain(expected)
    assert a.keys() == b.keys()
    for name in a:
        assert a[name] == b[name], name
    one, other = (Net(net, input_shapes=SHAPES).graph for net in (upgraded, expected))
    assert one.shapes == other.shapes
    assert one.parameter_shapes == other.parameter_shapes
    assert [(x.name, x.type, x.reads, x.writes) for x in one.layers] == [
        (x.name, x.type, x.reads, x.writes) for x in other.layers
    ]
    assert pg.diff(upgraded, expected) == []


def test_upgraded_net_converts_to_protobuf():
    net = upgrade(prototxt.parse(V0))
    parsed = message_class("NetParameter").FromString(to_protobuf(net).SerializeToString())
    assert [layer.type for layer in parsed.layer][:2] == ["Data", "Convolution"]
    assert parsed.layer[1].param[1].lr_mult == 2


def test_every_v1_type_has_a_current_name():
    from protogen.formats.schema import caffe

    enum = caffe().enums["V1LayerParameter.LayerType"]
    assert set(V1_TYPES) == set(enum.values) - set(enum.dialects)


def test_legacy_inputs_become_input_layers():
    old = 'input: "a" input: "b" input_dim: 1 input_dim: 3 input_dim: 4 input_dim: 5 input_dim: 2 input_dim: 1 input_dim: 1 input_dim: 1'
    assert Net(upgrade(prototxt.parse(old))).shapes == {"a": (1, 3, 4, 5), "b": (2, 1, 1, 1)}
    new = 'input: "a" input_shape { dim: 7 }'
    assert Net(upgrade(prototxt.parse(new))).shapes == {"a": (7,)}


def test_params_of_batch_norm_are_removed():
    net = upgrade(
        prototxt.parse(
            'layer { name: "b" type: "BatchNorm" param { lr_mult: 0 } param { lr_mult: 0 } param { lr_mult: 0 } }'
        )
    )
    assert net.layer[0].param == []


def test_upgrade_keeps_comments_and_unknown_fields():
    text = '# head\nlayers {  # first\n  # the name\n  name: "a"\n  type: RELU\n  my_field: 3  # mine\n}\n'
    with pytest.warns(pg.ProtogenWarning, match="my_field"):
        net = upgrade(prototxt.parse(text))
    written = prototxt.write(net)
    for part in ("# head", "# first", "# the name", "my_field: 3  # mine", 'type: "ReLU"'):
        assert part in written


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('layer { name: "a" }\nlayers { name: "b" }',
         "f:2:1: the net mixes 1 `layer` and 1 `layers` (first at f:1:1 and f:2:1). Caffe silently drops one kind: convert all to `layer`."),
        ('layers { layer { name: "a" type: "relu" } }\nlayers { name: "b" type: RELU }',
         "f:2:1: the net mixes V0 and V1 layers. Convert all to one format."),
        ('layers { layer { name: "a" type: "convo" } }', "f:1:28: unknown V0 layer type 'convo'."),
        ('input: "a" input_dim: 1', "f:1:1: expected 4 input_dim (four for each input), got 1. Give four input_dim or one input_shape for each input."),
    ],
)  # fmt: skip
def test_invalid_old_nets_are_rejected(text, message):
    with pytest.raises(pg.InputError) as caught:
        upgrade(prototxt.parse(text, "f"))
    assert str(caught.value).splitlines()[0] == message


def test_v0_field_without_effect_is_dropped_with_a_warning():
    """Caffe logs a warning, too."""
    text = 'layers { layer { name: "a" type: "relu" kernelsize: 3 } bottom: "x" top: "y" }'
    sentence = r"f:1:41: layer \"a\": kernelsize has no effect in a V0 layer of type 'relu'; the upgrade drops it"
    with pytest.warns(pg.ProtogenWarning, match=sentence):
        (layer,) = upgrade(prototxt.parse(text, "f")).layer
    assert [field.name for field in layer.fields] == ["name", "type", "bottom", "top"]


# Conversion to V1


def test_upgrade_of_a_v1_net_restores_the_net():
    net = prototxt.parse(
        V2.replace(
            'type: "Data" top: "data" top: "label"', 'type: "Input" top: "data" top: "label"'
        ).replace(
            'transform_param { scale: 0.5 crop_size: 9 mirror: true mean_file: "m" } data_param { source: "db" batch_size: 8 rand_skip: 3 }',
            "input_param { shape { dim: 8 dim: 3 dim: 9 dim: 9 } shape { dim: 8 dim: 1 dim: 1 dim: 1 } }",
        )
    )
    old = downgrade(net)
    assert old.input == ["data", "label"]
    assert old.input_dim == [8, 3, 9, 9, 8, 1, 1, 1]
    assert [str(layer.type) for layer in old.layers][:2] == ["CONVOLUTION", "RELU"]
    restored = upgrade(prototxt.parse(prototxt.write(old)))
    names = [layer.name for layer in restored.layer]
    assert names == ["input", *(layer.name for layer in net.layer[1:])]
    for layer in net.layer[1:]:
        [same] = [x for x in restored.layer if x.name == layer.name]
        assert same.plain() == layer.plain()


def test_downgrade_names_everything_that_v1_does_not_support():
    net = prototxt.parse(
        'layer { name: "a" type: "BatchNorm" batch_norm_param { eps: 1 } }\n'
        'layer { name: "b" type: "Convolution" convolution_param { num_output: 1 kernel_size: 1 kernel_size: 2 dilation: 2 } }',
        "f",
    )
    with pytest.raises(pg.UnsupportedError) as caught:
        downgrade(net)
    assert str(caught.value).splitlines() == [
        'f:1:1: layer "a" (BatchNorm): V1 does not have this layer type.',
        'f:1:1: layer "a" (BatchNorm): V1 does not have the field batch_norm_param.',
        'f:2:1: layer "b" (Convolution): V1 supports only one kernel_size.',
        'f:2:1: layer "b" (Convolution): V1 does not support dilation.',
    ]


def test_binary_upgrade_keeps_parameters_and_weights():
    old = message_class("NetParameter")(name="n")
    layer = old.layers.add(name="c", type=4, blobs_lr=[1, 2])
    layer.convolution_param.kernel_size.append(3)
    blob = layer.blobs.add(num=1, channels=1, height=2, width=2)
    blob.data.extend([1, 2, 3, 4])
    v0 = old.layers.add()
    assert v0.name == ""
    del old.layers[1]
    model = parse_weights(wire.Bytes(old.SerializeToString(), "m"))
    changes: list[str] = []
    entries = upgraded_entries(model, changes)
    import io

    file = io.BytesIO()
    write_weights(file, model.name, entries)
    new = message_class("NetParameter").FromString(file.getvalue())
    assert (new.layer[0].name, new.layer[0].type) == ("c", "Convolution")
    assert new.layer[0].convolution_param.kernel_size == [3]
    assert [spec.lr_mult for spec in new.layer[0].param] == [1, 2]
    assert list(new.layer[0].blobs[0].shape.dim) == [1, 1, 2, 2]
    assert list(new.layer[0].blobs[0].data) == [1, 2, 3, 4]
    assert changes


def test_binary_upgrade_of_v0():
    old = message_class("NetParameter")(name="n")
    inner = old.layers.add().layer
    inner.name, inner.type, inner.kernelsize, inner.num_output = "c", "conv", 3, 2
    inner.blobs.add(num=1, channels=1, height=1, width=2).data.extend([5, 6])
    model = parse_weights(wire.Bytes(old.SerializeToString(), "m"))
    [entry] = upgraded_entries(model, [])
    new = message_class("LayerParameter").FromString(entry.header)
    assert (new.name, new.type, new.convolution_param.num_output) == ("c", "Convolution", 2)
    assert_array_equal(entry.arrays[0], np.array([[[[5, 6]]]], np.float32))


def test_caffemodel_in_v1_format_is_read_by_protobuf():
    new = message_class("NetParameter")(name="n")
    layer = new.layer.add(name="c", type="InnerProduct", bottom=["x"], top=["y"])
    blob = layer.blobs.add()
    blob.shape.dim.extend([2, 2])
    blob.data.extend([1, 2, 3, 4])
    model = parse_weights(wire.Bytes(new.SerializeToString(), "m"))
    import io

    file = io.BytesIO()
    write_weights(file, model.name, v1_entries(model), legacy=True)
    old = message_class("NetParameter").FromString(file.getvalue())
    assert (old.layers[0].name, old.layers[0].type) == ("c", 14)
    assert (old.layers[0].blobs[0].height, old.layers[0].blobs[0].width) == (2, 2)
    assert list(old.layers[0].blobs[0].data) == [1, 2, 3, 4]
    new.layer[0].type = "Weird"
    model = parse_weights(wire.Bytes(new.SerializeToString(), "m"))
    with pytest.raises(pg.UnsupportedError, match='layer "c"'):
        v1_entries(model)
