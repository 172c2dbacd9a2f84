"""The site of docs/ in Chromium, wide and narrow: code, names, copy buttons, and all links."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from places import ROOT


class _Links(HTMLParser):
    """Collects the links, the targets of links, and the pictures of a page."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.targets: set[str] = set()
        self.pictures: list[dict[str, str]] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.links += [values[name] for name in ("href", "src") if name in values]
        self.targets |= {values[name] for name in ("id", "name") if name in values}
        if tag == "img":
            self.pictures.append(values)


def everything(answers, key):
    """Return a list of (page, thing) for a key whose values are lists."""
    return [(page, one) for page, answer in answers.items() for one in answer[key]]


@pytest.mark.parametrize("width", [1280, 400])
def test_no_page_scrolls_sideways(measured, width):
    assert [page for page, answer in measured[width].items() if answer["sideways"]] == []


def test_no_block_of_code_is_cut_at_1280_pixels(measured):
    """At 400 pixels tables in blocks scroll, so that their columns stay."""
    assert sum(answer["blocks"] for answer in measured[1280].values()) > 300
    assert everything(measured[1280], "cut") == []


@pytest.mark.parametrize(("width", "longest"), [(1280, 10_000), (400, 32)])
def test_names_are_not_broken_within_words(measured, width, longest):
    """At 400 pixels a name that is longer than the page is broken."""
    assert sum(answer["codes"] for answer in measured[width].values()) > 3000
    for key in ("codesInTwoLines", "wordsInTwoLines"):
        assert [one for one in everything(measured[width], key) if len(one[1]) <= longest] == []


def test_copy_buttons_of_consoles_copy_the_commands_alone(site):
    count = 0
    for page in site.pages:
        html = page.read_text(encoding="utf-8")
        for copy, code in re.findall(
            r'<div class="language-console highlight" data-copy="([^"]*)">(.*?)</pre>',
            html,
            re.DOTALL,
        ):
            lines = unescape(re.sub("<[^>]*>", "", code)).split("\n")
            commands = [line[2:] for line in lines if line.startswith("$ ")]
            assert commands
            assert unescape(copy).split("\n") == commands
            count += 1
    assert count > 80


def test_a_click_on_the_button_copies_the_commands(site, browser):
    from selenium.webdriver.common.by import By

    browser.get(f"{site.address}rescue/")
    browser.execute_script(
        "addEventListener('copy', (event) => { window.text = event.target.value; })"
    )
    button = browser.find_element(By.CSS_SELECTOR, ".language-console .md-code__button")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()
    assert browser.execute_script("return window.text") == (
        "protogen init examples/fork_head.prototxt --fill -o fork.caffemodel --quiet\n"
        "protogen rescue examples/fork_head.prototxt fork.caffemodel -o stock.prototxt"
    )


def test_selected_output_has_the_lines_of_the_page(site, browser):
    browser.get(f"{site.address}rescue/")
    text = browser.execute_script(
        "const code = document.querySelectorAll('.language-console code')[1];"
        "getSelection().selectAllChildren(code); return getSelection().toString()"
    )
    assert "wrote lenet.prototxt\nconverted 5 V0 layers (nested `layer`) to V1\nfolded" in text
    assert "$ " not in text


def test_links_of_the_site_lead_to_pages_and_to_places_in_them(site):
    pages = {page: _Links(page) for page in site.pages}
    broken, count = [], 0
    for page, parsed in pages.items():
        for link in parsed.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or not link:
                continue
            count += 1
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            target = target / "index.html" if target.is_dir() else target
            place = unquote(parts.fragment)
            if not target.is_file() or (
                place and place not in pages[target].targets | {"__toc", "__search"}
            ):
                broken.append(f"{page.parent.name}: {link}")
    assert broken == []
    assert count > 3000


def test_external_links_are_complete_addresses(site):
    """They are listed (pytest -rP), and not opened."""
    links = {link for page in site.pages for link in _Links(page).links if urlsplit(link).scheme}
    print(*sorted(links), sep="\n")
    odd = [
        link
        for link in links
        if urlsplit(link).scheme not in ("data", "mailto")
        and not re.fullmatch(r"https?://[\w.-]+\.\w+(/\S*)?", link)
    ]
    assert odd == []


def test_every_picture_of_the_site_is_described(site):
    bare = [
        (page.parent.name, picture.get("src", "")[:60])
        for page in site.pages
        for picture in _Links(page).pictures
        if not picture.get("alt", "").strip()
    ]
    assert bare == []


def test_first_page_has_the_installation_and_then_three_doors():
    text = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert text.index("pip install") < text.index("$ protogen rescue")
    doors = re.findall(r'<section class="door" markdown>(.*?)</section>', text, re.DOTALL)
    assert [re.search(r"## \[(.*?)\]", door)[1] for door in doors] == [
        "Into Caffe",
        "Out of Caffe",
        "Learn",
    ]
    for door in doors:
        assert door.count("\n$ protogen ") == 1
        assert len(re.findall(r"\]\(\w+\.md\)", door)) > 3
