"""docs/gallery.md shows every picture of the docs, with the command that draws it."""

from __future__ import annotations

import re

from places import ROOT

DOCS = ROOT / "docs"
FIGURE = re.compile(r"<figure markdown>(.*?)</figure>", re.DOTALL)


def figures() -> list[str]:
    return FIGURE.findall((DOCS / "gallery.md").read_text(encoding="utf-8"))


def test_gallery_shows_every_picture_once():
    shown = re.findall(r"\[!\[.+?\]\(pictures/(.+?)\)\]", "\n".join(figures()))
    assert sorted(shown) == sorted(path.name for path in (DOCS / "pictures").iterdir())


def test_every_picture_is_on_the_page_that_its_caption_links_to():
    """The page has the command, too, or names the script. tests/test_docs.py runs the commands of consoles."""
    for figure in figures():
        [picture] = re.findall(r"\]\((pictures/.+?)\)\]", figure)
        [link] = re.findall(r"\]\((\w+\.md)(?:#.*?)?\)", figure)
        [command] = re.findall(r"```sh\n(.+?)\n```", figure)
        page = (DOCS / link).read_text(encoding="utf-8")
        assert picture in page or picture == "pictures/report.png", figure
        program, *words = command.split()
        if program == "protogen":
            assert command in page, command
        else:
            assert (ROOT / words[0]).exists(), command


def test_every_picture_of_the_sources_is_described():
    for page in [ROOT / "README.md", *DOCS.rglob("*.md")]:
        assert "![](" not in page.read_text(encoding="utf-8"), page.name


def test_pictures_are_small():
    large = [path.name for path in (DOCS / "pictures").iterdir() if path.stat().st_size > 200_000]
    assert large == []
