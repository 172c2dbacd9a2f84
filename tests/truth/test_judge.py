"""Real Caffe as the tests use it: refusals are messages, invalid requests raise errors."""

from __future__ import annotations

import numpy as np
import pytest
from judge import NAMES, caffe, missing

pytestmark = pytest.mark.usefixtures("judges")
X = np.float32([[1, -2, 3]])
NET = 'layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 1 dim: 3 }} }} }}\n{}'
RELU = 'layer { name: "r" type: "ReLU" bottom: "x" top: "y" }'


@pytest.mark.parametrize("name", NAMES)
def test_values_refusals_and_invalid_requests(name):
    judge = caffe(name)
    assert {"Convolution", "ReLU"} <= judge.types
    answer = judge.run(NET.format(RELU), {"x": X})
    assert answer.blobs["y"].tolist() == [[1, 0, 3]]
    refusal = judge.run(NET.format(RELU.replace("ReLU", "None")), {"x": X})
    assert refusal.refused.startswith("layer_factory.hpp: Check failed")
    assert not refusal.blobs
    assert "data_" not in judge.run(NET.format(RELU), {"x": X}).refused  # the process still works
    with pytest.raises(RuntimeError, match="KeyError: 'z'"):
        judge.run(NET.format(RELU), {"z": X})
    assert judge.run("layer {", {}).refused.startswith("upgrade_proto.cpp")


def test_blobs_of_inserted_layers_are_left_out():
    twice = RELU + RELU.replace('"r"', '"s"').replace('"y"', '"z"')
    assert set(caffe("caffe").run(NET.format(twice), {"x": X}).blobs) == {"x", "y", "z"}


def test_phase_and_weights():
    layer = 'layer { name: "d" type: "Dropout" bottom: "x" top: "y" }'
    ones = np.ones((1, 3), np.float32)
    judge = caffe("caffe")
    assert judge.run(NET.format(layer), {"x": ones}).blobs["y"].tolist() == [[1, 1, 1]]
    assert set(judge.run(NET.format(layer), {"x": ones}, phase="TRAIN").blobs["y"][0]) <= {0, 2}


def test_missing_caffe_gives_instruction(monkeypatch, tmp_path):
    monkeypatch.setattr("judge.JUDGES", tmp_path)
    assert missing("caffe").endswith("../shared/judges/setup caffe installs it")
