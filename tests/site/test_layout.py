"""The hook of the site that prepares lines of code and names."""

from __future__ import annotations

import importlib.util

import pytest
from places import ROOT

spec = importlib.util.spec_from_file_location("layout", ROOT / "docs" / "layout.py")
assert spec is not None
assert spec.loader is not None
layout = importlib.util.module_from_spec(spec)
spec.loader.exec_module(layout)


@pytest.mark.parametrize(
    ("language", "text", "kind", "hang"),
    [
        ("console", "$ protogen upsample --factor 2", "command", 4),
        ("sh", "protogen upsample --factor 2", "command", 4),
        ("sh", "# A comment.", "comment", 4),
        ("console", "  converted 4 layers to the current format", "prose", 4),
        ("console", "  12   clip    Clip          refused   it does not have the type", "row", 39),
        ("console", " ──────── ────", "rule", 0),
        ("text", f"  {'a' * 90}  (list)", "prose", 4),
        ("python", "    x = {'a':  1}", "code", 8),
    ],
)
def test_wrapped_lines_are_indented(language, text, kind, hang):
    line = layout.line_of(language, text)
    assert (line.kind, line.hang) == (kind, hang)


def test_a_block_of_a_console():
    html = layout.on_page_content(
        '<div class="language-console highlight"><pre><span></span><code>'
        '<span class="gp">$ </span>a<span class="w"> </span>--b-c<span class="w"> </span>&lt;d&gt;\n'
        '<span class="go">x&amp;y</span>\n</code></pre></div>'
    )
    assert html == (
        '<div class="language-console highlight" data-copy="a --b-c &lt;d&gt;"><pre><span></span><code>'
        '<span class="line command" style="--hang: 4ch"><span class="gp">$ </span>'
        'a <span class="word">--b-c</span> &lt;d&gt;\n</span>'
        '<span class="line prose" style="--hang: 2ch">x&amp;y\n</span></code></pre></div>'
    )


def test_words_of_inline_code():
    long = "a" * (layout.LONG + 1)
    html = (
        f"<code>--dry-run</code> <code>a  --b</code> <code>{long}</code> <pre><code>c</code></pre>"
    )
    assert layout.on_page_content(html) == (
        '<code class="word">--dry-run</code> <code><span class="word">a</span>  <span class="word">--b</span></code> '
        f'<code class="word long">{long}</code> <pre><code>c</code></pre>'
    )


def test_a_row_of_many_columns_makes_the_font_of_its_block_smaller():
    row = "  ".join(["column"] * 16)
    html = layout.on_page_content(
        f'<div class="language-text highlight"><pre><span></span><code>{row}\n</code></pre></div>'
    )
    assert f'<code class="wide" style="--columns: {len(row)}">' in html
