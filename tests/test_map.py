"""docs/architecture.md: which room imports which, and the way of the main jobs through the modules. Both
are made from the code, so that neither can grow old: ``pytest --update-golden`` writes them."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
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


def counts():
    """How many modules of a room (first) import from another (second)."""
    found = set()
    for name, path in NAMES.items():
        for module, _, _ in ours(path):
            found.add((name.partition(".")[0], name, module.partition(".")[0]))
    return Counter((here, there) for here, _, there in found if here != there)


def picture():
    """The law as a picture: a row imports from columns, and nothing stands above the diagonal."""
    found, size, left, top = counts(), 30, 120, 116
    width, height = left + size * len(ROOMS) + 10, top + size * len(ROOMS) + 10
    most = max(found.values())
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for i, room in enumerate(ROOMS):
        y, x = top + size * i + 19, left + size * i + 19
        parts.append(f'<text x="{left - 8}" y="{y}" text-anchor="end">{escape(room)}</text>')
        parts.append(
            f'<text transform="translate({x} {top - 8}) rotate(-90)">{escape(room)}</text>'
        )
        for j, other in enumerate(ROOMS):
            at = f'x="{left + size * j}" y="{top + size * i}" width="{size}" height="{size}"'
            n = found[room, other]
            shade = (
                "#e8eaed"
                if i == j
                else f"rgb({[round(255 - n / most * c) for c in (190, 110, 20)]})"
            )
            fill = shade.replace("[", "").replace("]", "")
            parts.append(f'<rect {at} fill="{fill}" stroke="#d0d4d9"/>')
            if n:
                parts.append(
                    f'<text x="{left + size * j + 15}" y="{top + size * i + 19}" text-anchor="middle">{n}</text>'
                )
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
        "CONTRIBUTING.md says. A row of the picture is a room, and a number says how many of its modules import",
        "from the room of the column. Nothing stands right of the diagonal, lazy imports counted: a test.",
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
    assert all(
        FLOOR[there] < FLOOR[here] for here, there in counts() if {here, there} <= set(FLOOR)
    )
