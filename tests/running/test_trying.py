"""``protogen try``: verdicts, errors, the first layer, and what a user does wrong."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from running.adapters import KINDS, NET, write

import protogen as pg
from protogen.running import environments


@pytest.fixture
def net(tmp_path, monkeypatch) -> Path:
    """Return the prototxt of a small net, in a folder with every adapter."""
    monkeypatch.setenv("PROTOGEN_TOOLCHAINS", str(tmp_path / "none"))
    for kind in KINDS:
        write(tmp_path, kind)
    path = tmp_path / "net.prototxt"
    path.write_text(NET)
    return path


def trial(net: Path, kind: str, **options: object) -> pg.Trial:
    [one] = pg.try_net(net, None, [net.parent / f"{kind}.py"], **{"seconds": 20, **options})
    assert one.toolchain == kind
    return one


def test_right_result_has_an_error_and_no_layer(net):
    one = trial(net, "right")
    assert (one.outcome, one.layer, one.detail) == ("right", "", "")
    assert one.version == "1.2"
    assert one.error < 1e-6


@pytest.mark.parametrize(
    "kind", ["right", "renamed", "by_layer", "unnamed", "every_blob", "prints"]
)
def test_outputs_are_matched_by_name_by_layer_or_by_position(net, kind):
    assert trial(net, kind).right


@pytest.mark.parametrize(
    ("kind", "outcome", "layer", "detail"),
    [
        ("wrong", "wrong", "B", '"c" differs by 0.13 of its largest magnitude'),
        ("every_blob_wrong", "wrong", "B", '"c" differs by 0.13 of its largest magnitude'),
        ("refuses", "refused", "B", "type TanH is unknown"),
        ("crashes", "crashed", "B", "signal 11"),
        ("exits", "crashed", "B", "exit code 7"),
        ("raises", "crashed", "B", "IndexError: too many indices for array: array is 2-dimensional, "
         "but 5 were indexed"),
        ("shape", "wrong", "A", '"c" has the shape 5x2, expected 2x5'),
        ("ones", "right", "", '"c" has the shape 2x5x1, expected 2x5'),
        ("nan", "wrong", "A", '"c" has NaN or infinite values at other positions'),
        ("missing", "wrong", "A", '"c" is missing'),
        ("text", "crashed", "A", "TypeError: an output is not an array of numbers, but <U1"),
    ],
)  # fmt: skip
def test_first_layer_and_words(net, kind, outcome, layer, detail):
    one = trial(net, kind)
    assert (one.outcome, one.layer, one.detail) == (outcome, layer, detail)
    assert one.type == {"A": "AbsVal", "B": "TanH", "": ""}[layer]


def test_net_that_hangs_is_not_searched(net):
    one = trial(net, "hangs", seconds=1.5)
    assert (one.outcome, one.layer) == ("hung", "")
    assert one.detail == "did not end in 1.5 s; not searched, because the net hangs"


@pytest.mark.parametrize(
    ("kind", "outcome", "detail"),
    [
        ("syntax", "crashed", "cannot be loaded: SyntaxError: invalid syntax (line 45)"),
        ("not_installed", "missing", "cannot be loaded: No module named 'a_module_that_nobody_has'"),
        ("load_exits", "crashed", "cannot be loaded: its process ended (3) while it was loaded; "
         "no licence: error 12"),
    ],
)  # fmt: skip
def test_toolchain_that_cannot_be_loaded_does_not_stop_the_others(net, kind, outcome, detail):
    first, second = pg.try_net(net, None, [net.parent / f"{kind}.py", net.parent / "right.py"])
    assert (first.outcome, first.detail) == (outcome, detail)
    assert second.right


def test_tolerance_and_data_file(net):
    (net.parent / "acme.toml").write_text('title = "Acme"\nadapter = "wrong.py"\ntolerance = 0.5\n')
    acme = net.parent / "acme.toml"
    assert [x.outcome for x in pg.try_net(net, None, [acme])] == ["right"]
    assert [x.outcome for x in pg.try_net(net, None, [acme], tolerance=0.1)] == ["wrong"]


def test_inputs_and_their_shapes(net):
    x = np.zeros((3, 5), np.float32)
    assert trial(net, "wrong", feeds={"data": x}).right
    assert trial(net, "right", input_shapes={"data": (4, 5)}).right
    with pytest.raises(pg.InputError, match="unknown input"):
        trial(net, "right", feeds={"x": x})


def test_first_layer_in_a_net_of_the_oldest_formats(net):
    """The parts keep the form of the net: V1 layers, and inputs that are not layers."""
    net.write_text(
        'input: "data" input_dim: 2 input_dim: 5 input_dim: 1 input_dim: 1\n'
        'layers { name: "A" type: ABSVAL bottom: "data" top: "a" }\n'
        'layers { name: "B" type: TANH bottom: "a" top: "b" }\n'
        'layers { name: "C" type: SIGMOID bottom: "b" top: "c" }\n'
    )
    adapter = net.parent / "v1.py"
    adapter.write_text(
        "from refusal import Refused\ndef load():\n    return '1'\n"
        "def run(net, weights, inputs, options):\n    text = open(net).read()\n"
        "    assert 'input_dim: 5' in text and 'layers' in text\n"
        "    if 'TANH' in text:\n        raise Refused('TANH is not supported')\n"
        "    return {'a': abs(inputs['data'])}\n"
    )
    one = trial(net, "v1")
    assert (one.outcome, one.layer, one.words) == ("refused", "B", "TANH is not supported")


def test_search_ends_with_its_time(net, monkeypatch):
    monkeypatch.setattr("protogen.running.trying.MOST_RUNS", 0)
    one = trial(net, "wrong")
    assert (one.layer, one.note) == ("", "not searched to the end: it took more than 0 runs")
    assert trial(net, "wrong", search=False).note == ""


def test_weights_of_a_part_are_those_of_its_layers(tmp_path):
    """Compare the caffemodel of the first layers with the original."""
    from places import EXAMPLES

    from protogen.formats.caffemodel import parse_weights, read_weights
    from protogen.formats.wire import Bytes
    from protogen.running.cutting import Cutter

    files = EXAMPLES / "tiny.prototxt", EXAMPLES / "tiny.caffemodel"
    net = pg.load(*files)
    cutter = Cutter(*files, net, {})
    assert cutter.weights(net) == files[1]
    assert cutter.text() == files[0].read_text()
    full = read_weights(files[1]).weights()
    for count in range(1, cutter.count + 1):
        part = cutter.part(count)
        names = {layer.name for layer in part.layers}
        if full.keys() & names:
            actual = parse_weights(Bytes(cutter.weights(part), "part")).weights()
            assert actual.keys() == full.keys() & names
            for name in actual:
                for a, b in zip(actual[name], full[name], strict=True):
                    np.testing.assert_array_equal(a, b)


# The command


def test_table_and_exit_code(protogen, net):
    done = protogen("try", "net.prototxt", "--with", "./right.py,./wrong.py", cwd=net.parent)
    assert done.returncode == 1
    lines = [" ".join(line.split()) for line in done.stdout.splitlines() if line.strip()]
    assert lines[0] == "toolchain version result error first layer detail"
    assert lines[2].startswith("right 1.2 right")
    assert lines[3].startswith("wrong 1.2 wrong 1.3e-01 B (TanH)")
    assert done.stderr == (
        "protogen: 1 of 2 toolchains does not compute the net as Caffe does: wrong (wrong).\n"
    )


def test_json(protogen, net):
    done = protogen(
        "try", "net.prototxt", "--with", "right.py,refuses.py", "--json", cwd=net.parent
    )
    right, refuses = json.loads(done.stdout)["trials"]
    assert right["outcome"] == "right"
    assert right["log"] == ""
    assert refuses["layer"] == "B"
    assert "type TanH is unknown" in refuses["log"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "try: missing net. Give NET.prototxt, or --how NAME."),
        ("net.prototxt", "no toolchain is installed. "
         "'protogen try --how mnn' prints the commands that install one; 'protogen targets' lists them."),
        ("net.prototxt --with ascend",
         "--with: protogen has no adapter for ascend. Write one: docs/try.md describes how."),
        ("net.prototxt --with mn", 'toolchain "mn": unknown name. Did you mean mnn? '
         "Your own adapter must end in .py, and its data in .toml."),
        ("net.prototxt --with no.py", "no.py: cannot be read. Check the path."),
        ("net.prototxt --with right.py,wrong.py --python x/python",
         "--python: 'x/python' does not name its toolchain. Write NAME=x/python."),
        ("net.prototxt --with right.py --python x/python", "x/python: --python: does not exist. "
         "Give the path of its interpreter, such as ENVIRONMENT/bin/python."),
        ("net.prototxt --with right.py --python acme=x", "--python: 'acme' is not a toolchain to try."),
        ("--how ssd", "--how: protogen knows no packages of ssd. "
         "Install it as its vendor says, and name its Python with --python ssd=PATH."),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence(commands, net, words, message):
    env = {"PROTOGEN_TOOLCHAINS": str(net.parent / "none")}
    done = commands.run("try", *words.split(), cwd=net.parent, env=env)
    if "no toolchain is installed" in message and done.returncode != 2:
        pytest.skip("a toolchain is installed in this environment")
    assert done.stderr == f"protogen: {message}\n"
    assert done.returncode == 2


def test_how_prints_commands(commands, tmp_path):
    env = {"PROTOGEN_TOOLCHAINS": "/opt/tool chains"}
    done = commands.run("try", "--how", "tpu-caffe", cwd=tmp_path, env=env)
    lines = done.stdout.splitlines()
    assert lines[0] == "python3.10 -m venv '/opt/tool chains/tpu-caffe'"
    assert lines[1].startswith("'/opt/tool chains/tpu-caffe/bin/python' -m pip install numpy==")
    assert lines[2].startswith("'/opt/tool chains/tpu-caffe'/bin/python -m pip install --no-deps")
    assert done.returncode == 0


def test_environment_is_found_in_this_order(tmp_path, monkeypatch):
    """The option, the settings, the folder, and this interpreter."""
    monkeypatch.setenv("PROTOGEN_TOOLCHAINS", str(tmp_path / "tools"))
    mnn = environments.toolchain("mnn")
    own = environments.toolchain("caffe-1.0")
    none = environments.Settings()
    assert environments.find(own, {}, none) is None
    python = tmp_path / "tools" / "mnn" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    assert environments.find(mnn, {}, none) == python
    (tmp_path / "protogen.toml").write_text('[try]\npython = {mnn = "b"}\nwith = ["mnn", "a.py"]\n')
    for name in "ab":
        (tmp_path / name).touch()
    settings = environments.settings(tmp_path)
    assert settings.names == ("mnn", str(tmp_path / "a.py"))
    assert environments.find(mnn, {}, settings) == tmp_path / "b"
    assert environments.find(mnn, {"mnn": tmp_path / "a"}, settings) == tmp_path / "a"
    [(one, path)] = [pair for pair in environments.installed({}, none) if pair[0].name == "mnn"]
    assert (one, path) == (mnn, python)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pythons = 1", "pythons: unknown option. Did you mean python?"),
        ("python = 1", "python: must be a table of paths by toolchain."),
        ("with = 1", "with: must be a list of toolchains."),
    ],
)
def test_invalid_settings(tmp_path, text, message):
    path = tmp_path / "protogen.toml"
    path.write_text(f"[try]\n{text}\n")
    with pytest.raises(pg.InputError) as caught:
        environments.settings(tmp_path)
    assert str(caught.value) == f"{path}: {message}"


def test_settings_of_pyproject(tmp_path):
    path = tmp_path / "pyproject.toml"
    path.write_text("[tool.protogen.try]\nwith = ['mnn']\n")
    assert environments.settings(tmp_path / "sub").names == ("mnn",)


def test_every_toolchain_with_packages_has_a_module_and_an_adapter():
    from protogen.toolchains.toolchain import toolchains

    for one in toolchains():
        if one.install.packages:
            assert one.install.module, one.name
        if one.adapter:
            assert environments.adapter(one).is_file()


def test_page_shows_the_files_of_the_example():
    from places import EXAMPLES, ROOT

    page = (ROOT / "docs" / "try.md").read_text(encoding="utf-8")
    for name, language in (("acme.py", "python"), ("acme.toml", "toml")):
        text = (EXAMPLES / "acme" / name).read_text(encoding="utf-8")
        assert f"```{language}\n{text}```" in page
