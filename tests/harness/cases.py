"""The cases of the harness: every model and layer, and what its tests share."""

import functools

import keras
import numpy as np
import pytest

from keras_salnet import layers, models

SMALL = {"ratio": 2, "reduction": 2}


class LayerCase:
    """A layer, built with arguments that are not its defaults, on inputs of a shape (H, W, C)."""

    slow = False

    def __init__(self, cls, shape, **arguments):
        self.cls, self.shape, self.arguments = cls, shape, arguments
        self.name = " ".join([cls.__name__, *(f"{k}={v}" for k, v in arguments.items())])

    def layer(self):
        return self.cls(**self.arguments, name="tested")

    def build(self):
        """The layer as a model of its own."""
        images = keras.Input(self.shape, name="image")
        return keras.Model(images, self.layer()(images))

    def inputs(self, batch=3):
        return np.random.default_rng(0).normal(size=(batch, *self.shape)).astype("float32")


class ModelCase:
    """A model by its name, small; as wide as in its paper unless `filters` make it narrow.

    Args:
        slow: run it with the slow tests only.
        converted: convert it for other runtimes and train it, which takes most of a case's time.
            Options that leave out a part need neither: the other cases convert all that they have.
    """

    def __init__(self, model, shape, slow=False, converted=True, **arguments):
        self.model, self.shape, self.slow, self.arguments = model, shape, slow, arguments
        self.converted = converted
        self.name = " ".join([model, *(f"{k}={v}" for k, v in arguments.items())])

    def build(self):
        return models.create(
            self.model, input_shape=self.shape, backbone_weights=None, **self.arguments
        )

    def inputs(self, batch=3):
        """Whole numbers, so that they are the same as uint8 and as PNG."""
        pixels = np.random.default_rng(0).integers(0, 256, (batch, *self.shape))
        return pixels.astype("float32")


LAYERS = [
    LayerCase(layers.CaffePreprocessing, (5, 6, 3)),
    LayerCase(layers.CaffePreprocessing, (5, 6, 3), scale=0.5),
    LayerCase(layers.ContextAwareFeatureExtraction, (5, 6, 12), filters=4, dilations=(2, 3)),
    LayerCase(layers.SpatialRGA, (5, 6, 12), **SMALL),
    LayerCase(layers.SpatialRGA, (5, 6, 12), **SMALL, use_relation=False),
    LayerCase(layers.ChannelRGA, (5, 6, 12), **SMALL),
    LayerCase(layers.ChannelRGA, (5, 6, 12), **SMALL, use_feature=False),
    LayerCase(layers.RGA, (5, 6, 12), **SMALL, order="sc"),
    LayerCase(layers.RGA, (5, 6, 12), **SMALL, order="parallel", use_feature=False),
    LayerCase(layers.RGA, (5, 6, 12), **SMALL, order="sc", max_nodes=19),
    LayerCase(layers.SelfAttention, (5, 6, 12), ratio=3, value_ratio=1),
    LayerCase(layers.SelfAttention, (5, 6, 12), ratio=2, value_ratio=4),
    LayerCase(layers.NonLocal, (5, 6, 12), ratio=3),
    LayerCase(layers.SqueezeExcitation, (5, 6, 12), ratio=3),
    LayerCase(layers.CBAM, (5, 6, 12), order="sc", ratio=3, kernel_size=4),
    LayerCase(layers.CBAM, (5, 6, 12), order="parallel", ratio=3),
    LayerCase(layers.FullyConnectedAttention, (5, 6, 12), order="sc", ratio=3),
    LayerCase(layers.PFAChannelAttention, (5, 6, 12), ratio=3, penalty=0.5),
    LayerCase(layers.PFASpatialAttention, (5, 6, 12), kernel_size=3),
    LayerCase(layers.RecurrentConv2D, (5, 6, 12), filters=12, kernel_size=5, steps=2),
]
MODELS = [
    ModelCase("mobilerga", (64, 96, 3), filters=8, max_nodes=64),
    ModelCase("opensalicon", (96, 128, 3), filters=4),
    ModelCase(
        "opensalicon",
        (194, 266, 3),
        slow=True,
        converted=False,
        filters=4,
        streams=("coarse",),
        pixel_scale=1,
    ),
    ModelCase("pfa", (32, 48, 3), filters=8),
    ModelCase(
        "pfa",
        (32, 48, 3),
        slow=True,
        converted=False,
        filters=4,
        with_cpfe=False,
        with_ca=False,
        with_sa=False,
    ),
    ModelCase("sarn", (32, 48, 3), filters=8),
    ModelCase(
        "sarn",
        (32, 48, 3),
        slow=True,
        converted=False,
        filters=4,
        steps=0,
        self_attention=False,
    ),
    ModelCase("vggrga", (32, 48, 3), num_rga=0, multi_level_integration=False, filters=8),
    ModelCase("vggrga", (112, 128, 3), num_rga=1, filters=8, converted=False),
    ModelCase("vggrga", (32, 48, 3), num_rga=2, filters=8, attention="cbam_cs", converted=False),
    ModelCase("vggrga", (112, 128, 3), num_rga=3, filters=16, slow=True),
    ModelCase(
        "vggrga", (32, 48, 3), num_rga=5, filters=56, max_nodes=64, slow=True, converted=False
    ),
    ModelCase("vggrga", (112, 128, 3), num_rga=1, slow=True, converted=False),
    ModelCase(
        "vggrga", (64, 96, 3), slow=True, num_rga=1, filters=8, max_nodes=64, backbone="mobilenetv2"
    ),
    ModelCase(
        "vggrga", (64, 96, 3), slow=True, num_rga=2, filters=16, max_nodes=64, backbone="resnet50"
    ),
    ModelCase(
        "vggrga",
        (64, 96, 3),
        slow=True,
        num_rga=1,
        filters=8,
        attention="se",
        backbone="efficientnetv2b0",
    ),
    ModelCase("vggssm", (32, 48, 3), filters=8),
    ModelCase("vggssm", (32, 48, 3), slow=True, converted=False, filters=4, self_attention=False),
]
CASES = LAYERS + MODELS


def each(cases, quick=None):
    """Parametrizes a test. The slow cases are slow, and with `quick` all others but these."""
    params = [
        pytest.param(
            case,
            id=case.name,
            marks=pytest.mark.slow if case.slow or (quick and case not in quick) else (),
        )
        for case in cases
    ]
    return pytest.mark.parametrize("case", params)


# For what takes seconds a model: the first case of each, but of MobileNetV2, with its 53
# convolutions, which takes as long as all others together.
FIRST = list({case.model: case for case in reversed(MODELS) if case.model != "mobilerga"}.values())
CONVERTED = [case for case in MODELS if case.converted]
# Of the SavedModel, whose signatures are the same for all: each model once, and another encoder.
SERVED = [c for c in CONVERTED if c in FIRST or c.model == "mobilerga" or "resnet50" in c.name]

each_case, each_layer, each_model = each(CASES), each(LAYERS), each(MODELS)
each_quick_case = each([case for case in CASES if not case.slow])
each_converted_case = each(LAYERS + CONVERTED, LAYERS + FIRST)
each_converted_model = each(CONVERTED, FIRST)


@functools.cache
def trained(case):
    """The case's model as after some training; not to be changed.

    Its weights are not the initial ones, so that a test sees what is lost or swapped, and its
    batch statistics are near those of the inputs, so that no attention saturates.
    """
    keras.utils.set_random_seed(1)
    net = case.build()
    random = np.random.default_rng(1)
    for weight in net.trainable_weights:
        value = weight.numpy()
        weight.assign(value + 0.1 * (value.std() or 1) * random.normal(size=value.shape))
    norms = norms_of(net)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    net(case.inputs(), training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.moving_variance.assign(2 * norm.moving_variance)
    return net


def norms_of(net):
    return [x for x in net._flatten_layers() if isinstance(x, keras.layers.BatchNormalization)]


def predict(net, case, batch=3):
    return net(case.inputs(batch), training=False).numpy()


def assert_same(ours, wanted, tolerance):
    """Relative to the spread of the wanted values, or to what float32 can tell apart."""
    wanted = np.asarray(wanted, "float64")
    assert wanted.std() > 0
    atol = max(tolerance * np.ptp(wanted), 4 * np.finfo("float32").eps * abs(wanted).max())
    np.testing.assert_allclose(ours, wanted, rtol=0, atol=atol)
