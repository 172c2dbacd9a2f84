"""The data of the dialects: what it says, that it agrees with caffe.proto, and that it is read lazily."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
import union_schema
from places import SHARED

import protogen as pg
from protogen.errors import InputError
from protogen.formats.schema import caffe
from protogen.formats.schema.dialect import FOLDER, dialects, facts, in_words, marked, published
from protogen.formats.schema.dialect_pool import dialect_class
from protogen.formats.schema.source import SCALARS
from protogen.layers import LayerType
from protogen.toolchains.dialects import forks_of, known_dialects, lacks_of, registering
from protogen.toolchains.toolchain import of_dialect

NAMES = list(dialects())


def test_every_dialect_has_a_repository_and_a_line_of_description():
    for one in dialects().values():
        assert one.repository.count("/") == 1
        assert one.description
        assert "\n" not in one.description
        assert one.base in dialects() or one.name == "bvlc"
    assert NAMES[0] == "bvlc"
    assert len(NAMES) >= 40


@pytest.mark.parametrize(
    ("dialect", "has", "lacks"),
    [
        ("ssd", {"Permute", "PriorBox", "DetectionOutput", "Normalize"}, {"Clip", "Swish"}),
        ("refinedet", {"Permute", "PriorBox"}, {"Clip", "Swish"}),
        ("caffe-1.0", set(), {"Clip", "Swish"}),
        ("segnet", {"BN", "Upsample", "DenseImageData"}, {"Scale", "BatchNorm", "Input", "Crop"}),
        ("pspnet", {"BN", "Interp"}, {"Crop", "Input", "Swish"}),
        ("hed", {"ImageLabelmapData"}, {"Bias", "Scale"}),
        ("yolo", {"Upsample", "Yolov3", "DepthwiseConvolution"}, {"Clip"}),
        ("tpumlir", {"Reorg", "Upsample", "Lstm"}, set()),
        ("intel", {"ROIPooling", "SmoothL1LossOHEM"}, {"Clip"}),
        ("c3d-1.0", {"CONVOLUTION3D"}, {"Input", "Scale"}),
    ],
)
def test_types_of_a_dialect(dialect: str, has: set[str], lacks: set[str]):
    """Registrations in the public sources of each fork, read by hand."""
    assert has <= forks_of(dialect)
    assert lacks <= lacks_of(dialect)


@pytest.mark.parametrize(
    ("path", "has", "lacks"),
    [
        ("PoolingParameter.round_mode", {"bvlc", "yolo"}, {"ssd", "caffe-1.0", "refinedet"}),
        ("PoolingParameter.ceil_mode", {"cascadercnn", "pytorch2caffe"}, {"bvlc", "ssd"}),
        ("DropoutParameter.scale_train", {"ctpn", "frcnn"}, {"bvlc", "ssd"}),
        ("LayerParameter.clip_param", {"bvlc"}, {"ssd", "yolo", "huawei"}),
        ("NetParameter.layer", {"bvlc", "segnet"}, {"deeplab", "c3d-1.0"}),
    ],
)
def test_fields_of_dialects(path: str, has: set[str], lacks: set[str]):
    names = set(facts().names_of(facts().with_field(*path.split("."))))
    assert has <= names
    assert not lacks & names


def test_the_numbers_of_forks_collide():
    known = facts()
    numbers = {
        (name, d): known.field(d, "LayerParameter", name).number  # type: ignore[union-attr]
        for d, name in (
            ("bvlc", "input_param"),
            ("pspnet", "interp_param"),
            ("bvlc", "swish_param"),
        )
    }
    assert numbers[("input_param", "bvlc")] == 143
    assert numbers[("swish_param", "bvlc")] == 147
    assert known.field("ssd", "LayerParameter", "permute_param").number == 202  # type: ignore[union-attr]
    assert known.field("cambricon", "LayerParameter", "permute_param").number != 202  # type: ignore[union-attr]


def test_the_definitions_are_complete():
    """The type of each field is a scalar, an enum with values, or a message; every default is valid."""
    known = facts()
    for (message, name), definitions in known.fields.items():
        for one in definitions:
            assert one.label in ("optional", "required", "repeated"), (message, name)
            assert 0 < one.number < 1 << 29
            if one.type in known.enums and one.default:
                has = known.with_value(one.type, one.default)
                assert has & one.dialects == one.dialects, (message, name)
            elif one.type not in SCALARS and one.type not in known.enums:
                assert not one.default
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 400_000


def test_no_two_fields_of_a_dialect_have_the_same_number():
    for dialect in NAMES:
        bit = facts().bits[dialect]
        for (message, number), fields in facts().numbers.items():
            own = [name for name, one in fields if one.dialects & bit]
            assert len(own) <= 1, (dialect, message, number, own)


@pytest.mark.parametrize("dialect", NAMES)
def test_protobuf_takes_the_schema(dialect: str):
    proto = dialect_class(dialect, "NetParameter")
    assert proto.DESCRIPTOR.fields_by_name["name"].number == 1


def test_caffe_proto_has_every_definition_and_names_its_forks():
    """``python tests/toolchains/union_schema.py`` adds what is missing, and writes the comments."""
    text = union_schema.PATH.read_text(encoding="utf-8")
    assert union_schema.renumbered(text) == text
    assert union_schema.completed(text) == text
    assert union_schema.marked(text) == text


def test_a_comment_names_only_dialects_that_have_the_field():
    """Beside the dialects, it may name the origin of a field whose Caffe is not in the data."""
    known = facts()
    for message in caffe().messages.values():
        for field in message.fields.values():
            has = known.names_of(known.with_field(message.name, field.name))
            if has:
                assert list(field.dialects) == ([] if "bvlc" in has else has)
            else:
                assert field.dialects, f"{message.name}.{field.name} is in no dialect, and unmarked"


def test_a_definition_of_caffe_proto_is_that_of_a_dialect():
    """The file may join definitions: repeated for optional, a wider integer. Each type, and each default
    that is set, is that of a dialect."""
    known = facts()
    wrong = []
    for message in caffe().messages.values():
        for field in message.fields.values():
            definitions = known.fields.get((message.name, field.name), ())
            kind = field.message or field.enum
            type_ = kind.name if kind else field.type_name
            names = {one.type.rpartition(".")[2] for one in definitions}
            if definitions and type_.rpartition(".")[2] not in names:
                wrong.append((message.name, field.name, type_, names))
    assert not wrong


def test_the_data_is_read_only_when_it_is_needed(tmp_path: Path):
    """A plain net needs no data of dialects, and importing protogen does not either."""
    net = tmp_path / "net.prototxt"
    net.write_text(
        'layer { name: "d" type: "Input" top: "d" input_param { shape { dim: 1 dim: 3 } } }\n'
        'layer { name: "i" type: "InnerProduct" bottom: "d" top: "i" '
        "inner_product_param { num_output: 2 } }"
    )
    code = (
        "import sys, protogen as pg\n"
        f"pg.load({str(net)!r})\n"
        "from protogen.formats.schema import dialect\n"
        "print(dialect.facts.cache_info().currsize, dialect.dialects.cache_info().currsize)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "0"]


def test_an_unknown_dialect_is_an_error():
    with pytest.raises(InputError, match=r"unknown name 'refindet'\. Did you mean refinedet\?"):
        forks_of("refindet")
    with pytest.raises(InputError, match=r"Known dialects: bvlc, caffe-1\.0, "):
        forks_of("windows98")


def test_a_layer_type_of_a_user_has_its_own_dialect():
    class Mine2(LayerType):
        stock = False
        forks = ("mine2",)

    try:
        assert "mine2" in known_dialects()
        assert forks_of("mine2") == {"Mine2"}
        assert lacks_of("mine2") == frozenset()
    finally:
        del LayerType.registry["Mine2"]


def test_our_layer_types_take_their_dialects_from_the_data():
    named = {
        name for name, kind in LayerType.registry.items() if kind.forks and not kind.user_defined
    }
    assert named <= {"ExactResize"}


def test_published_names_the_forks_of_a_type():
    assert published("BatchReduction") == "; it is a type of tsn (yjxiong/caffe)"
    assert published("Unheard") == ""
    assert registering("ImageLabelmapData") == ["hed"]


def test_words_of_many_dialects():
    assert in_words(("a", "b")) == "a, b"
    assert in_words(tuple("abcdefghi")) == "a, b, c, d, e, f and 3 more"
    assert marked(["a"], list("abcd")) == "a"
    assert marked(["a", "b", "d"], list("abcd")) == "* -c"


@pytest.mark.parametrize("dialect", NAMES)
def test_a_dialect_is_a_toolchain(dialect: str):
    one = of_dialect(dialect)
    assert one.name == dialect
    assert one.types_complete
    assert one.schema.dialect == dialect
    assert set(one.types) >= forks_of(dialect)
    assert not set(one.types) & lacks_of(dialect) - {"Input"}


# Facts that were collected independently

SAME = (
    "bvlc",
    "refinedet",
    "segnet",
    "pspnet",
    "intel",
    "yolo",
    "sphereface",
    "pytorch2caffe",
    "hed",
)
SCHEMA = SHARED / "schema"
PROTOS = SHARED / "facts" / "protos"


@pytest.mark.skipif(not SCHEMA.exists(), reason=f"{SCHEMA} is missing")
@pytest.mark.parametrize("dialect", SAME)
def test_fields_agree_with_the_collected_schema(dialect: str):
    known = facts()
    with (SCHEMA / "fields.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if dialect in row["dialects"].split()]
    collected = {
        (row["message"], row["field"]): (int(row["number"]), row["label"], row["type"])
        for row in rows
    }
    own = {}
    for message, name in known.fields:
        if (one := known.field(dialect, message, name)) is not None:
            own[(message, name)] = (one.number, one.label, one.type)
    assert own == collected


@pytest.mark.skipif(not PROTOS.exists(), reason=f"{PROTOS} is missing")
@pytest.mark.parametrize("dialect", ["bvlc", "synopsys", "tpumlir", "vitis"])
def test_numbers_agree_with_the_collected_protos(dialect: str):
    known = facts()
    collected = json.loads((PROTOS / f"{dialect}.json").read_text(encoding="utf-8"))
    compared = 0
    for message, fields in collected.items():
        for name, number in fields.items() if not message.startswith("enum ") else ():
            one = known.field(dialect, message, name)
            if one is not None:
                compared += 1
                assert one.number == number, (message, name)
    assert compared > 400


def test_public_name():
    assert pg.dialects_of.__name__ == "dialects_of"
