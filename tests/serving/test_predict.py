"""What the server answers is what `Predictor` predicts."""

import base64
import io

import cv2
import numpy as np
import PIL.ExifTags
import PIL.Image
import pytest
from served import FRAME, encoded, in_process, redness, spot

from keras_salnet import Predictor, cli
from keras_salnet.images.files import encode_picture
from keras_salnet.images.visualize import heatmap, overlay, to_grey


def test_the_map_is_what_the_command_writes(client, photo, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(photo)
    arguments = [str(tmp_path / "photo.jpg"), "--map", "--out", str(tmp_path / "map.png")]
    assert cli.main(["predict", *arguments]) == 0
    answer = client.post("/predict", content=photo, headers={"Content-Type": "image/jpeg"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert answer.content == (tmp_path / "map.png").read_bytes()
    form = client.post("/predict", files={"image": ("photo.jpg", photo, "image/jpeg")})
    assert form.content == answer.content


def _turned():
    exif = PIL.Image.Exif()
    exif[PIL.ExifTags.Base.Orientation] = 6
    return encoded(spot(64, 96, 20, 70), "JPEG", exif=exif)


def _transparent():
    image = np.zeros((50, 70, 4), np.uint8)
    image[10:30, 20:40] = (200, 10, 10, 128)
    return encoded(image)


UNUSUAL = {
    "turned": _turned,
    "transparent": _transparent,
    "16 bits": lambda: cv2.imencode(".png", spot(40, 60, 20, 20).astype(np.uint16) * 257)[1],
    "CMYK": lambda: encoded(PIL.Image.fromarray(spot(40, 60, 20, 20)).convert("CMYK"), "JPEG"),
    "grey": lambda: encoded(spot(40, 60, 20, 20)[..., 0]),
    "palette": lambda: encoded(PIL.Image.fromarray(spot(40, 60, 20, 20)).convert("P")),
    "WebP": lambda: encoded(spot(40, 60, 20, 20), "WEBP", lossless=True),
    "BMP": lambda: encoded(spot(40, 60, 20, 20), "BMP"),
    "GIF": lambda: encoded(spot(40, 60, 20, 20), "GIF"),
    "one pixel": lambda: encoded(np.full((1, 1, 3), 9, np.uint8)),
}


@pytest.mark.parametrize("kind", UNUSUAL)
def test_unusual_images_are_read_as_files_are(kind, tmp_path):
    image = bytes(UNUSUAL[kind]())
    path = tmp_path / "image"
    path.write_bytes(image)
    wanted = Predictor(redness, FRAME)(path)
    with in_process() as client:
        answer = client.post("/predict", content=image, headers={"Content-Type": "image/png"})
    assert answer.content == encode_picture(to_grey(wanted))


def test_drawings(client, fast, photo):
    path = io.BytesIO(photo)
    pixels = np.asarray(PIL.Image.open(path))
    saliency = fast(photo)

    def picture(**parameters):
        answer = client.post("/predict", params=parameters, files={"image": photo})
        assert answer.status_code == 200
        return np.asarray(PIL.Image.open(io.BytesIO(answer.content)))

    np.testing.assert_array_equal(picture(colormap="turbo"), heatmap(saliency, "turbo"))
    np.testing.assert_array_equal(picture(output="overlay"), overlay(pixels, saliency))
    np.testing.assert_array_equal(picture(output="overlay", opacity=0), pixels)
    wanted = overlay(pixels, saliency, "jet", opacity=0.3)
    np.testing.assert_array_equal(picture(output="overlay", colormap="jet", opacity=0.3), wanted)
    crisp = picture(threshold=0.5)
    np.testing.assert_array_equal(crisp[saliency < 0.499], 0)
    assert (crisp[saliency > 0.501] > 0).all()


@pytest.mark.parametrize("resize", ["stretch", "pad"])
def test_json(resize):
    image = spot(200, 300, 60, 220)
    image[120:136, 40:56, 0] = 130
    with in_process(resize=resize) as client:
        post = {"content": encoded(image), "headers": {"Content-Type": "image/png"}}
        png = client.post("/predict", **post).content
        answer = client.post("/predict?output=json", **post).json()
        assert client.post("/predict", **post, params={"output": "json"}).json() == answer
        post["headers"]["Accept"] = "application/json"
        assert client.post("/predict", **post).json() == answer
        post["headers"]["Accept"] = "application/json, image/*"
        assert client.post("/predict", **post).content == png
    assert (answer["model"], answer["width"], answer["height"]) == ("red", 300, 200)
    assert answer["map"] == "data:image/png;base64," + base64.b64encode(png).decode()
    first, second = answer["peaks"]
    assert first["value"] == 1
    assert (first["x"], first["y"]) == (pytest.approx(219.5, abs=4), pytest.approx(59.5, abs=4))
    assert second["value"] == pytest.approx(130 / 255, abs=0.1)
    assert (second["x"], second["y"]) == (pytest.approx(47.5, abs=4), pytest.approx(127.5, abs=4))


def test_a_map_without_mass():
    with in_process() as client:
        black = encoded(np.zeros((20, 30, 3), np.uint8))
        answer = client.post("/predict?output=json", files={"image": black})
    assert answer.json()["peaks"] == []


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ("output=pdf", "output"),
        ("colormap=grey", "colormap"),
        ("opacity=1.1", "opacity"),
        ("opacity=nan", "opacity"),
        ("threshold=-1", "threshold"),
    ],
)
def test_parameters_out_of_range(client, photo, parameters, told):
    answer = client.post(f"/predict?{parameters}", files={"image": photo})
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(told)


def test_operation(client, photo):
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready"}

    def value(name):
        lines = client.get("/metrics").text.splitlines()
        return float(next(line for line in lines if line.startswith(name)).rpartition(" ")[2])

    client.post("/predict", files={"image": photo})
    answered = 'salnet_requests_total{path="/predict",status="200"}'
    timed = 'salnet_request_seconds_count{path="/predict"}'
    before, batches, times = value(answered), value("salnet_batch_size_count"), value(timed)
    client.post("/predict", files={"image": photo})
    assert value(answered) == before + 1
    assert value("salnet_batch_size_count") == batches + 1
    assert value("salnet_requests_in_flight") == 1  # which asks for it
    assert value("salnet_queue_depth") == value("salnet_queue_places_taken") == 0
    assert value(timed) == times + 1
    assert client.get("/no/such/page").json() == {"error": "Not Found"}
    assert client.get("/predict").json() == {"error": "Method Not Allowed"}


def test_origins():
    asks = {"Origin": "https://example.org", "Access-Control-Request-Method": "POST"}
    with in_process() as client:
        assert client.options("/predict", headers=asks).status_code == 405
        assert "access-control-allow-origin" not in client.get("/", headers=asks).headers
    with in_process(cors=["https://example.org"]) as client:
        answer = client.options("/predict", headers=asks)
        assert answer.headers["access-control-allow-origin"] == "https://example.org"
        asks["Origin"] = "https://other.example"
        assert client.options("/predict", headers=asks).status_code == 400
