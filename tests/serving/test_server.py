"""The server as a process: many clients at once, its end, and what it tells its user."""

import asyncio
import socket
import threading
import time
from pathlib import Path

import httpx2
import pytest
from served import encoded, in_process, spot

from keras_salnet import Predictor, cli
from keras_salnet.images.files import encode_picture
from keras_salnet.images.visualize import to_grey
from keras_salnet.serving.app import create_app

PNG = {"Content-Type": "image/png"}


def test_each_client_gets_its_own_map():
    """Of images of many sizes, in batches, while some give up."""
    sizes = []

    def redness(images):
        sizes.append(len(images))
        time.sleep(0.01)
        return images[..., :1] / 255

    predictor = Predictor(redness, (32, 48), name="red")
    images = [spot(40 + index, 60 + index % 7, 20, 10 + index) for index in range(40)]
    wanted = [encode_picture(to_grey(predictor(image))) for image in images]
    app = create_app(predictor, batch_size=4)

    async def ask(client, image, pause):
        answer = client.post("/predict", content=encoded(image), headers=PNG)
        try:
            return (await asyncio.wait_for(answer, pause)).content
        except TimeoutError:
            return None

    async def ask_all():
        async with app.state.service.running():
            sizes.clear()
            transport = httpx2.ASGITransport(app)
            async with httpx2.AsyncClient(transport=transport, base_url="http://red") as client:
                pauses = [0.001 if index % 5 == 3 else 30 for index in range(len(images))]
                asked = map(ask, [client] * len(images), images, pauses)
                return await asyncio.gather(*asked), pauses

    found, pauses = asyncio.run(ask_all())
    for answer, map_, pause in zip(found, wanted, pauses, strict=True):
        assert answer == map_ if pause == 30 else answer in (None, map_)
    assert max(sizes) == 4
    assert sum(sizes) <= len(images)


def test_a_model_of_single_images_gets_single_images(fast, photo):
    assert not fast.batches
    sizes = []
    app = create_app(fast)
    app.state.service._model._observe = sizes.append

    async def ask():
        async with app.state.service.running():
            maps = [app.state.service.predict(photo) for _ in range(5)]
            return await asyncio.gather(*maps)

    asyncio.run(ask())
    assert sizes == [1] * 6  # one to warm up


def test_what_is_wrong_is_told_in_one_line(capsys, monkeypatch):
    def told(*options):
        assert cli.main(["serve", *options]) == 1
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        return line

    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert f"--port {port}: Address already in use" in told("--port", port)
    assert "--host 256.1.1.1 --port 0: " in told("--host", "256.1.1.1", "--port", "0")
    assert "nowhere.tflite: no such model" in told("--model", "nowhere.tflite", "--port", "0")
    util = cli.serve.util
    find_spec = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name: name != "uvicorn" and find_spec(name))
    assert "pip install 'keras-salnet[serve]'" in told("--port", "0")
    with pytest.raises(SystemExit):
        cli.main(["serve", "--port", "65536"])
    assert "invalid port: '65536'" in capsys.readouterr().err


def test_a_process_needs_no_tensorflow_and_ends_at_once_when_idle(start, photo):
    begun = time.monotonic()
    with start() as server:
        assert time.monotonic() - begun < 10  # one second on a machine of its own
        maps = httpx2.post(f"{server.url}/predict", files={"image": photo})
        assert maps.status_code == 200
        mapped = Path(f"/proc/{server.process.pid}/maps")  # of Linux
        assert not mapped.exists() or "tensorflow/" not in mapped.read_text()
        server.process.terminate()
        assert server.process.wait(10) == 0


async def _end_under_load(server, image, answers):
    """Sixteen clients ask without a pause; after so many answers, the server is told to end.

    Returns:
        (its exit status, what the clients met: statuses, and the end of it).
    """
    met = []

    async def client():
        while True:
            try:
                answer = await session.post("/predict", content=image, headers=PNG)
            except httpx2.ConnectError:
                met.append("refused")  # nobody listens any more
                break
            met.append(answer.status_code)
            if answer.status_code == 200:
                assert answer.content.startswith(b"\x89PNG")
            else:
                assert answer.headers["connection"] == "close"
                await asyncio.sleep(0.02)  # sooner than Retry-After

    async with httpx2.AsyncClient(base_url=server.url, timeout=30) as session:
        load = asyncio.gather(*(client() for _ in range(16)))
        while len(met) < answers:
            await asyncio.sleep(0.005)
        server.process.terminate()
        while (ready := await session.get("/readyz")).status_code == 200:
            await asyncio.sleep(0.005)
        assert ready.json() == {"error": "the server is shutting down."}
        await load
    return server.process.wait(20), met


@pytest.mark.parametrize("rounds", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_sigterm_under_load_loses_nothing(start, photo, rounds):
    for turn in range(rounds):
        with start() as server:
            status, met = asyncio.run(_end_under_load(server, photo, 30 + 7 * turn))
        assert status == 0
        assert set(met) == {200, 503, "refused"}, "and no connection that broke off"
        accepted = met[: met.index(503)].count(200)
        assert met.count(200) > accepted, "what had been taken was answered"


def test_the_answers_stay_the_same_under_load(start, fast):
    """Each of eight clients sends images of its own to a real process."""
    images = [encoded(spot(90 + index, 120, 40, 12 * index + 12), "JPEG") for index in range(8)]
    wanted = [encode_picture(to_grey(fast(image))) for image in images]

    async def client(session, image, map_):
        for _ in range(4):
            answer = await session.post("/predict", content=image, headers=PNG)
            assert answer.content == map_

    async def ask(url):
        async with httpx2.AsyncClient(base_url=url, timeout=30) as session:
            await asyncio.gather(*map(client, [session] * 8, images, wanted))

    with start() as server:
        asyncio.run(ask(server.url))


def test_a_client_that_goes_away_leaves_its_place():
    release = threading.Event()
    release.set()

    def held(images):
        assert release.wait(10)
        return images[..., :1] / 255

    with in_process(held) as client:
        release.clear()
        image = encoded(spot(40, 60, 20, 20))
        told = [{"type": "http.request", "body": image}, {"type": "http.disconnect"}]
        sent = []

        async def receive():
            return told.pop(0)

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/predict", "query_string": b""}
        scope |= {"headers": [(b"content-type", b"image/png")], "http_version": "1.1"}
        client.portal.call(client.app, scope, receive, send)
        assert sent[0]["status"] == 499
        assert client.app.state.service.taken == 0
        release.set()
