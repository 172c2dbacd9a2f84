"""The report page in a browser: large nets, minimap, search, folding, legend, dark and light."""

from __future__ import annotations

import pytest

pytest.importorskip("selenium")

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

import protogen as pg

INPUT = (
    'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 3, 8, 8] } } }\n'
)


def layer(kind: str, name: str, bottom: str) -> str:
    extra = "convolution_param { num_output: 4 kernel_size: 1 }" if kind == "Convolution" else ""
    return f'layer {{ name: "{name}" type: "{kind}" bottom: "{bottom}" top: "{name}" {extra} }}\n'


def chain(count: int) -> str:
    lines, last = [INPUT], "data"
    for i in range(count):
        lines += [
            layer("Convolution", f"conv{i}", last),
            layer("AbsVal" if i % 7 else "TanH", f"act{i}", f"conv{i}"),
        ]
        last = f"act{i}"
    return "".join(lines)


@pytest.fixture
def opened(browser, tmp_path):
    def show(text: str):
        (tmp_path / "net.prototxt").write_text(text)
        pg.write_report(tmp_path / "net.prototxt", tmp_path / "net.html")
        browser.get((tmp_path / "net.html").as_uri())
        return browser

    yield show
    assert browser.get_log("browser") == []


def view_box(browser) -> list[float]:
    text = browser.execute_script(
        "return document.querySelector('#view svg').getAttribute('viewBox')"
    )
    return [float(number) for number in text.split()]


def window(browser) -> list[float]:
    rect = browser.find_element(By.CSS_SELECTOR, "#minimap .window")
    return [float(rect.get_attribute(name)) for name in ("x", "y", "width", "height")]


def visible_boxes(browser) -> list[str]:
    return browser.execute_script(
        "return [...document.querySelectorAll('#scene .box')]"
        ".filter(box => box.getClientRects().length && box.getBoundingClientRect().width)"
        ".map(box => box.querySelector('.name').textContent)"
    )


def test_large_net_is_visible_as_a_whole_with_its_repeated_blocks_folded(opened):
    browser = opened(chain(252))
    names = visible_boxes(browser)
    assert names == ["data", "conv0 … act251"]
    block = browser.find_element(By.CSS_SELECTOR, "#scene .repeated:not([hidden]) .unrepeat")
    block.click()
    assert len(visible_boxes(browser)) == 505
    # Unfolded, it is in columns with lines between them.
    places = browser.execute_script(
        "return [...new Set([...document.querySelectorAll('.part:not([hidden])')]"
        ".map(part => part.getAttribute('transform').split(' ')[0]))].length"
    )
    lines = browser.find_elements(By.CSS_SELECTOR, "#links path")
    assert len(lines) == places - 1 > 3
    refold = browser.find_element(By.CSS_SELECTOR, ".refold")
    browser.execute_script(
        "arguments[0].dispatchEvent(new MouseEvent('click', {bubbles: true}))", refold
    )
    assert visible_boxes(browser) == names


def test_search_unfolds_the_block_that_hides_a_layer(opened):
    browser = opened(chain(252))
    browser.find_element(By.ID, "search").send_keys("conv77")
    assert browser.find_element(By.CSS_SELECTOR, "#panel h2").text == "conv77"
    assert "conv77" in visible_boxes(browser)
    width = view_box(browser)[2]
    place = browser.execute_script(
        "const box = document.querySelector('.chosen').getBoundingClientRect();"
        "const view = document.getElementById('view').getBoundingClientRect();"
        "return [(box.left + box.right - view.left - view.right) / 2,"
        "(box.top + box.bottom - view.top - view.bottom) / 2]"
    )
    assert max(map(abs, place)) < 5
    assert width <= 1100


def test_search_has_exact_names_first_then_beginnings(opened):
    browser = opened(
        INPUT
        + layer("AbsVal", "my_conv", "data")
        + layer("AbsVal", "conv1_extra", "my_conv")
        + layer("Convolution", "last", "conv1_extra")
        + layer("AbsVal", "conv", "last")
        + layer("AbsVal", "Conv", "conv")
        + layer("AbsVal", "other", "Conv")
    )
    search = browser.find_element(By.ID, "search")
    search.send_keys("Conv")
    order = []
    for number in range(1, 6):
        assert browser.find_element(By.ID, "hits").text == f"{number} of 5"
        order.append(browser.find_element(By.CSS_SELECTOR, "#panel h2").text)
        search.send_keys("\n")
    assert order == ["Conv", "conv", "conv1_extra", "my_conv", "last"]
    assert browser.find_element(By.ID, "hits").text == "1 of 5"


def test_minimap_shows_the_visible_part_and_moves_it(opened):
    browser = opened(chain(10))
    small = browser.find_element(By.ID, "minimap")
    assert small.is_displayed()
    assert window(browser) == view_box(browser)
    assert small.find_elements(By.CSS_SELECTOR, "path")
    before = view_box(browser)
    ActionChains(browser).move_to_element(small).click_and_hold().move_by_offset(
        0, 60
    ).release().perform()
    after = view_box(browser)
    assert after[1] > before[1] + 100
    assert after[2:] == before[2:]
    assert window(browser) == after
    browser.find_element(By.ID, "whole").click()
    assert not small.is_displayed()  # all of the drawing is visible
    for _ in range(4):
        browser.find_element(By.ID, "closer").click()
    assert small.is_displayed()
    boxes = browser.execute_script(
        "return [...document.querySelectorAll('#minimap path')]"
        ".map(path => path.getAttribute('d').split('M').length - 1).reduce((a, b) => a + b)"
    )
    assert boxes == 21


def test_legend_has_the_colours_of_the_boxes(opened):
    browser = opened(chain(2))
    items = browser.find_elements(By.CSS_SELECTOR, "#legend li")
    assert [one.text for one in items] == [
        "data and outputs",
        "convolution",
        "activation and arithmetic",
    ]
    colour = "return getComputedStyle(document.querySelector(arguments[0])).fill"
    for name in ("convolution", "endpoints"):
        swatch, box = (f"{place} .box.{name} rect" for place in ("#legend", "#scene"))
        assert browser.execute_script(colour, swatch.replace(" .box", " svg.box")) == (
            browser.execute_script(colour, box)
        )


def test_page_follows_the_colour_scheme_of_the_system(opened):
    browser = opened(chain(10))
    script = (
        "const style = (selector, name) => getComputedStyle(document.querySelector(selector))[name];"
        "return [style('body', 'backgroundColor'), style('#scene .convolution rect', 'fill'),"
        "style('#scene .name', 'fill')]"
    )
    mini = "return document.querySelector('#minimap path').getAttribute('fill')"
    minis = [browser.execute_script(mini)]
    schemes = []
    for value in ("light", "dark"):
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {"features": [{"name": "prefers-color-scheme", "value": value}]},
        )
        schemes.append(browser.execute_script(script))
    # The page draws the minimap again in the next frame.
    WebDriverWait(browser, 5).until(lambda _: browser.execute_script(mini) not in minis)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    light, dark = schemes
    assert light == ["rgb(255, 255, 255)", "rgb(215, 230, 240)", "rgb(31, 41, 51)"]
    assert dark == ["rgb(18, 24, 31)", "rgb(23, 56, 77)", "rgb(228, 231, 235)"]
