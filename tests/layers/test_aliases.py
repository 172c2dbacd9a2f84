"""Other names of layer types compute what the type of the other name computes."""

import numpy as np
import pytest
from forked import assert_close, layer_net, numbers, stock_tops_of, tops_of

import protogen as pg
from protogen.layers import layer_type
from protogen.layers.forks.aliases import ALIASES

X = numbers(np.random.default_rng(0), 2, 4, 6, 7)
# Parameters, beside those of the other name's type, and whether it has weights.
PARAMETERS = {
    "Convolution": "convolution_param { num_output: 6 kernel_size: 3 hole: 2 group: 2 }",
    "Deconvolution": "convolution_param { num_output: 6 kernel_size: 3 stride: 2 }",
    "Pooling": "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }",
    "ReLU": "relu_param { negative_slope: 0.1 }",
    "Softmax": "softmax_param { axis: 2 }",
    "LRN": "lrn_param { local_size: 3 }",
    "NdConvolution": "convolution_param { num_output: 6 kernel_shape { dim: 3 dim: 2 } }",
    "NdPooling": "pooling_param { kernel_shape { dim: 3 dim: 2 } }",
}


def blobs_of(text):
    shapes = layer_net(text, [X.shape]).parameter_shapes["l"] or ()
    rng = np.random.default_rng(1)
    return [numbers(rng, *shape) for shape in shapes]


@pytest.mark.parametrize("alias", ALIASES, ids=lambda alias: alias.name)
def test_alias_computes_the_type_of_its_other_name(alias, tmp_path):
    base = alias.kind.__name__
    text = f'"{alias.name}" {PARAMETERS.get(base, "")}'
    blobs = blobs_of(text)
    (expected,) = tops_of(text.replace(f'"{alias.name}"', f'"{base}"'), [X], blobs)
    np.testing.assert_array_equal(tops_of(text, [X], blobs)[0], expected)
    assert_close(stock_tops_of(tmp_path, text, [X], blobs), expected)
    assert not layer_type(alias.name).stock
    assert layer_type(alias.name).source == alias.source


def test_alias_checks_what_its_type_checks():
    with pytest.raises(pg.InputError, match="missing kernel_size"):
        layer_net('"CuDNNConvolution" convolution_param { num_output: 2 }', [X.shape])


@pytest.mark.parametrize(
    ("type_", "block", "train"),
    [
        ("SyncBN", "bn_param { eps: 0.25 }", True),
        ("SyncBN", "bn_param { eps: 0.25 }", False),
        ("CuDNNBatchNorm", "batch_norm_param { eps: 0.25 }", True),
        ("CuDNNBatchNorm", "batch_norm_param { eps: 0.25 frozen: true }", True),
        ("CuDNNBatchNorm", "batch_norm_param { eps: 0.25 }", False),
    ],
)
def test_batch_normalisations_with_four_blobs(type_, block, train, tmp_path):
    """As yjxiong/caffe (sync_bn_layer.cu) and hujie-frank/GENet (cudnn_batch_norm_layer.cpp)."""
    rng = np.random.default_rng(1)
    shape = (1, 4) if type_ == "SyncBN" else (1, 4, 1, 1)
    blobs = [numbers(rng, *shape) for _ in range(4)]
    blobs[3] = np.abs(blobs[3]) + np.float32(0.1)
    phase = "TRAIN" if train else "TEST"
    scale, shift, mean, variance = (b.reshape(1, 4, 1, 1).astype(np.float64) for b in blobs)
    if train and "frozen" not in block:
        mean, variance = X.mean((0, 2, 3), keepdims=True), X.var((0, 2, 3), keepdims=True)
    expected = ((X - mean) / np.sqrt(variance + 0.25) * scale + shift).astype(np.float32)
    text = f'"{type_}" {block}'
    assert_close(tops_of(text, [X], blobs, phase=phase)[0], expected)
    assert_close(stock_tops_of(tmp_path, text, [X], blobs, phase=phase), expected)
