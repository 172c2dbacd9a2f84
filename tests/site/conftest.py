"""The site of docs/, built once, and a browser that opens its pages."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from places import EXAMPLES, ROOT

NEEDED = ("mkdocs", "material", "mkdocstrings")
WIDTHS = (1280, 400)  # pixels: a small window, and a telephone
# Without the transitions of the theme, which move the search field after a change of the width.
STILL = """
const style = document.createElement('style');
style.textContent = '* { transition: none !important; }';
document.head.append(style);
"""
# What the tests ask of each page. A word is looked at in text that must not be broken within words.
MEASURE = """
const content = document.querySelector('.md-content');
const wide = (one) => one.scrollWidth > one.clientWidth;
const lines = (word) => [...word.getClientRects()].filter((rect) => rect.width > 0);
const broken = (word) => new Set(lines(word).map((rect) => Math.round(rect.top))).size > 1;
const words = [];
for (const cell of content.querySelectorAll('th, td, h1, h2, h3, h4, h5')) {
  const walker = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode())
    for (const match of node.data.matchAll(/[\\w.]{2,}/g)) {
      const range = document.createRange();
      range.setStart(node, match.index);
      range.setEnd(node, match.index + match[0].length);
      if (broken(range)) words.push(match[0]);
    }
}
const codes = [...content.querySelectorAll('code')].filter((one) => !one.closest('pre'));
const blocks = [...content.querySelectorAll('pre')];
const inner = (pre) => [pre, ...pre.querySelectorAll('code, .line:not(.rule)')];
return {
  blocks: blocks.length,
  cut: blocks.filter((one) => inner(one).some(wide)).map((one) => one.innerText.slice(0, 80)),
  codes: codes.length,
  codesInTwoLines: codes.filter((one) => !/\\s/.test(one.innerText.trim()) && broken(one))
    .map((one) => one.innerText),
  wordsInTwoLines: words,
  sideways: wide(document.scrollingElement),
};
"""


class Site(NamedTuple):
    """The built site: its folder, its pages, and the address of its server."""

    folder: Path
    pages: list[Path]
    address: str

    def url(self, page: Path) -> str:
        return self.address + page.relative_to(self.folder).as_posix()


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Print nothing for a request."""


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Build the site, and serve it to this machine. A warning is an error, but not with --quiet."""
    for name in NEEDED:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: pip install -e '.[dev]'")
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(build, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
    handler = functools.partial(_Silent, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        yield Site(folder, sorted(folder.rglob("index.html")), address)
        server.shutdown()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Start Chromium as for the screenshots of the docs."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("chromium and chromedriver are not installed")
    spec = importlib.util.spec_from_file_location("screenshots", EXAMPLES / "screenshots.py")
    assert spec is not None
    assert spec.loader is not None
    screenshots = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(screenshots)
    with screenshots.chromium() as driver:
        yield driver


def _resize(browser: Any, width: int) -> None:
    """Give the pages of the browser this width in pixels."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


@pytest.fixture(scope="session")
def measured(site: Site, browser: Any) -> dict[int, dict[str, dict[str, Any]]]:
    """Return what MEASURE returns, by the width of the page and by its name."""
    answers: dict[int, dict[str, dict[str, Any]]] = {width: {} for width in WIDTHS}
    for page in site.pages:
        browser.get(site.url(page))
        browser.execute_script(STILL)
        for width in WIDTHS:
            _resize(browser, width)
            assert browser.execute_script("return innerWidth") == width
            name = page.parent.relative_to(site.folder).as_posix()
            answers[width][name] = browser.execute_script(MEASURE)
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    return answers
