"""Targets of the fuzzer: each reads one file as a command of protogen does.

A target may raise ProtogenError. Everything else is a finding: another exception, a warning of another
library, an inconsistent result, more than a second of time, or more memory than ten times the input.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import mutations
from watch import FLOOR

ROOT = Path(__file__).resolve().parent.parent
PIXELS = 600 << 20  # bytes of the largest image that protogen reads, decoded twice
SMALL = 1 << 16  # maximum number of parameters of a net that is exported, with constant weights


@dataclass(frozen=True, slots=True)
class Target:
    """A target of the fuzzer.

    Attributes:
        run: reads a file.
        suffix: the extension of the file.
        mutate: edits an input of this format.
        seeds: returns the first inputs.
        floor: bytes of memory that every input may use.
        bounded: whether time and memory count; if not, long executions are stopped without a finding.
    """

    name: str
    run: Callable[[Path], object]
    suffix: str
    mutate: mutations.Mutation
    seeds: Callable[[], Iterator[bytes]]
    floor: int = FLOOR
    bounded: bool = True


def _prototxt(path: Path) -> None:
    """Parse a prototxt, write it, and parse it again: the text must not change."""
    from protogen.formats import prototxt

    text = prototxt.write(prototxt.read(path))
    rewritten = prototxt.write(prototxt.parse(text))
    assert rewritten == text, "written text changes when it is read and written again"


def _net(path: Path) -> None:
    """Load a net, and compute its shapes, cost, V1 form and ONNX model."""
    import numpy as np

    import protogen as pg
    from protogen.errors import ProtogenError
    from protogen.net.cost import costs
    from protogen.net.downgrade import downgrade

    net = pg.load(path, tolerant=True)
    costs(net.graph)
    shapes = {name: blobs or () for name, blobs in net.parameter_shapes.items()}
    size = sum(math.prod(shape) for blobs in shapes.values() for shape in blobs)
    if size <= SMALL:
        net.weights.update({n: [np.full(s, 0.5, np.float32) for s in b] for n, b in shapes.items()})
        with suppress(ProtogenError):
            pg.to_onnx(net)
    downgrade(net.message)


def _lint(path: Path) -> None:
    """Run all rules, and apply fixes."""
    from protogen.lint.engine import check_file, selected

    check_file(path, selected(["ALL"]), fix=True)


def _page(path: Path) -> None:
    """Write the report page of a net."""
    from protogen.report.write import write_report

    write_report(path, path.with_suffix(".html"))


def _caffemodel(path: Path) -> None:
    """Read all weights, upgrade them, and write them again."""
    import numpy as np

    from protogen.formats.caffemodel import parse_weights, read_weights, write_weights
    from protogen.formats.wire import Bytes
    from protogen.net.binary import upgraded_entries

    model = read_weights(path)
    weights = model.weights()
    file = BytesIO()
    write_weights(file, model.name, upgraded_entries(model, []))
    written = parse_weights(Bytes(file.getvalue(), "written")).weights()
    assert written.keys() == weights.keys(), "layers were lost in writing"
    for name, blobs in weights.items():
        for old, new in zip(blobs, written[name], strict=True):
            with np.errstate(all="ignore"):  # double values may exceed the range of float32
                np.testing.assert_array_equal(old.astype(np.float32), new)


def _binaryproto(path: Path) -> None:
    from protogen.preprocessing import meanfiles

    mean = meanfiles.read(path)
    meanfiles.write(BytesIO(), mean, ".binaryproto")


def _arrays(path: Path) -> None:
    """Read NumPy arrays as an input, a mean and weights."""
    from protogen.errors import ProtogenError
    from protogen.formats.arrayfiles import read_arrays
    from protogen.formats.weightfiles import read_npz
    from protogen.preprocessing import meanfiles

    for read in (read_arrays, read_npz, lambda file: meanfiles.read(file.with_suffix(".npy"))):
        with suppress(ProtogenError):
            read(path)


def _hdf5(path: Path) -> None:
    from protogen.formats.weightfiles import read_hdf5

    read_hdf5(path)


def _picture(path: Path) -> None:
    from protogen.running.pictures import read_pictures

    read_pictures([path], (1, 3, 8, 8))


def _onnx(path: Path) -> None:
    """Import an ONNX model as a Caffe net."""
    import protogen as pg

    pg.from_onnx(path)


def _verdict(path: Path) -> None:
    """Run ``convert --dry-run`` on a model, and load it with the onnx package."""
    import protogen as pg
    from protogen.onnx import load_model

    pg.check_onnx(path)
    load_model(path)


def _toml(path: Path) -> None:
    """Read a TOML file as each kind that protogen supports."""
    import protogen as pg
    from protogen.errors import ProtogenError
    from protogen.lint.configuration import find
    from protogen.toolchains.limits import load_target

    for read in (
        lambda file: pg.load_spec(file).prototxt,
        load_target,
        lambda file: find(file.parent),
    ):
        with suppress(ProtogenError):
            read(path)


class _Guarded:
    """An object with an attribute that a template must not read."""

    size = 3

    def __init__(self) -> None:
        self._hidden = CANARY


CANARY = "hidden attribute"


def _template(path: Path) -> None:
    """Render an untrusted template, and evaluate its text as a condition of a target description.

    protogen limits time and memory in the process that renders templates. This target only checks
    which attributes a template can read.
    """
    from protogen.errors import ProtogenError
    from protogen.formats.render import _render, condition

    values = {"name": "up", "bottom": "a", "top": 'b" }', "factor": [2, 2], "channels": 3,
              "net": {}, "layer": _Guarded()}  # fmt: skip
    with suppress(ProtogenError):
        text = _render("upsample", values, None, path)
        assert CANARY not in text, "the template read a hidden attribute"
    condition(path.read_text("utf-8", "replace")[:200])({"kernel": 3, "stride": 2})


def _log(path: Path) -> None:
    """Diagnose a training log."""
    import protogen as pg

    pg.diagnose(path)


def _schema(path: Path) -> None:
    """Read a vendor's .proto file, and the same bytes as a descriptor set."""
    from protogen.errors import ProtogenError
    from protogen.formats.schema.extension import check_proto
    from protogen.formats.schema.pool import proto_text

    raw = path.read_bytes()
    with suppress(ProtogenError):
        check_proto(raw.decode("utf-8", "replace"), "vendor.proto")
    check_proto(proto_text(raw, "vendor.desc"), "vendor.desc")


# Seeds: examples and test cases of the project


def _texts() -> Iterator[bytes]:
    for path in sorted((ROOT / "examples").glob("*.prototxt")):
        yield path.read_bytes()
    for path in sorted((ROOT / "tests" / "cases").glob("*/*/net.prototxt")):
        yield path.read_bytes()
    for code in _rules():
        yield code.encode()


def _rules() -> Iterator[str]:
    from protogen.lint.rules import all_rules

    yield from (rule.example for rule in all_rules().values() if rule.example)


def _models() -> Iterator[bytes]:
    import numpy as np

    from protogen.formats.caffemodel import header, write_weights
    from protogen.net.downgrade import v1_entries

    yield from ((ROOT / "examples" / name).read_bytes() for name in ("checkerboard.caffemodel",))
    small = [np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(2, np.float32)]
    from protogen.formats.caffemodel import Entry, parse_weights
    from protogen.formats.wire import Bytes

    file = BytesIO()
    write_weights(file, "net", [Entry(header("ip", "InnerProduct", ["a"], ["b"]), small)])
    yield file.getvalue()
    old = BytesIO()
    model = parse_weights(Bytes(file.getvalue(), "seed"))
    write_weights(old, "net", v1_entries(model), legacy=True)
    yield old.getvalue()


def _means() -> Iterator[bytes]:
    import numpy as np

    from protogen.preprocessing import meanfiles

    for shape in ((3, 2, 2), (1, 4, 4), (3,)):
        file = BytesIO()
        meanfiles.write(
            file, np.arange(math.prod(shape), dtype=np.float32).reshape(shape), ".binaryproto"
        )
        yield file.getvalue()
    yield b"\x08\x01\x10\x01\x18\x02\x20\x02" + b"\x2d\0\0\x80\x3f" * 4  # legacy, unpacked


def _numpy() -> Iterator[bytes]:
    import numpy as np

    yield from ((ROOT / "examples" / name).read_bytes() for name in ("W.npy", "b.npy"))
    file = BytesIO()
    np.savez(file, **{"ip/0": np.ones((2, 3), np.float32), "ip/1": np.ones(2, np.float32)})
    yield file.getvalue()


def _stores() -> Iterator[bytes]:
    import numpy as np

    from protogen.formats.weightfiles import write_hdf5

    file = BytesIO()
    write_hdf5(file, {"ip": [np.ones((3, 2), np.float32)], "a/b": [np.ones(3, np.float32)]})
    yield file.getvalue()


def _pictures() -> Iterator[bytes]:
    from PIL import Image

    yield (ROOT / "examples" / "pictures" / "0.png").read_bytes()
    for kind, mode in (("PNG", "RGBA"), ("JPEG", "L"), ("GIF", "P"), ("BMP", "RGB"), ("TIFF", "F")):
        file = BytesIO()
        Image.new(mode, (5, 4)).save(file, kind)
        yield file.getvalue()


def _onnx_models() -> Iterator[bytes]:
    import warnings

    import numpy as np

    import protogen as pg
    from protogen.errors import ProtogenError

    yield (ROOT / "examples" / "squeeze_excite.onnx").read_bytes()
    from onnx import TensorProto, helper

    numbers = helper.make_tensor(
        "w", TensorProto.FLOAT, [2], [1, 2]
    )  # a constant that the importer folds
    graph = helper.make_graph(
        [helper.make_node("Exp", ["w"], ["e"]), helper.make_node("Add", ["x", "e"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])], [numbers],
    )  # fmt: skip
    imports = [helper.make_opsetid("", 18)]
    yield helper.make_model(graph, ir_version=8, opset_imports=imports).SerializeToString()
    warnings.simplefilter("ignore")
    for path in sorted((ROOT / "tests" / "cases" / "layers").glob("*/net.prototxt")):
        try:
            net = pg.load(path)
            net.weights.update(
                {
                    n: [np.full(s, 0.5, np.float32) for s in b or ()]
                    for n, b in net.parameter_shapes.items()
                }
            )
            model = pg.to_onnx(net).SerializeToString()
        except ProtogenError:
            continue
        if len(model) < 4096:
            yield model


def _specs() -> Iterator[bytes]:
    yield (ROOT / "examples" / "head.toml").read_bytes()
    for path in sorted((ROOT / "protogen" / "toolchains" / "targets").glob("*.toml")):
        yield path.read_bytes()
    yield b'[check]\nselect = ["PG1", "PG310"]\nignore = ["PG5"]\ntarget = "ncnn"\nexact = true\n'


def _templates() -> Iterator[bytes]:
    for path in sorted((ROOT / "templates").glob("*.j2")):
        yield path.read_bytes()
    yield b"kernel <= 7 and stride in [2, 4]"
    yield b"{% for i in range(4) %}{{ name ~ i }}: {{ channels ** 2 }}\n{% endfor %}"
    yield b"{% macro m(x) %}{{ x|upper }}{% endmacro %}{{ m(name) }}{{ ''.__class__ }}"


def _logs() -> Iterator[bytes]:
    lines = (ROOT / "examples" / "deep_sigmoid.log").read_bytes().splitlines(keepends=True)
    yield b"".join(lines[:20])
    yield b"".join(lines[-20:])


def _protos() -> Iterator[bytes]:
    text = (ROOT / "protogen" / "formats" / "schema" / "caffe.proto").read_text("utf-8")
    for block in re.findall(r"^(?:message|enum) \w+ \{\n.*?^\}", text, re.M | re.S)[:40]:
        yield f'syntax = "proto2";\npackage caffe;\n{block}\n'.encode()
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    descriptors = FileDescriptorSet()
    message = descriptors.file.add(name="v.proto", package="caffe").message_type.add(
        name="VendorParameter"
    )
    message.field.add(name="alpha", number=1, type=2, label=1, default_value="0.5")
    yield descriptors.SerializeToString()


@cache
def _words() -> list[bytes]:
    """Return the names of fields and enum values, and the layer types."""
    from protogen.formats.schema import caffe
    from protogen.layers import LayerType

    schema = caffe()
    names = {name for message in schema.messages.values() for name in message.fields}
    names |= {name for enum in schema.enums.values() for name in enum.values}
    return sorted(name.encode() for name in names | set(LayerType.registry))


def _onnx_wire(raw: bytes, random: mutations.Random) -> bytes:
    """Edit fields of a model, or an operator."""
    if random.randrange(4):
        return mutations.wire(raw, random)
    import onnx
    from google.protobuf.message import DecodeError

    types = sorted({schema.name for schema in onnx.defs.get_all_schemas()})
    model = onnx.ModelProto()
    try:
        model.ParseFromString(raw)
    except DecodeError:
        return mutations.wire(raw, random)
    if not model.graph.node:
        return mutations.wire(raw, random)
    with suppress(UnicodeError):  # an earlier edit may have broken names
        _edit_node(model, random, types)
    return model.SerializeToString()


def _edit_node(model: Any, random: mutations.Random, types: list[str]) -> None:
    node = random.choice(model.graph.node)
    edit = random.randrange(4)
    if edit == 0:
        node.op_type = random.choice(types)
    elif edit == 1 and node.input:
        names = [name for one in model.graph.node for name in (*one.input, *one.output)]
        node.input[random.randrange(len(node.input))] = random.choice(names)
    elif edit == 2 and node.attribute:
        attribute = random.choice(node.attribute)
        attribute.i = random.choice((0, 1, -1, 2**31, 2**63 - 1, -(2**63)))
        attribute.ints.append(attribute.i)
    elif model.graph.input:
        shape = random.choice(model.graph.input).type.tensor_type.shape
        shape.dim.add().dim_value = random.choice((0, 1, -1, 2**31, 2**62))


def _prototxt_words(names: Callable[[], list[bytes]] = _words) -> mutations.Mutation:
    return mutations.text(names)


_PROTOTXT = _prototxt_words()
_JINJA = mutations.text(
    lambda: [
        *b"name bottom top channels factor range loop cycler joiner namespace lipsum dict self".split(),
        *b"__class__ __mro__ __subclasses__ __globals__ __init__ __builtins__ mro format attr".split(),
        *b"map select reject join replace list string upper enum comment include import extends".split(),
        *b"for endfor if endif macro endmacro set endset call endcall filter endfilter block".split(),
    ]
)

TARGETS = {
    target.name: target
    for target in (
        Target("prototxt", _prototxt, ".prototxt", _PROTOTXT, _texts),
        Target("net", _net, ".prototxt", _PROTOTXT, _texts),
        Target("lint", _lint, ".prototxt", _PROTOTXT, _texts),
        Target("page", _page, ".prototxt", _PROTOTXT, _texts),
        Target("caffemodel", _caffemodel, ".caffemodel", mutations.wire, _models),
        Target("binaryproto", _binaryproto, ".binaryproto", mutations.wire, _means),
        Target("arrays", _arrays, ".npy", mutations.plain, _numpy),
        Target("hdf5", _hdf5, ".h5", mutations.plain, _stores),
        Target("picture", _picture, ".png", mutations.plain, _pictures, floor=PIXELS),
        Target("onnx", _onnx, ".onnx", _onnx_wire, _onnx_models),
        Target("verdict", _verdict, ".onnx", _onnx_wire, _onnx_models),
        Target("toml", _toml, ".toml", mutations.text(_words), _specs),
        Target("template", _template, ".prototxt.j2", _JINJA, _templates, bounded=False),
        Target("log", _log, ".log", mutations.text(list), _logs),
        Target("schema", _schema, ".proto", mutations.text(_words), _protos),
    )
}
