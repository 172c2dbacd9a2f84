"""Rules over published nets: no crash, and the counts that docs/findings.md states."""

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

pytestmark = pytest.mark.skipif(
    not FILES, reason="no ../shared beside this checkout: it holds the nets"
)


def test_findings(golden):
    """Every rule, over every file; what the usual rules find was looked at one by one."""
    rules = selected(["ALL"])
    counts: Counter[str] = Counter()
    files: dict[str, set[str]] = {}
    for file in FILES:
        for one in check_file(CORPUS / file, rules).diagnostics:
            counts[one.code] += 1
            files.setdefault(one.code, set()).add(file)
    rows = []
    for code, rule in all_rules().items():
        kind = "audit" if rule.audit else "usual" if rule.usual else "if selected"
        rows.append(
            f"| {code} | {rule.name} | {kind} | {counts[code]} | {len(files.get(code, ()))} |"
        )
    head = [
        "# Findings in published nets",
        "",
        f"All rules over {len(FILES)} published nets of BVLC Caffe and its forks, counted by a test. Of the",
        "usual rules every finding was looked at, and each is so: no false alarm. "
        f"{counts['PG100']} files are no nets yet",
        "(placeholders that a script fills in), and are told as PG100.",
        "",
        "| code | rule | | findings | files |",
        "|---|---|---|---|---|",
    ]
    golden("../../docs/findings.md", "\n".join([*head, *rows, ""]))


@pytest.mark.parametrize("file", FILES[::5])
def test_mended_files_are_still_nets(file):
    """What --fix writes is a net again, with fewer findings, and stays as it is the next time."""
    rules = selected()
    before = check_file(CORPUS / file, rules)
    made = check_file(CORPUS / file, rules, unsafe_fixes=True)
    if made.fixed is None:
        assert made.text == before.text
        return
    assert len(made.diagnostics) < len(before.diagnostics)
    assert not {one.code for one in made.diagnostics} - {one.code for one in before.diagnostics}


def computed(text: str, name: str) -> object:
    """What a net's text computes: the shapes of all blobs, and its ONNX operators where it has a
    form (weights are zeros that take no room); the words of its refusal otherwise."""
    from protogen.onnx import lower

    found = []
    for phase in ("TEST", "TRAIN"):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", pg.ProtogenWarning)
                net = pg.Net(upgrade(prototxt.parse(text, name)), phase=phase, tolerant=True)
            for layer, shapes in net.parameter_shapes.items():
                if shapes:
                    net.weights[layer] = [np.broadcast_to(np.float32(0), s) for s in shapes]
            found.append((net.shapes, net.parameter_shapes))
            program = lower(net, fold=False)
            found.append([(n.op_type, n.reads, n.writes, str(n.attributes)) for n in program.nodes])
        except pg.ProtogenError as error:
            found.append([one.problem for one in error.diagnostics])
    return found


def test_safe_fixes_change_nothing():
    """Over all published nets and the goldens, with every rule on."""
    rules = selected(["ALL"])
    nets = [CORPUS / file for file in FILES] + sorted(CASES.glob("*/*/net.prototxt"))
    changed = 0
    for path in nets:
        made = check_file(path, rules, fix=True)
        if made.fixed is None:
            continue
        changed += 1
        before = path.read_text(encoding="utf-8", errors="surrogateescape")
        assert computed(made.fixed, "net") == computed(before, "net"), path
    assert changed >= 5
