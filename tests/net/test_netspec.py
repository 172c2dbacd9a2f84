"""Definition of nets in Python, compatible with pycaffe's NetSpec."""

from __future__ import annotations

import sys

import pytest

import protogen as pg
from protogen import NetSpec, to_proto
from protogen import layers as L
from protogen import params as P
from protogen.formats import prototxt


def lenet(batch: int) -> NetSpec:
    """Return the net of Caffe's NetSpec example, written as in its script."""
    n = NetSpec()
    n.data, n.label = L.Data(
        batch_size=batch,
        backend=P.Data.LMDB,
        source="db",
        transform_param=dict(scale=1.0 / 255),
        ntop=2,
    )
    n.conv1 = L.Convolution(n.data, kernel_size=5, num_output=20, weight_filler=dict(type="xavier"))
    n.pool1 = L.Pooling(n.conv1, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    n.ip1 = L.InnerProduct(n.pool1, num_output=500, weight_filler=dict(type="xavier"))
    n.relu1 = L.ReLU(n.ip1, in_place=True)
    n.ip2 = L.InnerProduct(n.relu1, num_output=10, weight_filler=dict(type="xavier"))
    n.loss = L.SoftmaxWithLoss(n.ip2, n.label)
    return n


def test_lenet_of_the_pycaffe_example():
    proto = lenet(64).to_proto()
    assert [layer.name for layer in proto.layer] == [
        "data",
        "conv1",
        "pool1",
        "ip1",
        "relu1",
        "ip2",
        "loss",
    ]
    assert list(proto.layer[0].top) == ["data", "label"]
    assert proto.layer[0].data_param.batch_size == 64
    assert proto.layer[0].data_param.backend == 1
    assert proto.layer[0].transform_param.scale == pytest.approx(1 / 255)
    assert list(proto.layer[1].convolution_param.kernel_size) == [5]
    assert (list(proto.layer[4].bottom), list(proto.layer[4].top)) == (["ip1"], ["ip1"])
    assert list(proto.layer[5].bottom) == ["ip1"]
    parsed = prototxt.parse(str(proto))
    assert len(parsed.layer) == 7
    assert not [name for name in sys.modules if name.split(".")[0] == "caffe"]


def test_layers_get_automatic_names():
    data = L.Input(shape=[dict(dim=[1, 3, 8, 8])])
    conv = L.Convolution(data, num_output=4, kernel_size=3)
    proto = to_proto(L.Eltwise(L.ReLU(conv), L.ReLU(conv), operation=P.Eltwise.SUM))
    assert [layer.name for layer in proto.layer] == [
        "Input1",
        "Convolution1",
        "ReLU1",
        "ReLU2",
        "Eltwise1",
    ]
    assert proto.layer[-1].eltwise_param.operation == 1


def test_nested_parameters_rules_and_layers_without_tops():
    n = NetSpec()
    n["x"] = L.Input(shape=dict(dim=[1, 3, 8, 8]))
    n.c = L.Deconvolution(
        n.x, param=[dict(lr_mult=0), dict(lr_mult=0, decay_mult=0)], include=dict(phase=pg_phase()),
        convolution_param=dict(num_output=3, kernel_size=4, stride=2, pad=1, group=3,
                               weight_filler=dict(type="bilinear")),
        name="up",
    )  # fmt: skip
    n.end = L.Silence(n.c, ntop=0)
    proto = n.to_proto()
    assert proto.layer[1].name == "up"
    assert list(proto.layer[1].top) == ["c"]
    assert proto.layer[1].convolution_param.weight_filler.type == "bilinear"
    assert (proto.layer[2].name, list(proto.layer[2].top)) == ("end", [])
    assert n.to_net().shapes["c"] == (1, 3, 16, 16)
    assert "c" in n
    assert n.keys() == ["x", "c", "end"]


def pg_phase() -> int:
    return 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: L.Convolution(x, kernel_sise=3), "layers.Convolution: unknown parameter 'kernel_sise'. Did you mean kernel_size?"),
        (lambda x: L.Convolution(x, num_output="many"), "layers.Convolution: num_output: expected an integer (uint32), got 'many'."),
        (lambda x: L.Pooling(x, pool=9), "layers.Pooling: pool: unknown value 9 of PoolingParameter.PoolMethod, expected one of MAX, AVE, STOCHASTIC, AVE_EXC_PAD, AVE_TF, MIN, DEF, MDS, DEF_ALL, DEF_ALL2, DEF_ALL3, DEF_ALL4, LOWRES."),
    ],
)  # fmt: skip
def test_invalid_parameters_are_rejected(make, message):
    n = NetSpec()
    n.x = L.Input(shape=dict(dim=[1]))
    n.y = make(n.x)
    with pytest.raises(pg.InputError) as caught:
        n.to_proto()
    assert str(caught.value) == message


def test_invalid_bottoms_and_names_are_rejected():
    with pytest.raises(TypeError, match="Convolution input 0 must be a Top, got str"):
        L.Convolution("data", num_output=1)
    with pytest.raises(AttributeError):
        _ = P.Pooling.SUM
    with pytest.raises(AttributeError):
        _ = P.Nothing
    with pytest.raises(AttributeError):
        _ = NetSpec().missing


def test_chain_longer_than_the_recursion_limit():
    n = NetSpec()
    n.x = top = L.Input(shape=dict(dim=[1, 2]))
    for _ in range(3000):
        top = L.ReLU(top)
    n.y = top
    assert len(n.to_proto().layer) == 3001
