"""8-bit TFLite files: small, and of much the same maps. The harness tests the float32 ones."""

import cv2
import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from keras_salnet import metrics, models
from keras_salnet.export import export_savedmodel, export_tflite


def textures(height, width):
    """A few images with something to see, from coarse to fine."""
    random = np.random.default_rng(0)
    noise = random.normal(size=(3, height, width, 3))
    images = [cv2.GaussianBlur(x, (0, 0), sigma) for x, sigma in zip(noise, (2, 4, 8), strict=True)]
    return [np.clip(128 + 60 * x / x.std(), 0, 255).astype("float32") for x in images]


@pytest.mark.parametrize(
    ("num_rga", "frame"), [(0, (64, 64)), pytest.param(3, (112, 128), marks=pytest.mark.slow)]
)
def test_dynamic_is_small_and_predicts_the_same(tmp_path, num_rga, frame):
    keras.utils.set_random_seed(0)
    net = models.create(
        "vggrga", input_shape=(*frame, 3), backbone_weights=None, num_rga=num_rga, filters=16
    )
    path = tmp_path / "dynamic.tflite"
    export_tflite(net, path, "dynamic")
    float32 = 4 * net.count_params()
    assert float32 / 5 < path.stat().st_size < float32 / 3
    run = Interpreter(str(path)).get_signature_runner("serving_default")
    for image in textures(*frame):
        ours = run(image=image[None])["saliency"]
        assert ours.dtype == "float32"
        assert ours.shape == (1, *frame, 1)
        wanted = net(image[None], training=False).numpy()
        assert metrics.correlation_coefficient(ours[0, ..., 0], wanted[0, ..., 0]) > 0.99


def test_the_default_is_float32(tmp_path):
    net = models.create(
        "vggrga", input_shape=(32, 32, 3), backbone_weights=None, num_rga=0, filters=8
    )
    export_tflite(net, tmp_path / "model.tflite")
    assert (tmp_path / "model.tflite").stat().st_size > 4 * net.count_params()


def test_a_model_of_any_size_is_refused(tmp_path):
    net = models.create(
        "vggrga", input_shape=(None, None, 3), backbone_weights=None, num_rga=0, filters=8
    )
    net.save(tmp_path / "model.keras")
    for use in (
        lambda: export_tflite(net, tmp_path / "model.tflite"),
        lambda: export_savedmodel(net, tmp_path / "1"),
    ):
        with pytest.raises(ValueError, match=r"vggrga takes images of any size, .* must be known"):
            use()
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


@pytest.mark.parametrize("quantize", ["int8", "float16", None])
def test_other_quantizations_are_refused(tmp_path, quantize):
    with pytest.raises(ValueError, match="quantize must be one of none, dynamic, not"):
        export_tflite(None, tmp_path / "model.tflite", quantize)
    assert not list(tmp_path.iterdir())
