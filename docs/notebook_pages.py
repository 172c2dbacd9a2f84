"""MkDocs hook that shows the example notebooks with their stored outputs.

A page with the mark ``@notebook NAME@`` shows examples/notebooks/NAME.ipynb. Nothing is run: a test runs the
notebooks and compares the outputs.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "notebooks"
MARK = re.compile(r"^@notebook (\w+)@$", re.MULTILINE)
_PLACE = '<div class="notebook-output" id="{}"></div>'
_IMAGES = ("image/png", "image/svg+xml")

# The HTML of outputs by the id of its place. Markdown would change it, so it is inserted afterwards.
_outputs: dict[str, str] = {}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the notebooks, which the pages offer for download."""
    for path in sorted(FOLDER.glob("*.ipynb")):
        files.append(File.generated(config, f"notebooks/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the mark in a page by the notebook."""
    return MARK.sub(lambda match: _notebook(match[1]), markdown)


def on_page_content(html: str, page: Page, **_: Any) -> str:
    """Insert the outputs of the notebook."""
    for place, output in _outputs.items():
        html = html.replace(_PLACE.format(place), f'<div class="notebook-output">{output}</div>')
    return html


def _notebook(name: str) -> str:
    """Return a notebook as Markdown, with places for the outputs that are HTML or pictures."""
    notebook = json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))
    blocks = []
    for index, cell in enumerate(notebook["cells"]):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            blocks.append(source.replace("](../../docs/", "](../"))
            continue
        blocks.append(_fence("python", source))
        for number, output in enumerate(_shown(cell["outputs"])):
            if output[0] == "text":
                blocks.append(_fence("text", output[1]))
                continue
            place = f"notebook-{name}-{index}-{number}"
            _outputs[place] = output[1]
            blocks.append(_PLACE.format(place))
    blocks.insert(1, f"[Download this notebook]({name}.ipynb)")
    return "\n\n".join(blocks)


def _fence(language: str, text: str) -> str:
    ticks = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    return f"{ticks}{language}\n{text.rstrip()}\n{ticks}"


def _shown(outputs: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield what a reader sees of each output: "text" or "html", and the content."""
    for output in outputs:
        if output["output_type"] == "stream":
            yield "text", "".join(output["text"])
            continue
        data = {kind: "".join(content) for kind, content in output["data"].items()}
        if "text/html" in data:
            yield "html", data["text/html"]
        elif kind := next((one for one in _IMAGES if one in data), ""):
            content = data[kind]
            if kind == "image/svg+xml":
                content = base64.b64encode(content.encode()).decode()
            content = "".join(content.split())
            yield "html", f'<img alt="Output of the code above" src="data:{kind};base64,{content}">'
        else:
            yield "text", data["text/plain"]
