"""convert, rewrite and preprocess with --target, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from places import ROOT

import protogen as pg
from protogen.net.targets import check_target

NET = ROOT / "benchmarks/nets/mobilenet_v2.onnx"
TINY = ROOT / "examples/tiny.prototxt"
TINY_WEIGHTS = ROOT / "examples/tiny.caffemodel"


def convert(protogen, tmp_path: Path, *words: str):
    return protogen(
        "convert", str(NET), "-o", str(tmp_path / "n.prototxt"), "--caffemodel",
        str(tmp_path / "n.caffemodel"), *words,
    )  # fmt: skip


def test_convert_for_a_target(protogen, tmp_path: Path):
    done = convert(protogen, tmp_path, "--target", "caffe-1.0", "--verify")
    assert done.returncode == 0, done.stderr
    assert "x Clip -> " in done.stdout
    report = check_target(tmp_path / "n.prototxt", "caffe-1.0", tmp_path / "n.caffemodel")
    assert report.usable


def test_explain_lists_the_forms_with_cost_and_reason(protogen, tmp_path: Path):
    done = convert(protogen, tmp_path, "--target", "caffe-1.0", "--explain")
    assert done.returncode == 0, done.stderr
    assert "chosen" in done.stdout
    assert "ReLU, Scale, ReLU, Scale" in done.stdout


def test_explain_without_a_target_says_why_each_layer_is_there(protogen, tmp_path: Path):
    done = convert(protogen, tmp_path, "--explain")
    assert done.returncode == 0
    reasons = dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line)
    named = {line.split()[-1]: reason for line, reason in reasons.items()}
    assert all(layer.name in named for layer in pg.load(tmp_path / "n.prototxt").layers)


def test_explain_does_not_apply_to_onnx(protogen, tmp_path: Path):
    net = ROOT / "examples" / "tiny.prototxt"
    done = protogen("convert", str(net), "-o", str(tmp_path / "n.onnx"), "--explain")
    assert done.returncode == 2
    assert "--explain applies from ONNX to Caffe only" in done.stderr


def test_target_and_another_dialect_contradict(protogen, tmp_path: Path):
    done = convert(protogen, tmp_path, "--target", "mnn", "--dialect", "ssd")
    assert done.returncode == 2
    assert "Leave out --dialect." in done.stderr
    assert not (tmp_path / "n.prototxt").exists()


def test_a_layer_without_a_form_writes_nothing(protogen, tmp_path: Path):
    target = tmp_path / "bare.toml"
    target.write_text(
        'types_complete = true\n[sources]\na = "b"\n[types]\na = ["Input", "Convolution"]\n'
    )
    done = convert(protogen, tmp_path, "--target", str(target))
    assert done.returncode == 3
    assert "bare takes no form of" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bare.toml"]


def test_target_does_not_apply_to_onnx(protogen, tmp_path: Path):
    done = protogen(
        "convert", str(TINY), str(TINY_WEIGHTS), "-o", str(tmp_path / "t.onnx"), "--target", "mnn"
    )
    assert done.returncode == 2
    assert "protogen rewrite" in done.stderr


def test_convert_json(protogen, tmp_path: Path):
    done = convert(protogen, tmp_path, "--target", "caffe-1.0", "--json")
    data = json.loads(done.stdout)
    assert data["target"] == "caffe-1.0"
    assert {one["type"] for one in data["replaced"]} == {"Clip"}


def test_rewrite_for_a_target(protogen, tmp_path: Path):
    out, weights = tmp_path / "out.prototxt", tmp_path / "out.caffemodel"
    done = protogen(
        "rewrite", str(TINY), str(TINY_WEIGHTS), "--target", "rknn2", "-o", str(out), "--caffemodel",
        str(weights),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "compared with the original" in done.stdout
    assert check_target(out, "rknn2", weights).usable


@pytest.mark.parametrize(
    "words", [("--type", "Permute"), ("--limit", "kernel<=7"), ("--require-all",)]
)
def test_rewrite_refuses_options_of_the_other_form(protogen, words: tuple[str, ...]):
    done = protogen("rewrite", str(TINY), "--target", "mnn", *words)
    assert done.returncode == 2
    assert "does not apply with --target" in done.stderr


def test_preprocess_for_a_target(protogen, tmp_path: Path):
    out, weights = tmp_path / "out.prototxt", tmp_path / "out.caffemodel"
    done = protogen(
        "preprocess", str(TINY), str(TINY_WEIGHTS), "--mean", "104,117,123", "--target", "tpu-mlir",
        "-o", str(out), "--caffemodel", str(weights),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert check_target(out, "tpu-mlir", weights).usable


def test_resize_for_a_target(protogen, tmp_path: Path):
    out, weights = tmp_path / "out.prototxt", tmp_path / "out.caffemodel"
    for target in ("mnn", "opencv4", "rknn2", "nncase"):
        done = protogen(
            "resize", "--factor", "2", "--input-shape", "1,3,8,9", "--target", target, "-o", str(out),
            "--caffemodel", str(weights),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert check_target(out, target, weights).usable, target


def test_half_check_of_what_is_written(protogen, tmp_path: Path):
    out, weights = tmp_path / "out.prototxt", tmp_path / "out.caffemodel"
    files = ("-o", str(out), "--caffemodel", str(weights))
    done = protogen(
        "rewrite", str(TINY), str(TINY_WEIGHTS), "--target", "mnn", *files, "--half-check"
    )
    assert done.returncode == 0, done.stderr
    assert "float16 holds all values" in done.stdout
    done = protogen("rewrite", str(TINY), str(TINY_WEIGHTS), "--half-check")
    assert done.returncode == 2
    assert "--half-check needs --target" in done.stderr
    done = protogen("convert", str(TINY), str(TINY_WEIGHTS), "-o", "t.onnx", "--half-check")
    assert done.returncode == 2
