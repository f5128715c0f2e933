"""Requests made up from the OpenAPI description: the server answers as that says."""

import base64
import collections

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from served import FRAME, encoded, in_process, redness, spot

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
_good = st.sampled_from(["instances", "inputs"]).flatmap(
    lambda key: st.fixed_dictionaries({key: st.lists(_whole, min_size=1, max_size=2)})
)
_any = st.fixed_dictionaries(
    {},
    optional={
        "signature_name": st.sampled_from(
            ["serving_default", "predict_uint8", "predict_image_bytes", "", "x", 3]
        ),
        "instances": st.one_of(_values, st.lists(_named, max_size=2)),
        "inputs": st.one_of(_values, _named),
    },
)
TENSORS = st.one_of(_good, _any)

SCHEMA = schemathesis.openapi.from_dict(create_app(Predictor(redness, FRAME)).openapi())


# No schema tells which bytes are an image.
UNKNOWN = [schemathesis.specs.openapi.checks.positive_data_acceptance]


@SCHEMA.hooks.hook
def map_case(context, case):
    """Ask for the model and the version that there are, but for some of the time."""
    asked = case.path_parameters
    if asked and len(str(asked["name"])) > 1:
        asked["name"] = "red"
        if "version" in asked and str(asked["version"]) < "5":
            asked["version"] = 1
    return case


@pytest.fixture(scope="module")
def red():
    with in_process(limits=Limits(max_bytes=100_000, max_queue=4)) as client:
        client.follow_redirects = False
        yield client


@pytest.fixture(scope="module")
def met():
    """The statuses of each path, which must not be refusals alone."""
    met = collections.defaultdict(set)
    yield met
    for path, statuses in met.items():
        assert 200 in statuses or ":predict" in path, path  # of which the description says little


def check(client, case, met):
    asked = requests.Request(**case.as_transport_kwargs(base_url="http://testserver")).prepare()
    response = client.request(asked.method, asked.url, headers=asked.headers, content=asked.body)
    met[case.operation.label].add(response.status_code)
    assert response.status_code < 500, response.text
    case.validate_response(response, excluded_checks=UNKNOWN)


def examples(number):
    """So many of each operation, the same each time."""
    return settings(
        max_examples=number,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
    )


@SCHEMA.parametrize()
@examples(30)
def test_answers_are_as_described(case, red, met):
    check(red, case, met)


@pytest.mark.slow
@SCHEMA.parametrize()
@examples(120)
def test_many_answers_are_as_described(case, red, met):
    check(red, case, met)


def test_tensors(red):
    statuses = set()

    @examples(100)
    @given(request=TENSORS)
    def ask(request):
        answer = red.post("/v1/models/red:predict", json=request)
        statuses.add(answer.status_code)
        told = {200: ({"predictions"}, {"outputs"})}.get(answer.status_code, ({"error"},))
        assert answer.json().keys() in told

    ask()
    assert {200, 400} <= statuses <= {200, 400, 413, 422, 429}


@pytest.mark.slow
@examples(600)
@given(body=st.binary(max_size=300))
def test_bytes(red, body):
    """As JSON, as an image, as a form: nothing makes the server fail."""
    for url, media_type in (
        ("/v1/models/red:predict", "application/json"),
        ("/predict", "image/jpeg"),
        ("/predict", "multipart/form-data; boundary=a"),
    ):
        answer = red.post(url, content=body, headers={"Content-Type": media_type})
        assert 400 <= answer.status_code < 500
        assert answer.json().keys() == {"error"}
