"""Activation functions by the names in papers, and the Caffe layers that compute them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Form:
    """Caffe layers of an activation function, and the initialisation that suits it.

    A function that Caffe has no layer for is the ``operator`` of ONNX whose layers the importer writes.
    """

    layers: Sequence[str]
    suits: str
    operator: str = ""


def _layer(type_: str, param: str = "") -> str:
    return f'type: "{type_}" {param}'


_HE = "msra (He et al. 2015)"
_GLOROT = "xavier (Glorot and Bengio 2010)"
FORMS = {
    "Sigmoid": Form([_layer("Sigmoid")], f"{_GLOROT}, inputs centred"),
    "TanH": Form([_layer("TanH")], _GLOROT),
    "ReLU": Form([_layer("ReLU")], _HE),
    "LeakyReLU": Form([_layer("ReLU", "relu_param { negative_slope: 0.1 }")],
                       "gaussian, std sqrt(2 / (1 + 0.1^2) / n) (He et al. 2015)"),
    "PReLU": Form([_layer("PReLU", "prelu_param { channel_shared: true }")],
                   "gaussian, std sqrt(2 / (1 + 0.25^2) / n) (He et al. 2015)"),
    "ELU": Form([_layer("ELU")], "msra (Clevert et al. 2016)"),
    "SELU": Form([_layer("ELU", "elu_param { alpha: 1.6732632 }"),
                   _layer("Power", "power_param { scale: 1.050701 }")],
                  "gaussian, std sqrt(1 / n) (Klambauer et al. 2017)"),
    "GELU": Form([], "msra (Hendrycks and Gimpel 2016)", "Gelu"),
    "Swish": Form([_layer("Swish")], "msra (Ramachandran et al. 2017)"),
    "HardSwish": Form([_layer("HardSwish")], "msra (Howard et al. 2019)"),
    "Mish": Form([_layer("Mish")], "msra (Misra 2020)"),
    "BNLL": Form([_layer("BNLL")], "msra, inputs centred"),
    "ReLU6": Form([_layer("ReLU6")], _HE),
    "Clip": Form([_layer("Clip", "clip_param { min: -1 max: 1 }")], _GLOROT),
}  # fmt: skip
ALSO = {"Softplus": "BNLL", "Tanh": "TanH", "SiLU": "Swish"}
