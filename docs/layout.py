"""MkDocs hook that prepares blocks of code and names in text for pages of every width.

Each line of a block becomes an element. The style sheet wraps long lines and indents what follows: below the last
column in a row of a table, below the text elsewhere. The button of a console block copies its commands without
their output. Words in inline code, in commands and in output are not broken.
"""

from __future__ import annotations

import re
from html import escape, unescape
from typing import NamedTuple

LONG = 32  # characters of a word that a narrow page has no room for
INDENT = 80  # characters: the last column of a row begins before this, or the row has many columns
ROOM = 30  # characters that the last column of a row has at least
COLUMNS = 115  # characters that fit into a page of 1280 pixels
_BLOCK = re.compile(
    r'<div class="(?P<classes>[^"]*\bhighlight\b[^"]*)">(?P<open><pre>(?:<span></span>)?<code)>'
    r"(?P<code>.*?)(?P<close></code></pre>)",
    re.DOTALL,
)
_INLINE = re.compile(r"(<pre\b.*?</pre>|<svg\b.*?</svg>)|<code>([^<]*)</code>", re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
_GAP = re.compile(r"(?<=\S) {2,}(?=\S)")
_RULE = re.compile(r" *─[─ ]*")
_PROMPT = "$ "


class Line(NamedTuple):
    """How a line of a block is shown.

    Attributes:
        kind: its class: code, command, comment, prose, row or rule.
        hang: the indentation of what is wrapped, in characters.
        columns: the characters that it needs beside each other.
    """

    kind: str
    hang: int
    columns: int = 0


def on_page_content(html: str, **_: object) -> str:
    """Prepare the blocks and the inline code of a page."""
    return _INLINE.sub(_words, _BLOCK.sub(_block, html))


def line_of(language: str, text: str) -> Line:
    """Return how a line of a block in a language is shown."""
    indent = len(text) - len(text.lstrip())
    if language not in ("console", "text", "sh"):
        return Line("code", indent + 4)
    if language == "sh" or text.startswith(_PROMPT):
        return Line("comment" if text.startswith("#") else "command", indent + 4)
    if _RULE.fullmatch(text):
        return Line("rule", 0)
    gaps = [match.end() for match in _GAP.finditer(text)]
    if not gaps or (len(gaps) == 1 and gaps[0] > INDENT):
        return Line("prose", indent + 2)
    return Line("row", gaps[-1], min(len(text), gaps[-1] + ROOM))


def copied(language: str, texts: list[str]) -> str:
    """Return what the button of a block copies: in a console, the commands."""
    if language == "console":
        texts = [text.removeprefix(_PROMPT) for text in texts if text.startswith(_PROMPT)]
    return "\n".join(texts).strip("\n")


def _block(match: re.Match[str]) -> str:
    named = re.search(r"language-(\w+)", match["classes"])
    language = named[1] if named else ""
    marked = match["code"].removesuffix("\n").split("\n")
    texts = [unescape(_TAG.sub("", line)) for line in marked]
    shown, columns = [], 0
    for content, text in zip(marked, texts, strict=True):
        line = line_of(language, text)
        columns = max(columns, line.columns)
        inside = content if line.kind in ("code", "rule") else _marked(text)
        shown.append(
            f'<span class="line {line.kind}" style="--hang: {line.hang}ch">{inside}\n</span>'
        )
    copy = escape(copied(language, texts)).replace("\n", "&#10;")
    wide = f' class="wide" style="--columns: {columns}"' if columns > COLUMNS else ""
    return (
        f'<div class="{match["classes"]}" data-copy="{copy}">'
        f"{match['open']}{wide}>{''.join(shown)}{match['close']}"
    )


def _marked(text: str) -> str:
    """Return a line as HTML whose words with hyphens are not broken. The prompt cannot be selected."""
    prompt = '<span class="gp">$ </span>' if text.startswith(_PROMPT) else ""
    words = re.split(r"( +)", text.removeprefix(_PROMPT))
    return prompt + "".join(_word(escape(word)) if "-" in word else escape(word) for word in words)


def _words(match: re.Match[str]) -> str:
    """Return inline code whose words are not broken."""
    if match[1]:
        return match[0]
    words = re.split(r"(\s+)", match[2])
    if len(words) == 1:
        return f'<code class="{_kind(match[2])}">{match[2]}</code>'
    return f"<code>{''.join(_word(word) if word.strip() else word for word in words)}</code>"


def _word(html: str) -> str:
    return f'<span class="{_kind(html)}">{html}</span>'


def _kind(html: str) -> str:
    return "word long" if len(unescape(html)) > LONG else "word"
