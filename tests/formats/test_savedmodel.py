"""What TensorFlow Serving makes of an export, and what clients make of its answers.

The server itself is not to be had as a Python package: an export is run by the C++ loader that the
server uses and by an older TensorFlow, and clients ask stand-ins that speak the server's protocols.
"""

import base64
import io
import json
import os
import re
import runpy
import struct
import subprocess
import sys
import threading
import venv
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from keras_salnet import Predictor, models
from keras_salnet.formats import export_savedmodel
from keras_salnet.formats.description import describe
from keras_salnet.formats.savedmodel_graph import draw_maps
from keras_salnet.formats.savedmodel_warmup import WARMUP_FILE
from keras_salnet.images.files import read_image
from keras_salnet.images.geometry import MODES, Placement
from keras_salnet.images.visualize import to_grey
from keras_salnet.prediction.check import check_export

FRAME, FIT = (112, 128), "pad"
EXAMPLE = Path(__file__).parents[2] / "examples" / "serving"


@pytest.fixture(scope="module")
def net():
    keras.utils.set_random_seed(0)
    shape = (*FRAME, 3)
    return models.create("vggrga", backbone_weights=None, input_shape=shape, num_rga=1, filters=8)


@pytest.fixture(scope="module")
def version(net, tmp_path_factory):
    """The folder of an exported version."""
    base = tmp_path_factory.mktemp("models") / "saliency"
    return export_savedmodel(net, base, FIT, "small")


@pytest.fixture(scope="module")
def signatures(version):
    loaded = tf.saved_model.load(str(version))
    # Through `loaded`: signatures alone do not keep its weights alive.
    return lambda name, **inputs: loaded.signatures[name](**inputs)


def scene(height, width):
    """An RGB picture with something to see."""
    noise = np.random.default_rng(height).normal(size=(height, width, 3))
    blurred = cv2.GaussianBlur(noise, (0, 0), 5)
    return np.uint8(np.clip(128 + 60 * blurred / blurred.std(), 0, 255))


def encode(image, format):
    file = io.BytesIO()
    PIL.Image.fromarray(image).save(file, format)
    return file.getvalue()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Images of many kinds and sizes."""
    folder = tmp_path_factory.mktemp("photos")
    half = np.dstack([scene(60, 200), np.full((60, 200), 128, np.uint8)])
    for name, image in {
        "large.jpg": scene(300, 420),
        "small.png": scene(50, 40),
        "grey.png": scene(130, 130)[..., 0],
        "half.png": half,
        "wide.bmp": scene(40, 333),
    }.items():
        format = {"jpg": "JPEG"}.get(name[-3:], name[-3:])
        (folder / name).write_bytes(encode(image, format))
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def images(photos):
    """(B, H, W, 3): they in the frame."""
    pixels = [read_image(path) for path in photos]
    return np.stack([Placement(image.shape[:2], FRAME, FIT).image(image) for image in pixels])


@pytest.fixture(scope="module")
def maps(net, images):
    """(B, H, W, 1): what Keras predicts for them."""
    return net.predict_on_batch(images)


@pytest.fixture(scope="module")
def pictures(net, photos):
    """What `keras-salnet predict --map` draws of each of them."""
    predictor = Predictor(net.predict_on_batch, FRAME, FIT)
    return [to_grey(predictor(path)) for path in photos]


@pytest.fixture(scope="module")
def encoded(photos):
    return [path.read_bytes() for path in photos]


def assert_same_maps(ours, theirs):
    assert np.ptp(theirs) > 0.1, "there must be something to tell apart"
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


def assert_same_pictures(pngs, pictures):
    for png, picture in zip(pngs, pictures, strict=True):
        ours = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
        assert ours.dtype == np.uint8
        assert ours.shape == picture.shape
        assert ours.max() == 255
        assert np.ptp(picture) > 50, "there must be something to tell apart"
        assert_within_a_level(ours, picture)


def assert_within_a_level(ours, picture):
    difference = np.abs(ours.astype(int) - picture)
    assert difference.max() <= 1
    assert difference.mean() < 0.1, "rounded, not cut off"


# The signatures


def test_signatures_predict_as_keras(signatures, net, images, maps):
    assert_same_maps(signatures("serving_default", image=images)["saliency"], maps)
    whole = np.round(images)
    ours = signatures("predict_uint8", image=whole.astype(np.uint8))["saliency"]
    assert_same_maps(ours, net.predict_on_batch(whole))


def test_encoded_images_become_maps_and_pictures(signatures, encoded, maps, pictures):
    answer = signatures("predict_image_bytes", image_bytes=tf.constant(encoded))
    # TensorFlow Serving's REST interface tells bytes from text by the ending of the name.
    assert answer.keys() == {"saliency", "png_bytes"}
    # TensorFlow and OpenCV resize with other roundings.
    np.testing.assert_allclose(answer["saliency"], maps, rtol=0, atol=1e-4)
    assert_same_pictures(answer["png_bytes"].numpy(), pictures)


@pytest.mark.parametrize("mode", MODES)
def test_maps_are_drawn_as_by_the_command(mode):
    sizes = [(30, 200), (200, 30), (9, 7), (24, 32), (1, 1), (1, 50)]
    saliency = np.random.default_rng(0).random((len(sizes), 24, 32, 1), np.float32) / 3
    saliency = np.stack([cv2.GaussianBlur(map_, (0, 0), 2)[..., None] for map_ in saliency])
    pngs = draw_maps(tf.constant(saliency), tf.constant(sizes), mode).numpy()
    for png, map_, size in zip(pngs, saliency, sizes, strict=True):
        ours = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
        wanted = to_grey(Placement(size, (24, 32), mode).undo(map_[..., 0]))
        assert ours.shape == wanted.shape == size
        assert_within_a_level(ours, wanted)


def test_a_map_without_mass_is_black():
    (png,) = draw_maps(tf.zeros((1, 24, 32, 1)), tf.constant([(40, 30)]), "pad").numpy()
    picture = tf.io.decode_png(png).numpy()
    assert picture.shape == (40, 30, 1)
    assert not picture.any()


JPEG, PNG, BMP, GIF = (encode(scene(40, 70), format) for format in ("JPEG", "PNG", "BMP", "GIF"))


def announcing(image, place, pattern, *sides):
    """An image whose header says that it is larger."""
    field = struct.pack(pattern, *sides)
    return image[:place] + field + image[place + len(field) :]


@pytest.mark.parametrize(
    ("batch", "told"),
    [
        ([], r"image_bytes: holds no image"),
        ([JPEG, PNG, b""], r"image_bytes\[2\]: is not a JPEG, PNG, GIF or BMP \(0 bytes\)"),
        ([JPEG, 9 * b"text"], r"image_bytes\[1\]: is not a JPEG, PNG, GIF or BMP \(36 bytes\)"),
        ([encode(scene(9, 9), "WEBP")], r"image_bytes\[0\]: is not a JPEG, PNG, GIF or BMP"),
        ([PNG, JPEG[: len(JPEG) // 2]], rf"image_bytes\[1\]: is cut off after {len(JPEG) // 2}"),
        ([JPEG, JPEG[:30]], r"image_bytes\[1\]: is cut off after 30 bytes"),
        ([JPEG, PNG[:-20]], rf"image_bytes\[1\]: is cut off after {len(PNG) - 20} bytes"),
        ([JPEG, GIF[:60]], r"Invalid GIF data"),
        ([BMP[:-9]], r"Input size should match"),
        ([PNG[:60] + PNG[70:]], r"Invalid PNG data"),
        (
            [JPEG, announcing(JPEG, JPEG.index(b"\xff\xc0") + 5, ">HH", 50_000, 60_000)],
            r"image_bytes\[1\]: has 50000 x 60000 pixels; at most 100000000",
        ),
        (
            [announcing(PNG, 16, ">II", 60_000, 50_000)],
            r"image_bytes\[0\]: has 50000 x 60000 pixels; at most 100000000",
        ),
        (
            [GIF, announcing(GIF, 6, "<HH", 60_000, 50_000)],
            r"image_bytes\[1\]: has 50000 x 60000 pixels; at most 100000000",
        ),
        (
            [GIF, BMP, announcing(BMP, 18, "<ii", 60_000, -50_000)],
            r"image_bytes\[2\]: has 50000 x 60000 pixels; at most 100000000",
        ),
        ([announcing(PNG, 16, ">II", 0, 50)], r"image_bytes\[0\]: is not a JPEG, PNG, GIF or BMP"),
        (JPEG, r"Shape of tensor image_bytes \[\] is not compatible"),
    ],
    ids=str,
)
def test_bad_images_are_told(signatures, batch, told):
    with pytest.raises(tf.errors.InvalidArgumentError, match=told):
        signatures("predict_image_bytes", image_bytes=tf.constant(batch, tf.string))


def test_what_cameras_write_behind_an_image_is_passed_over(signatures):
    batch = [JPEG, JPEG + 1000 * b"film", PNG, PNG + 1000 * b"more"]
    answer = signatures("predict_image_bytes", image_bytes=tf.constant(batch))
    jpeg, jpeg_and_film, png, png_and_more = answer["saliency"].numpy()
    np.testing.assert_allclose(jpeg_and_film, jpeg, rtol=0, atol=1e-5)
    np.testing.assert_allclose(png_and_more, png, rtol=0, atol=1e-5)
    assert np.abs(jpeg - png).max() > 1e-4


def test_another_frame_is_told(signatures):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"image \[1,64,64,3\].*112,128,3"):
        signatures("serving_default", image=tf.zeros((1, 64, 64, 3)))


# What lies beside the model


def test_an_export_says_what_it_is(version, net, images, photos):
    predictor = Predictor.load(version.parent)
    assert (predictor.name, predictor.resize, predictor.input_size) == ("small", FIT, FRAME)
    assert min(check_export(version, net, [read_image(path) for path in photos], FIT)) > 0.99999
    about = json.loads((version / "assets.extra" / "keras_salnet.json").read_text())
    assert about == json.loads(describe(net, FIT, "small"))


def test_warmup_requests_run_through_all_signatures(version, signatures):
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    assert Path("assets.extra", "tf_serving_warmup_requests") == WARMUP_FILE
    records = tf.data.TFRecordDataset(str(version / WARMUP_FILE))
    logs = [PredictionLog.FromString(record) for record in records.as_numpy_iterator()]
    seen = []
    for log in logs:
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        name = request.model_spec.signature_name
        values = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
        answer = signatures(name, **{key: tf.constant(value) for key, value in values.items()})
        assert np.isfinite(answer["saliency"]).all()
        (value,) = values.values()
        assert len(value) == 1, "servers may be set to batches of 1"
        seen.append((name, value[0][:4] if value.dtype == object else value.dtype.name))
    assert seen == [
        ("serving_default", "float32"),
        ("predict_uint8", "uint8"),
        ("predict_image_bytes", JPEG[:4]),
        ("predict_image_bytes", PNG[:4]),
    ]
    assert (version / WARMUP_FILE).stat().st_size < 20_000


# Other loaders

# TF_LoadSessionFromSavedModel is C's name for what TensorFlow Serving calls. Arguments: the folder
# of TensorFlow's libraries, the SavedModel, the tensors of its signatures, inputs and outputs.
C_LOADER = r"""
import ctypes, json, sys
import numpy as np

libraries, model, tensors, inputs, outputs = sys.argv[1:]
tensors, inputs, given = json.loads(tensors), np.load(inputs, allow_pickle=True), {}
ctypes.CDLL(f"{libraries}/libtensorflow_framework.so.2", ctypes.RTLD_GLOBAL)
tf = ctypes.CDLL(f"{libraries}/libtensorflow_cc.so.2", ctypes.RTLD_GLOBAL)
pointer = ctypes.c_void_p
for name in (
    "NewStatus", "NewSessionOptions", "NewGraph", "LoadSessionFromSavedModel", "TensorData",
    "AllocateTensor", "GraphOperationByName", "StringGetDataPointer",
):
    getattr(tf, f"TF_{name}").restype = pointer
for name in ("Dim", "StringGetSize"):
    getattr(tf, f"TF_{name}").restype = ctypes.c_int64
tf.TF_Message.restype = ctypes.c_char_p

FLOAT, UINT8, STRING, STRING_SIZE = 1, 4, 7, 24
TYPES = {FLOAT: np.float32, UINT8: np.uint8}

class Output(ctypes.Structure):
    _fields_ = [("operation", pointer), ("index", ctypes.c_int)]

def check(status):
    if tf.TF_GetCode(status):
        raise RuntimeError(f"{tf.TF_GetCode(status)}: {tf.TF_Message(status).decode()}")

def to_tensor(array):
    kind = {"float32": FLOAT, "uint8": UINT8}.get(array.dtype.name, STRING)
    size = array.size * STRING_SIZE if kind == STRING else array.nbytes
    dims = (ctypes.c_int64 * array.ndim)(*array.shape)
    tensor = pointer(tf.TF_AllocateTensor(kind, dims, array.ndim, ctypes.c_size_t(size)))
    data = tf.TF_TensorData(tensor)
    if kind != STRING:
        ctypes.memmove(data, array.ctypes.data, size)
    else:
        for place, value in enumerate(array):
            string = pointer(data + place * STRING_SIZE)
            tf.TF_StringInit(string)
            tf.TF_StringCopy(string, value, ctypes.c_size_t(len(value)))
    return tensor

def to_array(tensor):
    shape = [tf.TF_Dim(tensor, place) for place in range(tf.TF_NumDims(tensor))]
    data, kind = tf.TF_TensorData(tensor), tf.TF_TensorType(tensor)
    if kind != STRING:
        size = int(np.prod(shape)) * np.dtype(TYPES[kind]).itemsize
        return np.frombuffer(ctypes.string_at(data, size), TYPES[kind]).reshape(shape)
    places = [pointer(data + place * STRING_SIZE) for place in range(shape[0])]
    read = lambda s: ctypes.string_at(tf.TF_StringGetDataPointer(s), tf.TF_StringGetSize(s))
    return np.array([read(place) for place in places], object)

status, graph = pointer(tf.TF_NewStatus()), pointer(tf.TF_NewGraph())
tags = (ctypes.c_char_p * 1)(b"serve")
session = pointer(tf.TF_LoadSessionFromSavedModel(
    pointer(tf.TF_NewSessionOptions()), None, model.encode(), tags, 1, graph, None, status
))
check(status)

def at(name):
    operation, index = name.split(":")
    return Output(tf.TF_GraphOperationByName(graph, operation.encode()), int(index))

def run(signature, array):
    (source,), targets = tensors[signature]["inputs"].values(), tensors[signature]["outputs"]
    results = (pointer * len(targets))()
    tf.TF_SessionRun(
        session, None, (Output * 1)(at(source)), (pointer * 1)(to_tensor(array)), 1,
        (Output * len(targets))(*map(at, targets.values())), results, len(targets),
        None, 0, None, status,
    )
    check(status)
    return dict(zip(targets, (to_array(pointer(result)) for result in results), strict=True))

answers = {}
for signature in tensors:
    for name, value in run(signature, inputs[signature]).items():
        answers[f"{signature} {name}"] = value
try:
    run("predict_image_bytes", np.array([inputs["predict_image_bytes"][0], b"text"], object))
except RuntimeError as error:
    answers["error"] = np.array(str(error))
again = run("serving_default", inputs["serving_default"])  # after an error, too
np.testing.assert_array_equal(again["saliency"], answers["serving_default saliency"])
assert "tensorflow" not in sys.modules
np.savez(outputs, **answers)
"""


@pytest.fixture
def asked(images, encoded, tmp_path):
    """File of the inputs for each signature."""
    path = tmp_path / "inputs.npz"
    np.savez(
        path,
        serving_default=images,
        predict_uint8=np.round(images).astype(np.uint8),
        predict_image_bytes=np.array(encoded, object),
    )
    return path


def assert_same_answers(path, net, images, maps, pictures):
    answers = np.load(path, allow_pickle=True)
    assert_same_maps(answers["serving_default saliency"], maps)
    assert_same_maps(answers["predict_uint8 saliency"], net.predict_on_batch(np.round(images)))
    ours = answers["predict_image_bytes saliency"]
    np.testing.assert_allclose(ours, maps, rtol=0, atol=1e-4)
    assert_same_pictures(answers["predict_image_bytes png_bytes"], pictures)
    assert "image_bytes[1]: is not a JPEG, PNG, GIF or BMP (4 bytes)" in str(answers["error"])


def test_the_server_s_loader_runs_an_export(
    version, net, images, maps, pictures, asked, tmp_path, run_python
):
    libraries = Path(tf.__file__).parent
    if not (libraries / "libtensorflow_cc.so.2").is_file():
        pytest.skip("this TensorFlow has its C++ interface in another library")
    tensors = {
        name: {
            "inputs": {key: info.name for key, info in signature.inputs.items()},
            "outputs": {key: info.name for key, info in signature.outputs.items()},
        }
        for name, signature in signature_defs(version).items()
    }
    run_python(C_LOADER, libraries, version, json.dumps(tensors), asked, tmp_path / "answers.npz")
    assert_same_answers(tmp_path / "answers.npz", net, images, maps, pictures)


def signature_defs(version):
    """Name → SignatureDef of what clients may ask for."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    model = SavedModel.FromString((version / "saved_model.pb").read_bytes())
    (graph,) = model.meta_graphs
    signatures = graph.signature_def.items()
    return {name: found for name, found in signatures if not name.startswith("__")}


OLDER = "2.15.1"
OLDER_TENSORFLOW = """
import sys
import numpy as np
import tensorflow as tf

assert tf.__version__ == "2.15.1"
loaded = tf.saved_model.load(sys.argv[1])
inputs, answers = np.load(sys.argv[2], allow_pickle=True), {}
for name in inputs.files:
    signature = loaded.signatures[name]
    (argument,) = signature.structured_input_signature[1]
    value = inputs[name]
    value = tf.constant(list(value)) if value.dtype == object else tf.constant(value)
    for key, answer in signature(**{argument: value}).items():
        answers[f"{name} {key}"] = answer.numpy()
bytes_of = loaded.signatures["predict_image_bytes"]
try:
    bytes_of(image_bytes=tf.constant([inputs["predict_image_bytes"][0], b"text"]))
except tf.errors.InvalidArgumentError as error:
    answers["error"] = np.array(str(error))
np.savez(sys.argv[3], **answers)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info >= (3, 12), reason=f"TensorFlow {OLDER} ends at Python 3.11")
def test_an_older_tensorflow_runs_an_export(version, net, images, maps, pictures, asked, tmp_path):
    folder = tmp_path / "environment"
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    installed = subprocess.run(
        [*pip, "install", "--quiet", "--retries", "1", f"tensorflow-cpu=={OLDER}"],
        capture_output=True,
        text=True,
    )
    if installed.returncode and "onnection" in installed.stderr:
        pytest.skip(f"the package index cannot be reached: {installed.stderr}")
    assert installed.returncode == 0, installed.stderr
    finished = subprocess.run(
        [python, "-I", "-c", OLDER_TENSORFLOW, version, asked, tmp_path / "answers.npz"],
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    assert_same_answers(tmp_path / "answers.npz", net, images, maps, pictures)


# Clients


class RefusedError(Exception):
    """What a server answers instead: an HTTP status and a gRPC status of the same meaning."""

    def __init__(self, http, grpc, told):
        super().__init__(told)
        self.http, self.grpc = http, grpc


class Model:
    """One version of a model behind the messages of TensorFlow Serving."""

    def __init__(self, version):
        self.version = version
        self.loaded = tf.saved_model.load(str(version))
        self.signature_defs = signature_defs(version)

    def check(self, spec):
        if spec.name != "saliency" or spec.version.value not in (0, int(self.version.name)):
            raise RefusedError(404, "NOT_FOUND", f"Servable not found for request: {spec.name}")

    def inputs(self, signature):
        if signature not in self.signature_defs:
            raise RefusedError(400, "INVALID_ARGUMENT", f"no signature {signature}")
        return self.signature_defs[signature].inputs

    def predict(self, request):
        from tensorflow_serving.apis.predict_pb2 import PredictResponse

        self.check(request.model_spec)
        signature = request.model_spec.signature_name or "serving_default"
        if request.inputs.keys() != self.inputs(signature).keys():
            raise RefusedError(400, "INVALID_ARGUMENT", "input keys do not match the signature's")
        inputs = {key: tf.constant(tf.make_ndarray(v)) for key, v in request.inputs.items()}
        try:
            outputs = self.loaded.signatures[signature](**inputs)
        except tf.errors.InvalidArgumentError as error:
            raise RefusedError(400, "INVALID_ARGUMENT", error.message) from error
        response = PredictResponse(model_spec=request.model_spec)
        response.model_spec.version.value = int(self.version.name)
        for name in request.output_filter or outputs:
            response.outputs[name].CopyFrom(tf.make_tensor_proto(outputs[name].numpy()))
        return response

    def metadata(self, request):
        from tensorflow_serving.apis.get_model_metadata_pb2 import (
            GetModelMetadataResponse,
            SignatureDefMap,
        )

        self.check(request.model_spec)
        response = GetModelMetadataResponse(model_spec=request.model_spec)
        response.metadata["signature_def"].Pack(SignatureDefMap(signature_def=self.signature_defs))
        return response

    def status(self, request):
        from tensorflow_serving.apis.get_model_status_pb2 import (
            GetModelStatusResponse,
            ModelVersionStatus,
        )

        self.check(request.model_spec)
        ready = ModelVersionStatus(version=int(self.version.name), state="AVAILABLE")
        return GetModelStatusResponse(model_version_status=[ready])


@pytest.fixture(scope="module")
def model(version):
    return Model(version)


@pytest.fixture(scope="module")
def host(model):
    """Address of a gRPC server on the official stubs."""
    import grpc
    from tensorflow_serving.apis import (
        model_service_pb2_grpc,
        prediction_service_pb2_grpc,
    )

    def answer(method):
        def call(request, context):
            try:
                return method(request)
            except RefusedError as error:
                context.abort(grpc.StatusCode[error.grpc], str(error))

        return call

    class Prediction(prediction_service_pb2_grpc.PredictionServiceServicer):
        Predict = staticmethod(answer(model.predict))
        GetModelMetadata = staticmethod(answer(model.metadata))

    class Status(model_service_pb2_grpc.ModelServiceServicer):
        GetModelStatus = staticmethod(answer(model.status))

    server = grpc.server(futures.ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Prediction(), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(Status(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


@pytest.fixture(scope="module")
def url(model):
    """Address of a server that speaks TensorFlow Serving's REST, turned into its messages."""
    from google.protobuf.json_format import MessageToDict
    from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest
    from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest
    from tensorflow_serving.apis.predict_pb2 import PredictRequest

    def to_tensor(value, info):
        """Of nested lists, in which {"b64": TEXT} are bytes."""
        if isinstance(value, dict):
            return base64.b64decode(value["b64"], validate=True)
        return [to_tensor(item, info) for item in value] if isinstance(value, list) else value

    def to_json(name, tensor):
        """Of an array; strings are bytes only if their tensor's name says so."""
        if tensor.dtype != object:
            return tensor.tolist()
        if name.endswith("_bytes"):
            return [{"b64": base64.b64encode(value).decode()} for value in tensor]
        return [value.decode() for value in tensor]

    def predict(spec, body):
        request = PredictRequest()
        request.model_spec.CopyFrom(spec)
        request.model_spec.signature_name = body.get("signature_name", "serving_default")
        ((key, info),) = model.inputs(request.model_spec.signature_name).items()
        values = body["instances" if "instances" in body else "inputs"]
        named = values and isinstance(values[0], dict) and "b64" not in values[0]
        values = [value[key] for value in values] if named else values
        tensor = tf.make_tensor_proto(to_tensor(values, info), info.dtype)
        request.inputs[key].CopyFrom(tensor)
        outputs = model.predict(request).outputs
        columns = {name: to_json(name, tf.make_ndarray(value)) for name, value in outputs.items()}
        if "inputs" in body:
            return {"outputs": columns if len(columns) > 1 else next(iter(columns.values()))}
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        if len(columns) == 1:
            rows = [next(iter(row.values())) for row in rows]
        return {"predictions": rows}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.answer(None)

        def do_POST(self):
            self.answer(self.rfile.read(int(self.headers["Content-Length"])))

        def answer(self, body):
            pattern = r"/v1/models/(\w+)(?:/versions/(\d+))?(/metadata|:predict)?"
            try:
                found = re.fullmatch(pattern, self.path)
                if found is None or (found[3] == ":predict") != (body is not None):
                    raise RefusedError(404, "NOT_FOUND", f"Malformed request: {self.path}")
                spec = PredictRequest().model_spec
                spec.name, spec.version.value = found[1], int(found[2] or 0)
                if found[3] == ":predict":
                    status, answer = 200, predict(spec, json.loads(body))
                else:
                    request, ask = {
                        None: (GetModelStatusRequest, model.status),
                        "/metadata": (GetModelMetadataRequest, model.metadata),
                    }[found[3]]
                    message = ask(request(model_spec=spec))
                    status, answer = 200, MessageToDict(message, preserving_proto_field_name=True)
            except RefusedError as error:
                status, answer = error.http, {"error": str(error)}
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """Runs a client in a folder: what it says where it fails, or None."""

    def run(script, *arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        try:
            runpy.run_path(str(EXAMPLE / script), run_name="__main__")
        except SystemExit as left:
            return left.code
        return None

    return run


@pytest.fixture(params=["rest", "grpc"])
def client(request, host, url):
    """(script, option of the address, address)."""
    return {
        "rest": ("client_rest.py", "--url", url),
        "grpc": ("client_grpc.py", "--host", host),
    }[request.param]


def test_clients_get_the_picture(client, ask, photos, pictures, tmp_path):
    script, option, address = client
    for photo, picture in zip(photos, pictures, strict=True):
        assert ask(script, photo, option, address) is None
        assert_same_pictures([(tmp_path / "map.png").read_bytes()], [picture])
    assert "keras_salnet" not in (EXAMPLE / script).read_text(), "clients need no such package"


def test_clients_tell_what_is_wrong(client, ask, photos, tmp_path):
    script, option, address = client
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(JPEG[:500])
    for told, arguments in {
        "image_bytes[0]: is cut off after 500 bytes": [bad, option, address],
        "Servable not found": [photos[0], option, address, "--model", "other"],
        "no TensorFlow Serving answers there": [photos[0], option, nobody(address)],
        "nowhere.jpg": ["nowhere.jpg", option, address],
    }.items():
        answer = ask(script, *arguments)
        assert answer.startswith("error: ")
        assert told in answer
    assert [path.name for path in tmp_path.iterdir()] == ["bad.jpg"]


def nobody(address):
    """The same at a port that nobody listens at."""
    return re.sub(r"\d+$", "1", address)


def test_maps_by_grpc(host, images, maps, encoded, pictures):
    import grpc
    from tensorflow_serving.apis import (
        get_model_metadata_pb2,
        get_model_status_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_service_pb2_grpc,
    )

    with grpc.insecure_channel(host) as channel:
        prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)

        def predict(signature, name, values):
            request = predict_pb2.PredictRequest()
            request.model_spec.name = "saliency"
            request.model_spec.signature_name = signature
            request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
            outputs = prediction.Predict(request).outputs
            return {key: tf.make_ndarray(value) for key, value in outputs.items()}

        assert_same_maps(predict("serving_default", "image", images)["saliency"], maps)
        answer = predict("predict_image_bytes", "image_bytes", encoded)
        np.testing.assert_allclose(answer["saliency"], maps, rtol=0, atol=1e-4)
        assert_same_pictures(answer["png_bytes"], pictures)

        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "saliency"
        models = model_service_pb2_grpc.ModelServiceStub(channel)
        (status,) = models.GetModelStatus(request).model_version_status
        assert (status.version, status.state) == (1, status.AVAILABLE)

        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = "saliency"
        found = get_model_metadata_pb2.SignatureDefMap()
        assert prediction.GetModelMetadata(request).metadata["signature_def"].Unpack(found)
        assert found.signature_def.keys() == {
            "serving_default",
            "predict_uint8",
            "predict_image_bytes",
        }


def test_maps_by_rest(url, images, maps, encoded, pictures):
    requests = pytest.importorskip("requests")
    address = f"{url}/v1/models/saliency"

    def predict(address=address, **body):
        answer = requests.post(f"{address}:predict", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    small = images[:2]
    for key, answer in (("instances", "predictions"), ("inputs", "outputs")):
        assert_same_maps(predict(**{key: small.tolist()})[answer], maps[:2])

    values = [{"b64": base64.b64encode(value).decode()} for value in encoded]
    rows = predict(signature_name="predict_image_bytes", instances=values)["predictions"]
    np.testing.assert_allclose([row["saliency"] for row in rows], maps, rtol=0, atol=1e-4)
    pngs = [base64.b64decode(row["png_bytes"]["b64"]) for row in rows]
    assert_same_pictures(pngs, pictures)
    named = [{"image_bytes": value} for value in values]
    pinned = predict(f"{address}/versions/1", signature_name="predict_image_bytes", instances=named)
    assert pinned["predictions"] == rows

    (status,) = requests.get(address).json()["model_version_status"]
    assert (status["version"], status["state"]) == ("1", "AVAILABLE")
    about = requests.get(f"{address}/metadata").json()["metadata"]["signature_def"]
    outputs = about["signature_def"]["predict_image_bytes"]["outputs"]
    assert outputs["png_bytes"]["dtype"] == "DT_STRING"
    assert requests.get(f"{address}/versions/3").status_code == 404


def test_the_page_s_commands_work(url, photos, pictures, tmp_path):
    for program in ("curl", "jq", "base64"):
        if subprocess.run(["which", program], capture_output=True).returncode:
            pytest.skip(f"{program} is not installed")
    page = (EXAMPLE / "README.md").read_text("utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    commands = [block for block in blocks if "8501" in block or "client_rest" in block]
    assert len(commands) == 3
    (tmp_path / "photo.jpg").write_bytes(photos[2].read_bytes())
    (tmp_path / "client_rest.py").write_bytes((EXAMPLE / "client_rest.py").read_bytes())
    text = "\n".join(commands).replace("http://localhost:8501", url)
    text = text.replace("client_rest.py photo.jpg", f"client_rest.py photo.jpg --url {url}")
    text = text.replace("--out map.png", "--out client.png")
    finished = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    assert '"AVAILABLE"' in finished.stdout
    assert '"png_bytes"' in finished.stdout
    for name in ("map.png", "client.png"):
        assert_same_pictures([(tmp_path / name).read_bytes()], [pictures[2]])


def test_the_server_s_settings_can_be_read():
    from google.protobuf import text_format
    from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

    settings = text_format.Parse((EXAMPLE / "models.config").read_text(), ModelServerConfig())
    (config,) = settings.model_config_list.config
    assert (config.name, config.base_path) == ("saliency", "/models/saliency")
    assert config.model_version_policy.latest.num_versions == 2
    named = re.findall(r"/config/(\S+)", (EXAMPLE / "compose.yaml").read_text())
    assert sorted(named) == sorted(path.name for path in EXAMPLE.glob("*.config"))
