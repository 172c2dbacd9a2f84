"""Every form computes what its layer computes, in onnxruntime on random data."""

from __future__ import annotations

import numpy as np
import pytest
from form_cases import Case, cases

from protogen.formats import prototxt
from protogen.layers.forms import forms_of
from protogen.layers.forms.registry import EVERY, FORMS
from protogen.legalization.draft import Draft, draft_of
from protogen.legalization.expansion import Alternative, alternatives
from protogen.net.net import Net
from protogen.running.runtime import run

TOLERANCE = 2e-5  # of the largest value: float32 sums in another order


def net_of(case: Case) -> Net:
    """Return the net of one layer, with random weights."""
    names = [f"x{i}" for i in range(len(case.shapes))]
    tops = [f"y{i}" for i in range(case.tops)]
    lines = [
        f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ '
        f"{' '.join(f'dim: {n}' for n in shape)} }} }} }}"
        for name, shape in zip(names, case.shapes, strict=True)
    ]
    wiring = " ".join([f'bottom: "{name}"' for name in names] + [f'top: "{top}"' for top in tops])
    lines.append(f'layer {{ name: "layer" type: "{case.type}" {wiring} {case.params} }}')
    net = Net(prototxt.parse("\n".join(lines)))
    random = np.random.default_rng(1)
    net.weights = {
        name: [random.uniform(0.3, 1.5, shape).astype(np.float32) for shape in shapes]
        for name, shapes in net.parameter_shapes.items()
        if shapes
    }
    return net


def feeds_of(net: Net, case: Case) -> dict[str, np.ndarray]:
    random = np.random.default_rng(2)
    feeds = {}
    for name, shape in zip(net.inputs, case.shapes, strict=True):
        x = 2 * random.standard_normal(shape)
        if case.values == "positive":
            x = np.abs(x) + 0.2
        if case.values == "gap":
            x = random.permuted(
                np.broadcast_to(np.arange(shape[1]), (*shape[:1], *shape[2:], shape[1])), axis=-1
            )
            x = np.moveaxis(x, -1, 1)
        feeds[name] = x.astype(np.float32)
    return feeds


def expanded(draft: Draft, alternative: Alternative) -> Net:
    """Return the net in which the layer is replaced."""
    draft = Draft(draft.name, list(draft.items), dict(draft.shapes), draft.outputs)
    draft.items[-1:] = alternative.items
    message = draft.message()
    net = Net(prototxt.parse(prototxt.write(message)))
    items = zip(draft.items, message.layer, strict=True)
    net.weights = {
        layer.name: [np.asarray(w, np.float32) for w in item.weights]
        for item, layer in items
        if item.weights is not None
    }
    return net


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.id)
def test_forms_compute_the_layer(case: Case):
    net = net_of(case)
    feeds = feeds_of(net, case)
    expected = run(net, feeds)
    draft = draft_of(net.graph, net.weights)
    fitting = [one for one in alternatives(draft.items[-1], draft) if isinstance(one, Alternative)]
    assert any(not one.form.general for one in fitting), "no form of its own fits this case"
    for one in fitting:
        result = expanded(draft, one)
        result.check_weights()
        actual = run(result, feeds)
        for top in net.outputs:
            assert actual[top].shape == expected[top].shape, one.text
            largest = np.abs(expected[top]).max(initial=1.0)
            limit = max(TOLERANCE, one.form.error) * largest
            np.testing.assert_allclose(
                actual[top], expected[top], rtol=0, atol=limit, err_msg=one.text
            )


def test_every_form_has_a_case():
    used: set[tuple[str, str]] = set()
    for case in cases():
        net = net_of(case)
        draft = draft_of(net.graph, net.weights)
        for one in alternatives(draft.items[-1], draft):
            if isinstance(one, Alternative):
                used.add((case.type, one.form.text))
    forms_of("")  # the modules are loaded
    every = {(type_, one.text) for type_, forms in FORMS.items() for one in forms}
    elsewhere = {"LSTM", "RNN", "Parameter", "Silence", EVERY}
    missing = {one for one in every - used if one[0] not in elsewhere}
    missing.discard(("Eltwise", "spread the smaller bottom"))  # Caffe refuses the layer itself
    assert not missing
