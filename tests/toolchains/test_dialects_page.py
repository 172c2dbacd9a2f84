"""docs/dialects.md has the tables of the data."""

from __future__ import annotations

from dialects_page import generated
from places import ROOT


def test_page_is_up_to_date(golden):
    """The output of the commands on the page is that of tests/test_docs.py."""
    path = ROOT / "docs" / "dialects.md"
    text = generated()
    if path.exists():
        shown = path.read_text(encoding="utf-8")
        for command in (line for line in text.splitlines() if line.startswith("$ ")):
            _, _, output = shown.partition(f"{command}\n")
            text = text.replace(f"{command}\n", f"{command}\n{output.partition('```')[0]}", 1)
    golden("../../docs/dialects.md", text)
