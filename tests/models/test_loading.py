"""Loading whole models, and starting one from another."""

import keras
import numpy as np
import pytest

from keras_salnet.models import VGGRGA, load_model
from keras_salnet.models.loading import initialize_from

FRAME = (112, 128)  # with a width of 14, the smallest on which RGA finds enough nodes


def build(num_rga=1, seed=0, **arguments):
    keras.utils.set_random_seed(seed)
    net = VGGRGA(
        num_rga,
        **{"input_shape": (*FRAME, 3), "backbone_weights": None, "filters": 14, **arguments},
    )
    random = np.random.default_rng(seed)
    for weight in net.weights:  # statistics and biases too, so that each weight is its own
        weight.assign(weight + random.uniform(0.1, 0.2, weight.shape).astype("float32"))
    return net


def values(net):
    return {weight.path: weight.numpy() for weight in net.weights}


@pytest.fixture(scope="module")
def source():
    return build(1, seed=1)


@pytest.fixture(scope="module")
def saved(source, tmp_path_factory):
    """Its run folder."""
    folder = tmp_path_factory.mktemp("run")
    source.save(folder / "model.keras")
    source.save_weights(folder / "best.weights.h5")
    return folder


def assert_filled(net, source, before, unfilled):
    """What was not left is the source's, what was left is as before."""
    wanted = {**values(source), **{path: before[path] for path in unfilled}}
    for path, value in values(net).items():
        np.testing.assert_array_equal(value, wanted[path], err_msg=path)


@pytest.mark.parametrize("form", ["", "model.keras", "best.weights.h5"])
def test_same_architecture_is_filled_completely(source, saved, form):
    net = build(1)
    assert initialize_from(net, str(saved / form)) == []
    assert_filled(net, source, {}, [])


def test_more_attention_starts_anew(source, saved):
    net = build(2)
    before = values(net)
    unfilled = initialize_from(net, saved)
    new = {path for path in before if path.startswith(("block4_rga/", "decoder4_rga/"))}
    assert len(new) == 2 * 60
    assert set(unfilled) == new
    assert_filled(net, source, before, unfilled)


def test_less_attention_leaves_some_out(source, saved):
    net = build(0)
    assert initialize_from(net, saved / "model.keras") == []
    assert_filled(net, source, {}, [])


def test_another_frame_leaves_what_counts_pixels(source, saved):
    net = build(1, input_shape=(128, 128, 3))
    before = values(net)
    unfilled = initialize_from(net, saved)
    changed = {p for p, value in before.items() if value.shape != values(source)[p].shape}
    assert changed
    assert all("_rga/" in path for path in changed)
    assert set(unfilled) == changed
    assert_filled(net, source, before, unfilled)


def test_weights_alone_fit_the_same_architecture_only(saved):
    with pytest.raises(ValueError, match=r"(?s)weights.h5 does not hold .*its run folder"):
        initialize_from(build(2), saved / "best.weights.h5")


def test_nothing_fits(tmp_path):
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    other.save(tmp_path / "other.keras")
    net = build()
    before = values(net)
    with pytest.raises(ValueError, match=r"no convolution of .*other\.keras fits"):
        initialize_from(net, tmp_path / "other.keras")
    assert_filled(net, net, before, before)


@pytest.mark.parametrize("name", ["nowhere", "no.keras", "no.weights.h5"])
def test_no_such_source(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=f"init: there is no file .*{name}"):
        initialize_from(build(0), tmp_path / name)


def test_folder_without_a_model(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}/model.keras"):
        initialize_from(build(0), tmp_path)


@pytest.mark.parametrize("name", ["text.keras", "text.weights.h5"])
def test_unreadable_source(tmp_path, name):
    (tmp_path / name).write_text("neither zip nor HDF5")
    with pytest.raises(ValueError, match=name):
        initialize_from(build(0), tmp_path / name)


def test_load_model(source, saved):
    net = load_model(str(saved / "model.keras"))
    images = np.random.default_rng(0).uniform(0, 255, (2, *FRAME, 3)).astype("float32")
    np.testing.assert_array_equal(net(images, training=False), source(images, training=False))


def test_load_model_refuses(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no.keras: no such file"):
        load_model(tmp_path / "no.keras")
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_model(tmp_path)
    text = tmp_path / "text.keras"
    text.write_text("not a zip")
    with pytest.raises(ValueError, match=r"text.keras: not a readable .keras model"):
        load_model(text)
