"""A wrong argument of a public function is reported by the name that the caller wrote."""

from __future__ import annotations

import inspect
import pickle
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np
import pytest
from places import EXAMPLES

import protogen as pg
from protogen._arguments import checked
from protogen.errors import ArgumentError

PROTOTXT, CAFFEMODEL = str(EXAMPLES / "tiny.prototxt"), str(EXAMPLES / "tiny.caffemodel")
X = np.zeros((1, 3, 32, 32), np.float32)


@pytest.fixture(scope="module")
def net() -> pg.Net:
    return pg.load(PROTOTXT, CAFFEMODEL)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    pg.convert(PROTOTXT, CAFFEMODEL, path)
    return str(path)


# The argument with the mistake, and a call with it. ``n`` is a net, ``m`` the path of an ONNX model.
MISTAKES: list[tuple[str, Callable[[pg.Net, str], object]]] = [
    # values of another type
    ("factor", lambda n, m: pg.upsample(factor="two")),
    ("factor", lambda n, m: pg.upsample(factor=None)),
    ("factor", lambda n, m: pg.upsample(factor=np.zeros(3))),
    ("channels", lambda n, m: pg.upsample(channels="many")),
    ("channels", lambda n, m: pg.upsample(channels=2.5)),
    ("name", lambda n, m: pg.upsample(name=3)),
    ("bottom", lambda n, m: pg.upsample(bottom=3)),
    ("top", lambda n, m: pg.upsample(top=b"x")),
    ("mode", lambda n, m: pg.upsample(mode=3)),
    ("trainable", lambda n, m: pg.upsample(trainable="yes")),
    ("weights", lambda n, m: pg.upsample(weights=5)),
    ("input_shape", lambda n, m: pg.upsample(input_shape=5)),
    ("template", lambda n, m: pg.upsample(template=5)),
    ("templates", lambda n, m: pg.upsample(templates=5)),
    ("like", lambda n, m: pg.upsample(2, exact=True, like=5)),
    ("factor", lambda n, m: pg.resize(object())),
    ("size", lambda n, m: pg.resize(size=5.5, input_shape=(1, 1, 4, 4))),
    ("mode", lambda n, m: pg.resize(2, mode=5)),
    ("align", lambda n, m: pg.resize(2, align=5)),
    ("like", lambda n, m: pg.resize(2, like=5)),
    ("limits", lambda n, m: pg.resize(2, limits=5)),
    ("target", lambda n, m: pg.resize(2, target=5)),
    ("up", lambda n, m: pg.verify_upsampling(5)),
    ("path", lambda n, m: pg.load_spec(5)),
    ("path", lambda n, m: pg.load(3)),
    ("path", lambda n, m: pg.load(None)),
    ("path", lambda n, m: pg.load(n)),
    ("caffemodel", lambda n, m: pg.load(PROTOTXT, 5)),
    ("phase", lambda n, m: pg.load(PROTOTXT, phase=5)),
    ("level", lambda n, m: pg.load(PROTOTXT, level="x")),
    ("stages", lambda n, m: pg.load(PROTOTXT, stages=5)),
    ("stages", lambda n, m: pg.load(PROTOTXT, stages="deploy")),
    ("input_shapes", lambda n, m: pg.load(PROTOTXT, input_shapes=[1, 3, 4, 4])),
    ("input_shapes['data']", lambda n, m: pg.load(PROTOTXT, input_shapes={"data": 5})),
    ("input_shapes['data'][1]", lambda n, m: pg.load(PROTOTXT, input_shapes={"data": (1, "3")})),
    ("dialect", lambda n, m: pg.load(PROTOTXT, dialect=5)),
    ("prototxt", lambda n, m: pg.convert(n, None, "x.onnx")),
    ("caffemodel", lambda n, m: pg.convert(PROTOTXT, 5, "x.onnx")),
    ("output", lambda n, m: pg.convert(PROTOTXT, CAFFEMODEL, None)),
    ("opset", lambda n, m: pg.convert(PROTOTXT, CAFFEMODEL, "x.onnx", opset="18")),
    ("outputs", lambda n, m: pg.convert(PROTOTXT, CAFFEMODEL, "x.onnx", outputs=5)),
    ("outputs", lambda n, m: pg.convert(PROTOTXT, CAFFEMODEL, "x.onnx", outputs="prob")),
    ("preprocessing", lambda n, m: pg.convert(PROTOTXT, CAFFEMODEL, "x.onnx", preprocessing={})),
    ("model", lambda n, m: pg.convert_onnx(5, "x.prototxt")),
    ("output", lambda n, m: pg.convert_onnx(m, 5)),
    ("caffemodel", lambda n, m: pg.convert_onnx(m, "x.prototxt", 5)),
    ("target", lambda n, m: pg.convert_onnx(m, "x.prototxt", target=5)),
    ("model", lambda n, m: pg.from_onnx(5)),
    ("model", lambda n, m: pg.check_onnx(None)),
    ("prototxt", lambda n, m: pg.check_caffe(n)),
    ("net", lambda n, m: pg.to_onnx(PROTOTXT)),
    ("opset", lambda n, m: pg.to_onnx(n, opset="18")),
    ("opset", lambda n, m: pg.upsample(2).to_onnx(opset="18")),
    ("model", lambda n, m: pg.run(5, {"data": X})),
    ("model", lambda n, m: pg.run(None, {"data": X})),
    ("feeds", lambda n, m: pg.run(n, 5)),
    ("feeds", lambda n, m: pg.run(n, None)),
    ("feeds", lambda n, m: pg.run(n, X)),
    ("feeds['data']", lambda n, m: pg.run(n, {"data": "abc"})),
    ("feeds['data']", lambda n, m: pg.run(m, {"data": None})),
    ('input "data"', lambda n, m: pg.run(n, {"data": [object()]})),
    ('input "data"', lambda n, m: pg.run(n, {"data": X.astype(complex)})),
    ('input "data"', lambda n, m: pg.run(m, {"data": X.astype(str)})),
    ("blobs", lambda n, m: pg.run(n, {"data": X}, 5)),
    ("blobs", lambda n, m: pg.run(n, {"data": X}, "prob")),
    ("a", lambda n, m: pg.verify(5, n)),
    ("b", lambda n, m: pg.verify(n, None)),
    ("feeds", lambda n, m: pg.verify(n, n, feeds=5)),
    ("tolerance", lambda n, m: pg.verify(n, n, tolerance="x")),
    ("outputs", lambda n, m: pg.verify(n, n, outputs="prob")),
    ("seed", lambda n, m: pg.verify(n, n, seed="x")),
    ("path", lambda n, m: pg.check_file(None)),
    ("rules", lambda n, m: pg.check_file(PROTOTXT, rules=5)),
    ("rules[0]", lambda n, m: pg.check_file(PROTOTXT, rules=["PG301"])),
    ("settings", lambda n, m: pg.check_file(PROTOTXT, settings=5)),
    ("caffemodel", lambda n, m: pg.check_file(PROTOTXT, caffemodel=5)),
    ("text", lambda n, m: pg.check_text(5, "x")),
    ("filename", lambda n, m: pg.check_text("", 5)),
    ("weights", lambda n, m: pg.dense("abc", "xw")),
    ("weights", lambda n, m: pg.dense(None, "xw")),
    ("weights", lambda n, m: pg.dense(np.zeros(3), "xw")),
    ("weights", lambda n, m: pg.dense(np.array([[object()]]), "xw")),
    ("weights", lambda n, m: pg.dense([["a", "b"]], "xw")),
    ("orientation", lambda n, m: pg.dense(np.eye(3), 5)),
    ("bias", lambda n, m: pg.dense(np.eye(3), "xw", "abc")),
    ("bias", lambda n, m: pg.dense(np.eye(3), "xw", 5)),
    ("bias", lambda n, m: pg.dense(np.eye(3), "xw", ["a", "b", "c"])),
    ("name", lambda n, m: pg.dense(np.eye(3), "xw", name=5)),
    ("sizes", lambda n, m: pg.perceptron(5)),
    ("sizes[0]", lambda n, m: pg.perceptron(["a", 2])),
    ("activation", lambda n, m: pg.perceptron("4-3", 5)),
    ("net", lambda n, m: pg.initialise(PROTOTXT)),
    ("seed", lambda n, m: pg.initialise(n, seed="x")),
    ("rules", lambda n, m: pg.initialise(n, rules=5)),
    ("rules['conv1']", lambda n, m: pg.initialise(n, rules={"conv1": 5})),
    ("net", lambda n, m: pg.health(PROTOTXT)),
    ("batch", lambda n, m: pg.health(n, batch="x")),
    ("feeds", lambda n, m: pg.health(n, feeds=5)),
    ("log", lambda n, m: pg.diagnose(5)),
    ("net", lambda n, m: pg.diagnose(EXAMPLES / "deep_sigmoid.log", PROTOTXT)),
    ("names", lambda n, m: pg.activations(5)),
    ("names", lambda n, m: pg.activations("TanH")),
    ("net", lambda n, m: pg.preprocess(PROTOTXT, pg.Transform())),
    ("transform", lambda n, m: pg.preprocess(n, 5)),
    ("mean", lambda n, m: pg.Transform("abc")),
    ("matrix", lambda n, m: pg.Transform(None, [["a"]])),
    ("paths", lambda n, m: pg.picture_statistics(5)),
    ("paths", lambda n, m: pg.picture_statistics("examples/pictures")),
    ("covariance", lambda n, m: pg.whitening(5, "zca")),
    ("covariance", lambda n, m: pg.whitening(np.zeros(3), "zca")),
    ("net", lambda n, m: pg.half_check(5)),
    ("net", lambda n, m: pg.legalize(PROTOTXT, "mnn")),
    ("target", lambda n, m: pg.legalize(n, 5)),
    ("target", lambda n, m: pg.rewrite_for(n, PROTOTXT)),
    ("path", lambda n, m: pg.rewrite_for("mnn", n)),
    ("net", lambda n, m: pg.check_target(n, "mnn")),
    ("target", lambda n, m: pg.check_target(PROTOTXT, 5)),
    ("net", lambda n, m: pg.cut(PROTOTXT, outputs=["conv1"])),
    ("outputs", lambda n, m: pg.cut(n, outputs="conv1")),
    ("outputs", lambda n, m: pg.rest_of(n, outputs=5)),
    ("output", lambda n, m: pg.cut_file(PROTOTXT, CAFFEMODEL, 5)),
    ("net", lambda n, m: pg.dialects_of(5)),
    ("a", lambda n, m: pg.diff(PROTOTXT, PROTOTXT)),
    ("path", lambda n, m: pg.draw(n, "x.svg")),
    ("output", lambda n, m: pg.draw(PROTOTXT, 5)),
    ("path", lambda n, m: pg.write_report(5, "x.html")),
    ("output", lambda n, m: pg.write_report(PROTOTXT, 5)),
    ("path", lambda n, m: pg.rewrite(5)),
    ("net", lambda n, m: pg.splice(5, after="conv1")),
    ("after", lambda n, m: pg.splice(PROTOTXT, after=5)),
    ("prototxt", lambda n, m: pg.try_net(5)),
    ("path", lambda n, m: pg.add_proto(5)),
    ("prototxt_path", lambda n, m: n.save(5)),
    ("caffemodel", lambda n, m: n.save("x.prototxt", 5)),
    ("weights", lambda n, m: n.take_weights(5)),
    ("weights['conv1']", lambda n, m: n.take_weights({"conv1": 5})),
    ("shapes", lambda n, m: n.with_inputs(5)),
    ("path", lambda n, m: n.draw(5)),
    ("path", lambda n, m: pg.upsample(2).plot(5)),
    # unknown and missing arguments
    ("faktor", lambda n, m: pg.upsample(faktor=2)),
    ("chanels", lambda n, m: pg.upsample(2, chanels=2)),
    ("alin", lambda n, m: pg.resize(2, alin="half_pixel")),
    ("alin", lambda n, m: pg.upsample(2, exact=True, alin="half_pixel")),
    ("phas", lambda n, m: pg.load(PROTOTXT, phas="TEST")),
    ("opst", lambda n, m: pg.to_onnx(n, opst=18)),
    ("feeds", lambda n, m: pg.run(n)),
    ("output", lambda n, m: pg.convert(PROTOTXT, CAFFEMODEL)),
    ("orientation", lambda n, m: pg.dense(np.eye(3))),
]


@pytest.mark.parametrize(("name", "call"), MISTAKES, ids=range(len(MISTAKES)))
def test_error_names_the_argument(name, call, net, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pg.InputError) as error:
        call(net, model)
    # Some functions state a wrong value themselves, with the name of the command's option.
    subject = error.value.diagnostic.subject or str(error.value.diagnostic.where)
    assert subject.replace("-", "_").strip("_") == name
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: pg.load(3), "path: expected a string or a Path, got the number 3."),
        (
            lambda: pg.load(None),
            "path: expected a string or a Path, got None.",
        ),
        (
            lambda: pg.to_onnx("net.prototxt"),
            "net: expected a Net, got the string 'net.prototxt'. Read the file first: pg.load(path).",
        ),
        (
            lambda: pg.load(PROTOTXT, stages="deploy"),
            "stages: expected a sequence of strings, got the string 'deploy'. Write ['deploy'].",
        ),
        (
            lambda: pg.upsample(faktor=2),
            "faktor: upsample() has no argument of this name. Did you mean factor?",
        ),
        (
            lambda: pg.upsample(2, chanels=2),
            "chanels: upsample() has no argument of this name. Did you mean channels?",
        ),
        (
            lambda: pg.load(PROTOTXT, phas="TEST"),
            "phas: load() has no argument of this name. Did you mean phase?",
        ),
        (
            lambda: pg.convert(PROTOTXT, CAFFEMODEL),
            "output: convert() needs this argument, and it is missing.",
        ),
        (
            lambda: pg.run(PROTOTXT, [1]),
            "feeds: expected a mapping of names to arrays, got a list.",
        ),
    ],
)
def test_sentences(call, sentence):
    with pytest.raises(ArgumentError) as error:
        call()
    assert str(error.value) == sentence


def test_errors_are_type_errors_and_errors_of_protogen():
    with pytest.raises(TypeError):
        pg.load(3)
    with pytest.raises(pg.ProtogenError) as error:
        pg.load(3)
    assert error.value.exit_code == 2


def test_valid_arguments_of_other_classes_are_accepted(net, model):
    shape = np.array([1, 3, 32, 32])
    assert pg.load(Path(PROTOTXT), input_shapes={"data": shape}).inputs == ("data",)
    assert pg.load(PROTOTXT, level=np.int64(0), stages=(s for s in ())).inputs == ("data",)
    assert set(pg.run(net, {"data": X.tolist()}, ("prob",))) == {"prob"}
    assert set(pg.run(model, types.MappingProxyType({"data": X}))) == {"prob"}
    assert pg.verify(net, net, tolerance=np.float32(1e-3)).proved
    assert pg.dense([[1, 2], [3, 4]], "xw", [1, 2]).outputs == 2
    assert pg.Transform([1, 2, 3], 0.5).matrix_for(3).tolist() == (0.5 * np.eye(3)).tolist()


@pytest.mark.parametrize("name", sorted(pg.__all__))
def test_public_functions_keep_name_signature_and_pickle(name):
    value = getattr(pg, name)
    if not isinstance(value, types.FunctionType):
        return
    assert value.__name__ == name
    assert value.__doc__
    assert inspect.signature(value) == inspect.signature(inspect.unwrap(value))
    assert pickle.loads(pickle.dumps(value)) is value


class Options(TypedDict, total=False):
    size: int


def _sample(one: int, *rest: str, two: Sequence[str] = (), **options: Unpack[Options]) -> object:
    return one, rest, two, options


def test_check_of_a_function():
    call = checked(_sample)
    assert call(1, "a", "b", two=["x"], size=3) == (1, ("a", "b"), ["x"], {"size": 3})
    for wrong, subject in (
        (lambda: call("1"), "one"),
        (lambda: call(1, two="x"), "two"),
        (lambda: call(1, two=["x", 5]), "two[1]"),
        (lambda: call(1, size="3"), "size"),
        (lambda: call(1, sizes=3), "sizes"),
        (lambda: call(), "one"),
    ):
        with pytest.raises(ArgumentError) as error:
            wrong()
        assert error.value.diagnostic.subject == subject


def test_type_error_inside_of_a_function_is_not_changed():
    @checked
    def broken(one: int) -> None:
        raise TypeError("f() got an unexpected keyword argument 'other'")

    with pytest.raises(TypeError, match="'other'") as error:
        broken(1)
    assert not isinstance(error.value, ArgumentError)


# unknown inputs of run


@pytest.mark.parametrize("as_file", [False, True])
def test_unknown_input_of_run_is_named(as_file, net, model):
    source = model if as_file else net
    with pytest.raises(pg.InputError) as error:
        pg.run(source, {"datta": X})
    assert str(error.value) == 'input "datta": unknown input (inputs: data). Did you mean data?'
    with pytest.raises(pg.InputError) as error:
        pg.run(source, {"data": X, "label": X})
    assert str(error.value) == 'input "label": unknown input (inputs: data).'
    with pytest.raises(pg.InputError, match=r'input "data": missing array \(inputs: data\)'):
        pg.run(source, {})


def test_unknown_input_of_verify_is_named(net):
    with pytest.raises(pg.InputError) as error:
        pg.verify(net, net, feeds={"datta": X})
    assert (
        str(error.value)
        == '"datta": unknown input of the first model (inputs: data). Did you mean data?'
    )
