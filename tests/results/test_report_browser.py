"""The page in a real Chromium: it opens, draws, follows the mouse and the keys, and asks nothing of anyone."""

import os
import re
import shutil
import socket
from pathlib import Path

import pytest
from reported import STEPS, hostile, lecture

from omnimem_cli.media.thumbnails import thumbnails
from omnimem_cli.results.report import charts
from omnimem_cli.results.report.footage import Footage
from omnimem_cli.results.report.page import write_html

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")]

CLIP = Path(charts.__file__).parents[2] / "world" / "demo.mp4"
SIZES = [(360, 760), (1600, 900)]


@pytest.fixture(scope="module")
def chromium():
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages, and the video of one of them beside it."""
    folder = tmp_path_factory.mktemp("pages")
    shutil.copy(CLIP, folder / "lecture #1.mp4")
    with_video = Footage("lecture%20%231.mp4", tuple(thumbnails(str(CLIP), [5.0, 20.0, 40.0])))
    pages = {
        "lecture": (lecture(), with_video),
        "plain": (lecture(), None),
        "hostile": (hostile(), with_video),
        "lost": (lecture(), Footage("gone.mp4")),
    }
    for name, (made, footage) in pages.items():
        (folder / f"{name}.html").write_text(write_html(made, footage), "utf-8")
    return folder


@pytest.fixture
def visit(chromium, folder):
    """Open a page of the folder. ``page.said``: console messages and errors; ``page.asked``: addresses."""
    contexts = []

    def visit(name: str, size=SIZES[1], **options):
        contexts.append(chromium.new_context(viewport={"width": size[0], "height": size[1]}, **options))
        page = contexts[-1].new_page()
        page.said, page.asked = [], []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("dialog", lambda dialog: page.said.append(dialog.message))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto((folder / f"{name}.html").as_uri())
        return page

    yield visit
    for context in contexts:
        context.close()


def until(page, expression: str) -> None:
    """Wait until an expression is true (`wait_for_function` needs what the page's policy forbids)."""
    for _ in range(100):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never true: {expression}")


def value(page) -> float:
    return float(page.get_by_role("slider").get_attribute("aria-valuenow"))


def cursor(page) -> float:
    """Where the cursor is, as a share of the timeline."""
    line, box = page.locator("#cursor").bounding_box(), page.locator("#slider").bounding_box()
    return (line["x"] + line["width"] / 2 - box["x"]) / box["width"]


@pytest.mark.parametrize("name", ["lecture", "plain", "hostile"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_a_page_opens_without_a_word_and_fits_its_width(visit, folder, name, scheme, size):
    page = visit(name, size, color_scheme=scheme)
    page.wait_for_timeout(200)
    assert page.said == []
    assert all(address.startswith((folder.as_uri(), "data:")) for address in page.asked)
    assert page.evaluate("document.documentElement.scrollWidth") == size[0]
    assert page.evaluate("window.hacked") is None


@pytest.mark.parametrize("size", SIZES)
def test_the_timeline_is_drawn(visit, size):
    page = visit("lecture", size)
    for kind in ("visual", "audio"):
        bars = page.locator(f".density.{kind} rect:not(.step)")
        boxes = [bar.bounding_box() for bar in bars.all()]
        assert len(boxes) == STEPS
        assert all(box["width"] > 4 and box["height"] > 4 for box in boxes)
        assert len({box["height"] for box in boxes}) > 3
    assert [box["width"] > 40 for box in (b.bounding_box() for b in page.locator(".chapters svg").all())] == [True] * 2
    assert page.locator(".layers rect.visual").count() == 6
    pictures = page.evaluate("[...document.querySelectorAll('.strip img')].map((image) => image.naturalHeight)")
    assert pictures == [90] * 3


def test_a_click_on_any_time_points_everything_there(visit):
    page = visit("lecture")
    until(page, "document.getElementById('player').readyState > 0")
    page.locator(".transcript button", has_text="0:40").click()
    assert value(page) == 40.0
    assert cursor(page) == pytest.approx(40 / 61.5, abs=0.005)
    assert page.locator(".transcript li.on").inner_text().endswith("Trains 40")
    assert page.locator(".transcript li.on").get_attribute("aria-current") == "true"
    assert page.evaluate("document.getElementById('player').currentTime") == pytest.approx(40, abs=0.1)
    page.locator(".strip button").first.click()
    assert value(page) == 5.0
    page.locator("td button").click()
    assert (value(page), page.locator("#clock").inner_text()) == (12.5, "0:12")


def test_a_time_behind_the_end_of_the_player_is_pointed_at_all_the_same(visit):
    page = visit("lecture")
    until(page, "document.getElementById('player').readyState > 0")
    page.locator(".transcript button", has_text="0:55").click()
    page.wait_for_timeout(300)
    assert value(page) == 55.0


def test_a_click_on_the_timeline_shows_the_line_that_is_said_there(visit):
    page = visit("plain", (1600, 420))
    box = page.locator("#slider").bounding_box()
    page.locator("#slider").click(position={"x": box["width"] * 56 / 61.5, "y": box["height"] / 2})
    assert value(page) == pytest.approx(56, abs=0.2)
    line = page.locator(".transcript li.on")
    assert line.inner_text().endswith("Trains 55")
    shown = line.bounding_box()
    assert shown["y"] >= 0 and shown["y"] + shown["height"] <= 420


def test_the_keys_move_the_time_and_one_column_stays_where_it_is(visit):
    page = visit("plain", SIZES[0])
    slider = page.get_by_role("slider")
    slider.focus()
    for key, expected in [("ArrowRight", 1.0), ("PageUp", 11.0), ("ArrowLeft", 10.0), ("End", 61.5), ("Home", 0.0)]:
        page.keyboard.press(key)
        assert value(page) == expected
    page.keyboard.press("ArrowLeft")
    assert value(page) == 0.0
    assert page.evaluate("scrollY") == 0
    assert re.fullmatch(r"0:00, 0:00–0:20 Trains · 0:00–0:02: .* kept", slider.get_attribute("aria-valuetext"))


def test_every_time_is_reached_by_tab_and_pressed_by_enter_and_space(visit):
    page = visit("plain")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "0:20":
            break
    page.keyboard.press("Enter")
    assert value(page) == 20.0
    page.get_by_role("slider").focus()
    page.keyboard.press("Home")
    page.locator(".transcript button", has_text="0:55").focus()
    page.keyboard.press("Space")
    assert value(page) == 55.0


def test_the_page_follows_the_player(visit):
    page = visit("lecture")
    until(page, "document.getElementById('player').readyState > 0")
    page.evaluate("document.getElementById('player').currentTime = 21")
    until(page, "document.getElementById('slider').getAttribute('aria-valuenow') === '21.0'")
    assert page.locator(".transcript li.on").inner_text().endswith("Trains 20")


def test_a_video_that_is_not_there_is_said_and_the_rest_works(visit):
    page = visit("lost")
    page.locator("#unplayable").wait_for(state="visible")
    assert page.locator("#player").is_hidden()
    page.locator(".transcript button", has_text="0:20").click()
    assert value(page) == 20.0


def test_the_policy_lets_nothing_out(visit):
    page = visit("plain")
    with socket.create_server(("127.0.0.1", 0)) as outside:
        outside.settimeout(0.5)
        address = f"http://127.0.0.1:{outside.getsockname()[1]}/"
        page.evaluate(f"void fetch('{address}').catch(() => 0)")  # not waited for
        page.evaluate(f"document.body.append(Object.assign(new Image(), {{src: '{address}'}}))")
        page.evaluate(f"document.body.append(Object.assign(document.createElement('video'), {{src: '{address}'}}))")
        page.evaluate("document.body.insertAdjacentHTML('beforeend', '<b style=\"color:red\" id=b>x</b>')")
        with pytest.raises(TimeoutError):
            outside.accept()
    assert page.evaluate("getComputedStyle(document.getElementById('b')).color") != "rgb(255, 0, 0)"
    assert len([message for message in page.said if "Content Security Policy" in message]) >= 4


def test_without_scripts_all_texts_are_there(visit):
    page = visit("lecture", java_script_enabled=False)
    assert page.locator(".transcript li").count() == 5
    assert page.locator(".transcript li").last.is_visible()


def test_print_leaves_out_what_paper_cannot_do(visit):
    page = visit("lecture")
    page.emulate_media(media="print")
    assert page.locator("#player").is_hidden() and page.locator(".cursor").is_hidden()
    assert page.locator(".transcript li").last.is_visible() and page.locator(".density.visual").is_visible()
    assert page.pdf(format="A4").startswith(b"%PDF")


SHOWN_COLOURS = """() => {
  const paint = document.createElement('canvas').getContext('2d');
  const rgb = (colour) => {
    paint.clearRect(0, 0, 1, 1); paint.fillStyle = colour; paint.fillRect(0, 0, 1, 1);
    return [...paint.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => v / 255).map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * x + .7152 * y + .0722 * z;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const svg = at.matches('.chapters svg') && rgb(getComputedStyle(at.querySelector('rect')).fill);
      const found = svg || rgb(getComputedStyle(at).backgroundColor);
      if (found[3] === 255) return found;
    }
    return [255, 255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || element.closest('script, title, [hidden], video, audio')) continue;
    const style = getComputedStyle(element);
    const ink = rgb(element.closest('svg') ? style.fill : style.color);
    const [low, high] = [light(ink), light(ground(element))].sort((a, b) => a - b);
    found.push([(high + .05) / (low + .05), walker.currentNode.data.trim().slice(0, 40)]);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_that_is_shown_has_the_contrast_of_wcag_aa(visit, scheme):
    page = visit("lecture", color_scheme=scheme)
    page.locator(".transcript button", has_text="0:20").click()
    found = page.evaluate(SHOWN_COLOURS)
    assert len(found) > 60
    assert [pair for pair in found if pair[0] < 4.5] == []
