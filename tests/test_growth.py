"""The work for a net grows as its number of layers.

The lines of Python that are run are counted, which does not depend on the speed of the machine.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

import protogen as pg
from protogen.legalization.legalize import legalize
from protogen.lint.engine import check_text

GROWTH = 1.15  # lines for each further layer, from 72 to 144 layers against 36 to 72
CONVOLUTION = 'convolution_param { num_output: 2 kernel_size: 1 weight_filler { type: "msra" } }'


def layer(name: str, type_: str, bottoms: list[str], top: str, parameters: str = "") -> str:
    wires = " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
    return f'layer {{ name: "{name}" type: "{type_}" {wires} top: "{top}" {parameters} }}\n'


def of_one_axis(count: int) -> list[str]:
    """Layers that leave the axes as they are: each walk back passes all of them."""
    layers = [layer("conv", "Convolution", ["data"], "x0", CONVOLUTION)]
    types = ("Dropout", "ReLU", "Power", "Split")
    for i in range(count):
        layers.append(layer(f"l{i}", types[i % 4], [f"x{i}"], f"x{i + 1}"))
    return layers


def wide(count: int) -> list[str]:
    layers = [layer(f"x{i}", "Power", ["data"], f"x{i}") for i in range(count)]
    return [*layers, layer("all", "Concat", [f"x{i}" for i in range(count)], "all")]


def heads(count: int) -> list[str]:
    """Layers that read one blob, each of them an output."""
    return [layer(f"x{i}", "Power", ["data"], f"x{i}") for i in range(count)]


def residual(count: int) -> list[str]:
    layers, top = [], "data"
    for i in range(0, count, 2):
        layers.append(layer(f"conv{i}", "Convolution", [top], f"conv{i}", CONVOLUTION))
        layers.append(layer(f"sum{i}", "Eltwise", [top, f"conv{i}"], f"sum{i}"))
        top = f"sum{i}"
    return layers


def in_place_forks(count: int) -> list[str]:
    """Layers of forks in place, whose replacements need the blob before them under another name."""
    layers = [layer("conv", "Convolution", ["data"], "x", CONVOLUTION)]
    return layers + [layer(f"act{i}", "HardSwish", ["x"], "x") for i in range(count)]


NETS = {make.__name__: make for make in (of_one_axis, wide, heads, residual, in_place_forks)}


def text_of(make: Callable[[int], list[str]], count: int) -> str:
    shape = "input_param { shape { dim: 1 dim: 2 dim: 4 dim: 4 } }"
    return layer("data", "Input", [], "data", shape) + "".join(make(count))


def rewritten(path, text):
    pg.rewrite(path)


def legalized(path, text):
    legalize(pg.load(path), "rknn2")


def judged(path, text):
    pg.check_target(path, "tpu-mlir")


def linted(path, text):
    check_text(text, "net.prototxt")


def imported(path, text):
    net = pg.load(path)
    pg.from_onnx(pg.to_onnx(pg.initialise(net)))


WORK = {work.__name__: work for work in (rewritten, legalized, judged, linted, imported)}


def lines(work: Callable[[], object]) -> int:
    """Return how many lines of Python are run."""
    count = 0

    def note(frame: object, event: str, argument: object) -> object:
        nonlocal count
        count += event == "line"
        return note

    before = sys.gettrace()
    sys.settrace(note)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("work", WORK)
@pytest.mark.filterwarnings("ignore")
def test_lines_grow_as_the_layers(work, net, tmp_path):
    counts = []
    for size in (12, 36, 72, 144):  # the first run imports what is needed
        path = tmp_path / f"{size}.prototxt"
        text = text_of(NETS[net], size)
        path.write_text(text)
        counts.append(lines(lambda: WORK[work](path, text)))  # noqa: B023
    first, second = counts[2] - counts[1], counts[3] - counts[2]
    assert second <= 2 * GROWTH * first, counts
