"""Einsum, MatMul and Gemm of computed and constant values, against onnxruntime and real Caffe."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from operators import agrees, model, refusal, weights


def einsum(equation, shapes, computed, **options):
    """Compare an Einsum; ``computed`` are the numbers of the computed operands."""
    arrays = {f"x{i}": weights(*shape, seed=i) for i, shape in enumerate(shapes)}
    constants = {name: array for i, (name, array) in enumerate(arrays.items()) if i not in computed}
    feeds = {name: array for name, array in arrays.items() if name not in constants}
    node = helper.make_node("Einsum", list(arrays), ["y"], equation=equation)
    opset = options.pop("opset", 18)
    inputs = {name: array.shape for name, array in feeds.items()}
    one = model([node], inputs, constants=constants, opset=opset)
    return agrees(one, feeds=feeds, **options)


@settings(max_examples=400)
@given(st.data())
def test_einsum(data):
    count = data.draw(st.integers(1, 3), "operands")
    letters = data.draw(st.permutations("abcde"))[: data.draw(st.integers(1, 5))]
    length = {label: data.draw(st.integers(1, 4)) for label in letters}
    ellipsis = tuple(data.draw(st.lists(st.integers(1, 3), max_size=2), "ellipsis"))
    has_ellipsis = data.draw(st.booleans())
    terms, shapes = [], []
    for _ in range(count):
        unique = data.draw(st.sampled_from([True, True, True, False]), "unique")
        labels = data.draw(
            st.lists(st.sampled_from(letters), min_size=1, max_size=4, unique=unique)
        )
        once = st.sampled_from([False] * 9 + [True])  # of length 1, so that the axis is repeated
        ones = {label for label in sorted(set(labels)) if data.draw(once)}
        term, shape = "".join(labels), [1 if one in ones else length[one] for one in labels]
        if has_ellipsis:
            own = [n if data.draw(st.booleans()) else 1 for n in ellipsis]
            at = data.draw(st.integers(0, len(labels)))
            term, shape = term[:at] + "..." + term[at:], [*shape[:at], *own, *shape[at:]]
        terms.append(term)
        shapes.append(tuple(shape))
    known = sorted(set("".join(terms)) - {"."})
    out = data.draw(
        st.lists(st.sampled_from(known), unique=True, min_size=0 if has_ellipsis else 1)
    )
    at = data.draw(st.integers(0, len(out)))
    result = "".join(out[:at]) + ("..." if has_ellipsis else "") + "".join(out[at:])
    if (
        has_ellipsis
        and not out
        and not any(len(s) > len(t) - 3 for s, t in zip(shapes, terms, strict=True))
    ):
        return  # the result has no axes
    equation = ",".join(terms) + "->" + result
    if not has_ellipsis and data.draw(st.booleans(), "implicit"):
        equation = ",".join(terms)
        if not any(equation.count(label) == 1 for label in known):
            return
    computed = data.draw(st.sets(st.integers(0, count - 1), min_size=1), "computed")
    einsum(equation, shapes, computed, opset=data.draw(st.sampled_from([12, 18, 23])))


# The most layers, without Reshapes, of equations whose obvious form is known.
FORMS = {
    "bij,jk->bik": ([(2, 3, 4), (4, 5)], {0}, 1),
    "bij,kj->bik": ([(2, 3, 4), (5, 4)], {0}, 1),
    "bchw,dc->bdhw": ([(2, 3, 4, 5), (6, 3)], {0}, 1),
    "bhwc,cd->bhwd": ([(2, 4, 5, 3), (3, 6)], {0}, 1),
    "bihc,hcd->bihd": ([(2, 4, 3, 5), (3, 5, 6)], {0}, 1),
    "btnh,nhd->btd": ([(2, 4, 3, 5), (3, 5, 6)], {0}, 1),
    "btd,dnh->btnh": ([(2, 4, 6), (6, 3, 5)], {0}, 1),
    "bhic,hcd->bhid": ([(2, 3, 4, 5), (3, 5, 6)], {0}, 5),
    "bi,j->bij": ([(2, 4), (6,)], {0}, 1),
    "bij,i->bij": ([(2, 4, 6), (4,)], {0}, 1),
    "bij,ij->b": ([(2, 4, 6), (4, 6)], {0}, 1),
    "bij,ij->bi": ([(2, 4, 6), (4, 6)], {0}, 2),
    "bi,ij,jk->bk": ([(2, 5), (5, 6), (6, 7)], {0}, 1),
    "bi,ij,bj->b": ([(2, 5), (5, 6), (2, 6)], {0, 2}, 3),
    "bhid,bhjd->bhij": ([(2, 3, 4, 5), (2, 3, 6, 5)], {0, 1}, 4),
    "bhij,bhjd->bhid": ([(2, 3, 4, 6), (2, 3, 6, 5)], {0, 1}, 3),
    "ij,jk->ik": ([(4, 6), (6, 5)], {0, 1}, 3),
    "bn,bm->bnm": ([(2, 6), (2, 5)], {0, 1}, 2),
    "nc,nchw->nchw": ([(2, 6), (2, 6, 3, 3)], {0, 1}, 1),
    "nchw,nc->nhw": ([(2, 6, 3, 3), (2, 6)], {0, 1}, 2),
    "bi,bi->b": ([(2, 5), (2, 5)], {0, 1}, 2),
    "bii->bi": ([(2, 5, 5)], {0}, 1),
    "bii->b": ([(2, 5, 5)], {0}, 2),
    "bij->bji": ([(2, 5, 4)], {0}, 2),
    "bij": ([(2, 5, 4)], {0}, 0),
    "bij->b": ([(2, 5, 4)], {0}, 1),
    "b...j,jk->b...k": ([(2, 3, 2, 4), (4, 5)], {0}, 1),
    "bi,bi": ([(2, 5), (2, 5)], {0, 1}, 3),
    "i,i->": ([(5,), (5,)], {0, 1}, 2),
}


@pytest.mark.parametrize("equation", FORMS)
def test_forms(equation):
    shapes, computed, most = FORMS[equation]
    net = einsum(equation, shapes, computed, live=True)
    work = [layer.type for layer in net.layers
            if layer.type not in ("Input", "Reshape", "Flatten", "Split", "Silence")]  # fmt: skip
    assert len(work) <= most, work


@pytest.mark.parametrize(("equation", "shapes", "text"), [
    ("...ij,jk->ik", [(2, 3, 2), (2, 4)],
     '"...ij,jk->ik": the ellipsis must be as many axes in every term, and in the output too'),
    ("ij,jk->ikl", [(3, 2), (2, 4)],
     '"ij,jk->ikl": the output must have labels of the inputs, each once'),
    ("ij,jk->ik", [(3, 2, 2), (2, 4)], '"ij,jk->ik": the term "ij" does not fit 3 axes'),
    ("ij,jk,k->i", [(3, 2), (2, 4)], '"ij,jk,k->i" has 3 terms, but there are 2 inputs'),
    ("ij,jk->ik", [(3, 2), (3, 4)], "an axis has length 2 in one input and 3 in another"),
    ("ij,jk->ik", [(500, 500), (500, 500)],
     "the product of two computed matrices takes 125000000 multiplications, but the limit is 67108864"),
])  # fmt: skip
def test_refusals(equation, shapes, text):
    node = helper.make_node("Einsum", ["x0", "x1"], ["y"], equation=equation)
    one = model([node], {f"x{i}": shape for i, shape in enumerate(shapes)})
    assert refusal(one) == f'operator "y" (Einsum): {text}.'


@settings(max_examples=200)
@given(st.data())
def test_matmul(data):
    """Vectors, matrices and batches of matrices, each of them computed or constant."""
    i, k, j = (data.draw(st.integers(1, 4), name) for name in "ikj")
    batch = data.draw(st.lists(st.integers(1, 3), max_size=3), "batch")
    shapes = []
    for core, vector in (((i, k), (k,)), ((k, j), (k,))):
        if data.draw(st.integers(0, 4)) == 0:
            shapes.append(vector)
            continue
        own = [n if data.draw(st.booleans()) else 1 for n in batch]
        shapes.append((*own[data.draw(st.integers(0, len(own))) :], *core))
    computed = data.draw(st.sampled_from([("a", "b"), ("a",), ("b",)]), "computed")
    arrays = {"a": weights(*shapes[0]), "b": weights(*shapes[1], seed=1)}
    constants = {name: array for name, array in arrays.items() if name not in computed}
    node = helper.make_node("MatMul", ["a", "b"], ["y"])
    one = model([node], {n: a.shape for n, a in arrays.items() if n in computed}, constants=constants,
                opset=data.draw(st.sampled_from([7, 9, 13, 22])))  # fmt: skip
    if all(len(shape) == 1 for shape in shapes) and len(computed) == 1:
        return  # the result has no axes
    agrees(one, feeds={n: a for n, a in arrays.items() if n in computed})


@pytest.mark.parametrize(("shapes", "computed", "layers"), [
    ([(2, 3, 4), (4, 5)], "a", 1),
    ([(2, 3, 4, 6), (6, 5)], "a", 1),
    ([(6,), (6, 5)], "a", 1),
    ([(2, 3, 4, 6), (6,)], "a", 2),
    ([(5, 6), (2, 3, 6, 4)], "b", 3),
    ([(6,), (2, 3, 6, 4)], "b", 3),
    ([(5, 6), (6, 4)], "b", 3),
    ([(2, 4, 3, 1, 6), (3, 6, 5)], "a", 3),
    ([(3, 4, 6), (2, 3, 6, 5)], "b", 4),
    ([(2, 3, 4, 6), (2, 3, 6, 5)], "ab", 6),
    ([(4, 6), (6, 5)], "ab", 6),
    ([(2, 6), (6,)], "ab", 2),
    ([(6,), (6,)], "ab", 4),
])  # fmt: skip
def test_matmul_takes_few_layers(shapes, computed, layers):
    arrays = {name: weights(*shape, seed=i)
              for i, (name, shape) in enumerate(zip("ab", shapes, strict=True))}  # fmt: skip
    constants = {name: array for name, array in arrays.items() if name not in computed}
    node = helper.make_node("MatMul", ["a", "b"], ["y"])
    inputs = {name: arrays[name].shape for name in computed}
    agrees(model([node], inputs, constants=constants), layers=layers, live=True,
           feeds={name: arrays[name] for name in computed})  # fmt: skip


@settings(max_examples=150)
@given(st.data())
def test_gemm(data):
    i, k, j = (data.draw(st.integers(1, 4), name) for name in "ikj")
    transposed = data.draw(st.booleans(), "transA"), data.draw(st.booleans(), "transB")
    alpha, beta = (data.draw(st.sampled_from([1.0, 0.5, -2.0, 0.0])) for _ in range(2))
    shapes = {
        "a": (k, i) if transposed[0] else (i, k),
        "b": (j, k) if transposed[1] else (k, j),
        "c": data.draw(st.sampled_from([None, (i, j), (j,), (1, j), (i, 1), (1,), (1, 1), ()])),
    }
    arrays = {name: weights(*shape, seed=n)
              for n, (name, shape) in enumerate(shapes.items()) if shape is not None}  # fmt: skip
    computed = data.draw(st.sets(st.sampled_from(sorted(arrays)), min_size=1), "computed")
    if shapes["c"] == ():
        computed -= {"c"}
    if not computed & {"a", "b"}:
        return
    node = helper.make_node("Gemm", list(arrays), ["y"], alpha=alpha, beta=beta,
                            transA=int(transposed[0]), transB=int(transposed[1]))  # fmt: skip
    constants = {name: array for name, array in arrays.items() if name not in computed}
    one = model([node], {n: arrays[n].shape for n in sorted(computed)}, constants=constants,
                opset=13 if shapes["c"] is None else data.draw(st.sampled_from([7, 9, 11, 13])))  # fmt: skip
    agrees(one, feeds={name: arrays[name] for name in computed})
