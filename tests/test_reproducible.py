"""The same input gives the same bytes on every run, in every process and on every Python version."""

import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

from places import EXAMPLES, ROOT

COMMANDS = {
    "up.prototxt": ["upsample", "--factor", "2x4", "--channels", "3", "-o"],
    "up.caffemodel": ["upsample", "--factor", "2x4", "--channels", "3", "-o", os.devnull, "--caffemodel"],
    "head.prototxt": ["upsample", "--spec", EXAMPLES / "head.toml", "-o"],
    "start.caffemodel": ["init", EXAMPLES / "small_fcn.prototxt", "--seed", "7", "-o"],
    "tiny.onnx": ["convert", EXAMPLES / "tiny.prototxt", EXAMPLES / "tiny.caffemodel", "-o"],
    "excite.prototxt": ["convert", EXAMPLES / "squeeze_excite.onnx", "--caffemodel", "x.caffemodel", "-o"],
    "tiny.npz": ["weights", EXAMPLES / "tiny.caffemodel", "--to-npz"],
    "new.prototxt": ["upgrade", EXAMPLES / "lenet_2013.prototxt", "-o"],
    "tiny.html": ["report", EXAMPLES / "tiny.prototxt", EXAMPLES / "tiny.caffemodel", "-o"],
    "tiny.svg": ["draw", EXAMPLES / "tiny.prototxt", "-o"],
}  # fmt: skip
# Files written without a library. Other files may change with the release of the library, so that they
# have no golden hash.
OWN_FORMATS = (
    "up.prototxt",
    "up.caffemodel",
    "head.prototxt",
    "start.caffemodel",
    "new.prototxt",
    "tiny.npz",
)


def outputs(folder: Path, seed: str) -> dict[str, str]:
    folder.mkdir()
    lines = [[*map(str, arguments), name] for name, arguments in COMMANDS.items()]
    code = (
        "import json, sys; from protogen.cli import cli\n"
        "for line in json.load(sys.stdin): cli.main(line, 'protogen', standalone_mode=False)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, input=json.dumps(lines),
        capture_output=True, encoding="utf-8", env=os.environ | {"PYTHONHASHSEED": seed},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in COMMANDS}


def test_outputs_do_not_depend_on_the_hash_seed(tmp_path, golden):
    first, second = outputs(tmp_path / "a", "1"), outputs(tmp_path / "b", "2")
    assert first == second
    golden("hashes.txt", "".join(f"{first[name]}  {name}\n" for name in OWN_FORMATS))


def test_two_builds_give_the_same_wheel(tmp_path):
    """The wheel does not contain the modification times of the files."""
    from hatchling.builders.wheel import WheelBuilder

    hashes = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (wheel,) = WheelBuilder(str(ROOT)).build(
            directory=str(tmp_path / name), versions=["standard"]
        )
        hashes.append(hashlib.sha256(Path(wheel).read_bytes()).hexdigest())
        with zipfile.ZipFile(wheel) as archive:
            assert len({member.date_time for member in archive.infolist()}) == 1
    assert hashes[0] == hashes[1]


def test_version_is_defined_once():
    import protogen

    quoted = f'"{protogen.__version__}"'
    assert quoted in (ROOT / "protogen" / "_version.py").read_text()
    assert quoted not in (ROOT / "pyproject.toml").read_text()


def test_dependencies_are_listed_with_their_licences():
    """docs/dependencies.md has every library of pyproject.toml with its lowest release."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = {("", text) for text in project["dependencies"]}
    for extra, names in project["optional-dependencies"].items():
        if extra not in ("all", "test", "docs", "dev"):
            requirements |= {(extra, text) for text in names}
    split = re.compile(r"([\w-]+)>=([\d.]+)")
    expected = {(extra, *split.match(text).groups()) for extra, text in requirements}
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (ROOT / "docs" / "dependencies.md").read_text().splitlines()
        if line.startswith("| ") and "library" not in line
    ]
    assert all(len(row) in (4, 5) and row[-1] for row in rows)
    listed = {tuple(row[:3]) if len(row) == 5 else ("", *row[:2]) for row in rows}
    assert listed == expected
