"""MatMul of forks, against loops written after the sources: the product of gemm over the values in
memory (foss-for-synopsys-dwc-arc-processors/synopsys-caffe, matmul_layer.cpp), and A B^T with sizes
from dim_1 to dim_3 (the fork in TPU-MLIR; tests/truth compares it live)."""

import numpy as np
import pytest
from forked import assert_close, layer_net, numbers, stock_tops_of, tops_of
from hypothesis import given, settings
from hypothesis import strategies as st

import protogen as pg

EXAMPLES = settings(max_examples=40, deadline=None)
SIZES = st.integers(1, 5)


def gemm(a, b, trans_a, trans_b, m, n, k):
    """Row-major matrices at the begin of two arrays of values, as in BLAS."""
    out = np.zeros((m, n), np.float64)
    for i in range(m):
        for j in range(n):
            for t in range(k):
                left = a[t * m + i] if trans_a else a[i * k + t]
                right = b[j * k + t] if trans_b else b[t * n + j]
                out[i, j] += float(left) * float(right)
    return out.astype(np.float32)


def by_source(a, b, trans_a, trans_b):
    """Synopsys' sizes, and a gemm for each matrix of the batch."""
    if a.ndim == b.ndim:
        m, k = (a.shape[-1], a.shape[-2]) if trans_a else a.shape[-2:]
        n = b.shape[-2] if trans_b else b.shape[-1]
        top = (*a.shape[:-2], m, n)
    else:
        k, n = a.shape[-1], b.shape[-1]
        m = a.size // k
        top = (*a.shape[:-1], n)
    flat_a, flat_b = a.reshape(-1), b.reshape(-1)
    parts = [
        gemm(flat_a[i * m * k :], flat_b[i * k * n :], trans_a, trans_b, m, n, k)
        for i in range(a.size // (m * k))
    ]
    return np.stack(parts).reshape(top)


@EXAMPLES
@given(
    st.lists(SIZES, max_size=2), SIZES, SIZES, SIZES, st.booleans(), st.booleans(), st.booleans()
)
def test_product_of_bottoms_is_that_of_the_source(head, m, k, n, trans_a, trans_b, lower_rank):
    rng = np.random.default_rng(0)
    if lower_rank and head:
        a, b = numbers(rng, *head, m, k), numbers(rng, k, n)
    else:
        a = numbers(rng, *head, *((k, m) if trans_a else (m, k)))
        b = numbers(rng, *head, *((n, k) if trans_b else (k, n)))
    fields = f"transpose_a: {str(trans_a).lower()} transpose_b: {str(trans_b).lower()}"
    (y,) = tops_of(f'"MatMul" matmul_param {{ {fields} }}', [a, b])
    assert_close(y, by_source(a, b, trans_a, trans_b))


@EXAMPLES
@given(SIZES, SIZES, SIZES, st.booleans(), st.integers(1, 3))
def test_product_with_a_blob(m, k, n, trans_b, batch):
    rng = np.random.default_rng(0)
    a, b = numbers(rng, batch, m, k), numbers(rng, *((n, k) if trans_b else (k, n)))
    fields = " ".join(f"blob_shape: {size}" for size in b.shape)
    fields += f" transpose_b: {str(trans_b).lower()}"
    if b.shape[0] != k:  # the source compares this axis also where it transposes
        with pytest.raises(pg.InputError, match="as matrices"):
            layer_net(f'"MatMul" matmul_param {{ {fields} }}', [a.shape])
        return
    (y,) = tops_of(f'"MatMul" matmul_param {{ {fields} }}', [a], [b])
    assert_close(y, by_source(a, b, trans_a=False, trans_b=trans_b))


def test_stock_layer_of_a_stored_matrix(tmp_path):
    rng = np.random.default_rng(0)
    a, b = numbers(rng, 2, 3, 5), numbers(rng, 5, 4)
    text = '"MatMul" matmul_param { blob_shape: 5 blob_shape: 4 }'
    expected = by_source(a, b, trans_a=False, trans_b=False)
    assert_close(stock_tops_of(tmp_path, text, [a], [b]), expected)


@EXAMPLES
@given(SIZES, SIZES, SIZES, st.integers(0, 3), st.integers(0, 3))
def test_dims_multiply_by_the_transposed_second_matrix(m, k, n, more_a, more_b):
    rng = np.random.default_rng(0)
    a, b = numbers(rng, m * k + more_a), numbers(rng, n * k + more_b)
    (y,) = tops_of(f'"MatMul" matmul_param {{ dim_1: {m} dim_2: {k} dim_3: {n} }}', [a, b])
    assert_close(y, gemm(a, b, False, True, m, n, k))


@pytest.mark.parametrize(
    ("text", "shapes", "message"),
    [
        ("dim_1: 2 dim_2: 3 dim_3: 4", [(2, 3), (11,)], '"x1" must have at least 12 values'),
        ("dim_1: 0", [(2, 3), (3, 4)], "must be at least 1, got 0x1x1"),
        ("", [(2, 3), (4, 3)], "cannot multiply 2x3 by 4x3"),
        ("", [(2, 5, 3), (3, 3, 4)], "cannot multiply"),
        ("", [(2, 3), (2, 2, 3)], "cannot multiply"),
        ("", [(2, 3)], "blob_shape is missing"),
    ],
)
def test_sizes_that_do_not_match(text, shapes, message):
    with pytest.raises(pg.InputError, match=message):
        layer_net(f'"MatMul" matmul_param {{ {text} }}', shapes)


def test_two_bottoms_have_no_stock_layers(tmp_path):
    layer_net('"MatMul"', [(2, 3), (3, 4)]).save(tmp_path / "net.prototxt")
    result = pg.rewrite(tmp_path / "net.prototxt")
    assert "no stock layer multiplies two bottoms as matrices" in result.retained[0].reason
