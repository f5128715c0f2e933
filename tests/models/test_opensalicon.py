"""OpenSALICON's architecture, against the report and OpenCV, and what its builder refuses."""

import inspect

import cv2
import keras
import numpy as np
import pytest

from keras_salnet.models import OpenSALICON

FRAME = (150, 204)  # of which no half is a multiple of what VGG16 divides by


def build(**arguments):
    return OpenSALICON(
        **{"input_shape": (*FRAME, 3), "backbone_weights": None, "filters": 4, **arguments}
    )


def images(input_size=FRAME):
    return np.random.default_rng(0).uniform(0, 255, (2, *input_size, 3)).astype("float32")


def features(net, layer, x):
    output = net.get_layer(layer).output
    return keras.Model(net.input, output)(x, training=False).numpy()


def resize(maps, size):
    """(B, H, W, C) by OpenCV, channel by channel."""
    planes = [
        [cv2.resize(plane, size[::-1], interpolation=cv2.INTER_LINEAR) for plane in image]
        for image in np.moveaxis(maps, -1, 1)
    ]
    return np.moveaxis(np.array(planes), 1, -1)


def test_features_of_the_report():
    net = build(input_shape=(1200, 1600, 3), filters=1)
    shapes = {
        "fine_preprocessing": (1200, 1600, 3),
        "coarse_preprocessing": (600, 800, 3),
        "fine_block5_conv3": (75, 100, 8),
        "coarse_block5_conv3": (38, 50, 8),
        "fine_block5_pool": (38, 50, 8),
        "coarse_block5_pool": (19, 25, 8),
        "coarse_resizing": (38, 50, 8),
        "concatenate": (38, 50, 16),
        "saliency": (38, 50, 1),
        "saliency_resizing": (1200, 1600, 1),
    }
    for name, shape in shapes.items():
        assert net.get_layer(name).output.shape == (None, *shape), name
    assert net.output_shape == (None, 1200, 1600, 1)


@pytest.mark.parametrize(
    ("streams", "parameters"),
    [
        (("fine", "coarse"), 2 * 14_714_688 + 1024 + 1),
        (["coarse"], 14_714_688 + 512 + 1),
        (("fine",), 14_714_688 + 512 + 1),
    ],
)
def test_parameters(streams, parameters):
    net = build(filters=64, streams=streams)
    assert net.count_params() == parameters
    found = {layer.name.split("_")[0] for layer in net.layers if "block" in layer.name}
    assert found == set(streams)


def test_order_of_the_streams_does_not_matter():
    names = [
        [layer.name for layer in build(streams=streams).layers]
        for streams in (("fine", "coarse"), ("coarse", "fine"))
    ]
    assert names[0] == names[1]


def test_coarse_stream_sees_half_the_image():
    """As the fine one, of the same weights, sees it once it is halved."""
    input_size, half = (152, 204), (76, 102)
    coarse = build(streams=("coarse",), input_shape=(*input_size, 3))
    fine = build(streams=("fine",), input_shape=(*half, 3))
    fine.set_weights(coarse.get_weights())
    ours = features(coarse, "coarse_block5_pool", images(input_size))
    wanted = features(fine, "fine_block5_pool", resize(images(input_size), half))
    assert wanted.std() > 0
    np.testing.assert_allclose(ours, wanted, rtol=0, atol=1e-5 * np.ptp(wanted))


@pytest.mark.parametrize("pixel_scale", [1 / 255, 1])
def test_preprocessing(pixel_scale):
    net = build(pixel_scale=pixel_scale)
    bgr = images()[..., ::-1].astype("float64")
    wanted = (bgr - [103.939, 116.779, 123.68]) * pixel_scale
    seen = features(net, "fine_preprocessing", images())
    np.testing.assert_allclose(seen, wanted, rtol=0, atol=1e-5 * np.ptp(wanted))


def test_map_is_that_of_both_pooled_features():
    keras.utils.set_random_seed(0)
    net = build()
    net.get_layer("saliency").bias.assign([0.3])
    fine, coarse = (
        features(net, f"{stream}_block5_pool", images()) for stream in ("fine", "coarse")
    )
    assert fine.shape[1:3] == (5, 7)
    assert coarse.shape[1:3] == (3, 4)
    together = np.concatenate([fine, resize(coarse, (5, 7))], axis=-1)
    kernel, bias = net.get_layer("saliency").get_weights()
    maps = 1 / (1 + np.exp(-(together @ kernel[0, 0] + bias)))
    wanted = resize(maps, FRAME)
    assert wanted.std() > 1e-3
    np.testing.assert_allclose(net(images(), training=False), wanted, rtol=0, atol=1e-5)


def test_streams_are_apart():
    """Either one's weights change the map."""
    net = build()
    before = net(images()).numpy()
    for stream in ("fine", "coarse"):
        bias = net.get_layer(f"{stream}_block5_conv3").bias
        bias.assign(bias + 1)
        after = net(images()).numpy()
        assert not np.allclose(before, after, atol=1e-6)
        before = after


# The builder


def test_defaults_are_the_reports():
    parameters = inspect.signature(OpenSALICON).parameters
    assert {name: value.default for name, value in parameters.items()} == {
        "streams": ("fine", "coarse"),
        "input_shape": (1200, 1600, 3),
        "backbone_weights": "imagenet",
        "filters": 64,
        "pixel_scale": 1 / 255,
        "name": "opensalicon",
    }


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"streams": ()}, "streams must be some of fine, coarse, not"),
        ({"streams": "fine"}, "streams must be some of fine, coarse, not 'fine'"),
        ({"streams": ("fine", "medium")}, "streams must be some of fine, coarse, not"),
        ({"filters": 0}, "filters must be a positive integer, not 0"),
        ({"pixel_scale": 0}, "pixel_scale must be a positive number, not 0"),
        ({"input_shape": (75, 100, 3)}, "height must be a multiple of 2 pixels, not 75"),
        ({"input_shape": (None, None, 3)}, "height must be a multiple of 2 pixels, not None"),
    ],
)
def test_refuses(arguments, reason):
    with pytest.raises(ValueError, match=reason):
        build(**arguments)
