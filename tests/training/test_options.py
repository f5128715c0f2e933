"""What a recipe's options do to the training."""

import csv
import dataclasses
import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from keras_salnet import models
from keras_salnet.cli import main
from keras_salnet.data import load_dataset, pipeline, popout
from keras_salnet.training import callbacks
from keras_salnet.training import run as training
from keras_salnet.training.recipes import POPOUT, RECIPES, fine_tuning

NARROW = {"num_rga": 0, "filters": 8}
TINY = POPOUT.replace(model_args=NARROW, input_size=(32, 32), batch_size=2, epochs=2)


@pytest.fixture(scope="module")
def displays(tmp_path_factory):
    folder = tmp_path_factory.mktemp("displays")
    popout.write(folder, {"train": 5, "val": 2, "test": 1})
    return folder


@pytest.fixture
def train(displays, tmp_path, monkeypatch):
    """Trains by a recipe, without the exports: → its run folder."""
    for name in ("export_savedmodel", "export_tflite", "plot_curves"):
        monkeypatch.setattr(training, name, lambda *arguments, **options: None)
    return lambda recipe: training.train(recipe, load_dataset(displays), tmp_path / "run")


def after_steps(recipe, gradients):
    """Two weights, and their first moments, after some steps by a recipe's optimizer."""
    weights = [keras.Variable([1.0]), keras.Variable([1.0])]
    layer = SimpleNamespace(weights=weights[1:])
    optimizer = training._optimizer(recipe.learning_rate, [layer], recipe)
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor([part]) for part in gradient], weights)
    moments = getattr(optimizer, "_momentums", [])  # Adam's
    return [float(weight[0]) for weight in weights], [float(moment[0]) for moment in moments]


each_rate = pytest.mark.parametrize("encoder_rate", [1.0, 0.5])


@each_rate
def test_accumulation_steps_by_the_mean_gradient(encoder_rate):
    recipe = TINY.replace(encoder_rate=encoder_rate)
    first, second = (3.0, -1.0), (1.0, 4.0)
    twice = recipe.replace(accumulate=2)
    assert after_steps(twice, [first]) == ([1.0, 1.0], [0.0, 0.0])
    weights, _ = after_steps(twice, [first, second])
    assert weights == pytest.approx(after_steps(recipe, [(2.0, 1.5)])[0])
    assert weights != pytest.approx(after_steps(recipe, [first, second])[0])


@each_rate
def test_clipping_bounds_all_gradients_together(encoder_rate):
    recipe = TINY.replace(clip_norm=1.0, encoder_rate=encoder_rate)
    _, moments = after_steps(recipe, [(3.0, 4.0)])
    assert moments == pytest.approx([0.1 * 0.6, 0.1 * 0.8])
    _, moments = after_steps(recipe, [(0.3, 0.4)])
    assert moments == pytest.approx([0.1 * 0.3, 0.1 * 0.4]), "short ones stay"


def test_the_average_is_validated_and_kept(train, displays, monkeypatch):
    trained = []

    class Recording(callbacks.StopAtNaN):
        def on_train_batch_end(self, batch, logs=None):
            trained.append(self.best.net.get_weights())

    monkeypatch.setattr(training, "StopAtNaN", Recording)
    run = train(TINY.replace(ema=0.7, schedule="step"))
    assert len(trained) == 6
    average, averages = trained[0], []
    for step, weights in enumerate(trained):
        if step:
            average = [0.7 * a + 0.3 * w for a, w in zip(average, weights, strict=True)]
        averages.append(average)

    rows = list(csv.DictReader((run / "history.csv").open()))
    best = int(np.argmin([float(row["val_loss"]) for row in rows]))
    net = models.load_model(run / "model.keras")
    for ours, theirs in zip(net.get_weights(), averages[3 * best + 2], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    distance = [
        np.abs(ours - theirs).max()
        for ours, theirs in zip(net.get_weights(), trained[3 * best + 2], strict=True)
    ]
    assert max(distance) > 1e-4, "not the weights themselves"

    graph = training.training_graph(net)
    graph.compile(loss=training.losses.SaliencyLoss(10, -1, -1))
    batches = pipeline.validation_batches(
        load_dataset(displays)["val"], (32, 32), resize="stretch", batch_size=2
    )
    loss = graph.evaluate(batches, verbose=0)
    assert loss == pytest.approx(float(rows[best]["val_loss"]), rel=1e-4)


# Which counts first, and so is the best; two after it are no better.
@pytest.mark.slow
@pytest.mark.parametrize(("frozen", "first"), [(2, 3), (9, 1)])
def test_training_stops_early_once_nothing_is_frozen(frozen, first, displays, train, tmp_path):
    """Or from the start, where everything stays so."""
    start = tmp_path / "start.weights.h5"
    net = models.create("vggrga", input_shape=(32, 32, 3), backbone_weights=None, **NARROW)
    net.save_weights(start)
    recipe = TINY.replace(
        early_stopping=2, freeze_encoder=frozen, epochs=8, schedule="step", learning_rate=1e-12
    )
    run = training.train(recipe, load_dataset(displays), tmp_path / "run", init=start)
    rows = list(csv.DictReader((run / "history.csv").open()))
    assert len({row["val_loss"] for row in rows}) == 1
    assert len(rows) == first + 2
    assert not (run / training.RECORD).exists()


def test_options_reach_the_recipe_and_the_run(displays, tmp_path, monkeypatch):
    def no_fit(graph, *others):
        raise FloatingPointError("not fitted")

    monkeypatch.setattr(training, "_fit", no_fit)
    out = tmp_path / "out"
    options = "--accumulate 4 --clip-norm 2.5 --ema 0.99 --early-stopping 3 --schedule cosine"
    size = "--warmup 0.5 --input-size 32 --num-rga 0 --backbone-weights none --deterministic"
    command = ["train", "--data", str(displays), *options.split(), *size.split()]
    monkeypatch.setattr(training, "_make_deterministic", lambda: None)
    assert main([*command, "--no-jit", "--out", str(out)]) == 1
    config = json.loads((out / "config.json").read_text())
    assert (config["deterministic"], config["jit"], config["seed"]) == (True, False, 0)
    recipe = training.Recipe(**config["recipe"])
    assert recipe == RECIPES["vggrga"].replace(
        accumulate=4,
        clip_norm=2.5,
        ema=0.99,
        early_stopping=3,
        schedule="cosine",
        warmup_epochs=0.5,
        input_size=(32, 32),
        model_args={"num_rga": 0},
        backbone_weights=None,
    )


def test_recipe_of_another_model(tmp_path, monkeypatch, displays):
    recipes = []
    monkeypatch.setattr(
        training, "train", lambda recipe, *_, **__: recipes.append(recipe) or tmp_path
    )
    command = ["train", "--data", str(displays)]
    options = "--max-time 2.5 --loss cross_entropy --optimizer sgd --weight-decay 1e-4"
    assert main([*command, "--recipe", "pfa"]) == 0
    assert main([*command, "--recipe", "pfa", "--model", "vggrga", "--num-rga", "2"]) == 0
    assert main([*command, "--model", "sarn", "--recipe", "opensalicon", "--max-time", "none"]) == 0
    assert main([*command, *options.split(), "--frozen-stages", "3", "--augment"]) == 0
    assert main([*command, "--model", "pfa", "--augment", "none"]) == 0
    pfa = RECIPES["pfa"]
    assert recipes == [
        pfa,
        pfa.replace(model="vggrga", model_args={"num_rga": 2}),
        RECIPES["opensalicon"].replace(model="sarn", max_time=None),
        RECIPES["vggrga"].replace(
            max_time=2.5,
            loss="cross_entropy",
            optimizer="sgd",
            weight_decay=1e-4,
            frozen_stages=3,
            augment="gaze",
        ),
        pfa.replace(augment=None),
    ]


def test_a_trained_model_goes_on_as_what_it_is(tmp_path, monkeypatch, displays):
    began = []
    monkeypatch.setattr(
        training, "train", lambda recipe, *_, **__: began.append(recipe) or tmp_path
    )
    run = tmp_path / "run"
    run.mkdir()
    trained = RECIPES["pfa"].replace(model_args={"filters": 4}, input_size=(64, 96))
    content = {"recipe": dataclasses.asdict(trained), "data": ["somewhere"]}
    (run / "config.json").write_text(json.dumps(content))
    command = ["train", "--data", str(displays), "--init"]
    assert main([*command, str(run)]) == 0
    assert main([*command, str(run / "best.weights.h5"), "--epochs", "3"]) == 0
    assert main([*command, str(run), "--recipe", "accurate", "--model-arg", "with_ca=false"]) == 0
    assert main([*command, str(run), "--model", "vggssm"]) == 0
    assert main([*command, "fast"]) == 0
    shape = {"input_size": (64, 96), "resize": "pad"}
    by_name = RECIPES["accurate"].replace(model="pfa", **shape)
    assert began == [
        fine_tuning(trained),
        fine_tuning(trained).replace(epochs=3),
        dataclasses.replace(by_name, model_args={"filters": 4, "with_ca": False}),
        fine_tuning(RECIPES["vggssm"]),
        fine_tuning(RECIPES["mobilerga"]),
    ]
    assert (began[0].loss, began[0].optimizer, began[0].augment) == ("edge_hold", "adam", "objects")
    assert began[3].freeze_encoder == RECIPES["vggssm"].freeze_encoder, "its paper never trains it"
    assert (began[4].freeze_encoder, began[4].ema, began[4].augment) == (1, None, "gaze")


def test_arguments_of_the_model(tmp_path, monkeypatch, displays, capsys):
    recipes = []
    monkeypatch.setattr(
        training, "train", lambda recipe, *_, **__: recipes.append(recipe) or tmp_path
    )
    given = ["filters=4", "with_ca=false", 'streams=["fine"]', "attention=se", "name=a=b"]
    options = [part for argument in given for part in ("--model-arg", argument)]
    command = ["train", "--data", str(displays), *options]
    assert main([*command, "--model", "pfa"]) == 0
    assert main([*command, "--attention", "cbam_s"]) == 0
    wanted = {"filters": 4, "with_ca": False, "streams": ["fine"], "attention": "se", "name": "a=b"}
    assert recipes[0].model_args == wanted
    assert recipes[1].model_args == {**wanted, "num_rga": 3, "attention": "cbam_s"}
    for wrong in ("filters", "=4", "a b=4"):
        with pytest.raises(SystemExit):
            main(["train", "--model-arg", wrong])
        assert f"{wrong!r} is not NAME=VALUE, such as filters=32" in capsys.readouterr().err


def rates(recipe, steps, epochs):
    """The learning rate at each epoch's first step."""
    schedule = training.learning_rate_schedule(recipe, steps)
    return [float(schedule(steps * epoch)) for epoch in range(epochs)]


def test_learning_rates_of_the_papers():
    pfa = RECIPES["pfa"]
    assert rates(pfa, 480, 50) == pytest.approx([1e-2] * 25 + [1e-3] * 25)
    assert rates(pfa.replace(epochs=3), 480, 3) == pytest.approx([1e-2, 1e-2, 1e-3])
    # Of the sum over the cells of its map: 1e-6, divided by ten every 4000 steps.
    salicon = RECIPES["opensalicon"]
    assert rates(salicon, 500, 17) == pytest.approx(
        [1900e-6] * 8 + [1900e-7] * 8 + [1900e-8], rel=1e-5
    )
    assert salicon.weight_decay * salicon.learning_rate == pytest.approx(1e-6 * 5e-4)


def test_sgd_has_momentum_and_decay():
    recipe = TINY.replace(optimizer="sgd", learning_rate=0.1, weight_decay=0.5)
    for encoder_rate in (1.0, 0.5):
        (weight, scaled), _ = after_steps(
            recipe.replace(encoder_rate=encoder_rate), [(2.0, 2.0), (0.0, 0.0)]
        )
        # Decay, then 0.1 · 2, and 0.9 of it once more.
        wanted = (1 * 0.95 - 0.2) * 0.95 - 0.18
        assert weight == pytest.approx(wanted)
        kept = 1 - 0.05 * encoder_rate
        assert scaled == pytest.approx((kept - 0.2 * encoder_rate) * kept - 0.18 * encoder_rate)


@pytest.mark.slow
def test_training_ends_by_the_clock(displays, train, tmp_path, monkeypatch):
    """At a batch; what was spent before an interruption counts."""
    hours = iter(range(1000))
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: 3600.0 * next(hours))
    batches = []
    monkeypatch.setattr(
        callbacks.StopAtNaN,
        "on_train_batch_end",
        lambda self, batch, logs=None: batches.append((self.epoch, batch)),
    )
    recipe = TINY.replace(epochs=9, max_time=7 * 60.0, schedule="step", freeze_encoder=0)
    run = train(recipe)
    assert batches == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)]
    assert len((run / "history.csv").read_text().splitlines()) == 1 + 3
    assert (run / "model.keras").exists()

    batches.clear()
    monkeypatch.setattr(training, "BestWeights", killed_after(2))
    with pytest.raises(MemoryError):
        training.train(recipe, load_dataset(displays), tmp_path / "killed")
    assert len(batches) == 6
    monkeypatch.setattr(training, "BestWeights", callbacks.BestWeights)
    training.resume(tmp_path / "killed")
    assert batches[6:] == [(1, 0), (1, 1), (1, 2), (2, 0)]


def killed_after(epochs):
    class Killing(callbacks.BestWeights):
        def on_epoch_end(self, epoch, logs=None):
            if epoch + 1 == epochs:
                raise MemoryError
            super().on_epoch_end(epoch, logs)

    return Killing


def test_a_warm_up_needs_the_cosine(displays, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--data", str(displays), "--warmup", "2"])
    assert stopped.value.code == 2
    assert "--warmup is for --schedule cosine" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        {"accumulate": 0},
        {"clip_norm": 0.0},
        {"clip_norm": float("nan")},
        {"ema": 1.0},
        {"ema": 0.0},
        {"early_stopping": 0},
        {"max_time": 0},
        {"weight_decay": -0.1},
        {"optimizer": "adamw"},
        {"loss": "mse"},
        {"augment": True},
        {"frozen_stages": -1},
    ],
)
def test_recipe_refuses(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        TINY.replace(**change)
