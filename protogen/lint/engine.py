"""Runs rules over files: what is selected, what a comment leaves out, what can be mended."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from protogen.errors import InputError, did_you_mean, layout
from protogen.formats import prototxt
from protogen.formats.prototxt.edits import apply_edits
from protogen.lint.context import Context, Settings
from protogen.lint.rule import Flaw, Rule
from protogen.lint.rules import all_rules

if TYPE_CHECKING:
    from protogen.formats.caffemodel import CaffeModel

ROUNDS = 10  # of mending: what one edit hides, the next round finds
_IGNORE = re.compile(r"#\s*protogen:\s*ignore(-file)?(?:\[([\w,\s-]*)\])?")
_PLACE = re.compile(r"^(.*?):(\d+):(\d+): (.*)", re.DOTALL)


@dataclass(frozen=True)
class Checked:
    """One file: its flaws in the order of the text, and the text after mending, where it changed."""

    filename: str
    text: str
    flaws: list[Flaw]
    places: list[tuple[int, int]]  # line and column of each flaw
    fixed: str | None = None
    count_fixed: int = 0
    bom: bool = False

    def encode(self) -> bytes:
        """The text as its file's bytes: byte-order mark and stray bytes as they were."""
        mark = b"\xef\xbb\xbf" if self.bom else b""
        return mark + self.text.encode("utf-8", "surrogateescape")


def selected(
    select: Sequence[str] = (), ignore: Sequence[str] = (), audit: bool = False
) -> list[Rule]:
    """The rules that are to be run: the usual ones, or those of ``select``, without those of
    ``ignore``: codes, names, the beginnings of codes for the usual rules of a family, or ALL.

    Raises:
        InputError: one fits no rule.
    """
    rules = all_rules()

    def fitting(words: Iterable[str]) -> set[str]:
        found: set[str] = set()
        for word in words:
            some = {
                code
                for code, rule in rules.items()
                if word in ("ALL", code, rule.name) or (code.startswith(word) and rule.usual)
            }
            if not some:
                known = [*rules, *(rule.name for rule in rules.values())]
                raise InputError(
                    layout(
                        "fits no rule",
                        subject=f'"{word}"',
                        advice=did_you_mean(word, known) or "protogen rule lists them.",
                    )
                )
            found |= some
        return found

    usual = {c for c, r in rules.items() if r.usual and (audit or not r.audit)}
    if audit:
        usual = {c for c, r in rules.items() if r.audit}
    chosen = (fitting(select) if select else usual) - fitting(ignore)
    return [rules[code] for code in rules if code in chosen]


def check_text(
    text: str,
    filename: str,
    rules: Sequence[Rule] | None = None,
    settings: Settings | None = None,
    *,
    weights: CaffeModel | None = None,
    folder: Path | None = None,
    fix: bool = False,
) -> Checked:
    """The flaws of a net's text; with ``fix`` those that are left after mending.

    A text that is no prototxt has one flaw, PG100, at the place where it ends to be one.
    """
    chosen = selected() if rules is None else list(rules)
    original, mended = text, 0
    flaws = _flaws(text, filename, chosen, settings, weights, folder)
    for _ in range(ROUNDS if fix else 0):
        edits = [edit for flaw in flaws for edit in flaw.edits]
        if not edits:
            break
        after = apply_edits(text, edits, overlapping=True)
        left = _flaws(after, filename, chosen, settings, weights, folder)
        if after == text or any(flaw.code == "PG100" for flaw in left):
            break
        mended += sum(bool(flaw.edits) for flaw in flaws)
        text, flaws = after, left
    places = _lines_and_columns(text, [flaw.start for flaw in flaws])
    return Checked(filename, text, flaws, places, text if text != original else None, mended)


def check_file(
    path: str | Path,
    rules: Sequence[Rule] | None = None,
    settings: Settings | None = None,
    *,
    caffemodel: str | Path | None = None,
    fix: bool = False,
) -> Checked:
    """``check_text`` of a file; ``caffemodel`` are its weights, for rules that look at both.

    Raises:
        InputError: a file cannot be read.
    """
    weights = None
    if caffemodel is not None:
        from protogen.formats.caffemodel import read_weights

        weights = read_weights(caffemodel)
    source = prototxt.source_of(path)
    if _is_solver(source.text):
        return Checked(str(path), source.text, [], [], bom=source.bom)
    made = check_text(
        source.text, str(path), rules, settings, weights=weights, folder=Path(path).parent, fix=fix
    )
    return replace(made, bom=source.bom)


_SOLVER = re.compile(
    r"^[ \t]*(base_lr|lr_policy|max_iter|net|train_net|test_iter)[ \t]*:", re.MULTILINE
)
_LAYER = re.compile(r"^[ \t]*layers?\s*\{", re.MULTILINE)


def _is_solver(text: str) -> bool:
    """A solver is no net, and has no rules yet."""
    return _SOLVER.search(text) is not None and _LAYER.search(text) is None


def _flaws(
    text: str,
    filename: str,
    rules: Sequence[Rule],
    settings: Settings | None,
    weights: CaffeModel | None,
    folder: Path | None,
) -> list[Flaw]:
    try:
        net = Context(text, filename, settings, weights, folder)
    except InputError as error:
        return [_syntax(text, str(error))]
    found = [flaw for rule in rules for flaw in rule.check(net)]
    spans, whole = _comments(net)
    found = sorted((flaw for flaw in found if not _left_out(flaw, whole)), key=_place)
    starts = [max(flaw.start, 0) for flaw in found]
    dropped = {
        flaw
        for start, end, codes in spans
        for flaw in found[bisect_left(starts, start) : bisect_left(starts, end)]
        if _left_out(flaw, codes)
    }
    return sorted(
        dict.fromkeys(f for f in found if f not in dropped),
        key=lambda flaw: (flaw.start, flaw.code),
    )


def _place(flaw: Flaw) -> int:
    return max(flaw.start, 0)


def _syntax(text: str, message: str) -> Flaw:
    found = _PLACE.match(message)
    if found is None:
        return Flaw("PG100", "syntax-error", message, 0, 0)
    lines = text.split("\n")
    line, column = int(found[2]), int(found[3])
    start = sum(len(one) + 1 for one in lines[: line - 1]) + column - 1
    return Flaw("PG100", "syntax-error", found[4].split("\n")[0], start, start)


Span = tuple[int, int, tuple[str, ...]]


def _comments(net: Context) -> tuple[list[Span], tuple[str, ...] | None]:
    """Where ``# protogen: ignore[...]`` holds: its line, or the whole layer where it stands on the
    line that opens it; and what ``ignore-file`` leaves out (None: nothing; empty: everything)."""
    text = net.source.text
    spans: list[Span] = []
    whole: tuple[str, ...] | None = None
    layers = list(net.document.all("layer"))
    begins = [item.start for item in layers]
    for found in _IGNORE.finditer(text) if "protogen:" in text else ():
        codes = tuple(word.strip() for word in (found[2] or "").split(",") if word.strip())
        if found[1]:
            whole = codes if whole is None else (*whole, *codes)
            continue
        start = text.rfind("\n", 0, found.start()) + 1
        end = text.find("\n", found.end())
        end = len(text) if end < 0 else end
        for item in layers[bisect_left(begins, start) : bisect_left(begins, end)]:
            end = max(end, item.end)
        spans.append((start, end, codes))
    return spans, whole


def _left_out(flaw: Flaw, codes: tuple[str, ...] | None) -> bool:
    if codes is None:
        return False
    return not codes or any(flaw.code.startswith(code) or flaw.name == code for code in codes)


def _lines_and_columns(text: str, offsets: Iterable[int]) -> list[tuple[int, int]]:
    starts = [0, *(found.end() for found in re.finditer("\n", text))]
    lines = [(bisect_right(starts, max(offset, 0)), max(offset, 0)) for offset in offsets]
    return [(line, offset - starts[line - 1] + 1) for line, offset in lines]
