"""What no source says about, forms with an error, and the second try with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from nets import net_with

from protogen.errors import UnsupportedError
from protogen.legalization.legalize import legalize

CLIP = 'layer { name: "c" type: "Clip" bottom: "x" top: "c" clip_param { min: 0 max: 6 } }'


def target(tmp_path: Path, types: str, rules: str = "", complete: bool = False) -> Path:
    path = tmp_path / "npu.toml"
    path.write_text(
        f'types_complete = {str(complete).lower()}\n[sources]\na = "notes"\n[types]\na = [{types}]\n{rules}'
    )
    return path


def types(net) -> list[str]:
    return [one.type for one in net.layers if one.type != "Input"]


def test_a_form_that_is_known_goes_before_an_unknown_layer(tmp_path: Path):
    net = net_with({"x": (1, 3, 4, 5)}, CLIP)
    legal = legalize(net, target(tmp_path, '"Input", "ReLU", "Scale"'))
    assert types(legal.net) == ["ReLU", "Scale", "ReLU", "Scale"]
    assert not legal.unknown


def test_an_unknown_layer_without_a_known_form_is_named(tmp_path: Path):
    net = net_with({"x": (1, 3, 4, 5)}, CLIP)
    legal = legalize(net, target(tmp_path, '"Input"'))
    assert types(legal.net) == ["Clip"]
    assert legal.unknown == {"c": "Clip"}


def test_a_refused_layer_gets_a_form_of_unknown_layers_if_no_other_is_known(tmp_path: Path):
    rule = '[[rule]]\nlayers = ["Clip", "ReLU6"]\nis = "refused"\ntext = "no"\n'
    net = net_with({"x": (1, 3, 4, 5)}, CLIP)
    legal = legalize(net, target(tmp_path, '"Input"', rule))
    assert types(legal.net) == ["ReLU", "Scale", "ReLU", "Scale"]
    assert set(legal.unknown.values()) == {"ReLU", "Scale"}


def test_a_type_of_no_caffe_is_never_written(tmp_path: Path):
    resize = (
        'layer { name: "r" type: "ExactResize" bottom: "x" top: "r" exact_resize_param { height: 8 '
        "width: 10 } }"
    )
    net = net_with({"x": (1, 3, 4, 5)}, resize)
    legal = legalize(net, target(tmp_path, '"Input"'))
    assert "ExactResize" not in types(legal.net)
    with pytest.raises(UnsupportedError, match="protogen's own"):
        legalize(net, target(tmp_path, '"Input"', complete=True))


def test_the_error_of_a_form_is_stated(tmp_path: Path):
    net = net_with({"x": (1, 3, 4, 5)}, 'layer { name: "s" type: "BNLL" bottom: "x" top: "s" }')
    taken = '"Input", "ReLU", "Sigmoid", "Scale", "Eltwise", "Power"'
    legal = legalize(net, target(tmp_path, taken, complete=True))
    assert legal.error == 3e-6
    exact = legalize(net, target(tmp_path, taken + ', "Log", "AbsVal"', complete=True))
    assert exact.error == 0
