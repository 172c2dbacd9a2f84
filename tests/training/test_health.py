"""Signals of nets: measurements of the command, findings, and gradients."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from places import CASES

import protogen as pg
from protogen.formats import prototxt
from protogen.net.net import Net
from protogen.onnx import lower
from protogen.running.runtime import every_value, run_program
from protogen.training.signals import backward, gradients, windows  # noqa: F401 (windows registers its operators)
from protogen.training.signals.health import compare
from protogen.training.signals.measure import measure


def chain(activation: str, filler: str, layers: int = 10, units: int = 500, more: str = "") -> str:
    """Return the text of a chain of dense layers, each with an activation."""
    text = ['name: "chain"',
            'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 64 '
            f"dim: {units} }} }} }}"]  # fmt: skip
    for i in range(1, layers + 1):
        bottom = f"a{i - 1}" if i > 1 else "data"
        text.append(
            f'layer {{ name: "ip{i}" type: "InnerProduct" bottom: "{bottom}" top: "i{i}" '
            f"inner_product_param {{ num_output: {units} weight_filler {{ {filler} }} {more} }} }}"
        )
        text.append(f'layer {{ name: "act{i}" type: "{activation}" bottom: "i{i}" top: "a{i}" }}')
    return "\n".join(text) + "\n"


def net_of(text: str) -> Net:
    return Net(prototxt.parse(text, "net.prototxt"))


def stds(report: dict, type_: str) -> list[float]:
    return [one["std"] for one in report["layers"] if one["type"] == type_]


def run(protogen, tmp_path, activation: str, filler: str, *options: str) -> dict:
    """Run the command and return its JSON."""
    (tmp_path / "net.prototxt").write_text(chain(activation, filler))
    completed = protogen("health", "net.prototxt", "--json", *options)
    assert completed.returncode in (0, 1), completed.stderr
    return json.loads(completed.stdout)


# ten dense layers with an activation each: fillers that keep the signal, and fillers that do not


def test_small_gaussian_shrinks_signal_of_tanh(protogen, tmp_path):
    report = run(protogen, tmp_path, "TanH", 'type: "gaussian" std: 0.01')
    assert stds(report, "TanH")[-1] / report["data_std"] < 1e-4
    kinds = {one["kind"]: one["text"] for one in report["findings"]}
    assert set(kinds) == {"shrinking", "gradient-shrinks"}
    assert kinds["shrinking"].startswith(
        "the signal shrinks by a factor of 0.22 per layer: after 10 layers "
    )
    assert (
        "gaussian std 0.01 is too small for TanH with 500 inputs. With xavier (std 0.045) 2"
        in (kinds["shrinking"])
    )


def test_xavier_keeps_signal_of_tanh(protogen, tmp_path):
    report = run(protogen, tmp_path, "TanH", 'type: "xavier"')
    assert all(0.15 < std / report["data_std"] < 1 for std in stds(report, "TanH"))
    assert report["findings"] == []


def test_large_gaussian_saturates_tanh(protogen, tmp_path):
    report = run(protogen, tmp_path, "TanH", 'type: "gaussian" std: 1')
    shares = [one["saturated"] for one in report["layers"] if one["type"] == "TanH"]
    assert min(shares) > 0.8
    assert [one["kind"] for one in report["findings"]] == ["saturated", "gradient-grows"]


def test_msra_keeps_signal_of_relu(protogen, tmp_path):
    report = run(protogen, tmp_path, "ReLU", 'type: "msra"')
    start = stds(report, "ReLU")[0]
    assert all(0.5 < std / start < 2 for std in stds(report, "ReLU"))
    assert report["findings"] == []


def test_xavier_halves_the_variance_of_relu(protogen, tmp_path):
    report = run(protogen, tmp_path, "ReLU", 'type: "xavier"')
    variances = np.square(stds(report, "InnerProduct"))
    ratios = variances[1:] / variances[:-1]
    assert 0.45 < math.exp(np.log(ratios).mean()) < 0.55


# gradients


def case_nets():
    for path in sorted(CASES.glob("*/*")):
        golden = np.load(path / "golden.npz")
        net = pg.load(path / "net.prototxt")
        for key in golden.files:
            if key.startswith("param:"):
                net.weights.setdefault(key.split(":")[1], []).append(golden[key])
        yield path.name, net, {k[3:]: golden[k] for k in golden.files if k.startswith("in:")}


def test_jax_equals_onnxruntime():
    """JAX and onnxruntime agree on every golden layer whose operators have a JAX function."""
    count = 0
    for name, net, feeds in case_nets():
        try:
            program = lower(net, fold=False)
        except pg.UnsupportedError:
            continue
        if gradients.unsupported(program):
            continue
        inputs = {value.name: feeds[value.name] for value in program.inputs}
        expected = run_program(program, inputs)
        for key, values in gradients.forward(program, inputs).items():
            tolerance = 1e-5 * max(np.abs(expected[key]).max(initial=0), 1e-6)
            np.testing.assert_allclose(values, expected[key], rtol=0, atol=tolerance, err_msg=name)
        count += 1
    assert count > 180


def test_gradients_equal_difference_quotients():
    """Gradients equal differences of the loss, in a net with convolution, pooling, normalisation."""
    net = net_of(
        """layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }
        layer { name: "c" type: "Convolution" bottom: "data" top: "c"
          convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
        layer { name: "t" type: "TanH" bottom: "c" top: "t" }
        layer { name: "p" type: "Pooling" bottom: "t" top: "p" pooling_param { pool: AVE kernel_size: 2 stride: 2 } }
        layer { name: "n" type: "LRN" bottom: "p" top: "n" lrn_param { local_size: 3 } }
        layer { name: "i" type: "InnerProduct" bottom: "n" top: "i"
          inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }"""
    )
    pg.initialise(net, seed=2)
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    classes = np.array([0, 2], np.int32)
    program = lower(net, fold=False)
    every = {"data": x, **every_value(program, {"data": x})}
    gradient = dict(backward.gradients(program, every, {"i": classes}, ["t"]))["t"]
    tail = net_of(
        prototxt.write(net.message)
        .replace("dim: 3\n      dim: 8\n      dim: 8", "dim: 4\n      dim: 6\n      dim: 6")
        .replace('name: "c"', 'name: "copy"', 1)
        .replace('type: "Convolution"', 'type: "Split"')
    )  # the net after c: data has the shape of c, and a Split copies it
    tail.weights = {"i": net.weights["i"]}
    values = pg.run(net, {"data": x}, ["c", "t"])

    def loss(t: np.ndarray) -> float:
        scores = pg.run(tail, {"data": np.arctanh(np.clip(t, -0.9999, 0.9999))})["i"].astype(float)
        logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        return -logs[np.arange(2), classes].mean()

    for position in ((0, 0, 0, 0), (1, 2, 3, 4), (0, 3, 5, 5)):
        step = np.zeros_like(values["t"], np.float64)
        step[position] = 0.02
        slope = (loss(values["t"] + step) - loss(values["t"] - step)) / 0.04
        assert gradient[position] == pytest.approx(slope, rel=0.02, abs=1e-4)


def test_health_without_jax_measures_forward_pass(monkeypatch):
    import sys

    net = net_of(chain("TanH", 'type: "xavier"', 3, 20))
    monkeypatch.setitem(sys.modules, "jax", None)
    assert pg.health(net).signals
    with pytest.raises(pg.UnsupportedError, match=r"JAX .*protogen\[gradients\]"):
        pg.health(net, gradients=True)


@pytest.mark.parametrize("writable", [True, False])
def test_compiled_functions_are_stored(tmp_path, writable):
    """The second process finds the functions of the first; a folder that cannot be written causes no error."""
    net, cache = tmp_path / "net.prototxt", tmp_path / "cache"
    net.write_text(chain("TanH", 'type: "xavier"', 4, 20))
    if not writable:
        cache.write_text("a file, not a folder")
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    del environment["JAX_COMPILATION_CACHE_DIR"]
    command = [sys.executable, "-m", "protogen", "health", str(net), "--gradients"]
    texts = [
        subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        for _ in range(2)
    ]
    assert texts[0].stdout == texts[1].stdout
    assert "gradient" in texts[0].stdout
    assert not any("cache" in one.stderr.lower() for one in texts)  # JAX warns of its folder
    stored = list(cache.glob("protogen/jax/*")) if writable else []
    assert bool(stored) == writable


# findings


def kinds(net: Net, **options) -> dict[str, str]:
    return {one.kind: one.text for one in pg.health(net, **options).findings}


def test_equal_units_are_found():
    net = net_of(chain("TanH", 'type: "constant" value: 0.1', 3, 20))
    texts = kinds(net, gradients=True)
    assert "all 20 units have the same weights" in texts["symmetric"]
    health = pg.health(net, gradients=True)
    rows = health.net.weights["ip2"][0]
    assert (rows == rows[0]).all()


def test_missing_filler_is_found():
    net = net_of(chain("ReLU", "", 3, 20).replace("weight_filler {  }", ""))
    assert (
        "weight_filler is missing, and Caffe's default is constant 0" in kinds(net)["zero-weights"]
    )


def test_dead_rectifiers_are_found():
    net = net_of(chain("ReLU", 'type: "msra"', 3, 50,
                       'bias_filler { type: "constant" value: -30 }'))  # fmt: skip
    assert "up to 100% of the units are 0 for all data" in kinds(net)["dead"]


def test_positive_inputs_are_found():
    net = net_of(chain("Sigmoid", 'type: "xavier"', 3, 50))
    health = pg.health(net)
    assert [one.layers for one in health.findings if one.kind == "one-sign"] == [("ip2", "ip3")]
    feeds = {"data": np.random.default_rng(0).uniform(1, 2, (64, 50)).astype(np.float32)}
    layers = [one.layers for one in pg.health(net, feeds=feeds).findings if one.kind == "one-sign"]
    assert ("ip1",) in layers


def test_wrong_fan_of_deconvolution_is_found():
    net = net_of("""
      layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 64 dim: 8 dim: 8 } } }
      layer { name: "up" type: "Deconvolution" bottom: "data" top: "up" convolution_param {
        num_output: 8 kernel_size: 4 stride: 2 pad: 1 weight_filler { type: "msra" } } }
      layer { name: "r" type: "ReLU" bottom: "up" top: "up" }""")
    text = kinds(net)["fan"]
    assert (
        "Caffe's msra counts 128 inputs per output instead of 256, so that its weights are 1.4 times"
        in text
    )


def test_batch_norm_uses_batch_statistics_before_training():
    net = net_of("""
      layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
      layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param {
        num_output: 8 kernel_size: 3 weight_filler { type: "gaussian" std: 0.01 } } }
      layer { name: "bn" type: "BatchNorm" bottom: "c" top: "c" }
      layer { name: "r" type: "ReLU" bottom: "c" top: "c" }""")
    stds_by_layer = {one.layer: one.std for one in pg.health(net).signals}
    assert stds_by_layer["c"] < 0.1
    assert 0.9 < stds_by_layer["bn"] < 1.1


def test_loss_of_large_scores_is_found():
    net = net_of(
        chain("ReLU", 'type: "gaussian" std: 1', 3, 20)
        + """
      layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 64 } } }
      layer { name: "loss" type: "SoftmaxWithLoss" bottom: "a3" bottom: "label" top: "loss" }"""
    )
    assert "above ln(20) = 2.996, the loss of equal scores" in kinds(net)["loss"]


def test_compare_orders_fillers_by_signal():
    net = net_of(chain("ReLU", 'type: "xavier"', 6, 100))
    by_filler = compare(net, ["net", "recommended", "gaussian:0.001"])
    assert [one.weights for one in by_filler.values()] == [
        "the net's fillers", "recommended fillers", "*=gaussian:0.001",
    ]  # fmt: skip
    assert (
        by_filler["recommended"].signal_ratio
        > by_filler["net"].signal_ratio
        > by_filler["gaussian:0.001"].signal_ratio
    )


def test_health_does_not_change_weights():
    net = pg.initialise(net_of(chain("TanH", 'type: "xavier"', 3, 20)))
    before = net.weights["ip1"][0].copy()
    pg.health(net, rules={"*": "msra"})
    assert np.array_equal(net.weights["ip1"][0], before)
    assert pg.health(net).weights == "the caffemodel"


# the command


def test_command_prints_and_plots(protogen, tmp_path):
    (tmp_path / "net.prototxt").write_text(chain("TanH", 'type: "gaussian" std: 0.01', 5, 50))
    completed = protogen("health", "net.prototxt", "--plot", "h.png")
    assert completed.returncode == 1
    assert "weights: the net's fillers; 64 samples, data std " in completed.stdout
    assert completed.stdout.endswith("wrote h.png\n")
    assert (tmp_path / "h.png").read_bytes().startswith(b"\x89PNG")
    completed = protogen(
        "health", "net.prototxt", "--compare-init", "gaussian:0.01,uniform:-1,1,xavier",
        "--plot", "c.svg",
    )  # fmt: skip
    assert completed.returncode == 0, completed.stderr
    assert "uniform:-1,1" in completed.stdout
    assert (tmp_path / "c.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--input", "nan.npy"],
         'input "data": the data contains NaN (1 of 120 values, the first at 3). Check the program '
         "that wrote the data."),
        (["--input", "grey.npy"],
         'input "data": expected data of shape 2x3x4x5, got 2x1x4x5. The number of channels '
         "(second axis) differs: the data may be grey."),
        (["--plot", "h.jpg"], "h.jpg: --plot: unsupported image extension '.jpg': expected .png or .svg."),
        (["--compare-init", "xavier,msr"], '"msr": unknown filler. Did you mean msra?'),
        (["--images", "none"], "none: does not exist. Check the path."),
        (["--images", "grey"], "g.png: is grey, but the input has 3 channels"),
        (["--input", "x.npy", "--images", "."], "--input and --images exclude each other. Keep one."),
    ],
)  # fmt: skip
def test_invalid_options_are_refused(protogen, tmp_path, options, text):
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 5 } } }'
        'layer { name: "c" type: "Convolution" bottom: "data" top: "c" '
        'convolution_param { num_output: 2 kernel_size: 1 weight_filler { type: "msra" } } }'
    )
    bad = np.zeros((2, 3, 4, 5), np.float32)
    bad.flat[3] = np.nan
    np.save(tmp_path / "nan.npy", np.resize(bad, (2, 3, 4, 5)))
    from PIL import Image

    (tmp_path / "grey").mkdir()
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / "grey" / "g.png")
    np.save(tmp_path / "grey.npy", np.zeros((2, 1, 4, 5), np.float32))
    completed = protogen("health", "net.prototxt", *options)
    assert completed.returncode == 2
    assert text in completed.stderr


def test_images_get_transform_of_net(protogen, tmp_path):
    from PIL import Image

    (tmp_path / "pictures").mkdir()
    generator = np.random.default_rng(0)
    for i in range(4):
        pixels = generator.integers(0, 255, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{i}.png")
    text = """layer { name: "data" type: "ImageData" top: "data" top: "label" %s
        image_data_param { source: "list" batch_size: 4 } }
      layer { name: "c" type: "Convolution" bottom: "data" top: "c"
        convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "msra" } } }"""
    reports = []
    for param in ("", "transform_param { mean_value: 127 scale: 0.01 }"):
        (tmp_path / "net.prototxt").write_text(text % param)
        completed = protogen("health", "net.prototxt", "--images", "pictures", "--json",
                        "--input-shape", "data=4,3,20,20", "--input-shape", "label=4")  # fmt: skip
        reports.append(json.loads(completed.stdout))
    assert [one["kind"] for one in reports[0]["findings"]][-1:] == ["one-sign"]
    assert 20 < reports[0]["data_std"] < 90
    assert reports[1]["data_std"] == pytest.approx(reports[0]["data_std"] / 100, rel=0.01)
    assert "one-sign" not in {one["kind"] for one in reports[1]["findings"]}


def test_measure_refuses_missing_input():
    net = pg.initialise(net_of(chain("TanH", 'type: "xavier"', 2, 5)))
    with pytest.raises(pg.InputError, match='input "data": data is missing'):
        measure(net, {})
