"""The schema: complete, independent of other protobuf pools, equal for text and binary files."""

from __future__ import annotations

import csv
import os
import subprocess
import sys

import pytest
from places import ROOT

import protogen as pg
from protogen.formats import schema
from protogen.formats.schema.pool import message_class
from protogen.formats.schema.source import parse_proto


def test_schema_has_every_field_of_every_dialect(shared):
    messages = schema.caffe().messages
    with (shared / "schema" / "fields.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 1000
    for row in rows:
        field = messages[row["message"]].fields[row["field"]]
        if "bvlc" in row["dialects"].split():
            assert (field.number, field.label, field.type_name.split(".")[-1]) == (
                int(row["number"]), row["label"], row["type"].split(".")[-1],
            ), row  # fmt: skip
            assert not field.dialects
            assert field.packed == bool(row["packed"])
            if row["default"]:
                default = str(field.default)
                assert default.lower() == row["default"].lower() or float(default) == float(
                    row["default"]
                )
    with (shared / "schema" / "enums.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            values = schema.caffe().enums[row["enum"]].values
            if "bvlc" in row["dialects"].split():
                assert values[row["value"]] == int(row["number"])
            assert row["value"] in values


def test_protobuf_classes_round_trip():
    net = message_class("NetParameter")()
    layer = net.layer.add(name="c", type="Convolution")
    layer.convolution_param.kernel_size.append(3)
    assert layer.convolution_param.bias_term is True
    parsed = message_class("NetParameter").FromString(net.SerializeToString())
    assert parsed == net


SNIPPET = """
import google.protobuf
from protogen.formats import prototxt, schema; from protogen import upsample
from protogen.formats.schema.pool import message_class
net = message_class("NetParameter")()
net.layer.add(name="x").blobs.add().data.extend([1, 2])
assert message_class("NetParameter").FromString(net.SerializeToString()) == net
assert prototxt.parse(upsample(2).prototxt).layer[0].type == "Deconvolution"
print(google.protobuf.__version__)
"""


@pytest.mark.parametrize("release", ["4.25.9", "5.29.6", "6.33.6", "7.34.2"])
def test_protobuf_releases(release, tmp_path_factory):
    """Four major versions of protobuf, each in a separate process."""
    target = tmp_path_factory.mktemp("protobuf")
    pip = subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target),
         f"protobuf=={release}"],
        capture_output=True, encoding="utf-8",
    )  # fmt: skip
    if pip.returncode and not os.environ.get("CI"):
        pytest.skip(f"protobuf {release} cannot be installed here: {pip.stderr.strip()[-200:]}")
    assert pip.returncode == 0, pip.stderr
    done = subprocess.run(
        [sys.executable, "-c", SNIPPET],
        env=os.environ | {"PYTHONPATH": f"{target}{os.pathsep}{ROOT}"},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == release


def test_another_caffe_proto_in_the_process_causes_no_conflict():
    """Another caffe.proto in protobuf's default pool may have other field numbers."""
    code = """
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe")
net = file.message_type.add(name="NetParameter")
net.field.add(name="name", number=77, type=9, label=1)
pool = descriptor_pool.Default()
pool.AddSerializedFile(file.SerializeToString())
theirs = message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.NetParameter"))
from protogen.formats.schema.pool import message_class
ours = message_class("NetParameter")
assert ours.DESCRIPTOR.fields_by_name["name"].number == 1
assert theirs.DESCRIPTOR.fields_by_name["name"].number == 77
assert ours(name="x").SerializeToString() != theirs(name="x").SerializeToString()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr


def test_proto_text_is_parsed():
    text = """
    syntax = "proto2"; package p;
    /* block */ message A { // fork
      enum E { X = 0; Y = 5; }
      optional E e = 1 [default = Y]; repeated A.B b = 2;
      message B { optional string s = 1 [default = "q"]; }
      reserved 4, 5;
    }
    """
    parsed = parse_proto(text, "p.proto")
    assert list(parsed.messages) == ["A", "A.B"]
    assert parsed.messages["A"].fields["e"].default == "Y"
    assert parsed.messages["A"].fields["b"].message is parsed.messages["A.B"]
    assert parsed.messages["A.B"].fields["s"].default == "q"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("message A {\n  optional int32 = 3;\n}", "p.proto:2:3: invalid statement. The file must be proto2 text."),
        ("message A {", "p.proto:1:12: A is not closed. The file must be proto2 text."),
        ("}", "p.proto:1:1: unexpected closing brace. The file must be proto2 text."),
        ("optional int32 a = 1;", "p.proto:1:1: field outside of a message. The file must be proto2 text."),
    ],
)  # fmt: skip
def test_invalid_proto_text_names_the_place(text, message):
    with pytest.raises(pg.InputError) as caught:
        parse_proto(text, "p.proto")
    assert str(caught.value) == message


def test_unknown_type_of_a_field_is_named():
    with pytest.raises(pg.InputError, match=r"A\.b: unknown type Missing"):
        _ = (
            parse_proto("message A { optional Missing b = 1; }", "p.proto")
            .messages["A"]
            .fields["b"]
            .enum
        )
