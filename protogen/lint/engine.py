"""Runs rules over files: what is selected, what a comment leaves out, what can be mended."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from protogen.errors import Diagnostic, InputError, Place, did_you_mean
from protogen.formats import prototxt
from protogen.formats.prototxt.edits import apply_edits
from protogen.lint.context import Context, Settings
from protogen.lint.rule import Rule
from protogen.lint.rules import SYNTAX, all_rules, rule_name

if TYPE_CHECKING:
    from protogen.formats.caffemodel import CaffeModel

ROUNDS = 10  # of fixes: what one edit hides, the next round finds
_IGNORE = re.compile(r"#\s*protogen:\s*ignore(-file)?(?:\[([\w,\s-]*)\])?")


@dataclass(frozen=True)
class Checked:
    """One file: what was found, in the order of the text, and the text after fixes, where it
    changed."""

    filename: str
    text: str
    diagnostics: list[Diagnostic]
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
                    "fits no rule",
                    subject=f'"{word}"',
                    advice=did_you_mean(word, known) or "protogen rule lists them.",
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
    fix: bool = False,
    unsafe_fixes: bool = False,
) -> Checked:
    """What is wrong with a net's text. With ``fix`` the safe fixes are applied first, with
    ``unsafe_fixes`` all of them, and what is left is told.

    A text that is no prototxt has one finding, PG100, at the place where it ends to be one.
    """
    chosen = selected() if rules is None else list(rules)
    original, fixed = text, 0
    found = _diagnostics(text, filename, chosen, settings, weights)
    for _ in range(ROUNDS if fix or unsafe_fixes else 0):
        fixes = [one.fix for one in found if one.fix and (one.fix.safe or unsafe_fixes)]
        if not fixes:
            break
        edits = [edit for one in fixes for edit in one.edits]
        after = apply_edits(text, edits, overlapping=True)
        left = _diagnostics(after, filename, chosen, settings, weights)
        if after == text or any(one.code == SYNTAX for one in left):
            break
        fixed += len(fixes)
        text, found = after, left
    return Checked(filename, text, found, text if text != original else None, fixed)


def check_file(
    path: str | Path,
    rules: Sequence[Rule] | None = None,
    settings: Settings | None = None,
    *,
    caffemodel: str | Path | None = None,
    fix: bool = False,
    unsafe_fixes: bool = False,
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
        return Checked(str(path), source.text, [], bom=source.bom)
    made = check_text(
        source.text,
        str(path),
        rules,
        settings,
        weights=weights,
        fix=fix,
        unsafe_fixes=unsafe_fixes,
    )
    return replace(made, bom=source.bom)


_SOLVER = re.compile(
    r"^[ \t]*(base_lr|lr_policy|max_iter|net|train_net|test_iter)[ \t]*:", re.MULTILINE
)
_LAYER = re.compile(r"^[ \t]*layers?\s*\{", re.MULTILINE)


def _is_solver(text: str) -> bool:
    """A solver is no net, and has no rules yet."""
    return _SOLVER.search(text) is not None and _LAYER.search(text) is None


def _diagnostics(
    text: str,
    filename: str,
    rules: Sequence[Rule],
    settings: Settings | None,
    weights: CaffeModel | None,
) -> list[Diagnostic]:
    try:
        net = Context(text, filename, settings, weights)
    except InputError as error:
        where = error.diagnostic.place
        where = where if where.line else Place(filename, 1, 1)
        return [error.diagnostic._replace(where=where, code=SYNTAX, lines=())]
    found = [one for rule in rules for one in rule.check(net)]
    spans, whole = _comments(net)
    found = sorted((one for one in found if not _left_out(one, whole)), key=_offset)
    starts = [_offset(one) for one in found]
    dropped = {
        one
        for start, end, codes in spans
        for one in found[bisect_left(starts, start) : bisect_left(starts, end)]
        if _left_out(one, codes)
    }
    return sorted(
        dict.fromkeys(one for one in found if one not in dropped),
        key=lambda one: (one.place.start, one.code),
    )


def _offset(one: Diagnostic) -> int:
    return max(one.place.start, 0)


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


def _left_out(one: Diagnostic, codes: tuple[str, ...] | None) -> bool:
    if codes is None:
        return False
    name = rule_name(one.code)
    return not codes or any(one.code.startswith(code) or name == code for code in codes)
