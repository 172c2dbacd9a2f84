"""docs/toolchains.md is the page of the measured table and of the data files."""

from page import generated, picture


def test_page_is_up_to_date(golden):
    golden("../../docs/toolchains.md", generated())
    golden("../../docs/pictures/toolchains.svg", picture())
