"""``protogen dialects``, and what other commands say about the dialects of a net."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from nets import input_layer

FORK = 'layer { name: "p" type: "Permute" bottom: "x" top: "y" permute_param { order: 0 order: 2 order: 3 order: 1 } }'


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "net.prototxt"
    path.write_text(f"{input_layer('x', (1, 3, 4, 5))}\n{FORK}\n")
    return path


def test_the_dialects_of_a_net(net, commands):
    done = commands.run("dialects", net.name, cwd=net.parent)
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert lines[0].startswith("net.prototxt: ssd, refinedet, ")
    assert lines[1].startswith("  why: type Permute (line 2): nvcaffe, intel, ssd, ")
    assert "  bvlc lacks type Permute (line 2), permute_param (line 2)" in lines
    every = commands.run("dialects", net.name, "--all", cwd=net.parent).stdout.splitlines()
    assert len(every) > len(lines)
    data = json.loads(commands.run("dialects", net.name, "--json", cwd=net.parent).stdout)
    assert data["nets"][0]["possible"][0] == "ssd"
    assert {one["text"] for one in data["nets"][0]["lacks"]["bvlc"]} == {
        "type Permute",
        "permute_param",
    }


def test_a_net_of_no_dialect(net, commands):
    net.write_text(net.read_text().replace("Permute", "Unheard"))
    done = commands.run("dialects", net.name, cwd=net.parent)
    assert done.returncode == 1
    assert done.stdout.startswith(
        "net.prototxt: no known dialect\n  why: type Unheard (line 2): no "
    )


def test_the_list_of_dialects(net, commands):
    done = commands.run("dialects", cwd=net.parent)
    assert "RefineDet" in done.stdout
    assert done.stdout.rstrip().endswith("protogen dialects NET finds those of a net.")
    rows = json.loads(commands.run("dialects", "--json", cwd=net.parent).stdout)["dialects"]
    ssd = next(row for row in rows if row["name"] == "ssd")
    assert ssd["repository"] == "weiliu89/caffe"
    assert "Permute" in ssd["types"]
    assert ssd["lacks"] == ["Clip", "Swish"]


def test_a_file_that_is_missing(net, commands):
    done = commands.run("dialects", "no.prototxt", cwd=net.parent)
    assert done.returncode == 2
    assert "no.prototxt" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_names_the_dialects_of_a_net_of_forks(net, commands):
    done = commands.run("check", net.name, cwd=net.parent, merge=True)
    assert done.returncode == 0
    assert "net.prototxt: by its layer types and fields, the net can be of ssd, " in done.stdout
    chosen = commands.run("check", net.name, "--dialect", "ssd", cwd=net.parent, merge=True)
    assert "can be of" not in chosen.stdout
    net.write_text(net.read_text().splitlines()[0])
    plain = commands.run("check", net.name, cwd=net.parent, merge=True)
    assert "can be of" not in plain.stdout


def test_check_refuses_what_an_old_fork_lacks(net, commands):
    """SSD's Caffe is older than Clip and round_mode."""
    net.write_text(
        f"{input_layer('x', (1, 3, 4, 4))}\n"
        'layer { name: "p" type: "Pooling" bottom: "x" top: "p" '
        "pooling_param { kernel_size: 2 stride: 2 round_mode: FLOOR } }\n"
        'layer { name: "c" type: "Clip" bottom: "p" top: "c" clip_param { min: 0 max: 6 } }\n'
    )
    done = commands.run("check", net.name, "--dialect", "ssd", cwd=net.parent)
    assert done.returncode == 1
    assert "the dialect ssd does not have pooling_param.round_mode" in done.stdout
    assert "the dialect ssd does not have the layer type Clip of BVLC Caffe" in done.stdout
    assert commands.run("check", net.name, "--dialect", "bvlc", cwd=net.parent).returncode == 0
    written = commands.run(
        "rewrite", net.name, "--target", "ssd", "-o", "ssd.prototxt", cwd=net.parent
    )
    assert written.returncode == 0, written.stderr
    assert commands.run("check", "ssd.prototxt", "--dialect", "ssd", cwd=net.parent).returncode == 0


def test_an_unknown_type_of_a_public_fork_is_named(net, commands):
    """protogen does not compute the type, but it knows which fork does."""
    net.write_text(
        net.read_text()
        .replace("Permute", "MLUResizecrop")
        .replace("permute_param", "crop_param")
        .replace("order: 0 order: 2 order: 3 order: 1", "")
    )
    done = commands.run("convert", net.name, "-o", "x.onnx", cwd=net.parent)
    assert done.returncode == 3
    assert "unknown layer type; it is a type of cambricon (Cambricon/caffe)" in done.stderr


def test_summary_names_the_dialects(net, commands):
    done = commands.run("summary", net.name, cwd=net.parent)
    assert "note: by its layer types and fields, the net can be of ssd, " in done.stdout


def test_a_dialect_of_the_v1_format(net, commands):
    done = commands.run("check", net.name, "--dialect", "c3d-1.0", cwd=net.parent)
    assert done.stdout.count("reads only nets in the V1 format. Run protogen upgrade --to v1.") == 1
    refused = commands.run(
        "rewrite", net.name, "--target", "c3d-1.0", "-o", "x.prototxt", cwd=net.parent
    )
    assert refused.returncode == 3
    assert "its Caffe reads only nets in the V1 format" in refused.stderr
