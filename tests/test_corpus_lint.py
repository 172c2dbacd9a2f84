"""Rules and fixes on published nets, and the counts in docs/findings.md."""

from __future__ import annotations

import csv
import warnings
from collections import Counter

import numpy as np
import pytest
from places import CASES, CORPUS

import protogen as pg
from protogen.formats import prototxt
from protogen.lint.engine import check_file, selected
from protogen.lint.rules import all_rules
from protogen.net.upgrade import upgrade

if (CORPUS / "manifest.csv").exists():
    with (CORPUS / "manifest.csv").open(encoding="utf-8") as _file:
        FILES = [row["file"] for row in csv.DictReader(_file)]
else:
    FILES = []

pytestmark = pytest.mark.skipif(not FILES, reason="needs ../shared, which contains the nets")


def test_findings_page_is_up_to_date(golden):
    """Run every rule on every file."""
    rules = selected(["ALL"])
    counts: Counter[str] = Counter()
    files: dict[str, set[str]] = {}
    for file in FILES:
        for diagnostic in check_file(CORPUS / file, rules).diagnostics:
            counts[diagnostic.code] += 1
            files.setdefault(diagnostic.code, set()).add(file)
    rows = []
    for code, rule in all_rules().items():
        kind = "untrusted" if rule.untrusted else "default" if rule.usual else "if selected"
        rows.append(
            f"| {code} | {rule.name} | {kind} | {counts[code]} | {len(files.get(code, ()))} |"
        )
    head = [
        "# Findings in published nets",
        "",
        f"The findings of all rules in {len(FILES)} published nets of BVLC Caffe and its forks, counted by a test.",
        "Every finding of the default rules was reviewed: each is correct, with no false alarm. "
        f"{counts['PG100']} files are not",
        "complete nets (a script fills in their placeholders), and are reported as PG100. A rule is on by default,",
        "runs only if it is selected, or is for untrusted files (`protogen check --untrusted`).",
        "",
        "| code | rule | runs | findings | files |",
        "|---|---|---|---|---|",
    ]
    golden("../../docs/findings.md", "\n".join([*head, *rows, ""]))


@pytest.mark.parametrize("file", FILES[::5])
def test_fixed_file_has_fewer_findings_and_no_new_kind(file):
    rules = selected()
    before = check_file(CORPUS / file, rules)
    after = check_file(CORPUS / file, rules, unsafe_fixes=True)
    if after.fixed is None:
        assert after.text == before.text
        return
    assert len(after.diagnostics) < len(before.diagnostics)
    codes_before, codes_after = (
        {diagnostic.code for diagnostic in checked.diagnostics} for checked in (before, after)
    )
    assert not codes_after - codes_before


def computed(text: str, name: str) -> object:
    """Return what a net computes, for each phase.

    That is the shapes of all blobs and the ONNX operators, with weights of 0 that use no memory; or
    the error messages if the net cannot be built or exported.
    """
    from protogen.onnx import lower

    parts = []
    for phase in ("TEST", "TRAIN"):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", pg.ProtogenWarning)
                net = pg.Net(upgrade(prototxt.parse(text, name)), phase=phase, tolerant=True)
            for layer, shapes in net.parameter_shapes.items():
                if shapes:
                    net.weights[layer] = [np.broadcast_to(np.float32(0), s) for s in shapes]
            parts.append((net.shapes, net.parameter_shapes))
            program = lower(net, fold=False)
            parts.append([(n.op_type, n.reads, n.writes, str(n.attributes)) for n in program.nodes])
        except pg.ProtogenError as error:
            parts.append([diagnostic.problem for diagnostic in error.diagnostics])
    return parts


def test_safe_fixes_do_not_change_what_nets_compute():
    """All published nets and all nets in tests/cases, with every rule on."""
    rules = selected(["ALL"])
    nets = [CORPUS / file for file in FILES] + sorted(CASES.glob("*/*/net.prototxt"))
    changed = 0
    for path in nets:
        checked = check_file(path, rules, fix=True)
        if checked.fixed is None:
            continue
        changed += 1
        before = path.read_text(encoding="utf-8", errors="surrogateescape")
        assert computed(checked.fixed, "net") == computed(before, "net"), path
    assert changed >= 5
