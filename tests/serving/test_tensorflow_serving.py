"""Requests as TensorFlow Serving's clients send them."""

import base64
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from served import FRAME, encoded, in_process, redness, spot

from keras_salnet import Predictor
from keras_salnet.images.files import encode_picture
from keras_salnet.images.visualize import to_grey

URL = "/v1/models/red"
IMAGES = [spot(*FRAME, 10, 12), spot(*FRAME, 20, 30)]
MAPS = redness(np.stack(IMAGES).astype(np.float32))


@pytest.fixture(scope="module")
def red():
    with in_process() as client:
        yield client


def test_status_and_metadata(red):
    for url in (URL, f"{URL}/versions/1"):
        (version,) = red.get(url).json()["model_version_status"]
        assert version == {
            "version": "1",
            "state": "AVAILABLE",
            "status": {"error_code": "OK", "error_message": ""},
        }
        told = red.get(f"{url}/metadata").json()
        assert told["model_spec"] == {"name": "red", "signature_name": "", "version": "1"}
        signatures = told["metadata"]["signature_def"]["signature_def"]
        assert set(signatures) == {"serving_default", "predict_uint8", "predict_image_bytes"}
        image = signatures["predict_uint8"]["inputs"]["image"]
        assert image["dtype"] == "DT_UINT8"
        sizes = [side["size"] for side in image["tensor_shape"]["dim"]]
        assert sizes == ["-1", "32", "48", "3"]
        assert set(signatures["predict_image_bytes"]["outputs"]) == {"saliency", "png_bytes"}


@pytest.mark.parametrize("version", ["", "/versions/1"])
@pytest.mark.parametrize(
    ("signature", "dtype"),
    [(None, float), ("", float), ("serving_default", float), ("predict_uint8", int)],
)
def test_numbers(red, version, signature, dtype):
    values = [image.astype(dtype).tolist() for image in IMAGES]
    named = {} if signature is None else {"signature_name": signature}

    def ask(**request):
        answer = red.post(f"{URL}{version}:predict", json={**named, **request})
        assert answer.status_code == 200, answer.text
        return answer.json()

    for instances in (values, [{"image": value} for value in values]):
        answer = ask(instances=instances)
        assert answer.keys() == {"predictions"}
        np.testing.assert_array_equal(np.float32(answer["predictions"]), MAPS)
    for inputs in (values, {"image": values}):
        answer = ask(inputs=inputs)
        assert answer.keys() == {"outputs"}
        np.testing.assert_array_equal(np.float32(answer["outputs"]), MAPS)


def test_encoded_images(red):
    images = [spot(64, 90, 40, 50), spot(50, 40, 10, 10)]
    values = [{"b64": base64.b64encode(encoded(image)).decode()} for image in images]
    predictor = Predictor(redness, FRAME)
    pngs = [encode_picture(to_grey(predictor(image))) for image in images]
    frames = np.stack([predictor.preprocess(image)[0] for image in images])
    maps = redness(frames)
    named = {"signature_name": "predict_image_bytes"}
    for instances in (values, [{"image_bytes": value} for value in values]):
        # As curl -d sends it, without a type of its own.
        answer = red.post(f"{URL}:predict", json={**named, "instances": instances})
        for found, map_, png in zip(answer.json()["predictions"], maps, pngs, strict=True):
            np.testing.assert_array_equal(np.float32(found["saliency"]), map_)
            assert base64.b64decode(found["png_bytes"]["b64"]) == png
    for inputs in (values, {"image_bytes": values}):
        found = red.post(f"{URL}:predict", json={**named, "inputs": inputs}).json()["outputs"]
        np.testing.assert_array_equal(np.float32(found["saliency"]), maps)
        assert [base64.b64decode(png["b64"]) for png in found["png_bytes"]] == pngs


def test_models_of_any_size():
    sizes = [(64, 96), (32, 32)]
    with in_process(input_size=(None, None)) as client:
        for size in sizes:
            answer = client.post(f"{URL}:predict", json={"inputs": np.ones((1, *size, 3)).tolist()})
            assert np.shape(answer.json()["outputs"]) == (1, *size, 1)
        told = client.post(f"{URL}:predict", json={"inputs": np.ones((1, 60, 60, 3)).tolist()})
        assert told.status_code == 400
        assert "multiples of 32" in told.json()["error"]
        images = [{"b64": base64.b64encode(encoded(spot(*size, 9, 9))).decode()} for size in sizes]
        request = {"signature_name": "predict_image_bytes", "instances": images}
        found = client.post(f"{URL}:predict", json=request).json()["predictions"]
        assert [np.shape(one["saliency"]) for one in found] == [(*size, 1) for size in sizes]


GOOD = IMAGES[0].tolist()


def _without(row, value):
    """The good image with another value in one place."""
    image = np.array(GOOD, object)
    image[row, 5, 1] = value
    return image.tolist()


BAD = {
    "no JSON": (b"{", "JSON Parse error"),
    "not UTF-8": (b"\xff{}", "JSON Parse error"),
    "NaN": (b'{"instances": [NaN]}', "JSON Parse error"),
    "deep": (b"[" * 100_000, "JSON Parse error"),
    "no object": ([], "either instances or inputs"),
    "neither": ({}, "either instances or inputs"),
    "both": ({"instances": [GOOD], "inputs": [GOOD]}, "either instances or inputs"),
    "signature": ({"signature_name": "x", "inputs": [GOOD]}, '"x" not found in signature def'),
    "no name": ({"signature_name": [1], "inputs": [GOOD]}, "not found in signature def"),
    "no list": ({"instances": 3}, "must be a list"),
    "empty": ({"instances": []}, "must be a list"),
    "no batch": ({"instances": GOOD}, r"shape \[-1, 32, 48, 3\], not \[32, 48, 3\]"),
    "other size": ({"inputs": [GOOD[1:]]}, r"not \[1, 31, 48, 3\]"),
    "ragged": ({"inputs": [GOOD, GOOD[1:]]}, "full array"),
    "other input": ({"inputs": {"picture": [GOOD]}}, "one input, image, not picture"),
    "text": ({"inputs": [_without(3, "7")]}, "must hold numbers"),
    "null": ({"inputs": [_without(3, None)]}, "must hold numbers"),
    "boolean": ({"inputs": [_without(3, True)]}, "must hold numbers"),
    "object": ({"inputs": [_without(3, {"b64": ""})]}, "must hold numbers"),
    "list": ({"inputs": [_without(3, [1])]}, "must hold numbers"),
    "above": ({"inputs": [_without(3, 255.5)]}, "0…255"),
    "huge": ({"inputs": [_without(3, 10**18)]}, "0…255"),
    "below": ({"inputs": [_without(3, -1)]}, "0…255"),
    "fraction": (
        {"signature_name": "predict_uint8", "inputs": [_without(3, 1.5)]},
        "numbers, of type DT_UINT8",
    ),
    "numbers for bytes": ({"signature_name": "predict_image_bytes", "inputs": [GOOD]}, "b64"),
    "no base 64": (
        {"signature_name": "predict_image_bytes", "inputs": [{"b64": "é"}]},
        "in base 64",
    ),
    "b64 of a number": (
        {"signature_name": "predict_image_bytes", "instances": [{"b64": 3}]},
        "in base 64",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_requests(red, kind):
    request, told = BAD[kind]
    body = {"content": request} if isinstance(request, bytes) else {"json": request}
    answer = red.post(f"{URL}:predict", **body)
    assert answer.status_code == 400
    assert answer.json().keys() == {"error"}
    assert re.search(told, answer.json()["error"])


def test_other_models_and_bad_images(red):
    def told(answer, status):
        assert answer.status_code == status
        return answer.json()["error"]

    latest = "Servable not found for request: Latest(blue)"
    assert told(red.get("/v1/models/blue"), 404) == latest
    assert told(red.get("/v1/models/blue/metadata"), 404) == latest
    assert told(red.post("/v1/models/blue:predict", json={}), 404) == latest
    specific = "Servable not found for request: Specific(red, 2)"
    assert told(red.get(f"{URL}/versions/2"), 404) == specific
    assert told(red.post(f"{URL}/versions/2:predict", json={}), 404) == specific
    values = [{"b64": base64.b64encode(image).decode()} for image in (encoded(IMAGES[0]), b"x")]
    request = {"signature_name": "predict_image_bytes", "instances": values}
    assert "not a readable image" in told(red.post(f"{URL}:predict", json=request), 422)


def test_names_fit_into_urls():
    with in_process(name="runs/a:b") as client:
        assert client.get("/v1/models/runs-a-b").status_code == 200


def test_the_example_s_client_works_against_it(start, fast, photo, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(photo)
    client = Path(__file__).parents[2] / "examples" / "serving" / "client_rest.py"
    with start("--name", "saliency") as server:
        command = [sys.executable, client, "photo.jpg", "--url", server.url]
        subprocess.run(command, cwd=tmp_path, check=True)
    assert (tmp_path / "map.png").read_bytes() == encode_picture(to_grey(fast(photo)))
