"""What the server refuses, and how it tells."""

import asyncio
import struct
import threading
import zlib

import httpx2
import numpy as np
import PIL.Image
import pytest
from served import encoded, eventually, in_process, redness, spot

from keras_salnet import Predictor
from keras_salnet.serving.app import create_app
from keras_salnet.serving.limits import Limits

PNG = {"Content-Type": "image/png"}


def refused(answer, status):
    """The error told, and nothing else."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    (key,) = answer.json()
    assert key == "error"
    return answer.json()["error"]


def test_bytes():
    image = encoded(spot(40, 60, 20, 20))
    limit = len(image)

    def chunks(count):
        for _ in range(count):
            yield bytes(limit)

    with in_process(limits=Limits(max_bytes=limit)) as client:
        assert client.post("/predict", content=image, headers=PNG).status_code == 200
        told = refused(client.post("/predict", content=image + b"0", headers=PNG), 413)
        assert f"more than {limit} bytes" in told
        refused(client.post("/predict", content=chunks(10), headers=PNG), 413)
        refused(client.post("/predict", files={"image": image}), 413)  # the form adds to it
        long = b'{"instances": [' + b" " * limit
        refused(client.post("/v1/models/red:predict", content=long), 413)


def test_reading_stops_at_the_limit():
    """Without a Content-Length, in chunks without an end."""
    read = 0

    async def receive():
        nonlocal read
        read += 1000
        return {"type": "http.request", "body": bytes(1000), "more_body": True}

    async def ask():
        answers = []

        async def send(message):
            answers.append(message)

        app = create_app(Predictor(redness, (32, 48)), Limits(max_bytes=10_500))
        scope = {"type": "http", "method": "POST", "path": "/predict", "query_string": b""}
        scope |= {"headers": [(b"content-type", b"image/png")], "http_version": "1.1"}
        await asyncio.wait_for(app(scope, receive, send), 10)
        return answers

    answers = asyncio.run(ask())
    assert answers[0]["status"] == 413
    assert (b"connection", b"close") in answers[0]["headers"]
    assert read == 11_000


def png_header(width, height):
    """A PNG that promises an image and holds none."""

    def chunk(kind, data):
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def jpeg_header(width, height):
    """A JPEG whose header says another size."""
    image = bytearray(encoded(spot(16, 16, 8, 8), "JPEG"))
    place = image.index(b"\xff\xc0") + 5
    image[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(image)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    "bomb",
    [
        png_header(5001, 5000),
        png_header(10_000, 10_000),
        png_header(2**31 - 1, 2**31 - 1),
        jpeg_header(65_500, 65_500),
        encoded(PIL.Image.new("1", (30_000, 30_000)), optimize=True),  # 0.1 MB, 900 MP
        encoded(PIL.Image.new("L", (16_000, 16_000)), "GIF"),
    ],
    ids=["just above", "large", "largest", "JPEG", "real", "GIF"],
)
def test_bombs_are_refused_by_their_header(bomb, monkeypatch):
    def decode(*_):
        raise AssertionError("was decoded")

    with in_process() as client:
        monkeypatch.setattr(Predictor, "preprocess", decode)
        answer = client.post("/predict", content=bomb, headers=PNG)
        assert "more than 25000000 pixels" in refused(answer, 413)


def test_as_many_pixels_as_allowed():
    with in_process(limits=Limits(max_pixels=2400)) as client:
        fits, more = (encoded(np.zeros((40, width, 3), np.uint8)) for width in (60, 61))
        assert client.post("/predict", content=fits, headers=PNG).status_code == 200
        refused(client.post("/predict", content=more, headers=PNG), 413)


IMAGE = encoded(spot(40, 60, 20, 20))
JPEG = encoded(spot(40, 60, 20, 20), "JPEG")
BROKEN = {
    "empty": b"",
    "text": b"no image",
    "zeros": bytes(1000),
    "PNG cut in its header": IMAGE[:20],
    "PNG cut in its pixels": IMAGE[:80],
    "PNG of nothing": png_header(40, 60),
    "PNG without pixels": png_header(0, 60),
    "PNG with a wrong sum": IMAGE.replace(IMAGE[29:33], b"0000"),
    "JPEG cut in its header": JPEG[:100],
    "JPEG without an image": JPEG[:2] + JPEG[-2:],
    "JPEG of TIFF": b"\xff\xd8\xff" + encoded(spot(40, 60, 20, 20), "TIFF"),
    "GIF cut": encoded(spot(40, 60, 20, 20), "GIF")[:50],
    "WebP cut": encoded(spot(40, 60, 20, 20), "WEBP")[:40],
    "BMP cut": encoded(spot(40, 60, 20, 20), "BMP")[:30],
    "TIFF, which is not taken": encoded(spot(40, 60, 20, 20), "TIFF"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_images(kind):
    with in_process() as client:
        answer = client.post("/predict", content=BROKEN[kind], headers=PNG)
        assert refused(answer, 422).startswith("image: ")


def test_media_types(photo):
    with in_process() as client:
        told = refused(client.post("/predict", content=photo), 415)
        assert "image/jpeg" in told
        assert "missing" in told
        answer = client.post("/predict", content=photo, headers={"Content-Type": "text/html"})
        assert "text/html" in refused(answer, 415)
        refused(client.post("/predict", data={"image": "text"}, files={"x": b""}), 422)
        form = {"Content-Type": "multipart/form-data"}
        refused(client.post("/predict", content=photo, headers=form), 400)
        form = {"Content-Type": "multipart/form-data; boundary=x"}
        refused(client.post("/predict", content=b"--x--", headers=form), 422)
        two = [("image", photo), ("image", photo)]
        refused(client.post("/predict", files=two), 400)


class Held:
    """A model that waits to be released."""

    def __init__(self):
        self.release = threading.Event()
        self.release.set()
        self.seen = []

    def __call__(self, images):
        self.seen.append(len(images))
        assert self.release.wait(10)
        return images[..., :1] / 255


def test_a_full_queue():
    model = Held()
    with in_process(model, Limits(max_queue=3), batch_size=2) as client:
        service = client.app.state.service
        model.release.clear()
        answers = []

        def ask():
            answers.append(client.post("/predict", content=IMAGE, headers=PNG).status_code)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        eventually(lambda: service.taken == 3)
        answer = client.post("/predict", content=IMAGE, headers=PNG)
        refused(answer, 429)
        assert int(answer.headers["retry-after"]) > 0
        model.release.set()
        for thread in threads:
            thread.join()
        assert answers == [200] * 3
        assert service.taken == 0
        assert client.post("/predict", content=IMAGE, headers=PNG).status_code == 200
        one = {"instances": np.zeros((1, 32, 48, 3), int).tolist()}
        many = {"instances": one["instances"] * 4}
        assert "at most 3 images" in refused(client.post("/v1/models/red:predict", json=many), 400)
        with service.places(1):  # two are left
            many["instances"].pop()
            refused(client.post("/v1/models/red:predict", json=many), 429)
            many["instances"].pop()
            assert client.post("/v1/models/red:predict", json=many).status_code == 200


def test_time():
    model = Held()
    with in_process(model, Limits(timeout=0.2)) as client:
        model.release.clear()
        answer = client.post("/predict", content=IMAGE, headers=PNG)
        assert "within 0.2 seconds" in refused(answer, 504)
        refused(client.post("/predict", content=IMAGE, headers=PNG), 504)
        calls = len(model.seen)
        model.release.set()
        assert client.post("/predict", content=IMAGE, headers=PNG).status_code == 200
        assert len(model.seen) == calls + 1, "the one that gave up in the queue was left out"
        assert client.app.state.service.taken == 0


def test_the_end():
    with in_process() as client:
        client.app.state.service.draining = True
        answer = client.post("/predict", content=IMAGE, headers=PNG)
        assert "shutting down" in refused(answer, 503)
        assert answer.headers["connection"] == "close"
        refused(client.get("/readyz"), 503)
        assert client.get("/healthz").status_code == 200
        state = client.get("/v1/models/red").json()["model_version_status"][0]["state"]
        assert state == "UNLOADING"


def test_a_failing_model_fails_its_requests_alone():
    def fails(images):
        if images.max() > 254:
            raise RuntimeError("no")
        return images[..., :1] / 255

    predictor = Predictor(fails, (32, 48))
    app = create_app(predictor)

    async def ask():
        async with app.state.service.running():
            transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
            async with httpx2.AsyncClient(transport=transport, base_url="http://red") as client:
                bad = await client.post("/predict", files={"image": IMAGE})
                black = encoded(np.zeros((20, 20, 3), np.uint8))
                good = await client.post("/predict", files={"image": black})
                return bad, good

    bad, good = asyncio.run(ask())
    refused(bad, 500)
    assert good.status_code == 200
