"""docs/architecture.md: which room imports which, and the way of the main jobs through the modules. Both
are made from the code, so that neither can grow old: ``pytest --update-golden`` writes them."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from html import escape

from places import ROOT
from test_architecture import FLOOR, NAMES, ours

ROOMS = [room for room in FLOOR if not room.startswith("_")]

JOBS = {
    "Upsampling": ["upsample", "--factor", "2", "--channels", "3", "-o", "up.prototxt", "--caffemodel", "up.caffemodel"],
    "Caffe to ONNX": ["convert", "examples/tiny.prototxt", "examples/tiny.caffemodel", "-o", "tiny.onnx"],
    "ONNX to Caffe": ["convert", "examples/squeeze_excite.onnx", "-o", "net.prototxt", "--caffemodel", "net.caffemodel"],
    "Check": ["check", "examples/flawed.prototxt"],
}  # fmt: skip

# Runs a command twice and prints the modules whose functions the second run enters, in order: by then
# everything is imported, so that what is left is the job itself.
TRACE = """
import contextlib, io, json, sys
from pathlib import Path
import protogen
from protogen.cli import main

here = str(Path(protogen.__file__).parent) + "/"
seen = {}

def enter(frame, event, argument):
    code = frame.f_code
    if event == "call" and code.co_flags & 1 and code.co_filename.startswith(here):
        seen.setdefault(code.co_filename[len(here):])

sys.argv = ["protogen", *sys.argv[1:]]
for look in (None, enter):
    sys.setprofile(look)
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        main()
    sys.setprofile(None)
print(json.dumps(list(seen)))
"""


def edges():
    """Pairs of rooms of which the first imports from the second."""
    found = set()
    for name, path in NAMES.items():
        found |= {(name.partition(".")[0], module.partition(".")[0]) for module, _, _ in ours(path)}
    return {(here, there) for here, there in found if here != there and {here, there} <= set(FLOOR)}


def picture():
    """The law as a picture: a row imports from the columns that are filled."""
    found, size, left, top = edges(), 26, 110, 106
    width, height = left + size * len(ROOMS) + 10, top + size * len(ROOMS) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for i, room in enumerate(ROOMS):
        y, x = top + size * i + 17, left + size * i + 17
        parts.append(f'<text x="{left - 8}" y="{y}" text-anchor="end">{escape(room)}</text>')
        parts.append(
            f'<text transform="translate({x} {top - 8}) rotate(-90)">{escape(room)}</text>'
        )
        for j, other in enumerate(ROOMS):
            at = f'x="{left + size * j}" y="{top + size * i}" width="{size}" height="{size}"'
            fill = "#d0d4d9" if i == j else "#5b8def" if (room, other) in found else "#ffffff"
            parts.append(f'<rect {at} fill="{fill}" stroke="#d0d4d9"/>')
    return "\n".join([*parts, "</svg>", ""])


def path_of(job, folder):
    shutil.copytree(ROOT / "examples", folder / "examples", dirs_exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", TRACE, *job],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    return json.loads(done.stdout)


def sentence(path):
    """The first sentence of a module's docstring."""
    text = " ".join((ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split())
    return re.split(r"(?<=[.])\s", text)[0].rstrip(".")


def test_the_page_of_the_architecture(golden, tmp_path):
    golden("../../docs/pictures/rooms.svg", picture())
    lines = [
        "# Architecture",
        "",
        "Thirteen rooms stand one above the other, and each imports only from those above it; what each is for,",
        "CONTRIBUTING.md says. A row of the picture is a room, and each filled square a room that it imports",
        "from. Nothing stands right of the diagonal, lazy imports counted: a test.",
        "",
        "![Which room imports from which](pictures/rooms.svg)",
        "",
        "The lists below name each module that a command enters, once, in the order in which the data reaches",
        "them. They are made by running the command and watching.",
    ]
    for title, job in JOBS.items():
        lines += ["", f"## {title}", "", f"`protogen {' '.join(job)}`", ""]
        modules = path_of(job, tmp_path)
        assert len(modules) == len(set(modules))
        for number, module in enumerate(modules, 1):
            name = module.removesuffix(".py").removesuffix("/__init__")
            lines.append(f"{number}. `{name}`: {sentence(ROOT / 'protogen' / module)}.")
    golden("../../docs/architecture.md", "\n".join([*lines, ""]))


def test_the_picture_shows_a_step_against_the_law():
    """A room that imported from below would stand right of the diagonal."""
    assert all(FLOOR[there] < FLOOR[here] for here, there in edges())
