"""Pieces of HTML of which the tables in notebooks consist.

The style has no colours of its own for text and lines: it uses those of the page, so that it fits light
and dark notebooks. There is no script: ``details`` folds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from protogen.errors import printable_lines

MOST_ROWS = 500  # of a table; a longer one would make the notebook slow
OPEN = 30  # rows: a table with more is folded at first

_LINE = "color-mix(in srgb,currentColor 18%,transparent)"
_STYLE = f"""<style>
.protogen-nb{{font-size:13px;line-height:1.45;overflow-x:auto}}
.protogen-nb p{{margin:.3em 0}}
.protogen-nb details{{margin:.3em 0}}
.protogen-nb summary{{cursor:pointer}}
.protogen-nb table.protogen-table{{border-collapse:collapse;border:0;margin:.3em 0;width:auto;font-size:inherit}}
.protogen-nb table.protogen-table th,.protogen-nb table.protogen-table td{{text-align:left;\
vertical-align:top;padding:.15em 1.2em .15em 0;border:0;border-bottom:1px solid {_LINE}}}
.protogen-nb table.protogen-table th{{font-weight:600}}
.protogen-nb table.protogen-table .protogen-number{{text-align:right;font-variant-numeric:tabular-nums}}
.protogen-nb pre{{max-height:26em;overflow:auto;padding:.6em .8em;font-size:12px;\
background:color-mix(in srgb,currentColor 6%,transparent)}}
.protogen-nb .protogen-tag{{white-space:nowrap;border-radius:3px;padding:0 .45em;color:#fff;background:#2e7d32}}
.protogen-nb .protogen-bad{{background:#b3261e}}
.protogen-nb .protogen-doubt{{background:#8a5a00}}
</style>"""


def page(content: Markup) -> str:
    """Return the HTML of a result, with its style, as a plain string: text that a caller adds to a Markup
    would be escaped."""
    return str(Markup('<div class="protogen-nb">{}{}</div>').format(Markup(_STYLE), content))


def safe(value: object) -> Markup:
    """Return a text as HTML: markup and control characters are escaped."""
    return value if isinstance(value, Markup) else escape(printable_lines(str(value)))


def join(*parts: Markup) -> Markup:
    """Return the parts one after the other."""
    return Markup("").join(parts)


def paragraph(text: object) -> Markup:
    """Return a paragraph; empty for an empty text."""
    return Markup("<p>{}</p>").format(safe(text)) if text else Markup("")


def strong(text: object) -> Markup:
    return Markup("<strong>{}</strong>").format(safe(text))


def code(text: object) -> Markup:
    return Markup("<code>{}</code>").format(safe(text))


def tag(text: object, kind: str = "") -> Markup:
    """Return a short word on a coloured ground: green, or red ("bad"), or brown ("doubt")."""
    name = f"protogen-tag protogen-{kind}" if kind else "protogen-tag"
    return Markup('<span class="{}">{}</span>').format(name, safe(text))


def table(
    headings: Sequence[str], rows: Iterable[Sequence[Any]], right: Iterable[int] = ()
) -> Markup:
    """Return a table. ``right`` lists the columns with numbers. Columns without any text are left out, and
    rows after the first 500; the last line counts them."""
    all_rows = list(rows)
    columns = [i for i in range(len(headings)) if any(row[i] != "" for row in all_rows)]
    numbers = set(right)

    def cells(name: str, values: Sequence[Any]) -> Markup:
        return Markup("").join(
            Markup(f'<{name} class="protogen-number">{{}}</{name}>').format(safe(values[i]))
            if i in numbers
            else Markup(f"<{name}>{{}}</{name}>").format(safe(values[i]))
            for i in columns
        )

    lines = [Markup("<tr>{}</tr>").format(cells("td", row)) for row in all_rows[:MOST_ROWS]]
    head = Markup("<thead><tr>{}</tr></thead>").format(cells("th", headings))
    body = Markup('<table class="protogen-table">{}<tbody>{}</tbody></table>').format(
        head if any(headings) else Markup(""), Markup("").join(lines)
    )
    left_out = len(all_rows) - len(lines)
    return body + paragraph(f"and {left_out:,} more rows" if left_out else "")


def fields(pairs: Mapping[str, Any]) -> Markup:
    """Return a table of names and values; pairs with an empty value are left out."""
    rows = [(strong(name), value) for name, value in pairs.items() if value not in ("", None)]
    return table(("", ""), rows)


def fold(title: object, content: Markup, is_open: bool = False) -> Markup:
    """Return content that the reader can fold away below its title."""
    state = Markup(" open") if is_open else Markup("")
    return Markup("<details{}><summary>{}</summary>{}</details>").format(
        state, safe(title), content
    )


def text_fold(title: object, text: str) -> Markup:
    """Return a folded text such as a prototxt; only its beginning if it is long."""
    most = 20_000
    shown = text if len(text) <= most else f"{text[:most]}\n..."
    return fold(title, Markup("<pre>{}</pre>").format(safe(shown)))


def items(texts: Iterable[object]) -> Markup:
    """Return a paragraph for each text."""
    return Markup("").join(paragraph(text) for text in texts)
