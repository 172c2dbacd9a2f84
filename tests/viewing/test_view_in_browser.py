"""The page of protogen view in Chromium: from a finding to its layer and its line, and after a save."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import chromium

from protogen.viewing.server import Viewer

SECONDS = 20


def chain(names: list[str]) -> str:
    """Return a net of convolutions, one below the other."""
    text = (
        'name: "chain"\nlayer {\n  name: "data"\n  type: "Input"\n  top: "data"\n'
        "  input_param { shape { dim: [1, 3, 16, 16] } }\n}\n"
    )
    below = "data"
    for name in names:
        text += (
            f'layer {{\n  name: "{name}"\n  type: "Convolution"\n  bottom: "{below}"\n'
            f'  top: "{name}"\n  convolution_param {{\n    num_output: 4\n    kernel_size: 3\n'
            "    pad: 1\n  }\n}\n"
        )
        below = name
    return text


NAMES = [f"conv{i}" for i in range(1, 31)]
FLAW = '  name: "conv20"\n  type: "Convolution"\n'
TEXT = chain(NAMES).replace(FLAW, f"{FLAW}  pooling_param {{ kernel_size: 2 }}\n")
LINE = TEXT[: TEXT.index("pooling_param")].count("\n") + 1


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    for driver in chromium():
        driver.set_script_timeout(SECONDS)
        yield driver


class Page:
    """The page of a viewer that watches a file, in the browser."""

    def __init__(self, browser: Any, path: Path) -> None:
        self.browser, self.path = browser, path
        self.viewer = Viewer(path)
        self.thread = threading.Thread(target=self.viewer.watch, daemon=True)
        self.thread.start()
        browser.get(self.viewer.address)
        self.wait_for_drawing(1)

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_: object) -> None:
        self.viewer.close()
        self.thread.join(SECONDS)
        self.browser.get("about:blank")

    def run(self, script: str, *arguments: object) -> Any:
        return self.browser.execute_script(script, *arguments)

    def wait(self, script: str) -> None:
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.browser, SECONDS, 0.05).until(lambda _: self.run(f"return {script}"))

    def wait_for_drawing(self, number: int) -> None:
        self.wait(f"document.body.dataset.drawing === '{number}'")

    def wait_for_version(self, number: int) -> None:
        self.wait(f"document.body.dataset.version === '{number}'")

    def report(self, expression: str) -> Any:
        """Return the value of an expression in the page of the report."""
        return self.run(
            f"return document.querySelector('iframe:not(.next)').contentWindow.eval({expression!r})"
        )

    def frame(self, script: str) -> Any:
        """Run a script in which ``page`` is the window of the report."""
        return self.run(
            f"const page = document.querySelector('iframe:not(.next)').contentWindow;\n{script}"
        )

    def selected(self) -> str:
        """The name of the selected layer in the panel of the report."""
        return str(self.frame("return page.document.querySelector('#panel h2').textContent"))

    def marked(self) -> list[int]:
        """The numbers of the marked lines of the text."""
        return list(
            self.run(
                "return [...document.querySelectorAll('.line.chosen')].map((n) => +n.dataset.line)"
            )
        )

    def visible(self, selector: str) -> bool:
        """Whether the element is in the visible part of the text."""
        return bool(
            self.run(
                "const [a, b] = [document.querySelector(arguments[0]), document.querySelector('#text')]"
                ".map((n) => n.getBoundingClientRect()); return a.top >= b.top && a.bottom <= b.bottom",
                selector,
            )
        )

    def place(self, name: str) -> list[float]:
        """The position of the box of a layer in the window of the report."""
        return list(
            self.frame(
                "const i = page.report.layers.findIndex((one) => one.name === arguments[0]);"
                "const box = page.document.getElementById('n' + page.report.layers[i].box);"
                "const place = box.getBoundingClientRect(); return [place.x, place.y, place.width]".replace(
                    "arguments[0]", repr(name)
                )
            )
        )

    def errors(self) -> list[Any]:
        return list(self.browser.get_log("browser"))


@pytest.fixture
def page(browser: Any, tmp_path: Path) -> Iterator[Page]:
    path = tmp_path / "net.prototxt"
    path.write_text(TEXT)
    browser.get_log("browser")
    with Page(browser, path) as page:
        yield page
        assert page.errors() == []


def test_from_finding_to_layer_to_line_and_back(page):
    from selenium.webdriver.common.by import By

    def click(selector: str) -> None:
        page.browser.find_element(By.CSS_SELECTOR, selector).click()

    first = LINE - 3  # the line that opens the layer of the finding
    lines = list(range(first, first + 12))
    assert page.run("return document.querySelector('#count').textContent") == "1 warning"
    assert page.run(
        "return document.querySelector('.finding').previousSibling.dataset.line"
    ) == str(LINE)
    assert page.selected() == "No layer selected"
    # The finding, which is far below, selects the layer and shows its line.
    assert not page.visible(".finding")
    click("#after")
    assert page.selected() == "conv20"
    assert page.visible(".finding")
    assert page.marked() == lines
    box, view = (
        page.frame(f"const place = page.document.querySelector('{one}').getBoundingClientRect();"
                   "return [place.left, place.top, place.right, place.bottom]")
        for one in (".box.chosen", "#view")
    )  # fmt: skip
    assert view[0] < box[0] < box[2] < view[2]
    assert view[1] < box[1] < box[3] < view[3]
    # A layer of the drawing, which is far above, marks and shows its lines.
    page.frame(
        "const i = page.report.layers.findIndex((one) => one.name === 'conv2');"
        "page.document.getElementById('n' + page.report.layers[i].box)"
        ".dispatchEvent(new page.MouseEvent('click', {bubbles: true}))"
    )
    assert page.selected() == "conv2"
    start = TEXT[: TEXT.index('"conv2"')].count("\n")
    assert page.marked() == list(range(start, start + 11))
    assert page.visible(".line.chosen")
    # A line of the text selects its layer, and so does the finding itself.
    page.run("document.querySelector('[data-line=\"9\"] code').click()")
    assert page.selected() == "conv1"
    page.run("document.querySelector('.finding').click()")
    assert page.selected() == "conv20"
    # The search and the tables of the report lead to the lines, too.
    page.frame(
        "const search = page.document.getElementById('search'); search.value = 'conv30';"
        "search.dispatchEvent(new page.Event('input'))"
    )
    assert page.selected() == "conv30"
    assert page.marked()[0] == TEXT[: TEXT.index('"conv30"')].count("\n")
    # The keys of the report work while the text has the focus.
    page.browser.find_element(By.ID, "text").send_keys("p")
    assert page.selected() == "conv29"
    page.browser.find_element(By.ID, "text").send_keys("/")
    assert page.frame("return page.document.activeElement.id") == "search"


def test_saving_redraws_at_the_same_place_with_the_same_layer(page):
    page.run("document.querySelector('.finding').click()")
    page.frame("page.document.getElementById('closer').click(); page.scrollTo(0, 30)")
    place = page.place("conv20")
    scroll = page.run("return document.querySelector('.line.chosen').getBoundingClientRect().top")
    # Three layers more above, and 33 lines.
    page.path.write_text(
        chain(["new1", "new2", "new3", *NAMES]).replace(FLAW, f"{FLAW}  pooling_param {{ }}\n")
    )
    page.wait_for_drawing(2)
    assert page.selected() == "conv20"
    assert page.place("conv20") == pytest.approx(place, abs=2)
    assert page.frame("return page.scrollY") == 30
    assert page.marked() == list(range(LINE - 3 + 33, LINE - 3 + 33 + 12))
    now = page.run("return document.querySelector('.line.chosen').getBoundingClientRect().top")
    assert now == pytest.approx(scroll, abs=2)
    assert page.run("return document.querySelectorAll('iframe').length") == 1
    # A layer that is gone is no longer selected; the other boxes stay where they are.
    place = page.place("conv18")
    page.path.write_text(chain([name for name in NAMES if name != "conv20"]))
    page.wait_for_drawing(3)
    assert page.selected() == "No layer selected"
    assert page.marked() == []
    assert page.place("conv18")[2] == pytest.approx(place[2], abs=0.5)


def test_saving_keeps_folded_blocks_the_search_and_the_zoom(browser, tmp_path):
    """A block is a part of the net between two blobs that are the only ones."""
    block = (
        'layer {{ name: "{0}a" type: "AbsVal" bottom: "{1}" top: "{0}a" }}\n'
        'layer {{ name: "{0}b" type: "TanH" bottom: "{1}" top: "{0}b" }}\n'
        'layer {{ name: "{0}c" type: "Sigmoid" bottom: "{0}a" top: "{0}c" }}\n'
        'layer {{ name: "{0}sum" type: "Eltwise" bottom: "{0}b" bottom: "{0}c" top: "{0}sum" }}\n'
    )
    text = chain(["conv1"]) + block.format("one", "conv1")
    last = chain(["conv2"]).rpartition("layer {")[2].replace('"data"', '"onesum"')
    text += "layer {" + last + block.format("two", "conv2")
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    browser.get_log("browser")
    with Page(browser, path) as page:
        folds = dict(page.frame("return page.report.folds().filter(([name]) => name)"))
        assert len(folds) >= 2
        name = list(folds)[-1]
        page.frame(f"page.report.setFolds([[{name!r}, true]]);")
        page.frame(
            "const search = page.document.getElementById('search'); search.value = 'onea';"
            "search.dispatchEvent(new page.Event('input'));"
            "for (let i = 0; i < 3; i++) page.document.getElementById('closer').click()"
        )
        box, place = page.frame("return page.report.box()"), page.place("onea")
        path.write_text(text.replace("num_output: 4", "num_output: 8"))
        page.wait_for_drawing(2)
        assert dict(page.frame("return page.report.folds()"))[name]
        assert page.frame("return page.document.getElementById('search').value") == "onea"
        assert page.frame("return page.report.box()")[2:] == pytest.approx(box[2:])
        assert page.place("onea") == pytest.approx(place, abs=2)
        assert page.selected() == "onea"
        assert page.errors() == []


def test_syntax_error_is_marked_and_the_drawing_stays_until_it_is_corrected(page):
    page.run("document.querySelector('.finding').click()")
    broken = TEXT.replace("num_output: 4", "num_output 4", 1)
    page.path.write_text(broken)
    page.wait_for_version(2)
    line = broken[: broken.index("num_output 4")].count("\n") + 1
    words = page.run("return document.querySelector('#problems').innerText")
    assert words.startswith(f"{page.path}:{line}:")
    assert "The drawing is that of the last text without an error." in words
    assert page.run("return document.querySelector('.line.problem').dataset.line") == str(line)
    assert page.selected() == "conv20"
    assert page.marked()[0] == LINE - 3
    page.run("document.querySelector('#problems button').click()")
    assert page.visible(".line.problem")
    # The lines still lead to the layers of the drawing.
    page.run("document.querySelector('[data-line=\"9\"] code').click()")
    assert page.selected() == "conv1"
    page.path.write_text(TEXT)
    page.wait_for_drawing(3)
    assert page.run("return document.querySelector('#problems').hidden")
    assert page.run("return document.querySelectorAll('.line.problem').length") == 0
    assert page.selected() == "conv1"


def test_page_notices_that_the_command_has_ended(page):
    page.viewer.close()
    page.wait("document.querySelector('#status').textContent === 'protogen view has ended.'")


def test_page_polls_if_there_are_no_events(page):
    """A proxy or an extension may hold back events."""
    page.viewer.streams = 10**6  # every new stream is refused
    page.browser.refresh()
    page.wait_for_drawing(1)
    page.path.write_text(chain(["other"]))
    page.wait_for_drawing(2)
    refused = [one for one in page.errors() if "503" not in one["message"]]
    assert refused == []


def test_hostile_names_are_inert(browser, tmp_path):
    path = tmp_path / "net.prototxt"
    name = "<img src=x onerror=document.title=1></script><script>document.title=2</script>"
    path.write_text(
        chain(["conv1"]).replace("conv1", name).replace("pad: 1", "pad: 1 # <b>bold</b>")
    )
    browser.get_log("browser")
    with Page(browser, path) as page:
        assert page.frame("return page.document.querySelectorAll('#panel img').length") == 0
        page.run("document.querySelector('[data-line=\"9\"] code').click()")
        assert page.selected() == name
        assert page.run("return document.querySelectorAll('#text b, #text img').length") == 0
        assert page.browser.title == "net.prototxt - protogen view"
        assert page.frame("return page.document.title") == "chain"
        assert page.errors() == []


def test_policy_of_the_report_lets_no_other_script_run(page):
    """Even if markup were inserted, its script would not run."""
    page.frame(
        "const script = page.document.createElement('script'); script.textContent = 'window.ran = 1';"
        "page.document.body.append(script);"
        "const link = page.document.createElement('img'); link.src = 'https://127.0.0.1:9/x.png';"
        "page.document.body.append(link)"
    )
    assert page.frame("return page.ran") is None
    messages = " ".join(one["message"] for one in page.errors())
    assert messages.count("violates the following Content Security Policy directive") == 2
