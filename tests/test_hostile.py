"""Untrusted files: limits, the sandbox of templates, external data of ONNX models, and inputs that
fuzzing found."""

import io
import os
import subprocess
import sys
import time
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf.internal import api_implementation
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from places import EXAMPLES, ROOT

import protogen as pg
from protogen.formats import arrayfiles, caffemodel, prototxt, render, schema, weightfiles, wire
from protogen.running.pictures import read_pictures

FUZZ = ROOT / "fuzz"


# Findings of the fuzzer


@pytest.mark.skipif(sys.platform != "linux", reason="memory measurement needs Linux")
def test_findings_of_the_fuzzer_stay_fixed():
    done = subprocess.run(
        [sys.executable, FUZZ / "fuzz.py", "--replay", FUZZ / "findings"],
        capture_output=True, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert done.stdout.endswith("all fine\n")


@pytest.mark.skipif(sys.platform != "linux", reason="memory measurement needs Linux")
def test_fuzzer_reports_exceptions_time_and_memory(tmp_path):
    code = (
        "import sys; sys.path[:0] = [sys.argv[1]]\n"
        "from watch import Findings, Watch\n"
        "found = Findings()\n"
        "import time\n"
        "def busy():\n"
        "    end = time.process_time() + 1.2\n"
        "    while time.process_time() < end: pass\n"
        "for step in (lambda: {}[1], busy, lambda: bytearray(b'1' * (99 << 20))):\n"
        "    with Watch(b'x', '', found):\n"
        "        step()\n"
        "print(sorted(kind.split()[0] for kind in found.kinds))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, FUZZ], capture_output=True, encoding="utf-8")
    assert done.stdout.splitlines()[-1] == "['KeyError', 'memory', 'time']", done.stderr


# Limits for text and binary files


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("layer {" * 101, "nested more than 100 levels deep"),
        (f'name: "{"x" * ((1 << 20) + 1)}"', "the limit is 1048576"),
        (f'name: {chr(34)}{"x" * (1 << 19)}{chr(34)} "{"x" * (1 << 19)}y"', "the limit is 1048576"),
        ("input_dim: 1 " * 1_000_001, "more than 1000000 fields"),
    ],
    ids=["depth", "string", "joined strings", "fields"],
)  # fmt: skip
def test_text_beyond_a_limit_is_rejected(text, problem):
    with pytest.raises(pg.InputError, match=problem):
        prototxt.parse(text)


def test_too_large_file_and_too_many_layers_are_rejected(tmp_path):
    large = tmp_path / "large.prototxt"
    with large.open("wb") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(pg.InputError, match="larger than 64 MB"):
        pg.load(large)
    many = tmp_path / "many.prototxt"
    many.write_text('layer { type: "Silence" }\n' * 100_001)
    with pytest.raises(pg.InputError, match="100001 layers, the limit is 100000"):
        pg.load(many)


def test_toml_that_is_too_deep_or_too_large_is_rejected(tmp_path):
    path = tmp_path / "s.toml"
    for text, problem in (
        ("x = " + "[" * 3000, "nested too deep|not valid TOML"),
        ("#" * ((1 << 20) + 1), "larger than 1 MB"),
        ("x = " + "9" * 5000, "not valid TOML"),
    ):
        path.write_text(text)
        with pytest.raises(pg.InputError, match=problem):
            pg.load_spec(path)


def test_caffemodel_with_too_many_layers_or_axes_is_rejected():
    layer = wire.head("NetParameter", "layer", 0)
    with pytest.raises(pg.InputError, match="more than 900000 layers"):
        caffemodel.parse_weights(wire.Bytes(layer * 900_001, "m"))
    axes = wire.head("BlobShape", "dim", 33) + b"\1" * 33
    blob = wire.head("BlobProto", "shape", len(axes)) + axes
    whole = wire.head("LayerParameter", "blobs", len(blob)) + blob
    with pytest.raises(pg.InputError, match="33 axes, the limit is 32"):
        caffemodel.parse_weights(
            wire.Bytes(wire.head("NetParameter", "layer", len(whole)) + whole, "m")
        )


def test_declared_sizes_are_compared_with_the_file_size(tmp_path):
    """A huge declared size allocates no memory."""
    path = tmp_path / "a.npy"
    np.save(path, np.zeros(4, np.float32))
    path.write_bytes(path.read_bytes().replace(b"(4,)", b"(9999999999,)"))
    with pytest.raises(pg.InputError, match="need 39999999996 bytes, but the file has 25"):
        arrayfiles.read_arrays(path)
    path.write_bytes(path.read_bytes().replace(b"'<f4'", b"'|O8'"))
    with pytest.raises(pg.InputError, match="does not describe an array of numbers"):
        arrayfiles.read_arrays(path)
    data = wire.head("LayerParameter", "blobs", 2**40)
    with pytest.raises(pg.InputError, match="1099511627776 bytes is declared"):
        caffemodel.parse_weights(
            wire.Bytes(wire.head("NetParameter", "layer", len(data)) + data, "m")
        )


def test_archive_that_unpacks_to_far_more_is_rejected(tmp_path):
    path = tmp_path / "bomb.npz"
    array = io.BytesIO()
    np.save(array, np.zeros(1 << 25, np.float32))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", array.getvalue())
    with pytest.raises(pg.InputError, match="would unpack to"):
        arrayfiles.read_arrays(path)


@given(raw=st.binary(max_size=200))
@settings(max_examples=300)
def test_random_bytes_as_npy_are_read_or_raise_input_error(raw, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any.npy"
    path.write_bytes(b"\x93NUMPY" + raw)
    with suppress(pg.InputError):
        arrayfiles.read_arrays(path)


def test_arrays_saved_by_numpy_are_read(tmp_path):
    for array in (
        np.arange(6, dtype=np.float32).reshape(2, 3), np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array(3, np.int64), np.zeros((0, 4), ">f4"), np.array([True, False]),
    ):  # fmt: skip
        np.save(tmp_path / "a.npy", array)
        np.testing.assert_array_equal(arrayfiles.read_arrays(tmp_path / "a.npy")[""], array)
        np.savez(tmp_path / "a.npz", x=array, **{"ip/1": array})
        arrays = arrayfiles.read_arrays(tmp_path / "a.npz")
        assert list(arrays) == ["x", "ip/1"]
        np.testing.assert_array_equal(arrays["ip/1"], array)


def test_untrusted_hdf5_is_rejected(tmp_path):
    """Values in other files, names that are not blobs, values that are not numbers, and values that
    unpack to far more."""
    import h5py

    (tmp_path / "secret").write_bytes(bytes(64))
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["data/ip/0"] = np.ones(3, np.float32)

    def refused(match, fill):
        path = tmp_path / "w.h5"
        with h5py.File(path, "w") as store:
            fill(store)
        with pytest.raises(pg.InputError, match=match):
            weightfiles.read_any(path)

    data = "data/ip/0"
    virtual = h5py.VirtualLayout((3,), np.float32)
    virtual[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), data, (3,))
    refused("stored in another file", lambda f: f.create_virtual_dataset(data, virtual))
    refused("stored in another file", lambda f: f.create_dataset(
        data, (4,), np.float32, external=[(str(tmp_path / "secret"), 0, 64)]))  # fmt: skip
    refused("missing group /data", lambda f: f.update(data=h5py.ExternalLink("other.h5", "/data")))
    refused("missing group /data", lambda f: f.update(data=h5py.SoftLink("/elsewhere")))
    refused("/data is not a group", lambda f: f.update(data=np.ones(3)))
    refused("not the blob of a layer", lambda f: f.update({"data/ip/weight": np.ones(3)}))
    refused("expected values of type float, got object", lambda f: f.update({data: "text"}))
    refused("more than 67108864 bytes, the limit for a file of", lambda f: f.create_dataset(
        data, (1 << 25,), np.float32, chunks=(1 << 20,), compression="gzip"))  # fmt: skip
    # The reader does not follow a link inside of the group.
    with h5py.File(tmp_path / "w.h5", "w") as store:
        store["data/ip/0"] = np.ones(2, np.float32)
        store["data/other"] = h5py.ExternalLink("other.h5", "/data/ip")
    assert list(weightfiles.read_any(tmp_path / "w.h5")) == ["ip"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("message a {" * 33, "nested more than 32 levels deep"),
        ("message V { optional float a = 99999999999; }", "invalid statement"),
        ("message V { optional float a = 536870912; }", "field number 536870912 is out of range"),
        ("message V { optional Nowhere a = 1; }", "unknown type Nowhere"),
        pytest.param(
            "enum A { SAME = 0; } enum B { SAME = 0; }",
            "protobuf refuses the definitions",
            marks=pytest.mark.skipif(
                api_implementation.Type() == "python", reason="protobuf in Python accepts it"
            ),
        ),
        ("//" + "x" * (4 << 20), "larger than 4 MB"),
    ],
    ids=["depth", "digits", "number", "type", "twice", "size"],
)
def test_invalid_proto_is_rejected_and_adds_nothing(tmp_path, text, problem):
    from protogen.formats.schema import extension
    from protogen.formats.schema.pool import message_class

    (tmp_path / "vendor.proto").write_text(text)
    with pytest.raises(pg.InputError, match=problem):
        extension.add_proto(tmp_path / "vendor.proto")
    assert not {"V", "A", "B", "a"} & {*schema.caffe().messages, *schema.caffe().enums}
    assert message_class("NetParameter")(name="n").name == "n"


def test_picture_of_unsupported_format_is_rejected(tmp_path):
    path = tmp_path / "a.eps"
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    with pytest.raises(pg.InputError, match="the file is text, expected a picture"):
        read_pictures([path], (1, 3, 8, 8))


def test_run_that_needs_too_much_memory_is_rejected(tmp_path, protogen):
    bottoms = "".join(f' bottom: "b{i}"' for i in range(150))
    tops = "".join(f' top: "b{i}"' for i in range(150))
    (tmp_path / "n.prototxt").write_text(
        f'layer {{ name: "in" type: "Input"{tops} input_param {{ shape {{ dim: [1, 2, 32768, 32767] }} }} }}\n'
        f'layer {{ name: "sum" type: "Eltwise"{bottoms} top: "y" }}\n'
    )
    done = protogen("run", "n.prototxt", "--random")
    assert done.returncode == 3
    assert "needs at least 1.3 TB of memory" in done.stderr
    assert "Traceback" not in done.stderr


def test_shape_arithmetic_does_not_overflow():
    net = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: [%s] } } }'
    for dims in ("9223372036854775807", "1, 65536, 65536", "2147483648"):
        with pytest.raises(pg.InputError, match="more than the 2147483647 values"):
            pg.Net(prototxt.parse(net % dims))


# Untrusted templates


ATTACKS = [
    "{{ ''.__class__ }}", "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ layer.__init__.__globals__ }}", "{{ layer['__class__'] }}", "{{ layer|attr('__class__') }}",
    "{{ '{0.__class__}'.format(layer) }}", "{{ ('%s' ~ '{0.__class__}').format_map(layer) }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}", "{{ self.__class__ }}",
    "{{ namespace.__init__.__globals__ }}", "{% set x = [] %}{{ x.append(1) }}",
    "{{ lipsum.__globals__['os'] }}", "{{ get_flashed_messages.__globals__ }}",
    "{{ layer|map('attr', '__class__')|list }}", "{% include '../../etc/passwd' %}",
    "{% include '/etc/passwd' %}", "{% include 'link.prototxt.j2' %}", "{% import 'os' as os %}",
    "{{ name|safe }}",
]  # fmt: skip


@pytest.mark.parametrize("text", ATTACKS)
def test_sandbox_rejects_attacks(tmp_path, text):
    (tmp_path / "upsample.prototxt.j2").write_text(text)
    (tmp_path / "link.prototxt.j2").symlink_to("/etc/passwd")
    with pytest.raises(pg.InputError, match="invalid template") as caught:
        render.render("upsample", {"layer": {"a": 1}, "name": "n"}, directory=tmp_path)
    assert "root:" not in str(caught.value)
    # The function that runs in the other process raises the same error in this process.
    with pytest.raises(pg.InputError) as direct:
        render._render("upsample", {"layer": {"a": 1}, "name": "n"}, tmp_path, None)
    assert str(direct.value) == str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ name }}\n{{ nothing }}", ":2: invalid template: 'nothing' is undefined."),
        ("{{ name|enum }}", ":1: invalid template: 'a b' is not a valid enum value."),
        ("{{ net }}", ":1: invalid template: {} cannot be written as a prototxt value."),
        ("a\n{% for %}", ":2: invalid template: Expected an expression, got 'end of statement block'."),
        ("{% include 'x.j2' %}", ": invalid template: unknown template x.j2."),
        ("{{ 1 // 0 }}", ":1: invalid template: integer division or modulo by zero."),
    ],
)  # fmt: skip
def test_invalid_template_names_file_and_line(tmp_path, text, message):
    file = tmp_path / "t.j2"
    file.write_text(text)
    for render_file in (
        lambda: render.render("upsample", {"name": "a b", "net": {}}, file=file),
        lambda: render._render("upsample", {"name": "a b", "net": {}}, None, file),
    ):
        with pytest.raises(pg.InputError) as caught:
            render_file()
        assert str(caught.value) == f"{file}{message}"


def test_template_that_cannot_be_read_is_rejected(tmp_path):
    (tmp_path / "latin.j2").write_bytes(b"\xe4\xff")
    for file, problem in (("latin.j2", "is not UTF-8 text"), ("none.j2", "cannot be read (No such file or directory)")):  # fmt: skip
        with pytest.raises(pg.InputError) as caught:
            render._render("upsample", {}, None, tmp_path / file)
        assert str(caught.value) == f"{tmp_path / file}: {problem}. Give a template file."
    with pytest.raises(pg.InputError, match=r"is not a folder\. Give a folder"):
        render.render("upsample", {}, directory=tmp_path / "nowhere")
    (tmp_path / "note.j2").write_text('{{ "a\nb"|comment }}\nname: {{ name }}')
    assert render._render("upsample", {"name": '"x'}, None, tmp_path / "note.j2") == (
        '# a\n# b\nname: "\\"x"'
    )


def test_replies_of_the_other_process(monkeypatch):
    """``serve`` in this process: a text, an error, a too long text, a MemoryError."""
    import base64
    import json
    import pickle

    from protogen.formats import confined

    limits = []
    monkeypatch.setattr(confined, "_limit", lambda *values: limits.append(values))

    def reply(module: str, name: str, *args: object) -> dict[str, str]:
        task = base64.b64encode(pickle.dumps((module, name, args)))
        out = io.BytesIO()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(task)))
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out))
        confined.serve(10, 1 << 30, 2 << 20)
        return json.loads(sys.stdout.buffer.getvalue())

    assert reply("posixpath", "join", "a", "b") == {"text": "a/b"}
    assert reply("operator", "mul", "x", 3 << 20) == {
        "limit": "produces more than 2 million characters"
    }
    assert reply("protogen.formats.prototxt", "read", "/nowhere")["error"]["where"] == "/nowhere"
    monkeypatch.setattr(os.path, "join", _no_memory)
    assert reply("posixpath", "join", "a") == {"limit": "takes more than 1024 MB"}
    assert limits == [(10, 1 << 30)] * 4


def _no_memory(*_: object) -> str:
    raise MemoryError


def test_limits_stay_within_the_hard_limits(monkeypatch):
    """An unsupported limit is skipped."""
    resource = pytest.importorskip("resource")
    from protogen.formats import confined

    set_to = {}

    def refuse_one(kind: int, pair: tuple[int, int]) -> None:
        if kind == resource.RLIMIT_CORE:
            raise ValueError("not here")
        set_to[kind] = pair

    monkeypatch.setattr(resource, "setrlimit", refuse_one)
    monkeypatch.setattr(
        resource, "getrlimit", lambda kind: (5, 7 if kind == resource.RLIMIT_CPU else -1)
    )
    confined._limit(10, 1 << 30)
    assert set_to == {
        resource.RLIMIT_CPU: (7, 7), resource.RLIMIT_AS: (1 << 30, -1), resource.RLIMIT_FSIZE: (0, -1),
    }  # fmt: skip


ENDLESS = {
    "loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "text": "{{ 'a' * 999999999999 }}",
    "doubling": "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "power": "{{ 9 ** (9 ** 9) }}",
    "calls": "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
    "output": "{% for i in range(99999) %}" + "x" * 2000 + "{% endfor %}",
    "padding": "{{ 'a'.center(99999999999) }}",
}


@pytest.mark.parametrize("text", ENDLESS.values(), ids=ENDLESS)
def test_endless_template_is_stopped(tmp_path, text, monkeypatch):
    monkeypatch.setattr("protogen.formats.confined.SECONDS", 1)
    (tmp_path / "t.j2").write_text(text)
    start = time.monotonic()
    with pytest.raises(pg.InputError):
        render.render("upsample", {}, file=tmp_path / "t.j2")
    assert time.monotonic() - start < 60  # a generous bound, because the machine may be slow


def test_confined_process_cannot_write_files(tmp_path, monkeypatch):
    """This also stops a template that breaks out of the sandbox."""
    monkeypatch.syspath_prepend(tmp_path)
    code = (
        "from protogen.formats import confined; confined._limit(5, 1 << 30)\n"
        "with open('written', 'w') as file: file.write('x' * 10)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True)
    assert done.returncode != 0
    assert not (tmp_path / "written").exists() or not (tmp_path / "written").stat().st_size


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


@given(NAMES, NAMES, NAMES)
@settings(max_examples=300)
def test_names_of_any_content_do_not_change_other_fields(name, bottom, top):
    if bottom == top:
        return
    text = pg.upsample(2, name=name, bottom=bottom, top=top).prototxt
    (layer,) = prototxt.parse(text).layer
    assert (layer.name, list(layer.bottom), list(layer.top)) == (name, [bottom], [top])


@pytest.mark.parametrize(
    "text",
    ["9 ** 9 ** 9", "'a' * 99999999999", "kernel.__class__", "range(9)", "kernel | string", "(" * 400,
     "kernel if 1 else 2", "kernel <= 7 }}{{ 1", "'x' * 3 == kernel", "1" * 501],
)  # fmt: skip
def test_condition_with_a_forbidden_operation_is_rejected(text):
    with pytest.raises(pg.InputError, match="invalid condition"):
        render.condition(text)({"kernel": 3})


# External data of ONNX models


def external(folder: Path, location: str) -> Path:
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2, 2],
                         data_location=TensorProto.EXTERNAL)  # fmt: skip
    weight.external_data.add(key="location", value=location)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])], [weight],
    )  # fmt: skip
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    return folder / "m.onnx"


@pytest.mark.parametrize(
    "way", ["up", "absolute", "link", "folder link", "nowhere", "empty", "pipe"]
)
def test_external_data_outside_of_the_folder_is_rejected(tmp_path, way):
    folder = tmp_path / "model"
    folder.mkdir()
    secret = tmp_path / "secret"
    secret.write_bytes(np.arange(4, dtype=np.float32).tobytes())
    location = {"up": "../secret", "absolute": str(secret), "link": "w", "folder link": "d/secret",
                "nowhere": "missing", "empty": "", "pipe": "p"}[way]  # fmt: skip
    (folder / "w").symlink_to(secret)
    (folder / "d").symlink_to(tmp_path)
    os.mkfifo(folder / "p")
    model = external(folder, location)
    for read in (
        pg.from_onnx,
        pg.check_onnx,
        lambda m: pg.run(m, {"x": np.ones((1, 2), np.float32)}),
    ):
        with pytest.raises(pg.InputError):
            read(model)


def test_external_data_in_the_folder_is_read(tmp_path):
    (tmp_path / "sub").mkdir()
    values = np.arange(4, dtype=np.float32)
    (tmp_path / "sub" / "w").write_bytes(values.tobytes())
    net = pg.from_onnx(external(tmp_path, "sub/w"))
    x = np.ones((1, 2), np.float32)
    np.testing.assert_array_equal(pg.run(net, {"x": x})["y"], x @ values.reshape(2, 2))


def test_invalid_onnx_operators_are_rejected():
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    for nodes, problem in (
        (
            [helper.make_node("Relu", ["missing"], ["y"])],
            "which no input, constant or other operator defines",
        ),
        (
            [helper.make_node("Identity", ["y"], ["y"])],
            "which depends on the output of this operator",
        ),
        ([helper.make_node("Relu", ["x"], ["y"])] * 2, "is already defined"),
        ([helper.make_node("Relu", ["x", "x"], ["y"])], "does not match the ONNX schema"),
        ([helper.make_node("Relu", ["x"], ["y"], slope=1.0)], "does not match the ONNX schema"),
        ([helper.make_node("LSTM", ["x"], ["y"])], "does not match the ONNX schema"),
    ):
        graph = helper.make_graph(nodes, "g", [x], [y])
        imports = [helper.make_opsetid("", 18)]
        with pytest.raises(pg.InputError, match=problem):
            pg.from_onnx(helper.make_model(graph, ir_version=8, opset_imports=imports))


def test_invalid_round_trip_metadata_is_ignored(tmp_path):
    model = onnx.load(EXAMPLES / "squeeze_excite.onnx")
    for value in ("{", "[]", '{"layer": 1}', '{"layer": "", "bottoms": [1], "shapes": []}',
                  '{"layer": "", "bottoms": [], "shapes": [[-1]]}', "[" * 5000):  # fmt: skip
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        copy.metadata_props.add(key=f"caffe_layer:{model.graph.output[0].name}", value=value)
        assert pg.from_onnx(copy).layers


def test_library_calls_from_many_threads_give_equal_results():
    from concurrent.futures import ThreadPoolExecutor

    def work(number: int) -> tuple[str, bytes]:
        up = pg.upsample(2 + number % 3, channels=3, input_shape=(1, 3, 4, 4))
        net = pg.load(EXAMPLES / "tiny.prototxt", EXAMPLES / "tiny.caffemodel")
        return up.prototxt, pg.to_onnx(net).SerializeToString(deterministic=True)

    alone = [work(i) for i in range(6)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(48))) == [alone[i % 6 % 3] for i in range(48)]


@pytest.mark.skipif(sys.platform != "linux", reason="memory measurement needs Linux")
@pytest.mark.parametrize("kind", ["fields", "parts"])
def test_memory_for_files_at_the_limits(kind):
    """A text or caffemodel at the limits takes at most half a gigabyte."""
    code = (
        "import sys; sys.path[:0] = [sys.argv[1]]\n"
        "from watch import peak, reset\n"
        "from protogen.formats import caffemodel, prototxt, wire\n"
        "before = reset()\n"
        "if sys.argv[2] == 'fields':\n"
        "    prototxt.parse('input_dim: 1 ' * 1_000_000)\n"
        "else:\n"
        "    blobs = b'\\x3a\\x00' * (wire.MAX_PARTS - 9)\n"
        "    head = wire.head('NetParameter', 'layer', len(blobs))\n"
        "    caffemodel.parse_weights(wire.Bytes(head + blobs, 'm'))\n"
        "print(peak() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, FUZZ, kind], capture_output=True, encoding="utf-8", cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert 50e6 < int(done.stdout) < 500e6


@pytest.mark.parametrize("place", ["net", "layer", "top", "data"])
def test_names_outside_of_utf8_cannot_be_converted_to_onnx(tmp_path, place):
    """prototxt keeps bytes outside of UTF-8; names in ONNX are UTF-8."""
    net, layer, top, data = (
        b"n\x9b" if name == place else b"n" + name.encode()
        for name in ("net", "layer", "top", "data")
    )
    path = tmp_path / "net.prototxt"
    path.write_bytes(
        b'name: "%b" input: "x" input_shape { dim: 1 dim: 2 }\n'
        b'layer { name: "%b" type: "ReLU" bottom: "x" top: "%b" }\n'
        b'layer { name: "d" type: "DummyData" top: "%b" dummy_data_param { shape { dim: 1 } } }'
        % (net, layer, top, data)
    )
    with pytest.raises(pg.InputError) as caught:
        pg.to_onnx(pg.load(path))
    assert str(caught.value).endswith(
        r'the name "n\x9b" is not valid UTF-8, which ONNX requires of names. Rename it.'
    )
