"""``net.summary()``, ``net.draw()``, ``up.plot()`` and ``plan.plot()``."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from places import EXAMPLES

import protogen as pg
from protogen.notebook.pictures import embeddable

TINY = EXAMPLES / "tiny.prototxt", EXAMPLES / "tiny.caffemodel"


@pytest.mark.parametrize(
    "name", ["tiny.prototxt", "small_fcn.prototxt", "fork_head.prototxt", "segnet_head.prototxt"]
)
def test_summary_is_the_text_of_the_command(name, commands, tmp_path):
    path = EXAMPLES / name
    summary = pg.load(path, tolerant=True).summary()
    printed = commands.run("summary", str(path), cwd=tmp_path).stdout
    assert f"{summary}\n" == printed
    assert repr(summary) == str(summary)


def test_summary_as_data():
    summary = pg.load(*TINY).summary()
    assert summary.totals == {
        "layers": 10,
        "parameters": 3989,
        "multiply_adds": 88704,
        "parameter_bytes": 15956,
        "activation_bytes": 4 * (3 * 32 * 32 + 8 * 16 * 16 + 8 * 9 * 9 + 16 * 7 * 7 + 4 + 4),
        "unknown": 0,
    }
    assert summary.rows[1]["name"] == "conv1"
    assert summary.rows[1]["output"] == [1, 8, 16, 16]
    assert summary.inputs, summary.outputs == (("data",), ("prob",))


def test_summary_of_unknown_shapes_says_so(tmp_path):
    path = tmp_path / "unknown.prototxt"
    path.write_text(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } }\n'
        'layer { name: "m" type: "MyLayer" bottom: "x" top: "y" }\n'
    )
    with pytest.warns(pg.ProtogenWarning):
        summary = pg.load(path, tolerant=True).summary()
    assert "note: the totals leave out 1 layer of unknown shape." in str(summary)
    assert "the totals leave out 1 layer of unknown shape." in summary._repr_html_()


def test_drawing_of_a_net_is_an_svg():
    pytest.importorskip("igraph")
    picture = pg.load(*TINY).draw()
    root = ElementTree.fromstring(picture._repr_svg_())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    texts = {"".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"conv1", "fc", "prob"} <= texts
    assert re.fullmatch(r"<Picture \d+x\d+>", repr(picture))


@pytest.mark.parametrize(("suffix", "start"), [("svg", b"<svg"), ("png", b"\x89PNG")])
def test_drawing_is_written(tmp_path, suffix, start):
    pytest.importorskip("igraph")
    pytest.importorskip("resvg_py")
    path = tmp_path / f"net.{suffix}"
    pg.load(*TINY).draw(path)
    assert path.read_bytes().startswith(start)
    if suffix == "svg":
        pg.draw(TINY[0], tmp_path / "command.svg")
        assert path.read_bytes() == (tmp_path / "command.svg").read_bytes()


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_plot_is_the_picture_of_the_command(tmp_path, suffix, commands):
    commands.run(
        "upsample", "--factor", "3", "--plot", f"c.{suffix}", "-o", "c.prototxt", cwd=tmp_path
    )
    path = tmp_path / f"up.{suffix}"
    picture = pg.upsample(3).plot(path)
    assert path.read_bytes() == (tmp_path / f"c.{suffix}").read_bytes()
    root = ElementTree.fromstring(picture._repr_svg_())
    assert "error at the border" in "".join(root.itertext())
    assert re.fullmatch(r"<Picture \d+x\d+>", repr(picture))


def test_plot_of_a_plan(tmp_path):
    plan = pg.upsample(2, exact=True, input_shape=(1, 1, 6, 6))
    picture = plan.plot(tmp_path / "plan.png")
    assert (tmp_path / "plan.png").read_bytes().startswith(b"\x89PNG")
    assert "exact resize" in "".join(ElementTree.fromstring(picture._repr_svg_()).itertext())


def test_wrong_path_is_refused_before_work(tmp_path):
    for draw in (pg.load(*TINY).draw, pg.upsample(2).plot):
        with pytest.raises(pg.InputError, match=r"expected \.svg or \.png"):
            draw(tmp_path / "picture.pdf")
    assert list(tmp_path.iterdir()) == []


def test_too_many_kernels_are_refused():
    specs = [pg.upsample(f, name=f"u{f}").specs[0] for f in range(2, 16)]
    with pytest.raises(pg.InputError, match="14 different kernels are too many"):
        pg.Upsampling(specs).plot()
    with pytest.raises(pg.InputError, match="too large to draw"):
        pg.upsample(300, channels=1).plot()


def test_pictures_of_a_page_do_not_change_each_other():
    """A page has one set of styles and of ids, and two pictures may have the same names."""
    first, second = (
        embeddable(
            f'<?xml version="1.0"?>\n<svg width="{width}"><style>text,.a b{{fill:red}}\n@media screen{{text{{fill:blue}}}}</style>'
            '<path id="arrow"/><use href="#arrow"/><path marker-end="url(#arrow)"/></svg>'
        )
        for width in (1, 2)
    )
    assert first != second
    ids = [set(re.findall(r'id="([^"]+)"', text)) for text in (first, second)]
    assert not ids[0] & ids[1]
    for text, (one,) in zip((first, second), ids, strict=True):
        name = one.removesuffix("-arrow")
        assert text.startswith(f'<svg class="{name}"')
        assert f"<style>.{name} text,.{name} .a b{{fill:red}}\n" in text
        assert f"@media screen{{.{name} text{{fill:blue}}}}</style>" in text
        assert f'href="#{one}"' in text
        assert f"url(#{one})" in text
