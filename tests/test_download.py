"""Downloading from a server on this machine that misbehaves in every known way."""

import errno
import hashlib
import http.server
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_salnet import Predictor, download
from keras_salnet.cli import main
from keras_salnet.data import load_dataset, popout
from keras_salnet.download import fetch, local
from keras_salnet.formats import export_tflite
from keras_salnet.models.loading import initialize_from, load_model
from keras_salnet.training import run as training
from keras_salnet.training.recipes import POPOUT

BODY = np.random.default_rng(0).bytes(500_000)
OTHER = np.random.default_rng(1).bytes(400_000)


def whole(handler, body):
    """Ignores ranges, as Python's own server does."""
    handler.reply(200, body)


def ranges(handler, body, stop=None, etag=None):
    """Sends the range that is asked for, up to byte `stop` of the file, then hangs up."""
    asked, condition = handler.headers["Range"], handler.headers["If-Range"]
    # The tag that is wanted is the body's, where it has one: another is of another version.
    etag = etag or f'"{hashlib.md5(body).hexdigest()}"'
    if asked and condition in (None, etag):
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= len(body):
            handler.reply(416, b"", {"Content-Range": f"bytes */{len(body)}"})
            return
        span = f"bytes {start}-{len(body) - 1}/{len(body)}"
        handler.reply(206, body, {"ETag": etag, "Content-Range": span}, start, stop)
    else:
        handler.reply(200, body, {"ETag": etag}, 0, stop)


def cut(stop, **options):
    return lambda handler, body: ranges(handler, body, stop, **options)


def stall(stop):
    """Sends the first bytes and then nothing, without hanging up."""

    def answer(handler, body):
        ranges(handler, body, stop)
        handler.server.over.wait(20)

    return answer


def status(code, **headers):
    return lambda handler, body: handler.reply(code, b"sorry", headers)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.seen.append(self)
        answers = self.server.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        answer(self, self.server.body)

    def reply(self, code, body, headers=None, start=0, stop=None):
        self.send_response(code)
        for name, value in {"Content-Length": len(body) - start, **(headers or {})}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body[start:stop])
        self.wfile.flush()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    """A server of `body`; of its `answers`, each is given once, the last one from then on."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.body, server.answers, server.seen = BODY, [ranges], []
    server.over = threading.Event()
    server.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache; and nobody waits between attempts."""
    monkeypatch.setenv("KERAS_SALNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "_WAITS", (0, 0, 0))
    return tmp_path / "cache"


def url_of(server, path="/models/tiny.keras", body=BODY):
    return f"{server.address}{path}#sha256={hashlib.sha256(body).hexdigest()}"


def place(cache, body=BODY):
    return cache / hashlib.sha256(body).hexdigest()


def asked(server):
    """The ranges that were asked for."""
    return [request.headers["Range"] for request in server.seen]


def assert_nothing_left(folder):
    assert {path.name for path in folder.iterdir()} <= {".lock"}


def test_a_file_comes_once(server, cache, caplog):
    caplog.set_level(logging.INFO, "keras_salnet")
    path = fetch(url_of(server, "/models/a%20b.tflite?download=true"))
    assert path == place(cache) / "a b.tflite"
    assert path.read_bytes() == BODY
    assert {p.name for p in path.parent.iterdir()} <= {path.name, ".lock"}
    assert [request.path for request in server.seen] == ["/models/a%20b.tflite?download=true"]
    assert [record.getMessage() for record in caplog.records] == [
        f"Downloading {server.address}/models/a%20b.tflite?download=true (0.5 MB)."
    ]
    server.shutdown()
    server.server_close()
    assert fetch(url_of(server, "/models/a%20b.tflite?download=true")) == path
    assert len(server.seen) == 1


def test_what_is_there_is_only_read(cache, monkeypatch):
    """The cache may be one that others filled, and read-only."""
    place(cache).mkdir(parents=True)
    (place(cache) / "a.keras").write_bytes(BODY)
    monkeypatch.setattr(download, "filelock", None)
    url = f"http://nowhere.invalid/a.keras#sha256={place(cache).name}"
    assert fetch(url) == place(cache) / "a.keras"


def test_capital_digits_are_the_same(server, cache):
    url, _, digits = url_of(server).rpartition("=")
    assert fetch(f"{url}={digits.upper()}") == place(cache) / "tiny.keras"


def test_the_user_s_cache_is_the_default(server, tmp_path, monkeypatch):
    monkeypatch.delenv("KERAS_SALNET_CACHE")
    monkeypatch.setattr(
        download.platformdirs, "user_cache_dir", lambda name: str(tmp_path / "own" / name)
    )
    assert fetch(url_of(server)) == place(tmp_path / "own" / "keras-salnet") / "tiny.keras"


def test_a_broken_download_goes_on_where_it_broke(server, caplog):
    server.answers = [cut(200_000), cut(350_000), ranges]
    assert fetch(url_of(server)).read_bytes() == BODY
    first, second, third = asked(server)
    assert first is None
    second, third = (int(text.removeprefix("bytes=").removesuffix("-")) for text in (second, third))
    assert 200_000 - download._CHUNK < second <= 200_000
    assert second < 350_000 - download._CHUNK < third <= 350_000
    tags = [request.headers["If-Range"] for request in server.seen]
    assert tags == [None, *[f'"{hashlib.md5(BODY).hexdigest()}"'] * 2]
    assert {request.headers["Accept-Encoding"] for request in server.seen} == {"identity"}
    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert len(warnings) == 2
    assert all("tiny.keras" in line and "trying again" in line for line in warnings)


def test_a_server_without_ranges_starts_afresh(server):
    server.answers = [cut(200_000), whole]
    assert fetch(url_of(server)).read_bytes() == BODY
    assert asked(server)[1] is not None


def test_what_the_last_call_left_is_gone_on_with(server, cache):
    server.answers = [cut(200_000), status(503)]
    with pytest.raises(ConnectionError, match=r"tiny\.keras: cannot .* 503 Service Unavailable"):
        fetch(url_of(server))
    assert len(server.seen) == 1 + len(download._WAITS)
    part = place(cache) / ".part"
    assert 0 < part.stat().st_size <= 200_000
    assert not (place(cache) / "tiny.keras").exists()
    wanted = f"bytes={part.stat().st_size}-"
    server.answers = [ranges]
    assert fetch(url_of(server)).read_bytes() == BODY
    assert asked(server)[-1] == wanted
    assert not part.exists()


def test_a_part_that_is_complete_needs_no_more(server, cache):
    """Its process was killed just before it gave it its name."""
    place(cache).mkdir(parents=True)
    (place(cache) / ".part").write_bytes(BODY)
    (place(cache) / ".etag").touch()
    assert fetch(url_of(server)).read_bytes() == BODY
    assert asked(server) == [f"bytes={len(BODY)}-"]


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_versions_are_never_mixed(server, etag):
    """The server's file is another one, and then the wanted one: its tag tells, or the checksum."""
    server.body = OTHER
    server.answers = [cut(200_000, etag=etag), status(404)]
    with pytest.raises(ConnectionError):
        fetch(url_of(server))
    server.body = BODY
    server.answers = [lambda handler, body: ranges(handler, body, etag=etag)]
    assert fetch(url_of(server)).read_bytes() == BODY
    tag, *_ = (request.headers["If-Range"] for request in server.seen[2:])
    assert tag == (None if etag else f'"{hashlib.md5(OTHER).hexdigest()}"')
    assert len(server.seen) == (4 if etag else 3)


@pytest.mark.parametrize(
    "server_body",
    [OTHER, BODY[:-1], BODY + b"x", b""],
    ids=["another", "short", "long", "empty"],
)
def test_another_checksum_is_refused(server, cache, server_body):
    server.body = server_body
    with pytest.raises(ValueError, match="thrown away") as error:
        fetch(url_of(server))
    for body in (BODY, server_body):
        assert hashlib.sha256(body).hexdigest() in str(error.value)
    assert_nothing_left(place(cache))
    assert len(server.seen) == 1


def test_a_body_of_no_given_length_that_is_cut_short_is_refused(server, cache):
    server.answers = [lambda handler, body: handler.reply(200, body[:-9], {"Content-Length": ""})]
    with pytest.raises(ValueError, match="thrown away"):
        fetch(url_of(server))
    assert_nothing_left(place(cache))


def test_the_final_name_is_never_a_part(server, cache):
    server.answers = [stall(300_000)]
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(fetch, url_of(server))
        wait_for(lambda: (place(cache) / ".part").exists())
        assert not (place(cache) / "tiny.keras").exists()
        server.answers = [ranges]
        server.over.set()
        assert future.result(20).read_bytes() == BODY


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_silence_ends_by_the_time_out(server):
    server.answers = [stall(200_000)]
    start = time.monotonic()
    with pytest.raises(ConnectionError, match=r"nothing came for 0\.3 s"):
        fetch(url_of(server), timeout=0.3)
    attempts = 1 + len(download._WAITS)
    assert len(server.seen) == attempts
    assert 0.3 <= time.monotonic() - start < 0.3 * attempts + 2


def test_silence_is_outlived(server):
    server.answers = [stall(200_000), stall(0), ranges]
    assert fetch(url_of(server), timeout=0.3).read_bytes() == BODY
    assert asked(server)[1] == asked(server)[2] != asked(server)[0]


@pytest.mark.parametrize("code", [500, 503, 429, 408])
def test_a_server_in_trouble_is_asked_again(server, code):
    server.answers = [status(code), status(code), ranges]
    assert fetch(url_of(server)).read_bytes() == BODY


@pytest.mark.parametrize(("code", "told"), [(404, "404 Not Found"), (403, "403 Forbidden")])
def test_a_refusal_is_told_at_once(server, cache, code, told):
    server.answers = [status(code)]
    with pytest.raises(ConnectionError, match=rf"tiny\.keras: .* {told}\. .*give the file"):
        fetch(url_of(server))
    assert len(server.seen) == 1
    assert_nothing_left(place(cache))


def test_redirects_are_followed(server):
    server.answers = [status(302, Location="/elsewhere?token=1"), cut(200_000)]
    server.answers += [status(302, Location="/elsewhere?token=2"), ranges]
    path = fetch(url_of(server))
    assert path.name == "tiny.keras"
    assert path.read_bytes() == BODY
    assert [r.path for r in server.seen] == [
        *("/models/tiny.keras", "/elsewhere?token=1"),
        *("/models/tiny.keras", "/elsewhere?token=2"),
    ]
    assert asked(server)[3].startswith("bytes=")


def test_a_ring_of_redirects_ends(server):
    server.answers = [status(302, Location="/models/tiny.keras")]
    with pytest.raises(ConnectionError, match="30 redirects"):
        fetch(url_of(server))
    assert len(server.seen) == 31


def test_no_network(server, monkeypatch):
    def fail(*arguments, **options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    try:
        raise KeyError("what a caller is about is not the cause")
    except KeyError:
        with pytest.raises(ConnectionError, match="no network, or no such host"):
            fetch(url_of(server))


def test_nobody_listens(server):
    server.shutdown()
    server.server_close()
    with pytest.raises(ConnectionError, match=r"127.*tiny\.keras: .*[Rr]efused"):
        fetch(url_of(server))


def test_what_speaks_no_tls_is_refused(server):
    with pytest.raises(ConnectionError, match="no secure connection"):
        fetch(url_of(server).replace("http:", "https:"))


def test_a_proxy_is_used(server, monkeypatch):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", server.address)
    url = url_of(server).replace(server.address, "http://nowhere.invalid")
    assert fetch(url).read_bytes() == BODY
    assert server.seen[0].path == "http://nowhere.invalid/models/tiny.keras"


def test_a_full_disk_is_told(server, cache, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"tiny\.keras: .*No space left.*KERAS_SALNET_CACHE"):
            fetch(url_of(server))
    assert not (place(cache) / "tiny.keras").exists()
    assert fetch(url_of(server)).read_bytes() == BODY


def test_a_cache_that_is_no_folder_is_told(server, cache):
    cache.write_text("a file")
    with pytest.raises(OSError, match=r"cannot be written to .*KERAS_SALNET_CACHE"):
        fetch(url_of(server))


@pytest.mark.parametrize("fragment", ["", "#", "#sha256=", "#sha256=12", f"#md5={'0' * 32}"])
def test_a_checksum_is_needed(fragment, cache):
    with pytest.raises(ValueError, match=r"h/tiny\.keras#sha256= with its 64 .* sha256sum prints"):
        fetch(f"http://h/tiny.keras{fragment}")
    assert not cache.exists()


@pytest.mark.parametrize("path", ["", "/", "/folder/", "/model", "/..", "/a%2F..", "/a%5C.."])
def test_a_file_s_name_is_needed(path, cache):
    with pytest.raises(ValueError, match="must end with the name of a file"):
        fetch(f"http://h{path}#sha256={'0' * 64}")
    assert not cache.exists()


@pytest.mark.parametrize("path", ["/x/..%2F..%2Fa.keras", "/..%5C..%5Ca.keras", "/C:a.keras"])
def test_a_name_stays_in_its_folder(server, cache, path):
    assert fetch(url_of(server, path)) == place(cache) / "a.keras"


def test_threads_download_once(server):
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(fetch, [url_of(server)] * 4))
    assert len(paths) == 1
    assert len(server.seen) == 1


FETCH = "import sys; from keras_salnet.download import fetch; print(fetch(sys.argv[1]))"


def start(server):
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, url_of(server)], stdout=subprocess.PIPE, text=True
    )


def test_processes_download_once(server):
    def slow(handler, body):
        ranges(handler, body, 100_000)
        time.sleep(1)
        handler.wfile.write(body[100_000:])

    server.answers = [slow]
    processes = [start(server) for _ in range(2)]
    paths = {process.communicate(timeout=20)[0].strip() for process in processes}
    assert len(paths) == 1
    assert Path(*paths).read_bytes() == BODY
    assert len(server.seen) == 1


def test_a_killed_process_leaves_what_another_goes_on_with(server, cache):
    server.answers = [stall(300_000), ranges]
    process = start(server)
    part = place(cache) / ".part"
    wait_for(lambda: part.exists() and part.stat().st_size >= 300_000 - download._CHUNK)
    process.kill()
    process.communicate()
    assert not (place(cache) / "tiny.keras").exists()
    wanted = [None, f"bytes={part.stat().st_size}-"]
    assert fetch(url_of(server)).read_bytes() == BODY
    assert asked(server) == wanted


def test_paths_stay_paths(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local("~/model.keras") == tmp_path / "model.keras"
    for path in ("model.keras", "http/model.keras", "a:/b"):
        assert local(path) == local(Path(path)) == Path(path)


@pytest.fixture(scope="module")
def net():
    """The smallest thing that is a model."""
    image = keras.Input((32, 32, 3), name="image")
    return keras.Model(
        image, keras.layers.Conv2D(1, 3, padding="same", activation="sigmoid")(image)
    )


@pytest.fixture(scope="module")
def saved(net, tmp_path_factory):
    """It in each form that a URL may name."""
    folder = tmp_path_factory.mktemp("saved")
    net.save(folder / "model.keras")
    net.save_weights(folder / "model.weights.h5")
    export_tflite(net, folder / "model.tflite")
    return folder


def serve(server, file):
    server.body = file.read_bytes()
    return url_of(server, f"/{file.name}", server.body)


@pytest.mark.parametrize(("name", "form"), [("model.keras", str), ("model.tflite", Path)])
def test_a_predictor_by_url_is_that_of_the_file(server, saved, name, form):
    """Also by a URL that was made a Path, which has one slash for two."""
    predictor = Predictor.load(form(serve(server, saved / name)))
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    np.testing.assert_array_equal(predictor(image), Predictor.load(saved / name)(image))
    assert predictor.name == Predictor.load(saved / name).name
    assert len(server.seen) == 1


def test_a_model_by_url_is_that_of_the_file(server, saved, net):
    ours = load_model(serve(server, saved / "model.keras")).get_weights()
    for a, b in zip(ours, net.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["model.keras", "model.weights.h5"])
def test_weights_come_by_url(server, saved, net, name):
    other = keras.models.clone_model(net)
    assert initialize_from(other, serve(server, saved / name)) == []
    for a, b in zip(other.get_weights(), net.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_run_remembers_the_url(tmp_path, monkeypatch):
    """Rather than where this machine keeps the file: it may go on elsewhere."""
    url = f"https://h/model.keras#sha256={'0' * 64}"
    sources = []
    monkeypatch.setattr(
        training, "initialize_from", lambda net, source: sources.append(source) or []
    )

    class Stop(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            raise FloatingPointError("not fitted")

    popout.write(tmp_path / "displays", {"train": 2, "val": 1})
    recipe = POPOUT.replace(
        model_args={"num_rga": 0, "filters": 8}, input_size=(32, 32), batch_size=1
    )
    with pytest.raises(FloatingPointError, match="not fitted"):
        training.train(
            recipe,
            load_dataset(tmp_path / "displays"),
            tmp_path / "run",
            init=url,
            callbacks=[Stop()],
        )
    assert sources == [url]
    assert json.loads((tmp_path / "run" / "config.json").read_text())["init"] == url


def test_commands_take_urls(server, saved, tmp_path, capsys):
    url = serve(server, saved / "model.tflite")
    popout.write(tmp_path / "displays", {"test": 1})
    displays = str(tmp_path / "displays")
    out = str(tmp_path / "out")
    assert main(["predict", f"{displays}/images/test", "--model", url, "--out", out]) == 0
    assert len(list((tmp_path / "out").glob("*_saliency.png"))) == 1
    assert main(["evaluate", url, "--data", displays]) == 0
    assert Predictor.load(saved / "model.tflite").name in capsys.readouterr().out
    assert len(server.seen) == 1


def test_commands_tell_a_url_that_fails(server, tmp_path, capsys):
    server.answers = [status(404)]
    (tmp_path / "a.png").write_bytes(b"")
    image = str(tmp_path / "a.png")
    assert main(["predict", image, "--model", url_of(server, "/model.tflite")]) == 1
    assert "404 Not Found" in capsys.readouterr().err
