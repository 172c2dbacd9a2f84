"""Which dialects a net can be of: for nets with a known answer, and for nets drawn from the data."""

from __future__ import annotations

import time
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

import protogen as pg
from protogen.errors import InputError, ProtogenWarning
from protogen.formats import prototxt
from protogen.formats.schema.dialect import dialects, facts
from protogen.formats.schema.source import SCALARS
from protogen.net.dialects import dialects_of
from protogen.net.forks import in_a_sentence, of_forks
from protogen.toolchains.detection import Detection, detect, lacked

HEAD = 'layer { name: "d" type: "Input" top: "x" input_param { shape { dim: 1 dim: 4 dim: 8 dim: 8 } } }\n'


def parsed(text: str) -> prototxt.Document:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ProtogenWarning)
        return prototxt.parse(text, "net.prototxt")


def detected(layers: str, head: str = HEAD) -> Detection:
    return detect(parsed(head + layers))


def of(type_: str, more: str = "") -> Detection:
    return detected(f'layer {{ name: "l" type: "{type_}" bottom: "x" top: "y" {more} }}')


def test_bvlc_is_first():
    one = of("Convolution", "convolution_param { num_output: 2 kernel_size: 1 }")
    assert one.possible[:2] == ("bvlc", "caffe-1.0")
    assert "ssd" in one.possible
    assert one.closest == "bvlc"


def test_a_new_type_and_a_new_field_exclude_old_forks():
    one = of("Clip", "clip_param { min: 0 max: 1 }")
    assert one.possible[0] == "bvlc"
    assert not {"ssd", "caffe-1.0", "refinedet", "yolo"} & set(one.possible)
    assert [str(x) for x in one.lacks["ssd"]] == ["type Clip (line 2)", "clip_param (line 2)"]
    one = of("Pooling", "pooling_param { kernel_size: 2 round_mode: FLOOR }")
    assert "yolo" in one.possible
    assert [str(x) for x in one.lacks["ssd"]] == ["pooling_param.round_mode (line 2)"]


def test_a_value_of_an_enum():
    one = of("Pooling", "pooling_param { kernel_size: 2 round_mode: ROUND }")
    assert "bvlc" not in one.possible
    assert [x.text for x in one.lacks["bvlc"]] == ["pooling_param.round_mode: ROUND"]


def test_a_field_that_old_forks_take_only_once():
    """kernel_size is repeated since the N-dimensional convolution of 2015."""
    two = of("Convolution", "convolution_param { num_output: 2 kernel_size: 1 kernel_size: 3 }")
    assert "bvlc" in two.possible
    assert "hed" not in two.possible
    assert [x.text for x in two.lacks["tsn"] if "size" in x.text] == [
        "more than one convolution_param.kernel_size"
    ]


def test_a_number_that_a_type_does_not_hold():
    one = of("ContinuationIndicator", "continuation_indicator_param { time_step: -1 }")
    assert "tpumlir" in one.possible  # int32 there
    assert [x.text for x in one.lacks["cc4"]] == ["continuation_indicator_param.time_step: -1"]


def test_the_best_fork_is_the_smallest():
    one = of("Permute", "permute_param { order: 0 order: 2 order: 3 order: 1 }")
    assert one.possible[0] == "ssd"
    assert one.possible.index("ssd") < one.possible.index("synopsys")
    assert "vitis" in one.possible[-3:]  # its layer types are not public
    assert one.why[0].use.text in ("type Permute", "permute_param")


def test_why_is_as_short_as_possible():
    """One type that only one fork has explains everything."""
    one = detected(
        'layer { name: "a" type: "Permute" bottom: "x" top: "a" }\n'
        'layer { name: "b" type: "DetectionOutput" bottom: "a" top: "b" }\n'
        'layer { name: "c" type: "LaneData" top: "c" }\n'
    )
    assert one.possible == ("yolo",)
    assert [str(x.use) for x in one.why] == ["type LaneData (line 4)"]
    assert one.why[0].dialects == ("yolo",)
    assert one.why[0].use.layer == "c"


def test_a_type_that_no_fork_has():
    one = of("Unheard")
    assert one.possible == ()
    assert one.closest == "bvlc"
    assert in_a_sentence(one) == (
        "no known Caffe has all of its layer types and fields; bvlc lacks type Unheard"
    )


def test_the_old_format():
    old = parsed('layers { name: "r" type: RELU bottom: "x" top: "y" }\ninput: "x" input_dim: 1')
    one = detect(old)
    assert one.possible[0] == "bvlc"
    assert "c3d-1.0" in one.possible
    three = parsed('layers { name: "r" type: CONVOLUTION3D bottom: "x" top: "y" }')
    assert detect(three).possible == ("c3d-1.0",)
    assert "c3d-1.0" not in detected("").possible  # it has no `layer`


def test_input_fields_are_of_every_dialect_and_input_layers_are_not():
    fields = 'input: "x" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8\n'
    layer = 'layer { name: "r" type: "ReLU" bottom: "x" top: "x" }'
    assert "segnet" in detected(layer, head=fields).possible
    assert "segnet" not in detected(layer).possible


def test_a_layer_type_of_the_user_excludes_no_dialect():
    try:
        pg.layer("Squash")(lambda layer, e: None)
        assert "bvlc" in of("Squash").possible
    finally:
        del pg.layers.LayerType.registry["Squash"]


def test_detection_of_a_net_in_memory_sees_the_file(tmp_path: Path):
    """The upgrade moves input fields into an Input layer, which SegNet's Caffe does not have."""
    path = tmp_path / "net.prototxt"
    path.write_text(
        'input: "x" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8\n'
        'layer { name: "r" type: "ReLU" bottom: "x" top: "y" }'
    )
    net = pg.load(path)
    assert pg.dialects_of(net) == pg.dialects_of(path)
    assert "segnet" in pg.dialects_of(net).possible


def test_a_file_without_layers(tmp_path: Path):
    path = tmp_path / "empty.prototxt"
    path.write_text('name: "n"')
    with pytest.raises(InputError, match="the net has no layers"):
        dialects_of(path)


def test_only_nets_of_forks_have_a_note():
    assert of_forks(parsed(HEAD)) is None
    one = of_forks(parsed(HEAD + 'layer { name: "p" type: "Permute" bottom: "x" top: "y" }'))
    assert one is not None
    assert in_a_sentence(one).startswith("by its layer types and fields, the net can be of ssd, ")


def test_a_net_of_1000_layers_takes_less_than_a_second():
    facts()
    layer = (
        'layer {{ name: "l{i}" type: "Convolution" bottom: "x" top: "l{i}" param {{ lr_mult: 1 }} '
        'convolution_param {{ num_output: 4 pad: 1 kernel_size: 3 weight_filler {{ type: "xavier" }} }} }}\n'
        'layer {{ name: "p{i}" type: "Permute" bottom: "l{i}" top: "p{i}" permute_param {{ order: 0 }} }}\n'
    )
    times = {}
    for count in (250, 500):
        net = parsed(HEAD + "".join(layer.format(i=i) for i in range(count)))
        detect(net)
        start = time.process_time()
        detect(net)
        times[count] = time.process_time() - start
    assert times[500] < 1
    assert times[500] < 4 * times[250] + 0.02


# Nets that are drawn from the data of a dialect


def _value(draw: st.DrawFn, type_: str, dialect: str) -> str | None:
    known = facts()
    if type_ in known.enums:
        names = [n for n in known.enums[type_] if known.with_value(type_, n) & known.bits[dialect]]
        return draw(st.sampled_from(names)) if names else None
    if type_ == "string":
        return '"word"'
    if type_ == "bool":
        return draw(st.sampled_from(["true", "false"]))
    if type_ in ("float", "double"):
        return str(draw(st.integers(-4, 4)) / 2)
    return str(draw(st.integers(0, 9))) if type_ in SCALARS and type_ != "bytes" else None


def _block(draw: st.DrawFn, message: str, dialect: str, depth: int) -> str:
    known = facts()
    names = [n for n in known.messages.get(message, ()) if known.field(dialect, message, n)]
    lines = []
    for name in draw(st.lists(st.sampled_from(names), max_size=3, unique=True)) if names else ():
        one = known.field(dialect, message, name)
        assert one is not None
        if one.type not in SCALARS and one.type not in known.enums:
            if depth:
                lines.append(f"{name} {{ {_block(draw, one.type, dialect, depth - 1)} }}")
            continue
        times = draw(st.integers(1, 2)) if one.label == "repeated" else 1
        for _ in range(times):
            if (value := _value(draw, one.type, dialect)) is not None:
                lines.append(f"{name}: {value}")
    return " ".join(lines)


MODERN = [n for n in dialects() if facts().field(n, "NetParameter", "layer")]


@st.composite
def nets(draw: st.DrawFn) -> tuple[str, str]:
    """A dialect, and the text of a net with its layer types, fields and values."""
    known = facts()
    dialect = draw(st.sampled_from(MODERN))
    types = [t for t, has in known.types.items() if has & known.bits[dialect]]
    blocks = [n for n in known.messages["LayerParameter"] if n.endswith("_param")]
    blocks = [n for n in blocks if known.field(dialect, "LayerParameter", n)]
    layers = []
    for i in range(draw(st.integers(1, 3))):
        block = draw(st.sampled_from(blocks))
        one = known.field(dialect, "LayerParameter", block)
        assert one is not None
        inside = _block(draw, one.type, dialect, 1)
        type_ = draw(st.sampled_from(types))
        layers.append(f'layer {{ name: "l{i}" type: "{type_}" {block} {{ {inside} }} }}')
    return dialect, "\n".join(layers)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(nets())
def test_a_net_of_a_dialect_can_be_of_it(drawn: tuple[str, str]):
    """Every net that is drawn from a dialect's own data can be of this dialect; and a dialect is possible
    exactly if nothing of the net is lacking in it."""
    dialect, text = drawn
    try:
        net = parsed(text)
    except InputError as error:  # a value that only this fork's type of a field takes
        if "must be" not in str(error) and "expected an integer" not in str(error):
            raise
        reject()
    one = detect(net)
    assert dialect in one.possible, (text, one.lacks.get(dialect))
    for name in ("bvlc", "ssd", "synopsys"):
        assert (name in one.possible) == (not list(lacked(net, name)))
    assert set(one.possible).isdisjoint(one.lacks)
    assert set(one.possible) | set(one.lacks) == set(dialects())
    assert all(one.lacks.values())
    excluded = set(one.lacks)
    explained = {name for each in one.why for name in dialects() if name not in each.dialects}
    assert explained == excluded
