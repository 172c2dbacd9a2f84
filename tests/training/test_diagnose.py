"""Training logs: each fault that ``protogen train-log`` finds, and logs of several Caffes."""

from __future__ import annotations

import json
import math

import pytest

import protogen as pg
from protogen.formats import prototxt
from protogen.net.net import Net
from protogen.training.diagnosis import LARGEST_LOSS
from protogen.training.log import parse_log

HEAD = "I1125 10:00:00.000000  4242 solver.cpp:%d] %s"
NET = """layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 8 dim: 20 } } }
layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 8 } } }
%s
layer { name: "score" type: "InnerProduct" bottom: "a5" top: "score" inner_product_param { num_output: 10 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss" }
"""
HIDDEN = "\n".join(
    f'layer {{ name: "ip{i}" type: "InnerProduct" bottom: "{f"a{i - 1}" if i > 1 else "data"}" '
    f'top: "i{i}" inner_product_param {{ num_output: 20 }} }}\n'
    f'layer {{ name: "t{i}" type: "TanH" bottom: "i{i}" top: "a{i}" }}'
    for i in range(1, 6)
)


def net() -> Net:
    return Net(prototxt.parse(NET % HIDDEN, "train.prototxt"), phase="TRAIN")


def log_of(losses, rates=None, norms=None, old=False) -> str:
    """Return a log in Caffe's format; new versions also write the speed."""
    lines = [HEAD % (45, "Initializing solver from parameters: ")]
    for i, loss in enumerate(losses):
        iteration = 100 * i
        speed = "" if old else f" ({12.5:g} iter/s, 8s/100 iters)"
        lines.append(HEAD % (218, f"Iteration {iteration}{speed}, loss = {loss}"))
        lines.append(HEAD % (237, f"    Train net output #0: loss = {loss} (* 1 = {loss} loss)"))
        rate = 0.01 if rates is None else rates[i]
        lines.append(HEAD % (105, f"Iteration {iteration}, lr = {rate}"))
        for layer, (value, weight, gradient) in (norms or {}).items():
            for source_line, text in (
                (591, f"    [Forward] Layer {layer}, top blob {layer} data: {value}"),
                (603, f"    [Forward] Layer {layer}, param blob 0 data: {weight}"),
                (603, f"    [Forward] Layer {layer}, param blob 1 data: 0"),
                (630, f"    [Backward] Layer {layer}, param blob 0 diff: {gradient}"),
                (630, f"    [Backward] Layer {layer}, param blob 1 diff: 1"),
            ):
                lines.append(f"I1125 10:00:00.000000  4242 net.cpp:{source_line}] {text}")
    return "\n".join(lines) + "\n"


def kinds(text: str, net: Net | None = None) -> dict[str, str]:
    diagnosis = pg.diagnose(parse_log(text.splitlines(), "train.log"), net)
    return {finding.kind: finding.text for finding in diagnosis.findings}


def falling(count: int = 10) -> list[float]:
    return [2.3 * 0.8**i for i in range(count)]


def test_good_log_has_no_findings():
    norms = {f"ip{i}": (0.5, 0.1, 0.01) for i in range(1, 6)} | {"score": (1, 0.1, 0.02)}
    assert kinds(log_of(falling(), norms=norms), net()) == {}
    assert kinds(log_of(falling(), old=True)) == {}


def test_loss_87_is_found():
    assert pytest.approx(87.3365, abs=1e-4) == LARGEST_LOSS
    texts = kinds(log_of([2.3, 5.1, 87.3365, 87.3365]), net())
    assert texts["loss-87"].startswith("the loss is 87.3365 = -ln(FLT_MIN) at iteration 200")
    assert "weights of score (train.prototxt:13:1) smaller" in texts["loss-87"]


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_loss_stuck_at_logarithm_of_classes(classes):
    losses = [math.log(classes) * (1 + 0.002 * (i % 3 - 1)) for i in range(12)]
    text = kinds(log_of(losses))["loss-stuck"]
    assert f"= ln({classes})" in text
    assert ("(0.693)" in text) == (classes == 2)


def test_loss_stuck_at_other_value_is_not_reported():
    assert "loss-stuck" not in kinds(log_of([1.0 + 0.001 * (i % 2) for i in range(12)]), net())


def test_loss_nan_is_found():
    assert "nan from iteration 200 on, after 9" in kinds(log_of([2, 9, "nan", "-nan"]))["loss-nan"]
    assert "from the first iteration on" in kinds(log_of(["nan", "nan"]))["loss-nan"]


def test_invalid_learning_rates_are_found():
    texts = kinds(log_of(falling(4), rates=["0.01", "0.005", "-nan", "-nan"]))
    assert texts["lr-nan"].startswith("lr is nan at iteration 200")
    assert "max_iter" in texts["lr-nan"]
    assert "base_lr" in kinds(log_of(falling(3), rates=[0, 0, 0]))["lr-zero"]


def test_growing_loss_is_found():
    texts = kinds(log_of([2.3 * 1.5**i for i in range(8)]))
    assert texts["loss-grows"].startswith("the loss grows from 2.")


def test_gradients_that_shrink_or_grow_with_depth():
    norms = {f"ip{i}": (0.5, 0.1, 10.0 ** (i - 8)) for i in range(1, 6)}
    text = kinds(log_of(falling(), norms=norms), net())["gradient-shrinks"]
    assert (
        "shrinks from 0.001 at ip5 (train.prototxt:11:1) to 1e-07 at ip1 (train.prototxt:3:1), "
        in text
    )
    assert "by a factor of 0.1 per layer" in text
    norms = {f"ip{i}": (0.5, 0.1, 10.0 ** (2 - i)) for i in range(1, 6)}
    assert "gradient-grows" in kinds(log_of(falling(), norms=norms), net())


def test_dead_layers_are_found():
    norms = {"ip1": (0.5, 0.1, 0.0), "ip2": (0.0, 0.1, 0.0), "ip3": (0.0, 0.0, 0.1)}
    texts = kinds(log_of(falling(3), norms=norms), net())
    assert texts["dead-layer"] == (
        "ip2 (train.prototxt:5:1), ip3 (train.prototxt:7:1): the output is 0 everywhere; the "
        "weights are 0: set a weight_filler."
    )
    assert texts["no-gradient"].startswith("ip1 (train.prototxt:3:1), ip2 (train.prototxt:5:1): ")


def test_frozen_layers_without_gradient_are_not_reported():
    text = (NET % HIDDEN).replace('name: "ip1"', 'name: "ip1" param { lr_mult: 0 }')
    frozen = Net(prototxt.parse(text, "train.prototxt"), phase="TRAIN")
    norms = {"ip1": (0.5, 0.1, 0.0)}
    assert "no-gradient" not in kinds(log_of(falling(3), norms=norms), frozen)


def test_outputs_of_test_phase_are_parsed():
    text = log_of(falling(2)) + "\n".join(
        [HEAD % (330, "Iteration 200, Testing net (#0)"),
         HEAD % (397, "    Test net output #0: accuracy = 0.1"),
         HEAD % (397, "    Test net output #1: loss = 2.3 (* 1 = 2.3 loss)")]
    )  # fmt: skip
    log = parse_log(text.splitlines())
    assert log.test == {"accuracy": [(200, 0.1)], "loss": [(200, 2.3)]}


def test_command_reports_findings(protogen, tmp_path):
    (tmp_path / "train.log").write_text(log_of([2.303, 2.301, 2.304, 2.302, 2.303, 2.303]))
    (tmp_path / "train.prototxt").write_text(NET % HIDDEN)
    completed = protogen("train-log", "train.log", "train.prototxt", "--plot", "c.png")
    assert completed.returncode == 1, completed.stderr
    assert "stays at 2.303 = ln(10)" in completed.stdout
    assert "score (train.prototxt:13:1)" in completed.stdout
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    parsed = json.loads(protogen("train-log", "train.log", "--json").stdout)
    assert [one["kind"] for one in parsed["findings"]] == ["loss-stuck"]
    (tmp_path / "good.log").write_text(log_of(falling()))
    assert protogen("train-log", "good.log").returncode == 0


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("hello\n", "t.log: not a Caffe training log. Caffe writes the log to stderr: "),
        (HEAD % (45, "Initializing"), "t.log: log contains no iteration. "),
    ],
)
def test_files_of_other_formats_are_refused(protogen, tmp_path, text, problem):
    (tmp_path / "t.log").write_text(text)
    completed = protogen("train-log", "t.log")
    assert completed.returncode == 2
    assert problem in completed.stderr


def test_missing_log_is_refused(protogen):
    completed = protogen("train-log", "t.log")
    assert completed.returncode == 2
    assert "t.log: cannot be read (No such file or directory)" in completed.stderr
