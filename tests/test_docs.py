"""The commands, Python code, tables and links of the docs are correct."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from places import EXAMPLES, ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NETS = "benchmarks/nets"
CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)


def commands_of(page: Path) -> list[tuple[str, str]]:
    """Return the command lines of a page, each with the output shown below it."""
    pairs = []
    for block in CONSOLE.findall(page.read_text(encoding="utf-8")):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            pairs.append((command, output))
    return pairs


# The digits of rounding errors depend on the machine, so that only their size is compared.
ROUNDING = re.compile(r"\b\d(\.\d+)?e-0[6-9]\s*")


def test_shown_commands_are_recognised():
    """The test below has no effect if no command is recognised."""
    assert sum(len(commands_of(page)) for page in PAGES) >= 11


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_shown_commands_print_the_shown_output(page, tmp_path, request, commands):
    """Run the commands of a page one after the other in a folder with the examples, and with the
    nets of the benchmarks if the page uses them.

    With --update-golden, write the actual output into the page.
    """
    update = request.config.getoption("--update-golden")
    text = page.read_text(encoding="utf-8")
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    if NETS in text:
        shutil.copytree(ROOT / NETS, tmp_path / NETS)
    for command, shown in commands_of(page):
        words = shlex.split(command)
        assert words[0] == "protogen"
        done = commands.run(*words[1:], cwd=tmp_path, merge=True)
        printed, expected = (
            sorted(ROUNDING.sub("tiny ", x).splitlines()) for x in (done.stdout, shown)
        )
        if update and printed != expected:
            assert "Traceback" not in done.stdout, command
            text = text.replace(f"$ {command}\n{shown}", f"$ {command}\n{done.stdout}", 1)
        elif not update:
            assert printed == expected, command
    if update:
        page.write_text(text, encoding="utf-8")


def test_commands_of_recipes_are_parsed():
    """The models of the recipes are not in the repository, so that the commands cannot run."""
    from protogen.cli import cli

    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    lines = [
        line
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        for line in block.splitlines()
    ]
    assert len(lines) > 10
    for line in lines:
        name, command, *words = shlex.split(line)
        assert name == "protogen"
        entry = cli.get_command(None, command)
        context = entry.make_context(command, words)
        if command == "convert":
            assert context.params["target"].endswith(".onnx")


def test_python_code_of_the_converting_page_runs(tmp_path):
    text = (ROOT / "docs" / "converting.md").read_text(encoding="utf-8")
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        code = "import numpy as np\nx = np.ones((1, 3, 32, 32), np.float32)\n" + block
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, encoding="utf-8"
        )
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "tiny.onnx").exists()


@pytest.mark.parametrize(
    "page",
    ["resizing.md", "onnx.md", "initialisation.md", "dense.md", "preprocessing.md", "cutting.md"],
)
def test_python_code_of_pages_with_one_block_runs(page, tmp_path):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    [block] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", block], cwd=tmp_path, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr


def test_border_errors_in_the_upsampling_page_are_correct():
    """Compare the table with the errors computed from the matrices of the layers."""
    import protogen as pg

    text = (ROOT / "docs" / "upsampling.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| (\d) \| (\d+) \| (\d) \| (\d) px \| ([\d.]+) \| ([\d.]+) \|$", text, re.M
    )
    assert [int(row[0]) for row in rows] == list(range(2, 9))
    for f, kernel, pad, ring, edge, corner in rows:
        up = pg.upsample(int(f))
        assert up.specs[0].kernel == (int(kernel),) * 2
        assert up.specs[0].pad == (int(pad),) * 2
        assert up.error.ring == (int(ring),) * 2
        assert f"{up.error.border:.3f}" == corner
        assert f"{1 - (1 - up.error.border) ** 0.5:.3f}" == edge


def test_data_file_of_the_page_is_the_example():
    text = (ROOT / "docs" / "toolchain_files.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    example = (ROOT / "examples" / "toolchains" / "npu.toml").read_text(encoding="utf-8")
    assert tomllib.loads(block) == tomllib.loads(example)


def test_readme_shows_the_prototxt_of_upsample():
    import protogen as pg

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"```prototxt\n{pg.upsample(2).prototxt}```" in readme


def test_readme_begins_with_upsample_and_the_test_command():
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks[0].strip().endswith("protogen upsample --factor 2")
    assert "pytest" in blocks[1]


def test_relative_links_point_to_existing_files():
    broken = [
        f"{page.name}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
        if not target.startswith("http") and not (page.parent / target).exists()
    ]
    assert broken == []


@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("*.py")), ids=lambda p: p.name)
def test_example_script_runs_and_prints(script, tmp_path):
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_example_files_are_valid():
    from protogen import load_spec
    from protogen.formats import prototxt

    for path in EXAMPLES.glob("*.prototxt"):
        if path.name not in ("typo.prototxt", "flawed.prototxt"):  # examples of errors
            net = prototxt.read(path, strict=True)
            assert net.layer or net.layers
    for path in EXAMPLES.glob("*.toml"):
        assert load_spec(path).specs


def test_navigation_of_the_site_lists_every_page():
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    listed = re.findall(r"([\w/]+\.md)$", nav, re.MULTILINE)
    assert sorted(listed) == sorted(
        path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")
    )


def test_every_public_name_is_in_the_reference():
    import protogen

    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    named = {line.rpartition(".")[2] for line in re.findall(r"^::: (.+)$", text, re.MULTILINE)}
    elsewhere = {"layers", "params", "__version__"}  # described in reading.md
    assert named == set(protogen.__all__) - elsewhere
