"""The report as people meet it: in a real browser, with 100,000 patches and hostile names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.alcore.report.browser import browser, requests, seconds_to_load
from tests.alcore.report.scenes import HOSTILE, Scene

MOST_S = 2.0
"""A page of 100,000 patches opens faster than that."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of 100,000 patches in 10,000 volumes, with as many thumbnails as there may be."""
    folder, result = Scene(tmp_path_factory.mktemp("report"), 10_000, n_files=40).report()
    assert result["n_patches"] == 100_000 and result["n_pictures"] > 250
    return folder / "report.html"


@pytest.fixture(scope="module")
def opened(page: Path) -> Iterator[tuple[Any, float]]:
    """A browser that has opened it, and the seconds that took: the best of three, others use this machine as well."""
    with browser() as driver:
        yield driver, min(seconds_to_load(driver, page) for _ in range(3))


def test_it_opens_in_less_than_two_seconds_and_asks_the_network_for_nothing(
    opened: tuple[Any, float], page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    driver, seconds = opened
    drawn_ms = driver.execute_script("return Number(document.documentElement.dataset.drawn)")
    with capsys.disabled():
        print(
            f"\n100,000 patches, {page.stat().st_size / 1e6:.1f} MB: loaded in {seconds:.2f} s, drawn in {drawn_ms:.0f} ms"
        )
    assert 0 < seconds < MOST_S
    assert requests(driver) == []
    assert driver.get_log("browser") == []


def test_the_map_is_drawn_and_the_pointer_finds_a_thumbnail(opened: tuple[Any, float]) -> None:
    driver, _ = opened
    canvas = _canvas(driver)
    ink = driver.execute_script(
        "const c = arguments[0], d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n / (c.width * c.height);",
        canvas,
    )
    assert ink > 0.05
    x, y = _step_to_picture(driver, canvas)
    _key(driver, "ESCAPE")
    assert not driver.find_element("id", "tip").is_displayed()
    _point(driver, canvas, x, y)
    tip = driver.find_element("id", "tip")
    assert tip.is_displayed()
    shot = tip.find_element("class name", "shot")
    assert shot.value_of_css_property("background-image").startswith('url("data:image/jpeg')
    assert shot.size == {"width": 128, "height": 128}
    assert driver.get_log("browser") == []


def test_names_are_text_wherever_they_stand(opened: tuple[Any, float]) -> None:
    driver, _ = opened
    assert driver.execute_script("return document.querySelectorAll('img[src=x]').length") == 0
    assert driver.title == f"alscope: {HOSTILE}"
    assert HOSTILE in driver.find_element("css selector", "#volumes td").text
    canvas = _canvas(driver)
    seen = set()
    for _ in range(20):
        _key(driver, "ARROW_RIGHT")
        seen.add(driver.find_element("css selector", "#tip b").text)
        said = driver.find_element("id", "said").get_attribute("textContent")
        assert said.split(",")[0] in driver.find_element("id", "tip").text
    assert HOSTILE in seen
    assert driver.switch_to.active_element == canvas


def test_marks_can_be_hidden_volumes_coloured_and_the_map_zoomed(opened: tuple[Any, float]) -> None:
    driver, _ = opened
    canvas = _canvas(driver)
    _key(driver, "ESCAPE")

    def picture() -> str:
        return driver.execute_script("return arguments[0].toDataURL()", canvas)

    plain = picture()
    box = driver.find_element("id", "mark-0")
    box.click()
    hidden = picture()
    assert hidden != plain
    box.click()
    assert picture() == plain
    driver.find_element("id", "volumes-in-colour").click()
    assert picture() != plain
    driver.find_element("id", "volumes-in-colour").click()
    driver.find_element("id", "closer").click()
    assert picture() != plain
    driver.find_element("id", "whole").click()
    assert picture() == plain


def test_tables_sort_by_every_column_and_say_so(opened: tuple[Any, float]) -> None:
    driver, _ = opened
    head = driver.find_elements("css selector", "#volumes th button")[2]
    driver.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", head)

    def shown() -> list[float]:
        cells = "return [...document.querySelectorAll('#volumes tbody tr')].map(r => Number(r.cells[2].dataset.v))"
        return list(driver.execute_script(cells))

    head.click()
    assert shown() == sorted(shown()) and len(set(shown())) > 3
    assert driver.find_elements("css selector", "#volumes th")[2].get_attribute("aria-sort") == "ascending"
    head.click()
    assert shown() == sorted(shown(), reverse=True)


def test_everything_can_be_reached_and_read_without_eyes_or_a_mouse(opened: tuple[Any, float]) -> None:
    driver, _ = opened
    script = """
      const bad = [];
      for (const i of document.images) if (!i.alt && !i.hidden) bad.push('image without words');
      for (const s of document.querySelectorAll('svg')) if (!s.getAttribute('aria-label')) bad.push('drawing without words');
      for (const b of document.querySelectorAll('button')) if (!b.textContent.trim() && !b.ariaLabel) bad.push('button without words');
      for (const i of document.querySelectorAll('input')) if (!i.labels.length) bad.push('input without label');
      const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
      if (new Set(ids).size !== ids.length) bad.push('double ids: ' + ids.filter((id, n) => ids.indexOf(id) !== n));
      if (!document.documentElement.lang || document.querySelectorAll('h1').length !== 1) bad.push('language or heading');
      return bad;
    """
    assert driver.execute_script(script) == []


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (420, False), (1280, True)])
def test_words_stand_out_and_nothing_runs_over_the_side(page: Path, width: int, dark: bool) -> None:
    """WCAG 2.1, 1.4.3: a contrast of 4.5 of text to its ground."""
    with browser(width, dark) as driver:
        seconds_to_load(driver, page)
        assert driver.execute_script("return document.documentElement.scrollWidth") <= width
        contrasts = driver.execute_script(CONTRAST)
        assert len(contrasts) > 20
        assert [c for c in contrasts if c[1] < 4.5] == []
        assert driver.get_log("browser") == []


CONTRAST = """
  const light = (c) => { const f = c.map((v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * f[0] + 0.7152 * f[1] + 0.0722 * f[2]; };
  const parse = (s) => s.match(/[\\d.]+/g).map(Number);
  const ground = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0.9) return c.slice(0, 3); } return [255, 255, 255]; };
  const found = [];
  for (const e of document.querySelectorAll('h1,h2,h3,p,dt,dd,td,th button,a,label,legend,.fact,.tree span,code,button,.drawing text')) {
    if (!e.textContent.trim() || e.closest('[hidden],.hidden,.skip')) continue;
    const style = getComputedStyle(e), a = light(parse(e.tagName === 'text' ? style.fill : style.color).slice(0, 3)), b = light(ground(e));
    found.push([e.tagName + ' ' + e.textContent.trim().slice(0, 30), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)]);
  }
  return found;
"""


def _canvas(driver: Any) -> Any:
    canvas = driver.find_element("id", "plane")
    driver.execute_script(
        "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'}); arguments[0].focus()", canvas
    )
    return canvas


def _key(driver: Any, name: str) -> None:
    from selenium.webdriver.common.keys import Keys

    driver.find_element("id", "plane").send_keys(getattr(Keys, name))


def _step_to_picture(driver: Any, canvas: Any) -> tuple[int, int]:
    """Go through the marked patches to the first with a picture; where it lies on the canvas."""
    for _ in range(20):
        _key(driver, "ARROW_RIGHT")
        if driver.find_elements("css selector", "#tip .shot"):
            x, y = canvas.get_attribute("data-at").split(",")
            return int(x), int(y)
    raise AssertionError("no marked patch has a picture")


def _point(driver: Any, canvas: Any, x: int, y: int) -> None:
    from selenium.webdriver import ActionChains

    size = canvas.size
    ActionChains(driver).move_to_element_with_offset(canvas, x - size["width"] // 2, y - size["height"] // 2).perform()
