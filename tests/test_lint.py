"""Rules: each one's page is its test; comments, selection, mending, files."""

from __future__ import annotations

import pytest

from protogen.lint.context import Settings
from protogen.lint.engine import check_text
from protogen.lint.rule import all_rules

RULES = all_rules()
WITH_TEXT = [code for code, rule in RULES.items() if rule.example]


def codes(text: str, code: str, **options) -> list[str]:
    rule = RULES[code]
    found = check_text(text, "net.prototxt", [rule], Settings(**rule.settings), **options)
    return [flaw.code for flaw in found.flaws]


def test_there_are_forty():
    assert len(RULES) >= 45
    assert len({rule.name for rule in RULES.values()}) == len(RULES)


@pytest.mark.parametrize("code", WITH_TEXT)
def test_the_example_fires(code):
    assert set(codes(RULES[code].example, code)) == {code}


@pytest.mark.parametrize("code", WITH_TEXT)
def test_the_mended_one_is_quiet(code):
    assert codes(RULES[code].mended, code) == []


@pytest.mark.parametrize("code", [code for code in WITH_TEXT if RULES[code].fixes])
def test_fix(code):
    rule = RULES[code]
    made = check_text(rule.example, "net.prototxt", [rule], Settings(**rule.settings), fix=True)
    assert made.flaws == []
    assert made.text == rule.mended
    assert made.count_fixed >= 1


@pytest.mark.parametrize("code", [code for code in WITH_TEXT if not RULES[code].fixes])
def test_what_a_person_must_mend_is_left(code):
    rule = RULES[code]
    made = check_text(rule.example, "net.prototxt", [rule], Settings(**rule.settings), fix=True)
    assert made.text == rule.example


@pytest.mark.parametrize("code", RULES)
def test_pages(code):
    rule = RULES[code]
    assert rule.what.endswith(".")
    assert rule.why.endswith(".")
