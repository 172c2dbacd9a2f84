"""Parts of a net: which layers they have, the names of their blobs, their text, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from nets import net_with
from places import EXAMPLES

import protogen as pg
from protogen.formats import prototxt
from protogen.net.cutting import begin, computed_twice, cut_net, rest_of_net
from protogen.net.net import Net
from protogen.net.upgrade import upgrade

TINY = EXAMPLES / "tiny.prototxt"
WEIGHTS = EXAMPLES / "tiny.caffemodel"


@pytest.fixture(scope="module")
def tiny():
    return pg.load(TINY, WEIGHTS)


def text_of(part) -> str:
    return part.net.message.source.text


def types(part) -> list[str]:
    return [layer.type for layer in part.net.layers]


def value_of(net: Net, feeds, value: str):
    """Return a value of a net, also one that a layer in place writes over."""
    return pg.run(net, feeds, [value])[value]


def run_in_turn(net: Net, parts, feeds):
    """Run parts one after the other; return the values of the whole net that they compute. A value that no
    part computes is the whole net's own."""
    known = dict(feeds)
    for part in parts:
        for value in part.begins:
            if value not in known:
                known[value] = value_of(net, feeds, value)
        inputs = {blob: known[value] for value, blob in part.begins.items()}
        inputs = {name: inputs.get(name, known.get(name)) for name in part.net.inputs}
        blobs = pg.run(part.net, inputs, list(part.ends.values()))
        known |= {value: blobs[blob] for value, blob in part.ends.items()}
    return known


def check_parts(net: Net, parts, feeds, tolerance=1e-6) -> None:
    """Compare every output of the parts with the whole net."""
    known = run_in_turn(net, parts, feeds)
    for part in parts:
        for value in part.ends:
            expected = value_of(net, feeds, value)
            largest = np.abs(expected).max(initial=0)
            np.testing.assert_allclose(known[value], expected, 0, tolerance * max(largest, 1e-20))


# Text


ODD = """# A net with an odd layout.
#
name: "odd" ; force_backward: true   # not a layer

layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 dim: 4 dim: 4 } } }
# of the first convolution
layer{name:'a' type:"Power" bottom:"data" top:"a"
      power_param <scale:2.50>}  # 2.5 times
layer { name: "b" type: "Power" bottom: "a" top: "b" } layer { name: "c" type: "AbsVal" bottom: "b" top: "c" } ; # c
  layer {
\tname: "d" # the last
\ttype: "ReLU" bottom: "c" top: "d"
  # inside
}
# the end
"""


def test_layers_that_stay_keep_their_text():
    net = Net(prototxt.parse(ODD, "odd.prototxt"))
    lines = ODD.splitlines(keepends=True)
    assert text_of(cut_net(net, outputs=["a"])) == "".join([*lines[:8], lines[-1]])
    assert text_of(cut_net(net, outputs=["b"])) == (
        "".join(lines[:8]) + 'layer { name: "b" type: "Power" bottom: "a" top: "b" }\n' + lines[-1]
    )
    tail = text_of(cut_net(net, inputs=["b"]))
    assert tail.startswith("".join(lines[:3]))
    assert ' layer { name: "c" type: "AbsVal" bottom: "b" top: "c" } ; # c\n' in tail
    assert tail.endswith("".join(lines[9:]))
    assert "2.50" not in tail


def test_whole_net_is_the_same_text():
    net = Net(prototxt.parse(ODD, "odd.prototxt"))
    assert text_of(cut_net(net, outputs=["d"])) == ODD
    assert text_of(cut_net(net)) == ODD


def test_line_ends_byte_order_mark_and_bytes_outside_of_utf8_stay(tmp_path):
    raw = b"\xef\xbb\xbf" + ODD.replace("\n", "\r\n").replace("odd layout", "caf\xe9").encode(
        "latin-1"
    )
    (tmp_path / "odd.prototxt").write_bytes(raw)
    written = pg.cut_file(tmp_path / "odd.prototxt", None, tmp_path / "tail.prototxt", inputs=["b"])
    tail = written.part.path.read_bytes()
    assert tail.startswith(b"\xef\xbb\xbf# A net with an caf\xe9.\r\n")
    assert tail.count(b"\n") == tail.count(b"\r\n") > 10


def test_lists_of_layers_are_written_anew():
    text = (
        'layer: [ { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 } } },\n'
        '  { name: "y" type: "ReLU" bottom: "x" top: "y" },\n'
        '  { name: "z" type: "AbsVal" bottom: "y" top: "z" } ]\n'
    )
    part = cut_net(Net(prototxt.parse(text)), outputs=["y"])
    assert types(part) == ["Input", "ReLU"]
    assert "[" not in text_of(part)


def test_header_stays_if_the_first_layer_goes():
    text = (
        "# Copyright\n\n# data\n"
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 } } }\n'
        'layer { name: "y" type: "ReLU" bottom: "x" top: "y" }\n'
        'layer { name: "z" type: "AbsVal" bottom: "y" top: "z" }'
    )
    tail = text_of(cut_net(Net(prototxt.parse(text)), inputs=["y"]))
    assert tail.startswith('# Copyright\n\n# data\nlayer {\n  name: "y_input"\n')
    assert tail.endswith('top: "z" }')


# Values of blobs that layers change in place


@pytest.mark.parametrize(
    ("blob", "types_before", "types_after"),
    [
        ("conv1", ["Convolution", "BatchNorm", "Scale", "ReLU"], ["Pooling"]),
        ("conv1@scale1", ["Convolution", "BatchNorm", "Scale"], ["ReLU", "Pooling"]),
        ("conv1@conv1", ["Convolution"], ["BatchNorm", "Scale", "ReLU", "Pooling"]),
        ("pool1", ["Convolution", "BatchNorm", "Scale", "ReLU", "Pooling"], ["Convolution"]),
    ],
)
def test_name_of_a_blob_is_its_last_value(tiny, blob, types_before, types_after):
    part, rest = cut_net(tiny, outputs=[blob]), rest_of_net(tiny, outputs=[blob])
    assert types(part) == ["Input", *types_before]
    assert types(rest)[: 1 + len(types_after)] == ["Input", *types_after]
    assert types(rest)[-1] == "Softmax"
    name = blob.partition("@")[0]
    assert part.net.outputs == (name,)
    assert rest.net.inputs == (name,)
    assert rest.net.graph.shapes[name] == tiny.graph.shapes[blob]
    tail = cut_net(tiny, inputs=[blob])
    assert text_of(tail) == text_of(rest)
    check_parts(tiny, [part, rest], {"data": np.random.default_rng(0).normal(size=(1, 3, 32, 32))})


@pytest.mark.parametrize(
    "to", ["conv1@bn1", "conv1", "pool1", "conv2@conv2", "conv2", "fc", "prob"]
)
@pytest.mark.parametrize("start", ["conv1@conv1", "conv1@bn1", "conv1", "pool1", "conv2"])
def test_every_part_of_a_net_computes_the_same(tiny, start, to):
    feeds = {"data": np.random.default_rng(1).normal(size=(1, 3, 32, 32)).astype(np.float32)}
    order = [value for layer in tiny.layers for value in layer.writes]
    if order.index(to) <= order.index(start):
        with pytest.raises(pg.InputError):
            cut_net(tiny, inputs=[start], outputs=[to])
        return
    part = cut_net(tiny, inputs=[start], outputs=[to])
    parts = [cut_net(tiny, outputs=[start]), part]
    if to != "prob":
        parts.append(rest_of_net(tiny, inputs=[start], outputs=[to]))
    check_parts(tiny, parts, feeds)
    names = [layer.name for layer in part.net.layers]
    assert names[1:] == list(part.layers)
    for name in part.layers:
        for own, whole in zip(
            part.net.weights.get(name, ()), tiny.weights.get(name, ()), strict=True
        ):
            assert own is whole


def test_input_that_a_layer_changes_in_place():
    net = net_with(
        {"x": (2, 3)},
        'layer { name: "r" type: "ReLU" bottom: "x" top: "x" }\n'
        'layer { name: "y" type: "Power" bottom: "x" top: "y" power_param { scale: 2 } }',
    )
    part, rest = cut_net(net, outputs=["x"]), rest_of_net(net, outputs=["x"])
    assert types(part) == ["Input", "ReLU"]
    assert types(rest) == ["Input", "Power"]
    check_parts(net, [part, rest], {"x": np.float32([[-1, 0, 2], [3, -4, 5]])})
    assert text_of(cut_net(net, inputs=["x"])) == net.message.source.text  # an input already


# Layers with several tops, outputs that are read


SLICED = """
layer { name: "s" type: "Slice" bottom: "x" top: "a" top: "b" top: "c" slice_param { slice_point: 1 slice_point: 3 } }
layer { name: "p" type: "Power" bottom: "a" top: "p" power_param { shift: 1 } }
layer { name: "q" type: "Power" bottom: "b" top: "q" power_param { shift: 2 } }
layer { name: "r" type: "ReLU" bottom: "c" top: "c" }
layer { name: "sum" type: "Concat" bottom: "p" bottom: "q" bottom: "c" top: "sum" }
"""
X = {"x": np.random.default_rng(2).normal(size=(1, 6)).astype(np.float32)}


def test_unread_tops_get_a_silence_layer():
    net = net_with({"x": (1, 6)}, SLICED)
    part = cut_net(net, outputs=["p"])
    assert types(part) == ["Input", "Slice", "Power", "Silence"]
    assert part.silenced == ("b", "c")
    assert part.net.outputs == ("p",)
    rest = rest_of_net(net, outputs=["p"])
    assert types(rest) == ["Input", "Input", "Slice", "Power", "ReLU", "Concat", "Silence"]
    assert rest.net.inputs == ("x", "p")
    assert rest.silenced == ("a",)
    assert computed_twice(net, part, rest) == ("b", "c@s")
    check_parts(net, [part, rest], X)
    part = cut_net(net, outputs=["p", "b", "c@s"])
    rest = rest_of_net(net, outputs=["p", "b", "c@s"])
    assert (part.silenced, rest.silenced) == ((), ())
    assert rest.net.inputs == ("p", "b", "c")
    assert computed_twice(net, part, rest) == ()
    check_parts(net, [part, rest], X)


def test_top_that_becomes_an_input_beside_its_own_layer():
    net = net_with({"x": (1, 6)}, SLICED)
    part = cut_net(net, inputs=["b", "c"], outputs=["sum"])
    assert 'top: "b_cut"' in text_of(part)
    assert part.net.inputs == ("x", "b", "c")
    assert part.silenced == ("b_cut", "c_cut")
    check_parts(net, [part], X)


def test_output_that_a_layer_of_the_part_reads_is_a_copy():
    net = net_with(
        {"x": (1, 6)},
        'layer { name: "a" type: "Power" bottom: "x" top: "a" power_param { scale: 2 } }\n'
        'layer { name: "r" type: "ReLU" bottom: "a" top: "a" }\n'
        'layer { name: "b" type: "Power" bottom: "a" top: "b" power_param { shift: 1 } }\n'
        'layer { name: "c" type: "Eltwise" bottom: "a" bottom: "b" top: "c" }',
    )
    part, rest = cut_net(net, outputs=["a", "b"]), rest_of_net(net, outputs=["a", "b"])
    assert types(part) == ["Input", "Power", "ReLU", "Power", "Split"]
    assert set(part.net.outputs) == {"a", "b"}
    assert 'bottom: "a_value"' in text_of(part)
    assert types(rest) == ["Input", "Input", "Eltwise"]
    check_parts(net, [part, rest], X)
    with pytest.raises(
        pg.UnsupportedError, match=r'"r" .*: works in place on "a@a", which is an out'
    ):
        cut_net(net, outputs=["a@a", "c"])


def test_output_with_the_name_of_an_input_is_called_differently():
    net = net_with(
        {"x": (1, 6)},
        'layer { name: "r" type: "ReLU" bottom: "x" top: "x" }\n'
        'layer { name: "y" type: "Power" bottom: "x" top: "y" power_param { shift: 1 } }',
    )
    part = cut_net(net, outputs=["x", "y"])
    assert part.ends == {"x@r": "x_output", "y": "y"}
    assert set(part.net.outputs) == {"x_output", "y"}
    check_parts(net, [part], X)


def test_names_of_new_layers_are_not_those_of_the_net():
    """Caffe would look for weights under these names in the caffemodel of the whole net."""
    net = net_with(
        {"x": (1, 6)},
        'layer { name: "y" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 2 } }\n'
        'layer { name: "unread" type: "Power" bottom: "y" top: "z" }\n'
        'layer { name: "y_output" type: "Power" bottom: "z" top: "y_input" }\n'
        'layer { name: "y_input" type: "Power" bottom: "y_input" top: "w" }',
    )
    parts = [cut_net(net, inputs=["y"]), cut_net(net, outputs=["y", "z"])]
    names = {layer.name for part in parts for layer in part.net.layers}
    assert names == {"x", "y", "unread", "y_output", "y_input", "y_input2", "y_output2"}


# Inputs


def test_input_layers_have_only_the_tops_that_are_needed():
    text = (
        'layer { name: "in" type: "Input" top: "x" top: "y" top: "z" # three\n'
        "  input_param { shape { dim: 1 dim: 2 } shape { dim: 3 } shape { dim: 1 dim: 4 } } }\n"
        'layer { name: "a" type: "ReLU" bottom: "x" top: "a" }\n'
        'layer { name: "b" type: "ReLU" bottom: "z" top: "b" }\n'
        'layer { name: "c" type: "Silence" bottom: "y" }\n'
    )
    net = Net(prototxt.parse(text))
    part = cut_net(net, outputs=["b"])
    assert part.net.inputs == ("z",)
    assert part.net.graph.shapes["z"] == (1, 4)
    assert "# three" in text_of(part)
    both = cut_net(net, outputs=["a", "b"])
    assert both.net.inputs == ("x", "z")


@pytest.mark.parametrize("name", ["lenet_2013", "old_net"])
def test_old_formats_become_the_current_one(name):
    net = pg.load(EXAMPLES / f"{name}.prototxt")
    net.weights = {
        layer: [np.random.default_rng(3).normal(size=shape).astype(np.float32) for shape in shapes]
        for layer, shapes in net.parameter_shapes.items()
        if shapes
    }
    part, rest = cut_net(net, outputs=["pool1"]), rest_of_net(net, outputs=["pool1"])
    assert "\nlayers {" not in text_of(part)
    assert text_of(part).startswith("# A net")
    data = np.random.default_rng(4).normal(size=net.graph.shapes["data"]).astype(np.float32)
    check_parts(net, [part, rest], {"data": data})


@pytest.mark.filterwarnings("ignore::protogen.errors.ProtogenWarning")
def test_data_layers_become_inputs():
    net = pg.load(EXAMPLES / "all_in_one.prototxt", stages=["train"])
    part = cut_net(net, outputs=["fc"])
    assert types(part) == ["Input", "Convolution", "BatchNorm", "ReLU", "InnerProduct"]
    assert part.net.graph.shapes["data"] == (16, 3, 32, 32)
    assert "data_param" not in text_of(part)
    rest = rest_of_net(net, outputs=["fc"])
    assert types(rest) == ["Input", "Input", "SoftmaxWithLoss"]
    assert rest.net.inputs == ("label", "fc")


def test_rules_and_layers_of_other_stages_are_left_out():
    net = pg.load(EXAMPLES / "all_in_one.prototxt", stages=["deploy"])
    part = cut_net(net, inputs=["conv1@bn1"])
    assert types(part) == ["Input", "ReLU", "InnerProduct", "Softmax"]
    for word in ("include", "exclude", "stage:"):
        assert word not in text_of(part)
    assert prototxt.parse(text_of(part)) == part.net.message


def test_input_shape_is_in_the_text():
    net = pg.load(TINY, input_shapes={"data": (2, 3, 64, 48)})
    part = cut_net(net, outputs=["pool1"])
    again = Net(prototxt.parse(text_of(part)))
    assert again.graph.shapes["data"] == (2, 3, 64, 48)
    assert again.graph.shapes["pool1"] == net.graph.shapes["pool1"]


def test_shape_of_a_new_input_can_be_given():
    net = pg.load(TINY, input_shapes={"pool1": (2, 8, 5, 7)})
    part = cut_net(net, inputs=["pool1"], outputs=["conv2"])
    assert part.net.graph.shapes["pool1"] == (2, 8, 5, 7)
    assert part.net.graph.shapes["conv2"] == (2, 16, 3, 5)


@pytest.mark.filterwarnings("ignore::protogen.errors.ProtogenWarning")
def test_layers_of_unknown_type_can_be_cut_off():
    layers = (
        'layer { name: "a" type: "ReLU" bottom: "x" top: "a" }\n'
        'layer { name: "u" type: "Unheard" bottom: "a" top: "u" }\n'
        'layer { name: "b" type: "ReLU" bottom: "u" top: "b" }'
    )
    net = net_with({"x": (1, 6)}, layers)
    assert types(cut_net(net, outputs=["a"])) == ["Input", "ReLU"]
    with pytest.raises(
        pg.InputError, match=r'blob "u": its shape is unknown. Give it with --input-shape u=N'
    ):
        cut_net(net, inputs=["u"])
    known = Net(net.message, input_shapes={"u": (1, 6)})
    assert types(cut_net(known, inputs=["u"])) == ["Input", "ReLU"]
    identity = Net(net.message, identities=["u"])
    part = cut_net(identity, outputs=["u"])
    assert 'type: "Unheard"' in text_of(part)
    check_parts(identity, [part, rest_of_net(identity, outputs=["u"])], X)


# Weights


def test_shared_weights_stay_if_their_owner_goes():
    layers = "".join(
        f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{name}" '
        'param { name: "w" } inner_product_param { num_output: 6 bias_term: false } }\n'
        for name, bottom in (("one", "x"), ("two", "one"))
    )
    net = net_with({"x": (1, 6)}, layers)
    net.weights = {"one": [np.random.default_rng(5).normal(size=(6, 6)).astype(np.float32)]}
    part, rest = cut_net(net, outputs=["one"]), rest_of_net(net, outputs=["one"])
    assert rest.net.weights["two"][0] is net.weights["one"][0]
    check_parts(net, [part, rest], X)


# What is refused


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        (["conv"], [], '"conv": unknown blob. Did you mean conv2?'),
        ([], ["pool"], '"pool": unknown blob. Did you mean pool1?'),
        (["conv2"], ["pool1"], '"conv2": no output depends on it (outputs: pool1). Leave it out, or name '
         "an output after it with --to-blob."),
        (["pool1", "conv2"], [], '"pool1": no output depends on it except through other new inputs (outputs: '
         "prob). Leave it out, or name an output after it with --to-blob."),
        (["prob"], [], '"prob": no output depends on it (outputs: prob). Leave it out, or name an output '
         "after it with --to-blob."),
        (["conv1"], ["conv1"], '"conv1": is an input of the part, so that no layer computes it. Name a blob '
         "after it with --to-blob."),
        ([], ["data"], '"data": is an input of the part, so that no layer computes it. Name a blob after it '
         "with --to-blob."),
        (["conv1@bn1", "conv1"], ["conv1@scale1", "fc"], '"conv1": "conv1@bn1" and "conv1" are values of one '
         "blob, which cannot be two inputs. Begin at one of them, or give the top of the layer in place "
         "another name."),
    ],
)  # fmt: skip
def test_refused_blobs(tiny, inputs, outputs, message):
    with pytest.raises(pg.InputError) as error:
        cut_net(tiny, inputs=inputs, outputs=outputs)
    assert str(error.value) == message


def test_output_that_depends_on_no_input():
    net = net_with(
        {"x": (1, 6)},
        'layer { name: "d" type: "DummyData" top: "d" dummy_data_param { shape { dim: 1 dim: 6 } } }\n'
        'layer { name: "e" type: "Power" bottom: "d" top: "e" }\n'
        'layer { name: "y" type: "Eltwise" bottom: "x" bottom: "e" top: "y" }',
    )
    with pytest.raises(pg.InputError) as error:
        cut_net(net, outputs=["e"])
    assert str(error.value) == (
        '"e": depends on no input of the part. Make an input of what it is computed from: --from-blob d.'
    )
    assert types(cut_net(net, inputs=["d"], outputs=["e"])) == ["Input", "Power"]
    assert types(cut_net(net, outputs=["y"])) == ["Input", "DummyData", "Power", "Eltwise"]


def test_nothing_is_left(tiny):
    with pytest.raises(pg.InputError, match="prob: no output of the net is left after these blobs"):
        rest_of_net(tiny, outputs=["prob"])


def test_layer_outside_of_the_part_that_changes_a_blob_of_the_part():
    """In Caffe, Reshape shares the memory of its bottom, so the layer in place changes both."""
    net = net_with(
        {"x": (1, 6)},
        'layer { name: "a" type: "Power" bottom: "x" top: "a" }\n'
        'layer { name: "v" type: "Reshape" bottom: "a" top: "v" reshape_param { shape { dim: 2 dim: 3 } } }\n'
        'layer { name: "w" type: "ReLU" bottom: "v" top: "v" }\n'
        'layer { name: "b" type: "Power" bottom: "a" top: "b" }',
    )
    with pytest.raises(
        pg.UnsupportedError, match=r'layer "w" .*: works in place on "v", which shares its'
    ):
        cut_net(net, outputs=["b"])
    assert types(cut_net(net, outputs=["v"])) == ["Input", "Power", "Reshape", "ReLU"]


# Conversions from a blob on


def test_messages_of_a_conversion_have_the_places_of_the_file(tmp_path):
    text = TINY.read_text().replace('type: "Softmax"', 'type: "Unheard"')
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    with pytest.warns(pg.ProtogenWarning), pytest.raises(pg.UnsupportedError) as error:
        pg.convert(path, WEIGHTS, tmp_path / "a.onnx", inputs=["pool1"])
    line = text[: text.index('layer {\n  name: "prob"')].count("\n") + 1
    assert str(error.value).startswith(
        f'{path}:{line}:1: layer "prob" (Unheard): unknown layer type'
    )


def test_begin_without_blobs_is_the_net_itself(tiny):
    assert begin(tiny, []) is tiny
    assert begin(tiny, ["data"]) is tiny


# Random nets


@st.composite
def random_nets(draw):
    """A net of layers that read any earlier blobs, some of them in place or with two tops."""
    shape = (1, 4, 3, 3)
    lines, blobs, readers = [], ["x"], {"x": 0}
    for i in range(draw(st.integers(2, 9))):
        kind = draw(st.sampled_from(["unary", "unary", "in place", "two", "sum"]))
        a = draw(st.sampled_from(blobs))
        name = f"l{i}"
        if kind == "in place" and readers[a] == 0:
            slope = draw(st.sampled_from([0.1, 0.5]))
            lines.append(
                f'layer {{ name: "{name}" type: "ReLU" bottom: "{a}" top: "{a}" '
                f"relu_param {{ negative_slope: {slope} }} }}"
            )
            continue
        readers[a] += 1
        if kind == "two":
            lines.append(
                f'layer {{ name: "{name}" type: "Slice" bottom: "{a}" top: "{name}_1" top: "{name}_2" }}\n'
                f'layer {{ name: "{name}c" type: "Concat" bottom: "{name}_2" bottom: "{name}_1" top: "{name}" }}'
            )
        elif kind == "sum":
            b = draw(st.sampled_from(blobs))
            readers[b] += 1
            lines.append(
                f'layer {{ name: "{name}" type: "Eltwise" bottom: "{a}" bottom: "{b}" top: "{name}" }}'
            )
        else:
            shift = draw(st.integers(-3, 3))
            lines.append(
                f'layer {{ name: "{name}" type: "Power" bottom: "{a}" top: "{name}" '
                f"power_param {{ scale: 0.7 shift: {shift} }} }}"
            )
        blobs.append(name)
        readers[name] = 0
    return net_with({"x": shape}, "\n".join(lines))


@given(random_nets(), st.data())
@settings(max_examples=60)
def test_parts_of_random_nets(net, data):
    """Part and rest compute what the whole net does, and their outputs are those that were named."""
    values = [value for layer in net.layers for value in layer.writes if value not in net.inputs]
    if not values:
        return
    outputs = data.draw(st.lists(st.sampled_from(values), min_size=1, max_size=3, unique=True))
    inputs = data.draw(st.lists(st.sampled_from(values), max_size=2, unique=True))
    try:
        parts = [cut_net(net, inputs=inputs, outputs=outputs)]
    except (pg.InputError, pg.UnsupportedError):
        reject()  # an output is an input or depends on none, or a layer works in place on an output
    left = [name for name in net.outputs if name not in (*outputs, *net.inputs)]
    if left:
        parts.append(rest_of_net(net, inputs=inputs, outputs=outputs))
    for part in parts:
        graph = part.net.graph
        assert prototxt.parse(text_of(part)) == part.net.message
        assert set(graph.outputs) == set(graph.last(list(part.ends.values())))
        assert set(part.begins.values()) <= set(part.net.inputs)
    feeds = {"x": np.random.default_rng(6).normal(size=(1, 4, 3, 3)).astype(np.float32)}
    check_parts(net, parts, feeds)
    assert upgrade(parts[0].net.message) is parts[0].net.message
