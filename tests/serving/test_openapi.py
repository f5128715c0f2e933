"""Requests made up from the OpenAPI description: the server answers as that says."""

import base64
import json

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from served import FRAME, encoded, redness, spot

from keras_salnet import Predictor
from keras_salnet.serving.app import create_app
from keras_salnet.serving.limits import MEDIA_TYPES, Limits

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

FORMATS = {media_type: format for format, media_type in MEDIA_TYPES.items()}
IMAGES = {
    media_type: encoded(spot(40, 60, 20, 20), format) for media_type, format in FORMATS.items()
}


def _mutilated(image):
    """An image, and what damage makes of it."""
    cut = st.integers(0, len(image)).map(lambda end: image[:end])
    changed = st.tuples(st.integers(0, len(image) - 1), st.binary(min_size=1, max_size=4)).map(
        lambda change: image[: change[0]] + change[1] + image[change[0] + len(change[1]) :]
    )
    return st.one_of(st.just(image), cut, changed, st.binary(max_size=200))


for media_type, image in IMAGES.items():
    schemathesis.openapi.media_type(media_type, _mutilated(image))
schemathesis.openapi.media_type("application/octet-stream", _mutilated(IMAGES["image/png"]))

_numbers = st.one_of(st.integers(-1, 256), st.floats(0, 255), st.none(), st.text(max_size=2))
_arrays = st.recursive(_numbers, lambda inner: st.lists(inner, max_size=4), max_leaves=20)
_b64 = st.one_of(_mutilated(IMAGES["image/png"]), st.binary(max_size=9)).map(
    lambda data: {"b64": base64.b64encode(data).decode()}
)
_whole = st.just([[[0, 7, 255]] * FRAME[1]] * FRAME[0])
_values = st.lists(st.one_of(_arrays, _b64, _whole), max_size=3)
_named = st.dictionaries(st.sampled_from(["image", "image_bytes", "x"]), _values, max_size=2)
TENSORS = st.fixed_dictionaries(
    {},
    optional={
        "signature_name": st.sampled_from(
            ["serving_default", "predict_uint8", "predict_image_bytes", "", "x", 3]
        ),
        "instances": st.one_of(_values, st.lists(_named, max_size=2)),
        "inputs": st.one_of(_values, _named),
    },
)

app = create_app(Predictor(redness, FRAME, name="red"), Limits(max_bytes=100_000))
schema = schemathesis.openapi.from_asgi("/openapi.json", app)


@schema.hooks.hook
def map_path_parameters(context, path_parameters):
    """Ask for the model that there is, most of the time."""
    if path_parameters and len(path_parameters.get("name", "")) != 2:
        path_parameters["name"] = "red"
    return path_parameters


@pytest.fixture(scope="module", autouse=True)
def running():
    from fastapi.testclient import TestClient

    with TestClient(app) as client:
        yield client


def _checked(examples):
    return settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )
