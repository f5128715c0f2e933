"""The page in a browser."""

import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from served import encoded, spot

from keras_salnet import Predictor
from keras_salnet.images.visualize import overlay

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

_CHROMIUM = Path("/usr/bin/chromium")
_QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
)
WIDE = {"width": 1100, "height": 900}
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def browser():
    if not _CHROMIUM.exists():
        pytest.skip(f"{_CHROMIUM} is not installed (on Debian: apt install chromium)")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=_CHROMIUM, args=_QUIET.split())
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def url(start):
    with start() as server:
        yield server.url


@pytest.fixture
def visit(browser, url):
    """Opens the page; at the end, nothing may have gone wrong or come from elsewhere."""
    contexts, wrong = [], []

    def opened(size, scheme="light"):
        phone = {"has_touch": True, "is_mobile": True} if size is PHONE else {}
        context = browser.new_context(viewport=size, color_scheme=scheme, **phone)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda told: wrong.append(told.text) if told.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(error))
        page.on(
            "request",
            lambda asked: (
                None if asked.url.startswith((url, "blob:", "data:")) else wrong.append(asked.url)
            ),
        )
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not wrong


def done(page, name):
    page.get_by_role("status").get_by_text(f"Done: {name}").wait_for()
    playwright.expect(page.locator("#result")).to_be_visible()


def shot(page, selector):
    png = page.locator(selector).screenshot()
    return np.asarray(PIL.Image.open(io.BytesIO(png)).convert("RGB"))


def test_choose_fade_and_download(visit, tmp_path):
    image = np.full((240, 320, 3), 90, np.uint8)
    image[100:140, 200:240] = (250, 40, 20)
    (tmp_path / "photo.png").write_bytes(encoded(image))
    page = visit(WIDE)
    playwright.expect(page.locator("#result")).to_be_hidden()
    playwright.expect(page.get_by_text("Take a photo")).to_be_hidden()
    page.get_by_label("Choose an image").set_input_files(tmp_path / "photo.png")
    done(page, "photo.png, 320 × 240 pixels")

    # What is seen is the overlay that the server draws, and that is downloaded.
    saliency = Predictor.load()(image)
    corner = {"position": "fixed", "top": "0", "left": "0", "margin": "0", "borderRadius": "0"}
    page.evaluate("style => Object.assign(document.querySelector('figure').style, style)", corner)
    seen = shot(page, "figure")
    assert seen.shape == image.shape
    difference = np.abs(seen.astype(int) - overlay(image, saliency))
    assert difference.mean() < 2
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the overlay").click()
    assert download.value.suggested_filename == "photo_overlay.png"
    downloaded = np.asarray(PIL.Image.open(download.value.path()))
    np.testing.assert_array_equal(downloaded, overlay(image, saliency))
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the map").click()
    assert download.value.suggested_filename == "photo_saliency.png"

    slider = page.get_by_label("Heat map", exact=True)
    slider.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert page.locator("#heat").evaluate("heat => heat.style.opacity") == "0.65"
    assert page.locator("output").inner_text() == "65 %"
    page.keyboard.press("Home")
    assert np.abs(shot(page, "figure").astype(int) - image).mean() < 0.5


_DATA = """([name, type, bytes]) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], name, { type }));
  const options = { dataTransfer: data, clipboardData: data, bubbles: true, cancelable: true };
"""
_DROP = """
  const drop = document.getElementById("drop");
  for (const kind of ["dragover", "drop"]) drop.dispatchEvent(new DragEvent(kind, options));
}"""
_PASTE = """
  document.dispatchEvent(new ClipboardEvent("paste", options));
}"""


def drop(page, name, content, media_type="image/png"):
    page.evaluate(_DATA + _DROP, [name, media_type, list(content)])


def paste(page, name, content):
    page.evaluate(_DATA + _PASTE, [name, "image/png", list(content)])


def test_drop_and_paste(visit):
    page = visit(WIDE)
    drop(page, "dropped.png", encoded(spot(80, 120, 40, 30)))
    done(page, "dropped.png, 120 × 80 pixels")
    paste(page, "pasted.png", encoded(spot(60, 100, 40, 30)))
    done(page, "pasted.png, 100 × 60 pixels")
    drop(page, "notes.txt", b"A", "text/plain")
    page.get_by_role("status").get_by_text("This file is not an image.").wait_for()


def test_errors_are_told(browser, url):
    page = browser.new_page()
    page.goto(url)
    drop(page, "broken.png", b"123")
    page.get_by_role("status").get_by_text("not a readable image").wait_for()
    playwright.expect(page.locator("#result")).to_be_hidden()
    page.close()


def test_keyboard_alone(visit, tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(spot(80, 120, 40, 30)))
    page = visit(WIDE)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "file"
    outline = "getComputedStyle(document.querySelector('label[for=file]')).outlineStyle"
    assert page.evaluate(outline) == "solid"
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files(tmp_path / "a.png")
    done(page, "a.png")
    order = []
    for _ in range(3):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.id"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert order == ["opacity", "overlay", "map"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(visit, scheme):
    page = visit(PHONE, scheme)
    playwright.expect(page.get_by_text("Take a photo")).to_be_visible()
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not page.evaluate(wide)
    drop(page, "a_very_long_name" * 10 + ".png", encoded(spot(300, 900, 40, 30)))
    done(page, "a_very_long_name")
    assert not page.evaluate(wide)
    box = page.locator("figure").bounding_box()
    assert box["width"] <= 360
    assert box["width"] / box["height"] == pytest.approx(3, rel=0.02)
    for control in page.locator(".button:visible").all():
        assert control.bounding_box()["height"] >= 44  # for a thumb
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 22, 26)"
    assert dark == (scheme == "dark")


def test_other_scripts_do_not_run(browser, url):
    page = browser.new_page()
    page.goto(url)
    page.evaluate(
        "() => document.body.append(Object.assign(document.createElement('script'), "
        "{ textContent: 'window.ran = 1' }))"
    )
    assert page.evaluate("window.ran") is None
    page.close()
