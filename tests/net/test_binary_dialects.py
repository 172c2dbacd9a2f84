"""Binary nets with the field numbers of dialects."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import protogen as pg
from protogen.errors import InputError, ProtogenWarning
from protogen.formats import prototxt
from protogen.formats.caffemodel import write_weights
from protogen.formats.schema.dialect import dialects, facts
from protogen.formats.schema.dialect_pool import dialect_class
from protogen.net.binary_dialects import layer_bytes, read_binary_net
from protogen.net.dialects import dialects_of
from protogen.toolchains.toolchain import of_dialect
from protogen.training.initialisation import write_initial

SSD = """
name: "s"
layer { name: "d" type: "Input" top: "x" input_param { shape { dim: 1 dim: 4 dim: 8 dim: 8 } } }
layer { name: "c" type: "Convolution" bottom: "x" top: "c"
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "n" type: "Permute" bottom: "c" top: "n"
  permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "p" type: "PriorBox" bottom: "c" bottom: "x" top: "p"
  prior_box_param { min_size: 30 max_size: 60 aspect_ratio: 2 variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 offset: 0.5 } }
"""


def ssd(tmp_path: Path) -> pg.Net:
    path = tmp_path / "ssd.prototxt"
    path.write_text(SSD)
    net = pg.load(path)
    net.weights = {"c": [np.ones((4, 4, 3, 3), np.float32), np.zeros(4, np.float32)]}
    return net


def written(net: pg.Net, dialect: str, path: Path) -> Path:
    with path.open("wb") as file:
        write_weights(file, net.name, net.entries(of_dialect(dialect).schema))
    return path


@pytest.mark.parametrize("dialect", ["ssd", "intel", "cambricon", "synopsys", "tpumlir", "nvcaffe"])
def test_a_net_comes_back_with_its_dialect(dialect: str, tmp_path: Path):
    net = ssd(tmp_path)
    path = written(net, dialect, tmp_path / "n.caffemodel")
    assert dialect in dialects_of(path).possible
    back = pg.load(path, dialect=dialect)
    assert prototxt.write(back.message) == prototxt.write(net.message)
    again = pg.load(path, path, dialect=dialect)
    np.testing.assert_array_equal(again.weights["c"][0], net.weights["c"][0])


def test_the_numbers_are_those_of_the_dialect(tmp_path: Path):
    net = ssd(tmp_path)
    for dialect in ("ssd", "cambricon"):
        raw = layer_bytes(net.layers[2].params, "n", dialect)
        proto = dialect_class(dialect, "LayerParameter").FromString(raw)
        number = facts().field(dialect, "LayerParameter", "permute_param").number  # type: ignore[union-attr]
        assert proto.DESCRIPTOR.fields_by_name["permute_param"].number == number
        assert list(proto.permute_param.order) == [0, 2, 3, 1]  # type: ignore[attr-defined]
    assert layer_bytes(net.layers[2].params, "n", "ssd") != layer_bytes(
        net.layers[2].params, "n", "cambricon"
    )


def test_without_a_dialect_the_error_names_those_that_explain_the_bytes(tmp_path: Path):
    path = written(ssd(tmp_path), "ssd", tmp_path / "n.caffemodel")
    with pytest.raises(InputError) as caught:
        pg.load(path)
    assert str(caught.value).startswith(f"{path}: the file is not of the dialect bvlc: it has no ")
    assert "Set --dialect to one of: ssd, refinedet, " in str(caught.value)


def test_another_dialect_is_refused(tmp_path: Path):
    """cambricon has permute_param under another number than ssd."""
    path = written(ssd(tmp_path), "ssd", tmp_path / "n.caffemodel")
    with pytest.raises(
        InputError, match="not of the dialect cambricon: it has no number 202 in Layer"
    ):
        pg.load(path, dialect="cambricon")
    with pytest.raises(InputError, match="unknown name 'sdd'"):
        pg.load(path, dialect="sdd")


def test_bvlc_is_read_without_a_dialect(tmp_path: Path):
    text = SSD.partition('layer { name: "n"')[0]
    path = tmp_path / "b.prototxt"
    path.write_text(text)
    net = pg.load(path)
    net.weights = {"c": [np.ones((4, 4, 3, 3), np.float32), np.zeros(4, np.float32)]}
    net.save(tmp_path / "b2.prototxt", tmp_path / "b.caffemodel")
    back = pg.load(tmp_path / "b.caffemodel")
    assert prototxt.write(back.message) == prototxt.write(net.message)


def test_a_damaged_file(tmp_path: Path):
    path = written(ssd(tmp_path), "ssd", tmp_path / "n.caffemodel")
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(
        InputError, match=r"n.caffemodel:byte \d+: a value of \d+ bytes is declared"
    ):
        pg.load(path, dialect="ssd")
    path.write_bytes(b"")
    assert read_binary_net(path).fields == []


def test_a_value_that_the_dialect_cannot_hold():
    layer = prototxt.parse(
        'layer { name: "i" type: "ContinuationIndicator" continuation_indicator_param { time_step: -1 } }'
    ).layer[0]
    assert layer_bytes(layer, "i", "tpumlir")
    with pytest.raises(InputError, match="the dialect cc4 has another type for time_step"):
        layer_bytes(layer, "i", "cc4")


MODERN = [n for n in dialects() if facts().field(n, "NetParameter", "layer")]
PIECES = {  # a block of each dialect-dependent number, with the text that is written
    "permute_param": "order: 0 order: 1",
    "interp_param": "height: 3 width: 5",
    "bn_param": 'scale_filler { type: "constant" value: 2 }',
    "pooling_param": "pool: AVE kernel_size: 3 round_mode: FLOOR",
    "clip_param": "min: -1 max: 0.5",
    "prior_box_param": "min_size: 3 variance: 0.1",
    "batch_norm_param": "use_global_stats: true eps: 0.25",
    "input_param": "shape { dim: 1 dim: 3 }",
}


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(MODERN), st.lists(st.sampled_from(sorted(PIECES)), min_size=1, unique=True))
def test_what_a_dialect_writes_it_reads(tmp_path_factory, dialect: str, blocks: list[str]):
    """A layer with any blocks comes back, except those that the dialect lacks; its bytes are valid in it."""
    text = " ".join(f"{block} {{ {PIECES[block]} }}" for block in blocks)
    layer = prototxt.parse(f'layer {{ name: "l" type: "Convolution" {text} }}').layer[0]
    raw = layer_bytes(layer, "l", dialect)
    number = facts().field(dialect, "NetParameter", "layer").number  # type: ignore[union-attr]
    proto = dialect_class(dialect, "NetParameter")()
    proto.layer.add().MergeFromString(raw)  # type: ignore[attr-defined]
    path = tmp_path_factory.mktemp("net") / "n.caffemodel"
    path.write_bytes(proto.SerializeToString())
    assert number == 100
    assert dialect in dialects_of(path).possible
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ProtogenWarning)
        back = read_binary_net(path, dialect).layer[0]
    has = [b for b in blocks if facts().field(dialect, "LayerParameter", b)]
    assert {item.name for item in back.fields} == {"name", "type", *has}
    for block in has:
        own = facts().field(dialect, "LayerParameter", block)
        assert own is not None
        before, after = getattr(layer, block), getattr(back, block)
        written_fields = [i for i in before.fields if facts().field(dialect, own.type, i.name)]
        ordered = sorted(
            (i.name, str(i.value))
            for i in written_fields
            if i.name not in ("shape", "scale_filler")
        )
        assert ordered == sorted(
            (i.name, str(i.value)) for i in after.fields if i.name not in ("shape", "scale_filler")
        )


VOLUMES = """name: "volumes"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 8 dim: 8 } } }
layer { name: "conv" type: "Convolution3D" bottom: "data" top: "conv" convolution3d_param { num_output: 4
  kernel_size: 3 kernel_depth: 3 weight_filler { type: "gaussian" std: 0.1 } } }
"""


@pytest.mark.parametrize("chosen", ["", "c3d", "cambricon"])
@pytest.mark.parametrize("written_by", ["init", "save"])
def test_caffemodel_of_a_fork_has_the_numbers_of_its_dialect(tmp_path, chosen, written_by):
    """c3d and cambricon have the type, under different numbers; c3d is the smaller one."""
    options = {"dialect": chosen} if chosen else {}
    (tmp_path / "n.prototxt").write_text(VOLUMES)
    path = tmp_path / "n.caffemodel"
    net = pg.load(tmp_path / "n.prototxt", **options)
    if written_by == "init":
        write_initial(net, path)
    else:
        pg.initialise(net, seed=0)
        net.save(tmp_path / "again.prototxt", path)
    dialect = chosen or "c3d"
    again = pg.load(path, dialect=dialect)
    assert [layer.type for layer in again.layers] == ["Input", "Convolution3D"]
    assert again.shapes == net.shapes
    other = "cambricon" if dialect == "c3d" else "c3d"
    with pytest.raises(pg.InputError, match=f"Set --dialect to one of: {dialect}"):
        pg.load(path, dialect=other)
