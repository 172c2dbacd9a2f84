"""Take the screenshots of the documentation in headless Chromium.

Needs Chromium with its driver (apt-get install chromium chromium-driver) and the Python package selenium.

    python examples/screenshots.py docs/pictures          # all
    python examples/screenshots.py docs/pictures view     # one
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from protogen.viewing.server import Viewer

EXAMPLES = Path(__file__).parent
SIZE = (1280, 900)  # pixels
SECONDS = 30  # to wait for a page at most


@contextmanager
def chromium(size: tuple[int, int] = SIZE) -> Iterator[Any]:
    """Start Chromium without a window; its pages have this size."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for argument in (
        "headless", "no-sandbox", "disable-gpu", "hide-scrollbars", "no-first-run", "disable-sync",
        "disable-background-networking", "disable-component-update", "force-device-scale-factor=1",
    ):  # fmt: skip
        options.add_argument(f"--{argument}")
    options.binary_location = str(shutil.which("chromium"))
    driver = webdriver.Chrome(options, Service(str(shutil.which("chromedriver"))))
    try:
        width, height = size
        inner = driver.execute_script("return [outerWidth - innerWidth, outerHeight - innerHeight]")
        driver.set_window_size(width + inner[0], height + inner[1])
        yield driver
    finally:
        driver.quit()


def wait(driver: Any, script: str) -> None:
    """Wait until a script returns true in the page."""
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(driver, SECONDS, 0.1).until(lambda _: driver.execute_script(f"return {script}"))


def view(target: Path) -> None:
    """``protogen view``: a finding is selected, with its lines and its layer.

    The net is examples/flawed.prototxt, whose wrong name of a bottom is corrected, so that it has a
    drawing.
    """
    with tempfile.TemporaryDirectory() as folder:
        net = Path(folder, "flawed.prototxt")
        text = (EXAMPLES / "flawed.prototxt").read_text(encoding="utf-8")
        net.write_text(text.replace('"upp"', '"up"'), encoding="utf-8")
        with Viewer(net) as viewer, chromium() as driver:
            driver.get(viewer.address)
            wait(driver, "document.body.dataset.drawing === '1'")
            driver.execute_script(
                "[...document.querySelectorAll('.finding')]"
                ".find((one) => one.innerText.startsWith('PG301')).click()"
            )
            driver.save_screenshot(str(target))


def report(target: Path) -> None:
    """``protogen report``: the page of examples/tiny.prototxt, with its first convolution selected."""
    import protogen as pg

    with tempfile.TemporaryDirectory() as folder, chromium() as driver:
        page = Path(folder, "tiny.html")
        # A pattern: the search for nets in docs/recipes.md would list a name with its ending.
        [weights] = EXAMPLES.glob("tiny.caffe*")
        pg.write_report(EXAMPLES / "tiny.prototxt", page, weights)
        driver.get(page.as_uri())
        driver.execute_script(
            "document.querySelector('#scene [data-layer=\"1\"]')"
            ".dispatchEvent(new MouseEvent('click', {bubbles: true}))"
        )
        wait(driver, "document.querySelector('#panel h2').innerText === 'conv1'")
        driver.save_screenshot(str(target))


SCREENSHOTS: dict[str, Callable[[Path], None]] = {"report": report, "view": view}


def main(folder: Path, names: list[str]) -> None:
    for name in names or SCREENSHOTS:
        target = folder / f"{name}.png"
        SCREENSHOTS[name](target)
        print(f"{target}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."), sys.argv[2:])
