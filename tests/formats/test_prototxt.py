"""Reader and writer of prototxt: accepted text, retained text, and errors with their places."""

from __future__ import annotations

import math
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

import protogen as pg
from protogen.errors import ProtogenWarning
from protogen.formats import prototxt
from protogen.formats.message import Field, Message, Name, Source
from protogen.formats.prototxt.parser import Parser
from protogen.formats.schema.source import parse_proto
from protogen.generate.specification import UpsampleSpec

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(TEXT, TEXT, TEXT)
def test_a_name_of_any_content_adds_no_field(name, bottom, top):
    """The generated layer parses back to the requested layer, for names of any content."""
    if bottom == top:
        return
    net = prototxt.parse(pg.upsample(2, name=name, bottom=bottom, top=top).prototxt)
    plain = pg.upsample(2, name="n", bottom="b", top="t").prototxt
    expected = prototxt.parse(plain).plain()
    expected["layer"][0] |= {"name": name, "bottom": [bottom], "top": [top]}
    assert net.plain() == expected


@given(st.one_of(st.text(), st.binary()))
def test_quoted_value_parses_back(value):
    if isinstance(value, bytes):
        parsed = prototxt.parse(f"data: {prototxt.quote(value)}", message="Datum").data
    else:
        parsed = prototxt.parse(f"name: {prototxt.quote(value)}").name
    assert parsed == value


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_spec_keeps_a_name_of_any_content(name):
    if name:
        assert UpsampleSpec((2, 2), name=name, top=name + "x").name == name


def test_unusual_syntax_of_real_files_is_read(tmp_path):
    path = tmp_path / "odd.prototxt"
    path.write_bytes(
        b"\xef\xbb\xbf# caf\xe9 in Latin-1\r\n"
        b"name: 'a' \"b\"\r\n"
        b'layer < name: "x"; type: "Pooling", pooling_param: { kernel_size: 0x3 stride: 02 } >\r\n'
        b"layer { bottom: ['p', 'q'] top: [] loss_weight: [-1.5e2, inf, 2f] phase: 1\n"
        b' include: [{phase: TEST}, {stage: "s"}] propagate_down: t }\n'
    )
    net = prototxt.read(path)
    assert net.name == "ab"
    first, second = net.layer
    assert (first.pooling_param.kernel_size, first.pooling_param.stride) == (3, 2)
    assert second.bottom == ["p", "q"]
    assert second.loss_weight == [-150.0, math.inf, 2.0]
    assert second.phase == "TEST"
    assert [rule.has("phase") for rule in second.include] == [True, False]
    assert second.propagate_down == [True]
    assert prototxt.parse(prototxt.write(net)) == net


def test_defaults_come_from_the_schema():
    layer = prototxt.parse('layer { name: "x" }').layer[0]
    assert layer.convolution_param.bias_term is True
    assert layer.pooling_param.pool == "MAX"
    assert layer.convolution_param.kernel_size == []
    with pytest.raises(AttributeError):
        _ = layer.nonsense


def test_comments_are_written_back():
    text = """# head
name: "n"  # the name
layer {  # opening
  # inside
  name: "a"

  type: "B"
  # before the brace
}  # closing
# end
"""
    assert prototxt.write(prototxt.parse(text)) == text


def test_unknown_fields_are_kept_with_a_warning():
    text = 'layer {\n  kernel_sise: 3\n  zqzq_param { a: 1 b { c: "x" } }\n}\n'
    with pytest.warns(ProtogenWarning) as warned:
        net = prototxt.parse(text, "f.prototxt")
    assert [str(w.message) for w in warned] == [
        "f.prototxt:2:3: unknown field kernel_sise in LayerParameter; it is kept.",
        "f.prototxt:3:3: unknown field zqzq_param in LayerParameter; it is kept.",
    ]
    assert prototxt.write(net) == text.replace(
        '{ a: 1 b { c: "x" } }', '{\n    a: 1\n    b {\n      c: "x"\n    }\n  }'
    )
    with pytest.raises(pg.InputError, match=r"f\.prototxt:2:3"):
        prototxt.parse(text, "f.prototxt", strict=True)


def test_fields_of_forks_are_read_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer = prototxt.parse("layer { bn_param { bn_mode: INFERENCE } }").layer[0]
    assert layer.bn_param.bn_mode == "INFERENCE"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('layer { name: "a"', "f:1:17: unexpected end of file: layer at f:1:1 is not closed. Add '}'."),
        ("layer { name: a }", "f:1:15: name must be a string, got a. Put it in quotes."),
        ('name: "a', 'f:1:7: the string is not closed on its line. Add ".'),
        ("layer { convolution_param { num_output: 1.5 } }",
         "f:1:41: num_output: expected an integer (uint32), got 1.5."),
        ("layer { convolution_param { num_output: -1 } }",
         "f:1:42: num_output: -1 is out of range for uint32 (0 to 4294967295)."),
        ("layer { convolution_param { num_output: \"3\" } }",
         'f:1:41: num_output must be an integer (uint32), got the string "3".'),
        ("layer { pooling_param { pool: 99 } }",
         "f:1:31: unknown value 99 of PoolingParameter.PoolMethod. Known values: MAX, AVE, STOCHASTIC, AVE_EXC_PAD, AVE_TF, MIN, "
         "DEF, MDS, DEF_ALL, DEF_ALL2, DEF_ALL3, DEF_ALL4, LOWRES."),
        ("layer { convolution_param: 3 }",
         "f:1:28: expected '{' after convolution_param, got 3."),
        ("layer { convolution_param { bias_term: yes } }",
         "f:1:40: bias_term must be true or false, got yes."),
        ('name: "a"\nname: "b"',
         "f:2:1: name is set twice (first at f:1:1). Remove one: Caffe refuses the file."),
        ("layer { name { } }", "f:1:14: name must be a string in quotes, got a message."),
        ("layer { } }", "f:1:11: expected a field name, got }."),
        ("layer { name \"x\" }", "f:1:14: expected ':' after name, got \"x\"."),
        ("name: \"a\\qb\"", "f:1:9: invalid escape sequence \\q in a string. Write a backslash as \\\\."),
        ("layer { loss_weight: 1.2.3 }", "f:1:22: invalid number."),
        ("layer { ? }", "f:1:9: unexpected character '?'."),
        ("[caffe.x]: 3", "f:1:1: unexpected '[': Caffe's messages have no extension fields."),
    ],
)  # fmt: skip
def test_syntax_errors_name_their_place(text, message):
    with pytest.raises(pg.InputError) as caught:
        prototxt.parse(text, "f")
    assert str(caught.value).splitlines()[0] == message
    line, caret = str(caught.value).splitlines()[1:]
    assert caret.strip() == "^"
    assert len(caret) <= len(line) + 1


@pytest.mark.filterwarnings("ignore::protogen.errors.ProtogenWarning")
def test_deep_nesting_is_rejected():
    with pytest.raises(pg.InputError, match="nested more than 100 levels deep"):
        prototxt.parse("layer { unknown {" + "a {" * 10_000, "f")


def test_message_from_python_values_is_checked():
    message = Message.make("ConvolutionParameter", num_output=3, kernel_size=[2, 3], engine="CAFFE")
    assert message.kernel_size == [2, 3]
    assert message.engine == Name("CAFFE")
    for invalid in ({"num_output": -1}, {"engine": "GPU"}, {"nonsense": 1}, {"bias_term": "x"}):
        with pytest.raises(pg.InputError):
            Message.make("ConvolutionParameter", **invalid)


@pytest.mark.parametrize(
    ("kind", "least", "most"),
    [
        ("int32", -(2**31), 2**31 - 1),
        ("sint32", -(2**31), 2**31 - 1),
        ("uint32", 0, 2**32 - 1),
        ("fixed32", 0, 2**32 - 1),
        ("sfixed64", -(2**63), 2**63 - 1),
        ("fixed64", 0, 2**64 - 1),
    ],
)
def test_an_integer_has_the_range_of_its_type(kind, least, most):
    """A vendor's .proto can have types of integers that Caffe's own has not."""
    type_ = parse_proto(f"message A {{ optional {kind} n = 1; }}", "p.proto").messages["A"]
    for value in (least, 7, most):
        document = prototxt.Document(type_, Source(f"n: {value}", "a.txt"))
        Parser(document.source, True).run(document)
        assert document.n == value
    for value in (least - 1, most + 1):
        document = prototxt.Document(type_, Source(f"n: {value}", "a.txt"))
        with pytest.raises(pg.InputError, match=rf"n: {value} is out of range for {kind}"):
            Parser(document.source, True).run(document)


def test_an_attribute_is_a_field_of_its_own_message_only():
    convolution = prototxt.parse("layer { convolution_param { num_output: 3 } }").layer[0]
    assert convolution.convolution_param.num_output == 3
    assert convolution.pooling_param.kernel_size == 0
    with pytest.raises(AttributeError, match="PoolingParameter has no field 'num_output'"):
        _ = convolution.pooling_param.num_output
    with pytest.raises(AttributeError, match="an unknown message has no field 'num_output'"):
        _ = Message(None).num_output
    assert Message(None, [Field("num_output", 5)]).num_output == 5
