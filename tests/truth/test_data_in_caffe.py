"""Shapes of data layers in real Caffe, with existing images."""

from __future__ import annotations

import numpy as np
import pytest
from judge import caffe
from PIL import Image

from protogen.formats import prototxt
from protogen.net.net import Net

pytestmark = pytest.mark.usefixtures("judges")

LAYERS = {
    "ImageData": 'image_data_param { source: "list.txt" batch_size: 4 new_height: 6 new_width: 7 }',
    "ImageData, cropped": 'image_data_param { source: "list.txt" batch_size: 4 new_height: 6 new_width: 7 } '
    "transform_param { crop_size: 5 }",
    "ImageData, grey": 'image_data_param { source: "list.txt" new_height: 6 new_width: 7 is_color: false }',
    "ImageData, one mean": 'image_data_param { source: "list.txt" batch_size: 2 } '
    "transform_param { crop_size: 8 mean_value: 128 }",
    "WindowData": 'window_data_param { source: "windows.txt" batch_size: 4 } transform_param { crop_size: 5 }',
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
def test_shapes_of_data_layers(name, phase, tmp_path):
    picture = tmp_path / "a.png"
    Image.fromarray(np.zeros((9, 11, 3), np.uint8)).save(picture)
    (tmp_path / "list.txt").write_text(f"{picture} 1\n" * 4)
    windows = "3\n9\n11\n2\n1 0.9 0 0 5 5\n1 0.1 1 1 4 4\n"
    (tmp_path / "windows.txt").write_text(f"# 0\n{picture}\n{windows}")
    params = LAYERS[name].replace('source: "', f'source: "{tmp_path}/')
    type_ = name.partition(",")[0]
    text = f'layer {{ name: "d" type: "{type_}" top: "data" top: "label" {params} }}'
    reference = caffe("caffe").run(text, {}, phase=phase)
    assert not reference.refused
    net = Net(prototxt.parse(text, "net.prototxt"), phase=phase)
    assert {blob: array.shape for blob, array in reference.blobs.items()} == net.shapes
