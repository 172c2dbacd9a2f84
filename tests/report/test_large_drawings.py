"""Drawings of large nets: columns, rows of branches, folded blocks, labels, legend, sizes, colours."""

from __future__ import annotations

import itertools
import re
import struct
import time
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import protogen as pg
from protogen.formats import prototxt
from protogen.net.build import build
from protogen.report import drawing
from protogen.report.boxes import NAME_LIMIT, Box
from protogen.report.colours import BY_FAMILY, KINDS
from protogen.report.columns import extent_of
from protogen.report.diagram import Diagram, diagram
from protogen.report.drawing import kinds, size, svg
from protogen.report.labels import labels, short, text_width
from protogen.report.repeats import Repeat, repeats

INPUT = (
    'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 3, 8, 8] } } }\n'
)


def conv(name: str, bottom: str, outputs: int = 4) -> str:
    return (
        f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" '
        f"convolution_param {{ num_output: {outputs} kernel_size: 1 }} }}\n"
    )


def relu(name: str, bottom: str) -> str:
    return f'layer {{ name: "{name}" type: "AbsVal" bottom: "{bottom}" top: "{name}" }}\n'


def chain(count: int, *, same: bool = True) -> str:
    """A chain of ``count`` pairs of layers; with ``same=False`` no two pairs are equal."""
    lines, last = [INPUT], "data"
    for i in range(count):
        lines += [conv(f"conv{i}", last, 4 if same else 1 + i), relu(f"abs{i}", f"conv{i}")]
        last = f"abs{i}"
    return "".join(lines)


def wide(count: int, name: str = "branch_with_a_rather_long_name_{}/convolution_1x1") -> str:
    names = [name.format(i) for i in range(count)]
    bottoms = " ".join(f'bottom: "{one}"' for one in names)
    heads = "".join(conv(one, "data") for one in names)
    return f'{INPUT}{heads}layer {{ name: "cat" type: "Concat" {bottoms} top: "cat" }}\n'


def ladder(count: int) -> str:
    """A net like a U-Net: each layer on the way up also reads one on the way down."""
    lines, last = [INPUT], "data"
    for i in range(count):
        lines.append(conv(f"down{i}", last, 4))
        last = f"down{i}"
    for i in range(count - 2, -1, -1):
        lines.append(
            f'layer {{ name: "up{i}" type: "Eltwise" bottom: "{last}" bottom: "down{i}" top: "up{i}" }}\n'
        )
        last = f"up{i}"
    return "".join(lines)


def layout(text: str, fold: bool | None = None) -> Diagram:
    return diagram(build(prototxt.parse(text, "net.prototxt")), fold)


def rectangles(drawn: Diagram) -> list[tuple[float, float, float, float]]:
    """All boxes with their places in the drawing: left, top, right, bottom."""
    return [
        (
            x + box.x - box.width / 2,
            y + box.y + drawing.LEAD,
            x + box.x + box.width / 2,
            y + box.y + drawing.LEAD + box.height,
        )
        for part, (x, y) in zip(drawn.parts, drawn.places, strict=True)
        for box in part.boxes
    ]


def check_places(drawn: Diagram) -> None:
    """Boxes do not overlap and lie inside the drawing; no line between columns crosses a box."""
    boxes = rectangles(drawn)
    for i, a in enumerate(boxes):
        assert -drawn.width / 2 - 0.1 <= a[0] < a[2] <= drawn.width / 2 + 0.1
        assert 0 <= a[1] < a[3] <= drawn.height + 0.1
        for b in boxes[:i]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    for link in drawn.links:
        for (x, y), (to_x, to_y) in itertools.pairwise(link[1:-1]):
            for left, top, right, bottom in boxes:
                beside = max(x, to_x) <= left or min(x, to_x) >= right
                assert beside or max(y, to_y) <= top or min(y, to_y) >= bottom
    for part in drawn.parts:
        for line, _ in part.lines:
            for (x, y), (to_x, to_y) in itertools.pairwise(line):
                for box in part.boxes:
                    beside = (
                        max(x, to_x) <= ends(box)[0] + 0.1 or min(x, to_x) >= ends(box)[1] - 0.1
                    )
                    top, bottom = box.y + 0.1, box.y + box.height - 0.1
                    assert beside or max(y, to_y) <= top or min(y, to_y) >= bottom
    root = ElementTree.fromstring(svg(drawn))
    assert root.tag.endswith("svg")


# layouts


def test_wide_branches_wrap_into_rows():
    drawn = layout(wide(60))
    check_places(drawn)
    assert len(drawn.boxes) == 62
    width, height = size(drawn)
    assert 1.2 < width / height < 1.9
    rows = {round(box.y) for part in drawn.parts for box in part.boxes if box.index}
    assert len(rows) == 10  # 9 rows of branches and the layer that joins them
    # Without stubs: one line leads from the data to all branches, and one to the layer that joins them.
    assert not [box for part in drawn.parts for box in part.boxes if box.stub]
    arrows = [line for part in drawn.parts for line, arrow in part.lines if arrow]
    heads = {(round(x), round(y)) for *_, (x, y) in arrows}
    assert heads == {(round(box.x), round(box.y)) for box in drawn.parts[1].boxes}


def test_identity_and_longer_branches_are_in_rows_too():
    names = [f"a{i}" for i in range(20)]
    text = INPUT + conv("stem", "data", 4)
    for i, name in enumerate(names):
        inner = [f"{name}_{k}" for k in range(i % 3)]
        for one, below in zip([*inner, name], ["stem", *inner], strict=True):
            text += conv(one, below)
    bottoms = " ".join(f'bottom: "{one}"' for one in ["stem", *names])
    text += f'layer {{ name: "sum" type: "Eltwise" {bottoms} top: "sum" }}\n' + conv("end", "sum")
    drawn = layout(text, fold=False)
    check_places(drawn)
    [rows] = [part for part in drawn.parts if part.lines]
    assert len(rows.boxes) == 20 + 7 + 2 * 6 + 1
    assert rows.entry == rows.exit == 0.0


def test_deep_chain_wraps_into_columns_with_lines_between_them():
    drawn = layout(chain(250, same=False), fold=False)
    check_places(drawn)
    assert len(drawn.boxes) == 501
    assert 1.2 < drawn.width / drawn.height < 1.8
    columns = sorted({x for x, _ in drawn.places})
    assert len(drawn.links) == len(columns) - 1 > 5
    for link, x, following in zip(drawn.links, columns, columns[1:], strict=False):
        assert (link[0][0], link[-1]) == (x, (following, 0.0))
        assert all(a == c or b == d for (a, b), (c, d) in itertools.pairwise(link))


def test_net_with_long_connections_is_cut_into_pieces():
    drawn = layout(ladder(120), fold=False)
    check_places(drawn)
    assert len(drawn.boxes) == 240
    assert drawn.width / drawn.height < 3
    stubs = {box.lines[0] for part in drawn.parts for box in part.boxes if box.stub}
    assert "down0" in stubs  # its reader is far away


def test_small_nets_are_one_stack():
    drawn = layout(chain(20))
    assert drawn.links == ()
    assert len(drawn.boxes) == 41
    assert {x for x, _ in drawn.places} == {0.0}
    assert not drawn.large


@st.composite
def large_nets(draw) -> str:
    """Nets of 60 to 150 layers whose layers read up to three earlier blobs, near or far."""
    lines = [INPUT]
    names = ["data"]
    for i in range(draw(st.integers(60, 150))):
        near = draw(st.lists(st.integers(1, 4), min_size=1, max_size=2))
        far = draw(st.lists(st.integers(0, len(names) - 1), max_size=1))
        reads = sorted({names[max(-one, -len(names))] for one in near} | {names[k] for k in far})
        bottoms = " ".join(f'bottom: "{one}"' for one in reads)
        kind = "Eltwise" if len(reads) > 1 else "AbsVal"
        lines.append(f'layer {{ name: "n{i}" type: "{kind}" {bottoms} top: "n{i}" }}\n')
        names.append(f"n{i}")
    return "".join(lines)


@settings(max_examples=20, deadline=None)
@given(large_nets(), st.booleans())
def test_boxes_of_large_nets_never_overlap(text, fold):
    drawn = layout(text, fold)
    check_places(drawn)
    members = [m for box in drawn.boxes for m in box.members]
    assert sorted(members) == list(range(text.count("layer {")))


def test_line_of_the_entry_leads_around_rows_that_do_not_read_it():
    """The first branches read far data only."""
    text = INPUT + conv("stem", "data") + conv("stem2", "stem")
    names = [f"a{i}" for i in range(30)]
    for i, name in enumerate(names):
        text += conv(name, "data" if i < 15 else "stem2")
    bottoms = " ".join(f'bottom: "{name}"' for name in names)
    drawn = layout(text + f'layer {{ name: "cat" type: "Concat" {bottoms} top: "cat" }}\n')
    check_places(drawn)
    assert any(part.lines for part in drawn.parts)


# repeated blocks


def test_repeated_blocks_fold_into_one_box_with_the_range_of_names():
    drawn = layout(chain(250))
    data, block = drawn.boxes
    assert data.lines[0] == "data"
    assert block.family == "repeat"
    assert block.lines == ("conv0 … abs249", "250 x 2 layers", "Convolution 1x1, AbsVal", "1x4x8x8")
    assert block.members == tuple(range(1, 501))
    assert sum(size(drawn)) < 700
    assert len(layout(chain(250), fold=False).boxes) == 501
    # A small net is folded only on request.
    assert len(layout(chain(6)).boxes) == 13
    assert len(layout(chain(6), fold=True).boxes) == 2


def test_long_names_of_a_block_are_in_two_lines():
    text = chain(5).replace('"conv', '"a_convolution_with_a_long_name_')
    box = layout(text, fold=True).boxes[1]
    assert box.bold == 2
    assert box.lines[0].startswith("a_conv")
    assert box.lines[1] == "… abs4"


@given(
    st.lists(st.sampled_from("ab"), max_size=4),
    st.lists(st.sampled_from("abc"), min_size=1, max_size=5),
    st.integers(2, 9),
)
def test_repeats_removes_as_much_as_possible(before, block, times):
    items = [*before, *block * times, "z"]
    blocks = repeats(items, [1] * len(items))
    at = 0
    for one in blocks:
        assert one.start >= at
        assert items[one.start : one.end] == items[one.start : one.start + one.period] * one.times
        assert one.period * (one.times - 1) >= 3
        at = one.end
    if not before and len(block) * (times - 1) >= 3:
        assert blocks
        assert blocks[0].period * (blocks[0].times - 1) >= len(block) * (times - 1)


def test_repeats_prefers_the_shortest_block_that_removes_most():
    assert repeats("abababab", [1] * 8) == [Repeat(0, 2, 4)]
    assert repeats("xaaaay", [1] * 6) == [Repeat(1, 1, 4)]
    assert repeats("abcd", [1] * 4) == []


def test_blocks_with_other_parameters_do_not_fold():
    assert len(layout(chain(250, same=False), fold=True).boxes) == 501


# labels

NAMES = st.lists(
    st.one_of(
        st.text(max_size=60),
        st.text("ab_/", min_size=20, max_size=80),
        st.integers(0, 40).map(lambda i: f"branch_with_a_rather_long_name_{i}/convolution_1x1"),
        st.text("ab", max_size=6).map(lambda middle: "x" * 20 + middle + "y" * 20),
        st.just("x" * 13 + "…" + "y" * 12),
    ),
    max_size=40,
)


@settings(max_examples=200)
@given(NAMES, st.integers(10, 30))
def test_cut_labels_of_different_names_differ(names, limit):
    chosen = labels(names, limit)
    assert set(chosen) == set(names)
    assert len(set(chosen.values())) == len(chosen)
    for name, label in chosen.items():
        assert len(label) <= max(limit, 8)
        assert label.isprintable()
        if name.isprintable() and len(name) <= limit and text_width(name) <= limit * 7.4:
            assert label == name


@given(NAMES)
def test_boxes_of_different_names_have_different_labels(names):
    names = [name for name in dict.fromkeys(names) if name]
    text = INPUT + "".join(
        f'layer {{ name: {prototxt.quote(name)} type: "AbsVal" bottom: "data" top: "t{i}" }}\n'
        for i, name in enumerate(names)
    )
    drawn = layout(text)
    shown: dict[str, int] = {}
    for box in drawn.boxes:
        assert shown.setdefault(box.lines[0], box.index) == box.index
        assert len(box.lines[0]) <= NAME_LIMIT


def test_both_ends_of_a_cut_label_and_the_difference_are_visible():
    names = [f"branch_with_a_rather_long_name_{i}/convolution_1x1" for i in range(60)]
    for i, label in enumerate(labels(names, NAME_LIMIT).values()):
        assert label.startswith("branc")
        assert label.endswith("n_1x1")
        assert f"name_{i}/" in label
    assert labels(["a" * 30 + "b"], 11) == {"a" * 30 + "b": "aaaaa…aaaab"}
    assert short("abcdefghij", 5) == "ab…ij"


def test_wide_letters_fit_their_box():
    label = labels(["W" * 26], NAME_LIMIT)["W" * 26]
    assert label.startswith("W")
    assert text_width(label) <= NAME_LIMIT * 7.4


# legend and colours


def legend_of(text: str) -> list[str]:
    root = ElementTree.fromstring(text)
    space = {"s": "http://www.w3.org/2000/svg"}
    return [node.text or "" for node in root.findall(".//s:g[@class='legend']//s:text", space)]


def test_legend_has_the_kinds_of_the_drawing_only():
    drawn = layout(wide(3, "a{}"))
    assert legend_of(svg(drawn)) == ["data and outputs", "convolution", "shape and order"]
    assert "repeated block" in legend_of(svg(layout(chain(5), fold=True)))
    used = {BY_FAMILY[box.family] for box in drawn.boxes}
    assert {kind.label for kind in kinds(drawn)} == {kind.label for kind in used}


def test_each_kind_of_the_legend_has_its_own_colours():
    for scheme in ("light", "dark"):
        colours = [getattr(kind, scheme) for kind in KINDS if kind.families != ("stub",)]
        assert len({edge + fill for fill, edge in colours}) == len(colours)


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(share * c for share, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize(("scheme", "ink"), [("light", "#1f2933"), ("dark", "#e4e7eb")])
def test_text_has_enough_contrast_in_every_box(scheme, ink):
    for kind in KINDS:
        low, high = sorted([luminance(getattr(kind, scheme)[0]), luminance(ink)])
        assert (high + 0.05) / (low + 0.05) >= 7, kind.label  # WCAG 2.1, level AAA


def test_svg_has_the_colours_of_both_schemes_and_png_those_of_one(tmp_path):
    drawn = layout(wide(3, "a{}"))
    both = svg(drawn)
    assert both.count("prefers-color-scheme:dark") == 1
    for dark in (True, False):
        text = svg(drawn, dark=dark)
        assert "prefers-color-scheme" not in text
        assert ("#12181f" in text) == dark
    net = tmp_path / "net.prototxt"
    net.write_text(wide(3, "a{}"))
    corners = []
    for name, dark in (("light.png", None), ("dark.png", True)):
        pg.draw(net, tmp_path / name, dark=dark)
        from matplotlib import image

        corners.append([round(float(c) * 255) for c in image.imread(tmp_path / name)[2, 2]])
    assert corners == [[255, 255, 255, 255], [0x12, 0x18, 0x1F, 255]]


# files


def test_png_that_would_be_too_large_is_refused_with_advice(tmp_path, monkeypatch):
    from protogen.report import draw

    (tmp_path / "net.prototxt").write_text(chain(60, same=False))
    monkeypatch.setattr(draw, "LONGEST", 1000)
    with pytest.raises(
        pg.InputError, match=r"too large for a PNG: it has [\d,]+ x [\d,]+ pixels"
    ) as e:
        pg.draw(tmp_path / "net.prototxt", tmp_path / "net.png")
    assert "at most 1,000 on a side" in str(e.value)
    assert "Write an .svg file" in str(e.value)
    assert not (tmp_path / "net.png").exists()
    pg.draw(tmp_path / "net.prototxt", tmp_path / "net.svg")


@pytest.mark.parametrize("net", [wide(200), chain(1000, same=False), ladder(300)])
def test_png_of_large_nets_has_at_most_16000_pixels_a_side(net):
    from protogen.report import draw

    drawn = size(layout(net, fold=False))
    scale = draw._scale(*drawn, "net.png")
    assert 1 <= scale <= 1.5
    assert max(drawn) * scale <= 16_000
    assert 0.5 < drawn[0] / drawn[1] < 3


def test_command_draws_folded_dark_and_as_asked(protogen, tmp_path):
    (tmp_path / "net.prototxt").write_text(chain(250))
    done = protogen("draw", "net.prototxt", "-o", "net.svg", cwd=tmp_path)
    assert "2 boxes; 1 repeated block folded, --no-fold draws all layers" in done.stdout
    done = protogen("draw", "net.prototxt", "--no-fold", "--dark", "-o", "all.svg", cwd=tmp_path)
    assert "(501 boxes)" in done.stdout
    assert "prefers-color-scheme" not in (tmp_path / "all.svg").read_text()
    png = protogen("draw", "net.prototxt", "-o", "net.png", cwd=tmp_path)
    assert png.returncode == 0
    width, height = struct.unpack(">II", (tmp_path / "net.png").read_bytes()[16:24])
    assert max(width, height) < 1000


def test_layout_of_a_long_chain_is_linear():
    """Ten times the layers take at most about ten times as long."""

    def seconds(count: int) -> float:
        graph = build(prototxt.parse(chain(count, same=False), "net.prototxt"))
        start = time.perf_counter()
        svg(diagram(graph, fold=False))
        return time.perf_counter() - start

    seconds(50)  # imports
    assert seconds(2000) < 30 * max(min(seconds(200), seconds(200)), 0.01)


def test_wide_net_is_drawn_in_less_than_a_second_and_a_half():
    graph = build(prototxt.parse(wide(60), "net.prototxt"))
    start = time.perf_counter()
    svg(diagram(graph))
    assert time.perf_counter() - start < 1.5


def test_edges_of_rows_are_drawn_at_right_angles():
    text = svg(layout(wide(60)))
    lanes = re.findall(r'class="edge" d="M([^C"]+)"', text)
    assert len(lanes) >= 60 * 2 + 9 * 2


def test_extent_contains_all_boxes_and_lines():
    drawn = layout(wide(60))
    for part in drawn.parts:
        left, right = extent_of(part)
        points = [x for line, _ in part.lines for x, _ in line]
        sides = [side for box in part.boxes for side in ends(box)]
        assert -left == min([0.0, *points, *sides])
        assert right == max([0.0, *points, *sides])
        assert max(left, right) <= part.width / 2 + 0.1


def ends(box: Box) -> tuple[float, float]:
    return box.x - box.width / 2, box.x + box.width / 2
