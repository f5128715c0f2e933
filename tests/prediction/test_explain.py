"""What a model attends to, against what its layers do and against differences of the prediction."""

import keras
import numpy as np
import pytest

from keras_salnet import layers, models
from keras_salnet.cli import main
from keras_salnet.formats import export_tflite
from keras_salnet.images.files import read_image, write_picture
from keras_salnet.prediction.explain import explain, grad_cam

FEATURES = np.random.default_rng(1).normal(size=(8, 8, 16)).astype("float32")


def gated(attention, **options):
    """A model that is an attention layer, and that layer."""
    layer = layers.create_attention(attention, name="gate", **options)
    inputs = keras.Input(FEATURES.shape)
    return keras.Model(inputs, layer(inputs)), layer


@pytest.mark.parametrize(
    ("attention", "options"),
    [
        ("rga_s", {"ratio": 2, "reduction": 2}),
        ("rga_c", {"ratio": 2, "reduction": 2}),
        ("rga_sc", {"ratio": 2, "reduction": 2}),
        ("rga_parallel", {"ratio": 2, "reduction": 2}),
        ("cbam_cs", {"ratio": 4}),
        ("se", {"ratio": 4}),
    ],
)
def test_masks_and_weights_are_what_the_layer_multiplies_by(attention, options):
    model, _ = gated(attention, **options)
    (found,) = explain(model, FEATURES)
    mask = 1 if found.mask is None else found.mask[..., None]
    weights = 1 if found.weights is None else found.weights
    expected = (mask + weights) / 2 if attention == "rga_parallel" else mask * weights
    output = model(FEATURES[None]).numpy()[0]
    np.testing.assert_allclose(output, FEATURES * expected, rtol=1e-4, atol=1e-5)
    assert (found.mask is None) == (attention in ("rga_c", "se"))
    assert (found.weights is None) == (attention == "rga_s")
    if found.weights is not None:
        assert found.channels == np.argsort(-found.weights, kind="stable")[:4].tolist()
    np.testing.assert_array_equal(found.strongest, FEATURES[..., found.channels].transpose(2, 0, 1))


def test_the_layers_of_a_model_in_its_order():
    net = models.VGGRGA(1, input_shape=(128, 128, 3), backbone_weights=None, filters=8)
    image = np.random.default_rng(0).uniform(0, 255, (128, 128, 3))
    found = explain(net, image, strongest=2)
    assert [attention.name for attention in found] == ["block5_rga", "decoder5_rga"]
    for attention in found:
        assert attention.mask.shape == (8, 8)
        assert attention.weights.shape == (64,)
        assert attention.strongest.shape == (2, 8, 8)
        assert 0 <= attention.mask.min() <= attention.mask.max() <= 1


def test_a_model_without_attention():
    net = models.VGGRGA(0, input_shape=(32, 32, 3), backbone_weights=None, filters=4)
    with pytest.raises(ValueError, match="no attention layer"):
        explain(net, np.zeros((32, 32, 3)))


def test_grad_cam_is_what_a_change_of_a_channel_does():
    """α_k by differences: each channel of the layer raised by a little everywhere."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    features = keras.layers.Conv2D(5, 3, padding="same", activation="tanh", name="inner")(inputs)
    x = keras.layers.Conv2D(4, 3, strides=2, activation="tanh", name="after")(features)
    net = keras.Model(inputs, keras.layers.Conv2D(1, 1, activation="sigmoid", name="map")(x))
    image = np.random.default_rng(0).normal(size=(8, 8, 3)).astype("float32")

    inner = net.get_layer("inner")(image[None]).numpy()

    def score(raised):
        return float(np.mean(net.get_layer("map")(net.get_layer("after")(raised))))

    step = 0.05 * np.eye(5, dtype="float32")
    alpha = np.array([score(inner + row) - score(inner - row) for row in step])
    expected = np.maximum(inner[0] @ alpha, 0)
    np.testing.assert_allclose(grad_cam(net, image, "inner"), expected / expected.max(), atol=5e-3)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "narrow.keras"
    models.VGGRGA(1, input_shape=(128, 128, 3), backbone_weights=None, filters=8).save(path)
    return path


def test_the_command_draws_it(model, tmp_path, capsys):
    image = tmp_path / "photo.png"
    levels = np.random.default_rng(0).integers(0, 256, (90, 160, 3), np.uint8)
    write_picture(image, levels)
    command = ["predict", str(image), "--out", str(tmp_path / "out"), "--show-attention"]
    assert main([*command, "--model", str(model)]) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"photo_saliency.png", "photo_overlay.png", "photo_attention.png"}
    drawn = read_image(tmp_path / "out" / "photo_attention.png")
    rows, columns = 3, 5  # the prediction and two layers; a mask and four channels
    assert drawn.shape == (round(rows * 2.2 * 120), round(columns * 2.6 * 120), 3)
    for row in range(rows):  # of pictures, not blank
        top = row * drawn.shape[0] // rows
        assert drawn[top : top + drawn.shape[0] // rows, : drawn.shape[1] // columns].std() > 10


def test_a_model_without_layers_is_refused(model, tmp_path, capsys):
    exported = tmp_path / "model.tflite"
    export_tflite(models.load_model(model), exported)
    image = tmp_path / "photo.png"
    write_picture(image, np.zeros((9, 16, 3), np.uint8))
    command = ["predict", str(image), "--out", str(tmp_path / "out"), "--show-attention"]
    assert main([*command, "--model", str(exported)]) == 1
    assert "--show-attention takes a run folder, a .keras file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_on_other_backends(run_python, backend):
    pytest.importorskip(backend)
    run_python(
        """
import keras, numpy as np
from keras_salnet import models
from keras_salnet.prediction.explain import explain, grad_cam

net = models.VGGRGA(1, input_shape=(128, 128, 3), backbone_weights=None, filters=8)
image = np.random.default_rng(0).uniform(0, 255, (128, 128, 3))
assert [attention.mask.shape for attention in explain(net, image)] == [(8, 8)] * 2
if keras.backend.backend() == "torch":
    assert grad_cam(net, image, "block5_rga").max() in (0, 1)
else:
    try:
        grad_cam(net, image, "block5_rga")
    except NotImplementedError as error:
        assert "jax" in str(error)
    else:
        raise AssertionError
""",
        backend=backend,
    )
