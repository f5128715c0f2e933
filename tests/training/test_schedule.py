"""Learning rates of the recipes, and from a later step on."""

import keras
import numpy as np
import pytest

from keras_salnet.training.recipes import POPOUT, RECIPES
from keras_salnet.training.schedule import learning_rate_schedule, starting_at


def rates(recipe, steps, epochs):
    """The learning rate at each epoch's first step."""
    schedule = learning_rate_schedule(recipe, steps)
    return [float(schedule(steps * epoch)) for epoch in range(epochs)]


def test_learning_rates_of_the_papers():
    vggrga = RECIPES["vggrga"]
    assert rates(vggrga, 5, 10) == pytest.approx(
        [1e-4] * 3 + [1e-5] * 3 + [1e-6] * 3 + [1e-7], rel=1e-5
    )
    assert learning_rate_schedule(vggrga.replace(epochs=3), steps=5) == 1e-4
    pfa = RECIPES["pfa"]
    assert rates(pfa, 480, 50) == pytest.approx([1e-2] * 25 + [1e-3] * 25)
    assert rates(pfa.replace(epochs=3), 480, 3) == pytest.approx([1e-2, 1e-2, 1e-3])
    # For the sum over the cells of its map: 1e-6, divided by ten every 4000 steps.
    salicon = RECIPES["opensalicon"]
    assert rates(salicon, 500, 17) == pytest.approx(
        [1900e-6] * 8 + [1900e-7] * 8 + [1900e-8], rel=1e-5
    )
    assert salicon.weight_decay * salicon.learning_rate == pytest.approx(1e-6 * 5e-4)


def test_the_step_is_at_the_first_step_of_an_epoch():
    schedule = learning_rate_schedule(RECIPES["vggrga"], steps=5)
    steps = [float(schedule(step)) for step in range(50)]
    np.testing.assert_allclose(steps, np.repeat([1e-4, 1e-5, 1e-6, 1e-7], 15)[:50], rtol=1e-5)


def test_cosine_schedule_warms_up_and_ends_at_zero():
    recipe = POPOUT.replace(epochs=4, warmup_epochs=1)
    schedule = learning_rate_schedule(recipe, steps=10)
    steps = np.array([float(schedule(step)) for step in range(41)])
    np.testing.assert_allclose(steps[:11], np.linspace(0, recipe.learning_rate, 11), atol=1e-9)
    assert np.all(np.diff(steps[10:]) < 0)
    assert steps[40] == pytest.approx(0, abs=1e-9)
    flat = learning_rate_schedule(recipe.replace(warmup_epochs=0), steps=10)
    assert float(flat(0)) == pytest.approx(recipe.learning_rate)
    one = learning_rate_schedule(recipe.replace(epochs=1), steps=10)
    assert np.isfinite([float(one(step)) for step in range(10)]).all()


def test_a_schedule_from_a_later_step_on():
    schedule = keras.optimizers.schedules.CosineDecay(1.0, 20, warmup_target=2.0, warmup_steps=5)
    for first in (0, 3, 12):
        later = starting_at(schedule, first)
        for step in range(8):
            assert float(later(step)) == float(schedule(step + first))
    assert starting_at(1e-3, 12) == 1e-3
