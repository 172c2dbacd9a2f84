"""The class Net."""

import numpy as np
from nets import net_with

import protogen as pg

BLOBS = """layer { name: "i" type: "InnerProduct" bottom: "data" top: "i" inner_product_param { num_output: 1 }
  blobs { shape { dim: 1 dim: 2 } data: 3 data: 4 } blobs { shape { dim: 1 } data: 5 } }"""


def test_blobs_in_the_prototxt_are_weights():
    """Caffe reads them, too; weights of a caffemodel replace them."""
    net = net_with({"data": (1, 2)}, BLOBS)
    x = {"data": np.float32([[1, 2]])}
    assert pg.run(net, x)["i"] == 16
    net.take_weights({"i": [np.float32([[1, 1]]), np.float32([0])]})
    assert pg.run(net, x)["i"] == 3
