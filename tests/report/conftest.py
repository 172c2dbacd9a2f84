"""A browser for the tests of the report page."""

from __future__ import annotations

import pytest
from browser import chromium


@pytest.fixture(scope="session")
def browser():
    yield from chromium()
