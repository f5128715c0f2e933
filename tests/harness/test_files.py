"""Every model and layer: saved, loaded, and converted for other runtimes."""

import functools
import importlib.util
import json

import cv2
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from harness.cases import (
    CASES,
    FIRST,
    LAYERS,
    SERVED,
    assert_same,
    each,
    each_case,
    each_converted_case,
    each_quick_case,
    predict,
    trained,
)

from keras_salnet import models
from keras_salnet.formats import export_savedmodel, export_tflite

FRESH = """
import sys
from pathlib import Path

import keras
import numpy as np

from keras_salnet.models import load_model

folder, backend = Path(sys.argv[1]), keras.backend.backend()
compiled = lambda function: function
if backend == "jax":
    import jax

    jax.config.update("jax_disable_most_optimizations", True)  # compiles 3 times as fast
    compiled = jax.jit
for path in sorted(folder.glob("*.keras")):
    net = load_model(path)
    answer = compiled(lambda x: net(x, training=False))(np.load(path.with_suffix(".npy")))
    np.save(path.with_suffix(f".{backend}.npy"), keras.ops.convert_to_numpy(answer))
"""


@pytest.fixture(scope="module")
def fresh_answers(run_python, tmp_path_factory):
    """Backend → what the cases' models, saved, answer in a fresh process: {case: outputs}."""
    folder = tmp_path_factory.mktemp("saved")
    cases = [case for case in CASES if not case.slow]
    for number, case in enumerate(cases):
        trained(case).save(folder / f"{number}.keras")
        np.save(folder / f"{number}.npy", case.inputs())

    @functools.cache
    def answers(backend):
        run_python(FRESH, folder, backend=backend)
        return {case: np.load(folder / f"{n}.{backend}.npy") for n, case in enumerate(cases)}

    return answers


@each_quick_case
def test_saved_model_in_a_fresh_process(case, fresh_answers):
    assert_same(fresh_answers("tensorflow")[case], predict(trained(case), case), 1e-6)


@each_quick_case
@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_saved_model_on_another_backend(case, backend, fresh_answers):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    assert_same(fresh_answers(backend)[case], predict(trained(case), case), 1e-4)


@each_case
def test_saved_model(case, tmp_path):
    net = trained(case)
    net.save(tmp_path / "model.keras")
    loaded = models.load_model(tmp_path / "model.keras")
    assert json.dumps(loaded.get_config()) == json.dumps(net.get_config())
    np.testing.assert_array_equal(predict(loaded, case), predict(net, case))


@each_case
def test_saved_weights(case, tmp_path):
    net, other = trained(case), case.build()
    net.save_weights(tmp_path / "best.weights.h5")
    other.load_weights(tmp_path / "best.weights.h5")
    for ours, theirs in zip(net.weights, other.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=ours.path)


@each(SERVED, FIRST[:1])
def test_savedmodel(case, tmp_path):
    net = trained(case)
    export_savedmodel(net, tmp_path / "1")
    signatures = tf.saved_model.load(tmp_path / "1").signatures
    images, wanted = case.inputs(), predict(net, case)
    encoded = [cv2.imencode(".png", image[..., ::-1])[1].tobytes() for image in images]
    for name, inputs in {
        "serving_default": {"image": tf.constant(images)},
        "predict_uint8": {"image": tf.constant(images, "uint8")},
        "predict_image_bytes": {"image_bytes": tf.constant(encoded)},
    }.items():
        answer = signatures[name](**inputs)
        assert "saliency" in answer
        np.testing.assert_allclose(answer["saliency"], wanted, rtol=0, atol=1e-4, err_msg=name)


@each_converted_case
def test_tflite(case, tmp_path):
    net = trained(case)
    export_tflite(net, tmp_path / "model.tflite")
    code = (tmp_path / "model.tflite").read_bytes()
    operators = schema.ModelT.InitFromObj(schema.Model.GetRootAs(code)).operatorCodes
    assert operators
    assert not [operator.customCode for operator in operators if operator.customCode]

    runner = Interpreter(model_content=code).get_signature_runner("serving_default")
    answers = [runner(image=image[None])["saliency"] for image in case.inputs()]
    assert_same(np.concatenate(answers), predict(net, case), 1e-4)


@each(LAYERS + FIRST)  # the conversion of wide models takes more than 10 GB
def test_onnx(case, tmp_path):
    """Through Keras's own export."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    net = trained(case)
    net.export(tmp_path / "model.onnx", format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (inputs,) = session.get_inputs()
    (outputs,) = session.run(None, {inputs.name: case.inputs()})
    assert_same(outputs, predict(net, case), 1e-4)
