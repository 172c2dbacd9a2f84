"""The page of the performance is written from its data, which has all rows, and every goal holds."""

from __future__ import annotations

import json
import sys

import pytest
from places import ROOT

BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def data():
    return json.loads((BENCHMARKS / "performance.json").read_text(encoding="utf-8"))


@pytest.fixture
def scripts(monkeypatch):
    """The scripts can be imported, as they are when one of them runs."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield
    for name in ("measuring", "performance_page"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("scripts")
def test_page_is_written_from_the_data(data):
    """``python benchmarks/performance.py --only-page`` writes it again."""
    import performance_page

    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert page == performance_page.page(data)


def test_data_is_that_of_a_run_of_all_rows(data):
    modules = {path.stem for path in (BENCHMARKS / "rows").glob("[a-z]*.py")}
    assert data["rows"].keys() == modules == data["notes"].keys()
    assert all(data["rows"].values())


@pytest.mark.usefixtures("scripts")
def test_every_goal_holds(data):
    from measuring import Row

    for rows in data["rows"].values():
        for plain in rows:
            row = Row(**plain)
            assert row.holds, f"{row.work}: {row.quantity} {row.ratio:.3g}, goal {row.goal:g}"
