"""The page about PyTorch, its examples and the notebook show what really happens."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import pytest
from places import EXAMPLES, ROOT

pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

PAGE = ROOT / "docs" / "pytorch.md"
SCRIPTS = sorted((EXAMPLES / "pytorch").glob("*.py"))
NOTEBOOKS = sorted((EXAMPLES / "pytorch").glob("*.ipynb"))
# The digits of rounding errors, and with them the number of inputs, depend on the machine.
ROUNDING = re.compile(r"\b\d(\.\d+)?e-0[5-9]\b")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def without_rounding(text: str) -> str:
    return ROUNDING.sub("tiny", text)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_page_shows_each_example_and_its_output(script, tmp_path, request):
    """With --update-golden, write both into the page."""
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    command = [sys.executable, f"examples/pytorch/{script.name}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    text = PAGE.read_text(encoding="utf-8")
    code = script.read_text(encoding="utf-8")
    pattern = re.compile(
        rf"(<!-- {script.name} -->\n)```python\n.*?```\n\n```text\n.*?```\n", re.DOTALL
    )
    shown = f"```python\n{code}```\n\n```text\n{done.stdout}```\n"
    if request.config.getoption("--update-golden"):
        PAGE.write_text(pattern.sub(lambda m: m[1] + shown, text), encoding="utf-8")
        return
    (match,) = pattern.finditer(text)
    assert without_rounding(match[0]) == without_rounding(match[1] + shown)


def test_other_code_of_the_page_runs(tmp_path):
    examples = {path.read_text(encoding="utf-8") for path in SCRIPTS}
    others = [
        one for one in blocks(PAGE.read_text(encoding="utf-8"), "python") if one not in examples
    ]
    assert others
    code = "\n".join(others)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_shows_its_real_output(path, tmp_path, request, monkeypatch):
    """With --update-golden, write the output into the notebook."""
    pytest.importorskip("torchvision", reason="torchvision is not installed")
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    # No toolchain, so that the notebook does not depend on the machine.
    monkeypatch.setenv("PROTOGEN_TOOLCHAINS", str(tmp_path))
    notebook = nbformat.read(path, as_version=4)
    shown = outputs(notebook)
    client = nbclient.NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    if request.config.getoption("--update-golden"):
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return
    assert [without_rounding(one) for one in shown] == list(
        map(without_rounding, outputs(notebook))
    )


def outputs(notebook) -> list[str]:
    """Return the texts that the cells print."""
    return [
        one.get("text") or one["data"]["text/plain"]
        for cell in notebook.cells
        if cell.cell_type == "code"
        for one in cell.outputs
        if one.output_type != "error"
    ]
