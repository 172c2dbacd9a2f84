"""The same input gives the same bytes: on every run, in every process, on every Python."""

import hashlib
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
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
# What a library writes may change with its release: only our own bytes have a golden hash.
OURS = (
    "up.prototxt",
    "up.caffemodel",
    "head.prototxt",
    "start.caffemodel",
    "new.prototxt",
    "tiny.npz",
)


def outputs(folder: Path, seed: str) -> dict[str, str]:
    folder.mkdir()
    hashes = {}
    for name, arguments in COMMANDS.items():
        done = subprocess.run(
            [sys.executable, "-m", "protogen", *map(str, arguments), name], cwd=folder,
            capture_output=True, encoding="utf-8", env=os.environ | {"PYTHONHASHSEED": seed},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        hashes[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    return hashes


def test_same_bytes_with_other_hash_seeds(tmp_path, golden):
    first, second = outputs(tmp_path / "a", "1"), outputs(tmp_path / "b", "2")
    assert first == second
    golden("hashes.txt", "".join(f"{first[name]}  {name}\n" for name in OURS))


def test_wheels_are_alike(tmp_path):
    """Two builds of one tree are one file, however old the tree's files are."""
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


@pytest.mark.parametrize("name", ["pyproject.toml", "protogen/_version.py"])
def test_the_version_stands_in_one_place(name):
    import protogen

    text = (ROOT / name).read_text()
    assert (f'"{protogen.__version__}"' in text) == (name == "protogen/_version.py")


def test_dependencies_are_listed_with_their_licences():
    """The docs' tables have every library that pyproject.toml names, with its lowest release."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {("", one) for one in project["dependencies"]}
    for extra, names in project["optional-dependencies"].items():
        if extra not in ("all", "test", "docs", "dev"):
            wanted |= {(extra, one) for one in names}
    split = re.compile(r"([\w-]+)>=([\d.]+)")
    expected = {(extra, *split.match(one).groups()) for extra, one in wanted}
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (ROOT / "docs" / "dependencies.md").read_text().splitlines()
        if line.startswith("| ") and "library" not in line
    ]
    assert all(len(row) in (4, 5) and row[-1] for row in rows)
    listed = {tuple(row[:3]) if len(row) == 5 else ("", *row[:2]) for row in rows}
    assert listed == expected
