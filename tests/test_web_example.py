"""The page of examples/web, in a browser that reaches its server alone, and later not even that."""

import base64
import functools
import http.server
import shutil
import subprocess
import threading
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
import PIL.Image
import pytest

from keras_salnet import Predictor
from keras_salnet.data import load_dataset, popout
from keras_salnet.images.files import read_image
from keras_salnet.images.geometry import resample
from keras_salnet.images.visualize import heatmap, overlay, to_grey
from keras_salnet.models.presets import litert_file

ROOT = Path(__file__).parents[1]
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
FAKE_CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
NO_NETWORK = ("ENOTFOUND", "ECONNREFUSED", "ECONNRESET", "EAI_AGAIN", "ETIMEDOUT", "SOCKET_TIMEOUT")
WAIT = 60_000  # ms: the machine may be doing other work


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Builds the page as its README says, in a copy, and serves it on the loopback: its address."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    copy = tmp_path_factory.mktemp("site")
    web = copy / "examples" / "web"
    shutil.copytree(
        ROOT / "examples" / "web", web, ignore=shutil.ignore_patterns("node_modules", "dist")
    )
    model = copy / "keras_salnet" / "weights" / "fast.tflite"
    model.parent.mkdir(parents=True)
    shutil.copy(litert_file("fast"), model)
    for command in (["npm", "ci", "--fetch-retries=0"], ["npm", "run", "build"]):
        built = subprocess.run(command, cwd=web, capture_output=True, text=True)
        if any(code in built.stderr for code in NO_NETWORK):
            pytest.skip("npm's registry cannot be reached")
        assert built.returncode == 0, built.stderr
    handler = functools.partial(QuietHandler, directory=web / "dist")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def playwright():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="module")
def launch(playwright):
    """Starts Chromium with more arguments."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip(f"none of {', '.join(names)} is installed")
    browsers = []

    def start(*arguments):
        options = [*ARGUMENTS, *arguments]
        browsers.append(playwright.chromium.launch(executable_path=path, args=options))
        return browsers[-1]

    yield start
    for browser in browsers:
        browser.close()


@pytest.fixture(scope="module")
def browser(launch):
    return launch()


def visit(browser, site, wait_for="Ready.", **options):
    """A page of its own context: (page, the addresses of other origins that it asked for)."""
    context = browser.new_context(accept_downloads=True, **options)
    context.set_default_timeout(WAIT)
    strays = []

    def guard(route):
        if urlsplit(route.request.url).netloc == urlsplit(site).netloc:
            route.fallback()
        else:
            strays.append(route.request.url)
            route.abort()

    context.route("**/*", guard)
    page = context.new_page()
    page.on("pageerror", lambda error: strays.append(f"script: {error}"))
    page.goto(site)
    page.get_by_text(wait_for).wait_for()
    return page, strays


@pytest.fixture(scope="module")
def visited(browser, site):
    """The page, loaded, and from then on without any network."""
    page, strays = visit(browser, site)
    page.context.set_offline(True)
    yield page, strays
    page.context.close()


@pytest.fixture
def page(visited):
    """The page of `visited`; afterwards, it must have asked for nothing."""
    page, strays = visited
    yield page
    assert strays == []


def open_file(page, path):
    page.set_input_files("#file", path)
    page.get_by_text(f"{path.name}, ").wait_for()
    return page.inner_text("#status")


def saved(page, button):
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    path = download.value.path()
    picture = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    return download.value.suggested_filename, picture


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Held-out photographs of OSIE where it is there, else embedded displays, RGB."""
    data = ROOT.parent / "shared" / "data" / "osie"
    if not data.is_dir():
        data = tmp_path_factory.mktemp("displays") / "popout"
        popout.write(data, {"train": 1, "val": 1, "test": 20})
    return [sample.read_image() for sample in load_dataset(data)["test"][::10][:6]]


KINDS = ("landscape", "portrait", "grey", "turned", "alpha", "small", "large")


@pytest.fixture
def image(request, photographs, tmp_path):
    """The path of an image of a kind."""
    kind = request.param
    number = KINDS.index(kind)
    image = PIL.Image.fromarray(photographs[number % len(photographs)])
    width, height = image.size
    path = tmp_path / f"{kind}.{'png' if kind in ('alpha', 'small') else 'jpg'}"
    options = {}
    if kind == "portrait":
        image = image.crop((0, 0, height * 2 // 3, height))
    elif kind == "grey":
        image = image.convert("L")
    elif kind == "turned":
        options["exif"] = PIL.Image.Exif()
        options["exif"][0x0112] = 6  # the camera was held upright
    elif kind == "alpha":
        across = np.linspace(0, 255, width).round().astype(np.uint8)
        image.putalpha(PIL.Image.fromarray(np.tile(across, (height, 1))))
    elif kind == "small":
        image = image.resize((150, 100))
    elif kind == "large":
        image = image.resize((4900, 3600))
    image.save(path, **options)
    return path


@pytest.mark.parametrize(
    "image", [*KINDS[:-1], pytest.param(KINDS[-1], marks=pytest.mark.slow)], indirect=True
)
def test_maps_equal_python_s(page, image):
    """Where pixels are the same to the last bit, so are the maps: but for rounding to a picture."""
    said = open_file(page, image)
    pixels = read_image(image)
    height, width, _ = pixels.shape
    assert f"{width} × {height} pixels" in said
    name, levels = saved(page, "Save map")
    assert name == f"{image.stem}_saliency.png"
    expected = Predictor.load()(image)
    if height * width > 2**24:  # is saved smaller
        assert 0.99 * 2**24 < levels[..., 0].size <= 2**24
        expected = resample(expected[..., None], levels.shape[:2])[..., 0]
    assert levels.shape[:2] == expected.shape
    assert (levels[..., :1] == levels[..., :3]).all()
    assert np.corrcoef(levels[..., 0].ravel(), expected.ravel())[0, 1] >= 0.999
    assert np.abs(levels[..., 0].astype(int) - to_grey(expected)).max() <= 1


@pytest.mark.parametrize("image", ["landscape", "alpha"], indirect=True)
def test_the_saved_picture_is_python_s_overlay(page, image):
    open_file(page, image)
    page.locator("#opacity").fill("80")
    assert page.inner_text("#percent") == "80 %"
    name, picture = saved(page, "Save picture")
    assert name == f"{image.stem}_overlay.png"
    expected = overlay(read_image(image), Predictor.load()(image), opacity=0.8)
    difference = np.abs(picture[..., 2::-1].astype(int) - expected)
    assert difference.max() <= 6  # canvases round colours of low opacity
    assert difference.mean() <= 0.5


def test_colours_are_opencv_s(page):
    got = page.evaluate(
        """async () => {
          const { heatmap } = await import("./heatmap.js");
          return Array.from(heatmap(Uint8Array.from({ length: 256 }, (_, i) => i), 1, 256).data);
        }"""
    )
    got = np.reshape(got, (256, 4))
    levels = np.arange(256)
    np.testing.assert_array_equal(got[:, :3], heatmap(levels[None] / 255)[0])
    np.testing.assert_array_equal(got[:, 3], np.round(levels * (2 - levels / 255)))


def test_resizing_equals_opencv_s_to_the_last_bit(page):
    random = np.random.default_rng(0)
    for height, width in ((600, 800), (512, 640), (100, 700), (192, 192), (257, 321), (1, 1)):
        image = random.integers(0, 256, (height, width, 3), np.uint8)
        encoded = page.evaluate(
            """async ([encoded, height, width]) => {
              const { picture, resize } = await import("./geometry.js");
              const numbers = Uint8Array.from(atob(encoded), (byte) => byte.charCodeAt(0));
              const resized = resize(picture(numbers, height, width, 3), 256, 320);
              const bytes = Array.from(new Uint8Array(resized.buffer));
              return btoa(bytes.map((byte) => String.fromCharCode(byte)).join(""));
            }""",
            [base64.b64encode(image).decode(), height, width],
        )
        got = np.frombuffer(base64.b64decode(encoded), np.float32).reshape(256, 320, 3)
        np.testing.assert_array_equal(got, resample(image, (256, 320)), f"{height} x {width}")


def test_pictures_are_dropped_and_pasted(page, photographs):
    _, encoded = cv2.imencode(".png", photographs[0][:40, :60])
    for event, holder, target in (
        ("DragEvent", "dataTransfer", "drop"),
        ("ClipboardEvent", "clipboardData", "paste"),
    ):
        page.evaluate(
            """([bytes, event, holder, target]) => {
              const files = new DataTransfer();
              files.items.add(new File([Uint8Array.from(bytes)], `by ${target}.png`));
              const options = { bubbles: true, cancelable: true, [holder]: files };
              document.body.dispatchEvent(new window[event](target, options));
            }""",
            [encoded.tolist(), event, holder, target],
        )
        page.get_by_text(f"by {target}.png, 60 × 40").wait_for()


def test_what_is_no_picture_is_told(page, tmp_path, photographs):
    _, encoded = cv2.imencode(".png", photographs[0])
    for name, data in (("notes.jpg", b"no image"), ("empty.png", b""), ("torn.png", encoded[:90])):
        (tmp_path / name).write_bytes(bytes(data))
        page.set_input_files("#file", tmp_path / name)
        page.get_by_role("alert").get_by_text(name).wait_for()
        assert "cannot read it as a picture" in page.get_by_role("alert").inner_text()
        assert page.inner_text("#status") == ""
    cv2.imwrite(str(tmp_path / "good.png"), photographs[0])
    open_file(page, tmp_path / "good.png")
    assert not page.get_by_role("alert").is_visible()  # the next picture takes it away


def test_the_browser_keeps_it_from_connecting(page):
    """What the page's own rules forbid: any request to elsewhere, by script or by picture."""
    blocked = page.evaluate(
        """async () => {
          const seen = [];
          addEventListener("securitypolicyviolation", ({ effectiveDirective }) =>
            seen.push(effectiveDirective));
          await fetch("http://127.0.0.1:9/").catch(() => {});
          new Image().src = "http://127.0.0.1:9/a.png";
          navigator.sendBeacon("http://127.0.0.1:9/", "x");
          const script = document.createElement("script");
          script.textContent = "1";
          document.body.append(script);
          await new Promise((done) => setTimeout(done, 200));
          return seen;
        }"""
    )
    assert sorted(blocked) == ["connect-src", "connect-src", "img-src", "script-src-elem"]


def test_a_keyboard_is_enough(browser, site, tmp_path, photographs):
    page, strays = visit(browser, site)

    def focused():
        return page.evaluate("document.activeElement.id")

    cv2.imwrite(str(tmp_path / "photo.png"), photographs[0])
    with page.expect_file_chooser() as chooser:  # takes a moment until it is ready
        page.keyboard.press("Tab")
        assert focused() == "choose"
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        page.keyboard.press("Enter")
    chooser.value.set_files(tmp_path / "photo.png")
    page.get_by_text("photo.png, ").wait_for()
    order = []
    for _ in range(4):
        page.keyboard.press("Tab")
        order.append(focused())
    assert order == ["camera", "save-picture", "save-map", "opacity"]
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#percent") == "61 %"
    assert float(page.evaluate("getComputedStyle(document.getElementById('heat')).opacity")) == 0.61
    assert page.get_by_role("slider", name="Heat map").count() == 1
    assert strays == []
    page.context.close()


def test_it_fits_a_phone(browser, site, tmp_path, photographs):
    page, strays = visit(browser, site, viewport={"width": 360, "height": 740}, has_touch=True)
    cv2.imwrite(str(tmp_path / "photo.png"), photographs[0])
    open_file(page, tmp_path / ("photo.png"))
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    for button in page.get_by_role("button").all():
        box = button.bounding_box()
        assert box["height"] >= 44
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360
    assert strays == []
    page.context.close()


def test_a_camera_gives_live_maps(launch, site):
    page, strays = visit(launch(*FAKE_CAMERA), site)
    page.context.set_offline(True)
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_text("frames per second").wait_for()
    assert float(page.inner_text("#rate").split()[0]) > 0
    assert page.inner_text("#status") == "Live from the camera."

    def seen():
        return page.evaluate("document.getElementById('heat').toDataURL()")

    first = seen()
    page.wait_for_function(
        "first => document.getElementById('heat').toDataURL() !== first", arg=first
    )
    page.get_by_role("button", name="Stop the camera").click()
    assert page.inner_text("#status") == "The camera is off."
    last = seen()
    page.wait_for_timeout(500)
    assert seen() == last
    assert not page.locator("#rate").is_visible()
    name, levels = saved(page, "Save map")
    assert name == "camera_saliency.png"
    assert levels[..., 0].max() == 255
    assert strays == []


def test_no_camera_is_told(page):
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("alert").get_by_text("camera").wait_for()
    assert page.get_by_role("alert").inner_text() == "No camera found."


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"status": 404}, "model.tflite: the server answers 404."),
        ({"body": b"not a model"}, "model.tflite: "),
    ],
)
def test_a_model_that_fails_is_told(browser, site, answer, told):
    context = browser.new_context()
    context.route("**/model.tflite", lambda route: route.fulfill(**answer))
    page = context.new_page()
    page.goto(site)
    page.get_by_role("alert").get_by_text(told).wait_for(timeout=WAIT)
    assert "The model cannot be loaded." in page.get_by_role("alert").inner_text()
    context.close()


def test_the_lock_names_no_registry():
    assert "://" not in (ROOT / "examples" / "web" / "package-lock.json").read_text()
