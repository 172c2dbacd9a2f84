"""Runs rules over files: rule selection, ignore comments, and automatic fixes."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from protogen._late import Shown
from protogen.errors import Diagnostic, InputError, Place, did_you_mean
from protogen.formats import prototxt
from protogen.formats.prototxt.edits import apply_edits
from protogen.lint.context import Context, Settings
from protogen.lint.rule import Rule
from protogen.lint.rules import SYNTAX, all_rules, rule_name
from protogen.net.forks import of_forks

if TYPE_CHECKING:
    from protogen.formats.caffemodel import CaffeModel
    from protogen.net.targets import TargetReport
    from protogen.toolchains.detection import Detection

ROUNDS = 10  # of fixes: a fix may reveal another finding, which the next round fixes
_IGNORE = re.compile(r"#\s*protogen:\s*ignore(-file)?(?:\[([\w,\s-]*)\])?")


@dataclass(frozen=True, repr=False)
class Checked(Shown):
    """The result for one file.

    Attributes:
        filename: the name of the file.
        text: the text after all fixes.
        diagnostics: the findings in ``text``, in the order of the text.
        fixed: the text after all fixes if a fix changed it; None otherwise.
        count_fixed: how many fixes were applied.
        bom: whether the file begins with a byte-order mark.
        target: what the target does with the net in ``text``; None without a target, or if the net
            cannot be built.
        forks: the dialects that a net with layers of forks can be of; None for other nets, or if the
            settings have a dialect or a target.
    """

    filename: str
    text: str
    diagnostics: list[Diagnostic]
    fixed: str | None = None
    count_fixed: int = 0
    bom: bool = False
    target: TargetReport | None = None
    forks: Detection | None = None

    def encode(self) -> bytes:
        """Return the text as bytes. The byte-order mark and invalid UTF-8 bytes are preserved."""
        mark = b"\xef\xbb\xbf" if self.bom else b""
        return mark + self.text.encode("utf-8", "surrogateescape")


def selected(
    select: Sequence[str] = (), ignore: Sequence[str] = (), untrusted: bool = False
) -> list[Rule]:
    """Return the rules to run: the default rules, or those in ``select``, without those in ``ignore``.

    Both take codes, names, prefixes of codes (for the default rules of a family), or ALL.

    Raises:
        InputError: a code, a name or a prefix matches no rule.
    """
    rules = all_rules()

    def matching(words: Iterable[str]) -> set[str]:
        codes: set[str] = set()
        for word in words:
            matches = {
                code
                for code, rule in rules.items()
                if word in ("ALL", code, rule.name) or (code.startswith(word) and rule.usual)
            }
            if not matches:
                known = [*rules, *(rule.name for rule in rules.values())]
                raise InputError(
                    "unknown rule",
                    subject=f'"{word}"',
                    advice=did_you_mean(word, known) or "Run protogen rule to list all rules.",
                )
            codes |= matches
        return codes

    default = {c for c, r in rules.items() if r.usual and (untrusted or not r.untrusted)}
    if untrusted:
        default = {c for c, r in rules.items() if r.untrusted}
    chosen = (matching(select) if select else default) - matching(ignore)
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
    trusted: bool = True,
) -> Checked:
    """Check the text of a net.

    With ``fix`` the safe fixes are applied first, with ``unsafe_fixes`` all fixes; the findings are
    those that remain. A text that is not a valid prototxt has one finding, PG100, at the place of the
    syntax error. Comments that turn rules off have an effect only in a ``trusted`` text.
    """
    chosen = selected() if rules is None else list(rules)
    original, count_fixed = text, 0
    findings, net = _diagnostics(text, filename, chosen, settings, weights, trusted)
    for _ in range(ROUNDS if fix or unsafe_fixes else 0):
        fixes = [one.fix for one in findings if one.fix and (one.fix.safe or unsafe_fixes)]
        if not fixes:
            break
        edits = [edit for one in fixes for edit in one.edits]
        edited = apply_edits(text, edits, overlapping=True)
        remaining, net = _diagnostics(edited, filename, chosen, settings, weights, trusted)
        if edited == text or any(one.code == SYNTAX for one in remaining):
            break
        count_fixed += len(fixes)
        text, findings = edited, remaining
    report = net.target_report if net is not None else None
    has_caffe = settings is not None and (settings.dialect or settings.target)
    return Checked(
        filename,
        text,
        findings,
        text if text != original else None,
        count_fixed,
        target=None if isinstance(report, InputError) else report,
        forks=of_forks(net.document) if net is not None and not has_caffe else None,
    )


def check_file(
    path: str | Path,
    rules: Sequence[Rule] | None = None,
    settings: Settings | None = None,
    *,
    caffemodel: str | Path | None = None,
    fix: bool = False,
    unsafe_fixes: bool = False,
    trusted: bool = True,
) -> Checked:
    """Check a file as ``check_text`` does; ``caffemodel`` is the file of its weights.

    Raises:
        InputError: a file cannot be read or is of another kind, or a net without findings has no layers.
    """
    source, weights = prototxt.source_of(path), None
    if caffemodel is not None:
        from protogen.formats.caffemodel import read_weights

        weights = read_weights(caffemodel, allow_empty=True, net=source)
    if trusted and _is_solver(source.text):
        return Checked(str(path), source.text, [], bom=source.bom)
    checked = check_text(
        source.text,
        str(path),
        rules,
        settings,
        weights=weights,
        fix=fix,
        unsafe_fixes=unsafe_fixes,
        trusted=trusted,
    )
    if trusted and not checked.diagnostics and not _LAYER.search(checked.text):
        raise InputError("the net has no layers", where=str(path))
    return replace(checked, bom=source.bom)


_SOLVER = re.compile(
    r"^[ \t]*(base_lr|lr_policy|max_iter|net|train_net|test_iter)[ \t]*:", re.MULTILINE
)
_LAYER = re.compile(r"^[ \t]*layers?\s*:?\s*\{", re.MULTILINE)


def _is_solver(text: str) -> bool:
    """Return whether the text is a solver. No rules exist for solvers."""
    return _SOLVER.search(text) is not None and _LAYER.search(text) is None


def _diagnostics(
    text: str,
    filename: str,
    rules: Sequence[Rule],
    settings: Settings | None,
    weights: CaffeModel | None,
    trusted: bool,
) -> tuple[list[Diagnostic], Context | None]:
    """Return the findings that no comment ignores, in the order of the text, and the net; None for a
    text with a syntax error."""
    try:
        net = Context(text, filename, settings, weights)
    except InputError as error:
        where = error.diagnostic.place
        where = where if where.line else Place(filename, 1, 1)
        return [error.diagnostic._replace(where=where, code=SYNTAX, lines=())], None
    findings = [one for rule in rules for one in rule.check(net)]
    spans, whole_file = _ignore_comments(net) if trusted else ([], None)
    findings = sorted((one for one in findings if not _is_ignored(one, whole_file)), key=_offset)
    starts = [_offset(one) for one in findings]
    ignored = {
        one
        for start, end, codes in spans
        for one in findings[bisect_left(starts, start) : bisect_left(starts, end)]
        if _is_ignored(one, codes)
    }
    remaining = sorted(
        dict.fromkeys(one for one in findings if one not in ignored),
        key=lambda one: (one.place.start, one.code),
    )
    return remaining, net


def _offset(one: Diagnostic) -> int:
    return max(one.place.start, 0)


Span = tuple[int, int, tuple[str, ...]]  # start, end, and the ignored codes or names


def _ignore_comments(net: Context) -> tuple[list[Span], tuple[str, ...] | None]:
    """Return the spans of ``# protogen: ignore[...]`` comments, and what ``ignore-file`` ignores.

    A span is the comment's line, or the whole layer if the comment is on the line that opens it. The
    second value is None if nothing is ignored in the whole file, and empty if everything is.
    """
    text = net.source.text
    spans: list[Span] = []
    whole_file: tuple[str, ...] | None = None
    layers = list(net.document.all("layer"))
    begins = [item.start for item in layers]
    for match in _IGNORE.finditer(text) if "protogen:" in text else ():
        codes = tuple(word.strip() for word in (match[2] or "").split(",") if word.strip())
        if match[1]:
            whole_file = codes if whole_file is None else (*whole_file, *codes)
            continue
        start = text.rfind("\n", 0, match.start()) + 1
        end = text.find("\n", match.end())
        end = len(text) if end < 0 else end
        for item in layers[bisect_left(begins, start) : bisect_left(begins, end)]:
            end = max(end, item.end)
        spans.append((start, end, codes))
    return spans, whole_file


def _is_ignored(one: Diagnostic, codes: tuple[str, ...] | None) -> bool:
    """Return whether the codes match a finding. Empty codes match every finding, None matches none."""
    if codes is None:
        return False
    name = rule_name(one.code)
    return not codes or any(one.code.startswith(code) or name == code for code in codes)
