"""The example notebooks run, and show their real output; the docs show them."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys

import pytest
from places import EXAMPLES, ROOT

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")

NOTEBOOKS = sorted((EXAMPLES / "notebooks").glob("*.ipynb"))
# Digits that depend on the machine: of rounding errors, and of sums in another order.
ROUNDING = re.compile(r"-?\b\d+(\.\d+)?e-(0[5-9]|[1-9]\d)\b")
PICTURES = ("image/png", "image/svg+xml")


def texts(notebook) -> list[tuple[str, str]]:
    """Return kind and text of each output; of a picture only its kind."""
    outputs = []
    for cell in notebook.cells:
        for one in cell.get("outputs", ()):
            if one.output_type == "stream":
                outputs.append((one.name, ROUNDING.sub("tiny", one.text)))
                continue
            assert one.output_type != "error", one
            for kind, text in sorted(one.data.items()):
                shown = "" if kind in PICTURES else ROUNDING.sub("tiny", "".join(text))
                outputs.append((kind, shown))
    return outputs


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_shows_its_real_output(path, tmp_path, request, monkeypatch):
    """With --update-golden, write the output into the notebook."""
    pytest.importorskip("PIL", reason="Pillow is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))  # not the user's settings
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    folder = tmp_path / "examples" / "notebooks"
    notebook = nbformat.read(path, as_version=4)
    shown = texts(notebook)
    client = nbclient.NotebookClient(
        notebook,
        timeout=120,
        coalesce_streams=True,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    if request.config.getoption("--update-golden"):
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return
    assert texts(notebook) == shown


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_small_and_complete(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert path.stat().st_size < 300_000
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert 6 <= len(code) <= 12
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert notebook.cells[0].source.startswith("# ")
    assert not [one for one in texts(notebook) if one[0] == "stderr"]
    assert {"image/png", "image/svg+xml"} & {
        kind for kind, _ in texts(notebook)
    } or path.stem == "dense"
    assert "text/html" in {kind for kind, _ in texts(notebook)}


def test_there_is_a_notebook_for_each_subject():
    subjects = ["activations", "dense", "initialisation", "preprocessing", "upsampling"]
    assert [path.stem for path in NOTEBOOKS] == subjects
    for name in subjects:
        page = ROOT / "docs" / "notebooks" / f"{name}.md"
        assert f"@notebook {name}@" in page.read_text(encoding="utf-8")
        for link in re.findall(r"\]\(\.\./\.\./docs/(\w+\.md)\)", NOTEBOOKS[0].read_text()):
            assert (ROOT / "docs" / link).exists()


@pytest.fixture
def hook():
    """The hook of the site that shows the notebooks."""
    pytest.importorskip("mkdocs", reason="MkDocs is not installed")
    spec = importlib.util.spec_from_file_location("hook", ROOT / "docs" / "notebook_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_site_shows_all_cells_and_outputs(path, hook):
    notebook = nbformat.read(path, as_version=4)
    mark = (ROOT / "docs" / "notebooks" / f"{path.stem}.md").read_text(encoding="utf-8")
    markdown = hook.on_page_markdown(mark)
    assert f"[Download this notebook]({path.name})" in markdown
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert f"```python\n{cell.source}\n```" in markdown
        else:
            assert cell.source.partition("](../../")[0] in markdown
    for link in re.findall(r"\]\(\.\./(\w+\.md)\)", markdown):
        assert (ROOT / "docs" / link).exists()
    page = hook.on_page_content(markdown, page=None)
    shown = [
        output.get("text") or output.data.get("text/html") or output.data.get("image/png", "<svg")
        for cell in notebook.cells
        for output in cell.get("outputs", ())
    ]
    assert len(shown) > 4
    for text in shown:
        if text.startswith("<svg"):
            assert 'src="data:image/svg+xml;base64,' in page
        else:
            assert text.rstrip("\n").replace("\n", "") in page.replace("\n", "")
    assert 'id="notebook-' not in page


def test_fences_are_longer_than_those_in_a_text(hook):
    assert hook._fence("text", "a\n```\nb") == "````text\na\n```\nb\n````"


def test_code_of_the_page_prints_what_the_page_shows(tmp_path):
    text = (ROOT / "docs" / "notebooks.md").read_text(encoding="utf-8")
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "".join(re.findall(r"```text\n(.*?)```", text, re.DOTALL))
