"""Scaled optimizers against Keras's: one of its own for each learning rate."""

from importlib import util
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from keras_salnet.training.optimizer import ScaledAdam, ScaledSGD, build_optimizer
from keras_salnet.training.recipes import POPOUT

SHAPES = [(3,), (2, 4), (), (5,)]
ALL, SCALED, OTHERS = [0, 1, 2, 3], [1, 3], [0, 2]
RATE = 0.1
SCHEDULE = keras.optimizers.schedules.PiecewiseConstantDecay([2], [1.0, 0.01])


def variables():
    random = np.random.default_rng(0)
    return [keras.Variable(random.normal(size=shape)) for shape in SHAPES]


def after_steps(optimizer, changed, of=ALL, steps=6, scale=1):
    """Values of the variables after some steps on those numbered `of`."""
    random = np.random.default_rng(1)
    for _ in range(steps):
        gradients = [scale * random.normal(size=shape).astype("float32") for shape in SHAPES]
        optimizer.apply([gradients[i] for i in of], [changed[i] for i in of])
    return [variable.numpy() for variable in changed]


def scaled_adam(rate, changed, factor):
    return ScaledAdam(rate, [changed[i] for i in SCALED], factor)


@pytest.mark.parametrize("rate", [RATE, SCHEDULE])
def test_factor_one_is_adam(rate):
    changed = variables()
    ours = after_steps(scaled_adam(rate, changed, 1.0), changed)
    theirs = after_steps(keras.optimizers.Adam(rate), variables())
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


class Scaled(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, schedule, factor):
        self.schedule, self.factor = schedule, factor

    def __call__(self, step):
        return self.schedule(step) * self.factor


OPTIMIZERS = [
    (ScaledAdam, keras.optimizers.Adam, {}),
    (ScaledSGD, keras.optimizers.SGD, {"momentum": 0.9}),
    (ScaledAdam, keras.optimizers.Adam, {"weight_decay": 0.3}),
    (ScaledSGD, keras.optimizers.SGD, {"weight_decay": 0.3}),
]


@pytest.mark.parametrize(("scaled", "plain", "options"), OPTIMIZERS)
@pytest.mark.parametrize("factor", [0.1, 0.5, 3.0])
@pytest.mark.parametrize("rate", [RATE, SCHEDULE])
def test_a_factor_is_a_learning_rate_of_its_own(rate, factor, scaled, plain, options):
    changed = variables()
    chosen = [changed[i] for i in SCALED]
    ours = after_steps(scaled(rate, chosen, factor, **options), changed)

    expected = variables()
    after_steps(plain(rate, **options), expected, OTHERS)
    rate = rate * factor if rate is RATE else Scaled(rate, factor)
    after_steps(plain(rate, **options), expected, SCALED)
    for a, b, before in zip(ours, expected, variables(), strict=True):
        assert np.all(a != before.numpy())
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-5)


def test_factor_zero_changes_nothing():
    changed = variables()
    after = after_steps(scaled_adam(RATE, changed, 0), changed)
    for i, before in enumerate(variables()):
        assert np.array_equal(after[i], before.numpy()) == (i in SCALED)


def test_variables_that_are_not_trained_do_no_harm():
    """As where a frozen encoder's are scaled."""
    changed = variables()
    ours = after_steps(scaled_adam(RATE, changed, 0.5), changed, of=OTHERS)
    theirs = after_steps(keras.optimizers.Adam(RATE), variables(), of=OTHERS)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_under_loss_scaling():
    """As training in float16 wraps it."""
    scaled, plain = variables(), variables()
    optimizer = keras.optimizers.LossScaleOptimizer(scaled_adam(RATE, scaled, 0.5), 8.0)
    ours = after_steps(optimizer, scaled, scale=8)
    theirs = after_steps(scaled_adam(RATE, plain, 0.5), plain)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


# A loss that is linear in the weights has gradients that do not depend on them, so that each layer
# of a fit with two rates moves as in a fit with its own rate alone.
FIT = """
import sys

import keras
import numpy as np

from keras_salnet.training.optimizer import ScaledAdam

assert keras.backend.backend() == sys.argv[1]
random = np.random.default_rng(0)
x, y = random.normal(size=(12, 3)).astype("float32"), np.zeros((12, 1), "float32")
start = [random.normal(size=shape) for shape in ((3, 1), (1,), (3, 1), (1,))]


def fit(optimizer, jit):
    inputs = keras.Input((3,))
    encoder, decoder = (keras.layers.Dense(1, name=name) for name in ("encoder", "decoder"))
    model = keras.Model(inputs, encoder(inputs) + decoder(inputs))
    model.set_weights(start)
    model.compile(
        optimizer(encoder), loss=lambda y_true, y_pred: keras.ops.mean(y_pred), jit_compile=jit
    )
    model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)
    return encoder.get_weights(), decoder.get_weights()


schedule = keras.optimizers.schedules.PiecewiseConstantDecay([2], [0.1, 0.01])
slow = keras.optimizers.schedules.PiecewiseConstantDecay([2], [0.025, 0.0025])
_, decoder = fit(lambda encoder: keras.optimizers.Adam(schedule), jit=False)
encoder, _ = fit(lambda encoder: keras.optimizers.Adam(slow), jit=False)
for jit in (False, True) if sys.argv[1] != "torch" else (False,):
    ours = fit(lambda encoder: ScaledAdam(schedule, encoder.weights, 0.25), jit)
    for wanted, got in zip((*encoder, *decoder), (*ours[0], *ours[1]), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
assert not np.allclose(encoder[0], start[0]) and not np.allclose(decoder[0], start[2])
"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_fit_on_every_backend(run_python, backend):
    """With and without XLA."""
    if util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    run_python(FIT, backend, backend=backend)


# The optimizer of a recipe


def after_steps_by(recipe, gradients):
    """Two weights, and their first moments, after some steps by a recipe's optimizer."""
    weights = [keras.Variable([1.0]), keras.Variable([1.0])]
    layer = SimpleNamespace(weights=weights[1:])
    optimizer = build_optimizer(recipe, recipe.learning_rate, [layer])
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor([part]) for part in gradient], weights)
    moments = getattr(optimizer, "_momentums", [])  # Adam's
    return [float(weight[0]) for weight in weights], [float(moment[0]) for moment in moments]


each_rate = pytest.mark.parametrize("encoder_rate", [1.0, 0.5])


@each_rate
def test_accumulation_steps_by_the_mean_gradient(encoder_rate):
    recipe = POPOUT.replace(encoder_rate=encoder_rate)
    first, second = (3.0, -1.0), (1.0, 4.0)
    twice = recipe.replace(accumulate=2)
    assert after_steps_by(twice, [first]) == ([1.0, 1.0], [0.0, 0.0])
    weights, _ = after_steps_by(twice, [first, second])
    assert weights == pytest.approx(after_steps_by(recipe, [(2.0, 1.5)])[0])
    assert weights != pytest.approx(after_steps_by(recipe, [first, second])[0])


@each_rate
def test_clipping_bounds_all_gradients_together(encoder_rate):
    recipe = POPOUT.replace(clip_norm=1.0, encoder_rate=encoder_rate)
    _, moments = after_steps_by(recipe, [(3.0, 4.0)])
    assert moments == pytest.approx([0.1 * 0.6, 0.1 * 0.8])
    _, moments = after_steps_by(recipe, [(0.3, 0.4)])
    assert moments == pytest.approx([0.1 * 0.3, 0.1 * 0.4]), "short ones stay"


def test_sgd_has_momentum_and_decay():
    recipe = POPOUT.replace(optimizer="sgd", learning_rate=0.1, weight_decay=0.5)
    for encoder_rate in (1.0, 0.5):
        (weight, scaled), _ = after_steps_by(
            recipe.replace(encoder_rate=encoder_rate), [(2.0, 2.0), (0.0, 0.0)]
        )
        # Decay, then 0.1 · 2, and 0.9 of it once more.
        wanted = (1 * 0.95 - 0.2) * 0.95 - 0.18
        assert weight == pytest.approx(wanted)
        kept = 1 - 0.05 * encoder_rate
        assert scaled == pytest.approx((kept - 0.2 * encoder_rate) * kept - 0.18 * encoder_rate)
