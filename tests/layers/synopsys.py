"""Helpers of the tests of Synopsys' fork: a layer on arrays, and the layers that replace it."""

import string

import numpy as np
from nets import net_with

import protogen as pg

MAP, VECTOR = (2, 8, 6, 6), (2, 8)
# Parameters and bottom shapes of a small net of each type, for test_field_walk.py.
BASES = {
    "BatchToSpaceND": ("batch_to_space_nd_param { block_shape: 2 crops: 0 crops: 0 }", (MAP,)),
    "BroadcastTo": ("broadcast_to_param { shape: 2 shape: 3 }", ((1, 3),)),
    "EmbeddingLookup": (
        "embedding_lookup_param { ids: 1 ids: 2 ids_shape: 2 max_norm: 1.5 }",
        (VECTOR, (4, 8)),
    ),
    "Gather": ("gather_param { indices: 1 indices: 0 shape: 2 }", (MAP,)),
    "GatherND": ("gather_nd_param { indices: 1 indices: 0 indices_shape: 2 }", (MAP,)),
    "GatherV2": ("", ((6, 6), (2,))),
    "MirrorPad": (
        "mirror_pad_param { paddings: 1 paddings: 0 paddings: 1 paddings: 1 }",
        ((4, 5),),
    ),
    "Mul": ("mul_param { mul_shape: 8 }", (VECTOR,)),
    "OneHot": ("one_hot_param { depth: 4 }", (VECTOR,)),
    "Pad": ("pad_param { paddings: 1 paddings: 0 paddings: 1 paddings: 1 }", (VECTOR,)),
    "Piece": ("piece_param { begin: 1 begin: 0 size: 1 size: -1 }", (VECTOR,)),
    "Range": ("range_param { limit: 4 }", ()),
    "ResizeBilinear": (
        "resize_bilinear_param { output_height: 4 output_width: 9 output_depth: 2 "
        'data_format: "NCHWD" }',
        ((1, 2, 4, 3, 5),),
    ),
    "ResizeNearestNeighbor": (
        'resize_nearest_neighbor_param { output_height: 4 output_width: 9 data_format: "NCHW" }',
        (MAP,),
    ),
    "ReverseSequence": ("reverse_sequence_param { seq_axis: 1 }", (MAP, (8,))),
    "ScaledTanH": ("scaled_tanh_param { alpha: 2 beta: 3 }", (VECTOR,)),
    "ScatterND": (
        "scatter_nd_param { is_data_param: true is_indices_param: true is_updates_param: true "
        "data_shape: 2 data_shape: 8 indices_shape: 3 indices_shape: 1 updates_shape: 3 "
        "updates_shape: 8 }",
        (),
    ),
    "SpaceToBatchND": (
        "space_to_batch_nd_param { block_shape: 2 paddings: 0 paddings: 0 }",
        (MAP,),
    ),
    "SparseToDense": (
        "sparse_to_dense_param { sparse_indices: 0 sparse_indices: 2 sparse_indices_shape: 2 "
        "output_shape: 4 sparse_values: 1.5 }",
        (),
    ),
    "Squeeze": ("", ((2, 1, 3, 1),)),
    "Stack": ("", (VECTOR, VECTOR)),
    "StridedSlice": (
        "strided_slice_param { begin: 1 begin: 2 end: 2 end: 5 strides: 1 strides: 2 }",
        ((3, 7, 3),),
    ),
    "TileND": ("tile_nd_param { multiples: 2 multiples: 1 }", (VECTOR,)),
    "TopkGather": ("topk_gather_param { top_k: 2 }", ((6, 6), (6,))),
    "Unstack": ("", (VECTOR,)),
    "CropAndResize": (
        'crop_and_resize_param { crop_h: 3 crop_w: 4 data_format: "NCHW" }',
        (MAP, (3,), (3, 4)),
    ),
    "Gemm": ("", ((3, 3), (3, 3), (3, 3))),
    "GRU": ("recurrent_param { num_output: 3 }", ((4, 2, 3), (4, 2))),
    "LSTMV2": ("recurrent_param { num_output: 3 }", ((4, 2, 3), (4, 2))),
    "NMS": ("nms_param { top_k: 2 }", ((4, 4),)),
    "NMSGather": ("nms_gather_param { top_k: 2 }", ((4, 4),)),
    "NonMaxSuppression": (
        "non_max_suppression_param { max_output_boxes_per_class: 2 }",
        ((2, 8, 4), (2, 3, 8)),
    ),
    "PeepholeLSTM": ("recurrent_param { num_output: 3 }", ((4, 2, 3), (4, 2))),
    "QueryBallPoint": ("point_net_param { n_sample_point: 4 radius: 1.5 }", ((2, 8, 3), (2, 4, 3))),
    "SimpleRNN": ("recurrent_param { num_output: 3 }", ((4, 2, 3), (4, 2))),
    "SqueezeConvolution": ("squeeze_convolution_param { num_output: 8 kernel_size: 3 }", (MAP,)),
    "SqueezeDeconvolution": ("squeeze_convolution_param { num_output: 8 kernel_size: 3 }", (MAP,)),
    "SqueezeInnerProduct": ("squeeze_inner_product_param { num_output: 3 }", (MAP,)),
    "Tensor2Box": (
        "tensor2box_param { num_classes: 1 img_dim_h: 60 img_dim_w: 60 anchors_x: 10 anchors_y: 13 }",
        ((2, 6, 5, 5),),
    ),
}
BESIDE = {
    "GRU": ('recurrent_param { num_output: 3 activations: "ReLU" }',),
    "EmbeddingLookup": ("embedding_lookup_param { ids: 0 ids_shape: 1 }",),
    "MirrorPad": (
        'mirror_pad_param { mode: "REFLECT" paddings: 1 paddings: 0 paddings: 1 paddings: 1 }',
    ),
    "ResizeBilinear": ('resize_bilinear_param { data_format: "NCHWD" scale_height: 2 }',),
    "ResizeNearestNeighbor": (
        'resize_nearest_neighbor_param { data_format: "NCHW" scale_height: 2 scale_width: 0.5 }',
    ),
    "SparseToDense": (
        "sparse_to_dense_param { sparse_indices: 2 sparse_indices: 0 sparse_indices_shape: 2 "
        "output_shape: 4 sparse_values: 1 sparse_values: 2 validate_indices: false }",
    ),
}


def net_of(text, arrays, weights=None, tops=1, **options):
    """Return a net of the bottoms a, b, ... and one layer with the tops y, y1, ..."""
    names = string.ascii_lowercase[: len(arrays)]
    bottoms = " ".join(f'bottom: "{name}"' for name in names)
    outputs = " ".join(f'top: "y{i or ""}"' for i in range(tops))
    layer = f'layer {{ name: "y" {bottoms} {outputs} {text} }}'
    shapes = {name: np.shape(array) for name, array in zip(names, arrays, strict=True)}
    net = net_with(shapes, layer, **options)
    if weights is not None:
        net.weights["y"] = [np.asarray(blob, np.float32) for blob in weights]
    return net, dict(zip(names, arrays, strict=True))


def run(text, *arrays, weights=None, tops=1, **options):
    """Return the value of the top, or of each top."""
    net, feeds = net_of(text, arrays, weights, tops, **options)
    values = pg.run(net, feeds)
    named = [values[f"y{i or ''}"] for i in range(tops)]
    for top, value in zip(net.layers[-1].writes, named, strict=True):
        assert value.shape == net.graph.shapes[top]
    return named[0] if tops == 1 else named


def close(actual, expected):
    """Check two arrays: the same shape, and 2e-5 of the largest magnitude."""
    expected = np.asarray(expected)
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    largest = max(float(np.abs(expected).max(initial=0)), 1e-6)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-5 * largest)


def rewritten(tmp_path, text, *shapes, weights=None, **options):
    """Return the types that replace the layer; pg.rewrite compares the numbers of both."""
    arrays = [np.zeros(shape, np.float32) for shape in shapes]
    net, _ = net_of(text, arrays, weights, **options)
    path = tmp_path / "net.prototxt"
    model = None if weights is None else tmp_path / "net.caffemodel"
    net.save(path, model)
    result = pg.rewrite(path, model, **options)
    assert not result.retained, result.retained[0].reason
    assert len(result.replaced) == 1
    return list(result.replaced[0].becomes)
