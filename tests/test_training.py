"""Training end to end, narrow and short: the real commands on a few embedded displays."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_salnet import losses, metrics, models
from keras_salnet.cli import main
from keras_salnet.data import load_dataset, pipeline, popout
from keras_salnet.evaluation import evaluate
from keras_salnet.predictor import Predictor
from keras_salnet.training.fit import learning_rate_schedule, train
from keras_salnet.training.graph import training_graph
from keras_salnet.training.recipes import POPOUT, RECIPES, Recipe

NARROW = {"num_rga": 0, "filters": 8}  # graphs without attention trace in half the time
TINY = POPOUT.replace(model_args={"num_rga": 1, "filters": 8}, epochs=2, batch_size=4, augment=True)


@pytest.fixture(scope="session")
def displays(tmp_path_factory):
    """A folder of a few pop-out displays, in SALICON's layout."""
    folder = tmp_path_factory.mktemp("displays")
    popout.write(folder, {"train": 6, "val": 3, "test": 3})
    return folder


@pytest.fixture(scope="session")
def run(displays, tmp_path_factory):
    """A finished run on them."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    return train(TINY, load_dataset(displays), out)


@pytest.fixture(scope="session")
def images(displays):
    return sorted((displays / "images" / "test").iterdir())


def fit_weights(dataset, seed=0, augment=True, **compile_args):
    """Weights and history after an epoch."""
    keras.utils.set_random_seed(seed)
    net = models.create("vggrga", input_shape=(64, 64, 3), backbone_weights=None, **NARROW)
    graph = training_graph(net)
    graph.compile(
        "adam",
        loss=losses.SaliencyLoss(),
        weighted_metrics=losses.streaming_metrics(),
        **compile_args,
    )
    batches = pipeline.training_batches(
        dataset["train"], (64, 64), fit="pad", batch_size=4, seed=seed, augment=augment
    )
    history = graph.fit(batches, steps_per_epoch=2, verbose=0, shuffle=False)
    return net.get_weights(), history.history


# The run folder


def test_run_folder_holds_what_it_promises(run):
    assert {path.name for path in run.iterdir()} == {
        "best.weights.h5",
        "config.json",
        "history.csv",
        "logs",
        "model.keras",
        "model.tflite",
        "saved_model",
        "training.png",
    }
    assert (run / "saved_model" / "1" / "saved_model.pb").is_file()


def test_history_has_every_epoch(run):
    rows = list(csv.DictReader((run / "history.csv").open()))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    for key in ("loss", "kl", "cc", "sim", "val_loss", "val_kl", "val_cc", "val_sim"):
        assert all(np.isfinite(float(row[key])) for row in rows)


def test_loss_is_the_weighted_sum_of_the_metrics(run):
    for row in csv.DictReader((run / "history.csv").open()):
        kl, cc, sim = (float(row[f"val_{key}"]) for key in ("kl", "cc", "sim"))
        assert float(row["val_loss"]) == pytest.approx(10 * kl - cc - sim, rel=1e-4)


def test_config_says_how_to_repeat_the_run(run, displays):
    config = json.loads((run / "config.json").read_text())
    recipe = Recipe(**{**config["recipe"], "input_size": tuple(config["recipe"]["input_size"])})
    assert recipe == TINY
    assert config["data"] == str(displays)
    assert config["seed"] == 0
    assert config["versions"]["keras"] == keras.__version__


def test_model_has_the_best_weights_and_no_optimizer(run):
    model = models.load_model(run / "model.keras")
    assert getattr(model, "optimizer", None) is None
    best = models.create(
        "vggrga", input_shape=(128, 128, 3), backbone_weights=None, **TINY.model_args
    )
    best.load_weights(run / "best.weights.h5")
    for ours, theirs in zip(model.get_weights(), best.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_curves_are_a_picture(run):
    picture = cv2.imread(str(run / "training.png"))
    assert picture.shape[0] > 300
    assert picture.std() > 10


def test_a_run_is_never_overwritten(run, displays):
    before = (run / "model.keras").read_bytes()
    with pytest.raises(FileExistsError, match="--out"):
        train(TINY, load_dataset(displays), run)
    assert (run / "model.keras").read_bytes() == before


# What training does


def test_training_learns_two_displays(displays):
    dataset = load_dataset(displays)
    samples = dataset["train"][:2]
    keras.utils.set_random_seed(1)
    net = models.create(
        "vggrga", input_shape=(128, 128, 3), backbone_weights=None, filters=8, num_rga=1
    )
    graph = training_graph(net)
    graph.compile(
        keras.optimizers.Adam(5e-4),
        loss=losses.SaliencyLoss(),
        weighted_metrics=losses.streaming_metrics(),
    )
    batches = pipeline.training_batches(
        samples, (128, 128), fit="stretch", batch_size=2, seed=0, augment=False
    )
    history = graph.fit(batches, epochs=8, steps_per_epoch=12, verbose=0, shuffle=False)
    assert history.history["cc"][-1] > 0.95


def test_same_seed_same_weights(displays):
    dataset = load_dataset(displays)
    first, again = (fit_weights(dataset, seed=3)[0] for _ in range(2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.slow
def test_xla_trains_the_same(displays):
    dataset = load_dataset(displays)
    _, plain = fit_weights(dataset, jit_compile=False)
    _, compiled = fit_weights(dataset, jit_compile=True)
    for key, values in plain.items():
        np.testing.assert_allclose(values, compiled[key], rtol=2e-2, atol=1e-3, err_msg=key)


def test_streaming_metrics_equal_the_pure_functions(displays):
    dataset = load_dataset(displays)
    net = models.create("vggrga", input_shape=(64, 96, 3), backbone_weights=None, **NARROW)
    graph = training_graph(net)
    graph.compile("adam", loss=losses.SaliencyLoss(), weighted_metrics=losses.streaming_metrics())
    batches = pipeline.validation_batches(dataset["val"], (64, 96), fit="pad", batch_size=2)
    logs = graph.evaluate(batches, return_dict=True, verbose=0)
    expected = []
    for batch in batches:
        maps = net.predict_on_batch(batch["image"])
        for saliency, density, mask in zip(maps, batch["density"], batch["mask"], strict=True):
            inside = np.asarray(mask)[..., 0] > 0
            rows, columns = np.any(inside, 1), np.any(inside, 0)
            saliency = saliency[..., 0][rows][:, columns]
            density = np.asarray(density)[..., 0][rows][:, columns]
            expected.append(
                [
                    metrics.kl_divergence(saliency, density),
                    metrics.correlation_coefficient(saliency, density),
                    metrics.similarity(saliency, density),
                ]
            )
    ours = [logs[key] for key in ("kl", "cc", "sim")]
    np.testing.assert_allclose(ours, np.mean(expected, axis=0), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("mixed_precision", ["bfloat16", "float16"])
def test_mixed_precision_trains_and_exports_float32(displays, tmp_path, mixed_precision):
    recipe = TINY.replace(epochs=1)
    out = train(recipe, load_dataset(displays), tmp_path / "run", mixed_precision=mixed_precision)
    assert keras.config.dtype_policy().name == "float32"
    row = next(csv.DictReader((out / "history.csv").open()))
    assert np.isfinite(float(row["val_loss"]))
    model = models.load_model(out / "model.keras")
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}


@pytest.mark.slow
def test_init_starts_from_the_other_run(run, displays, tmp_path):
    recipe = TINY.replace(epochs=1, learning_rate=1e-9)
    out = train(recipe, load_dataset(displays), tmp_path / "run", init=run, seed=5)
    ours = models.load_model(out / "model.keras").trainable_weights
    theirs = models.load_model(run / "model.keras").trainable_weights
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-6)


@pytest.mark.slow
def test_init_lists_what_does_not_fit(run, displays, tmp_path, caplog):
    recipe = TINY.replace(epochs=1, model_args={"multi_level_integration": False})
    train(recipe, load_dataset(displays), tmp_path / "run", init=run)
    listed = [record.getMessage() for record in caplog.records if "init:" in record.getMessage()]
    (line,) = listed
    assert "decoder4_conv1" in line
    assert "block5_conv1" not in line


def test_nan_loss_stops_with_a_message(displays, tmp_path):
    recipe = TINY.replace(learning_rate=1e30, schedule="step", model_args=NARROW, epochs=1)
    with pytest.raises(FloatingPointError, match="--learning-rate"):
        train(recipe, load_dataset(displays), tmp_path / "run")


def test_an_unreadable_image_is_named(displays, tmp_path):
    folder = shutil.copytree(displays, tmp_path / "displays")
    broken = folder / "images" / "train" / "train_0002.jpg"
    broken.write_bytes(broken.read_bytes()[:2000])
    recipe = TINY.replace(model_args=NARROW, epochs=1)
    with pytest.raises(ValueError, match=r"train_0002\.jpg"):
        train(recipe, load_dataset(folder), tmp_path / "run")


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"decay_every": 0},
        {"schedule": "linear"},
    ],
)
def test_recipe_refuses(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        POPOUT.replace(**change)


def test_paper_recipe():
    recipe = RECIPES["vggrga"]
    assert recipe.model_args == {"num_rga": 3}
    assert (recipe.epochs, recipe.batch_size, recipe.input_size) == (10, 8, (256, 256))
    assert (recipe.kl, recipe.cc, recipe.sim) == (10, -1, -1)
    schedule = learning_rate_schedule(recipe, steps=5)
    rates = [float(schedule(step)) for step in range(50)]
    np.testing.assert_allclose(rates, np.repeat([1e-4, 1e-5, 1e-6, 1e-7], 15)[:50], rtol=1e-5)
    assert learning_rate_schedule(recipe.replace(epochs=3), steps=5) == 1e-4


def test_cosine_schedule_warms_up_and_ends_at_zero():
    recipe = POPOUT.replace(epochs=4, warmup_epochs=1)
    schedule = learning_rate_schedule(recipe, steps=10)
    rates = np.array([float(schedule(step)) for step in range(41)])
    np.testing.assert_allclose(rates[:11], np.linspace(0, recipe.learning_rate, 11), atol=1e-9)
    assert np.all(np.diff(rates[10:]) < 0)
    assert rates[40] == pytest.approx(0, abs=1e-9)
    flat = learning_rate_schedule(recipe.replace(warmup_epochs=0), steps=10)
    assert float(flat(0)) == pytest.approx(recipe.learning_rate)
    one = learning_rate_schedule(recipe.replace(epochs=1), steps=10)
    assert np.isfinite([float(one(step)) for step in range(10)]).all()


# Exports and predictions


def test_every_form_of_the_model_predicts_the_same(run, images):
    forms = (
        run,
        run / "model.keras",
        run / "saved_model",
        run / "saved_model" / "1",
        run / "model.tflite",
    )
    maps = [Predictor.load(form)(images[0]) for form in forms]
    for saliency in maps[1:]:
        np.testing.assert_allclose(saliency, maps[0], atol=1e-4)


FRESH = """
import json, sys
import numpy as np
import tensorflow as tf

loaded = tf.saved_model.load(sys.argv[1])
encoded = [open(path, "rb").read() for path in sys.argv[3:]]
serve = loaded.signatures
images = np.load(sys.argv[2])
answers = {
    "serving_default": serve["serving_default"](image=tf.constant(images, tf.float32)),
    "predict_uint8": serve["predict_uint8"](image=tf.constant(images, tf.uint8)),
    "predict_image_bytes": serve["predict_image_bytes"](image_bytes=tf.constant(encoded)),
}
assert "keras_salnet" not in sys.modules
np.savez(sys.argv[2] + ".answers.npz", **{k: v["saliency"].numpy() for k, v in answers.items()})
"""


def test_savedmodel_answers_without_this_package(run, images, tmp_path):
    net = models.load_model(run / "model.keras")
    batch = next(
        iter(
            pipeline.validation_batches(
                load_dataset(images[0].parents[2])["test"], (128, 128), fit="stretch", batch_size=3
            )
        )
    )
    pixels = np.round(batch["image"]).astype(np.uint8)
    np.save(tmp_path / "images.npy", pixels)
    subprocess.run(
        [sys.executable, "-c", FRESH, run / "saved_model" / "1", tmp_path / "images.npy", *images],
        check=True,
        cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    )
    answers = np.load(tmp_path / "images.npy.answers.npz")
    rounded = net.predict_on_batch(pixels.astype("float32"))
    np.testing.assert_allclose(answers["serving_default"], rounded, atol=1e-4)
    np.testing.assert_allclose(answers["predict_uint8"], rounded, atol=1e-4)
    exact = net.predict_on_batch(batch["image"])
    np.testing.assert_allclose(answers["predict_image_bytes"], exact, atol=1e-4)


def test_bytes_endpoint_reads_png_grey_and_alpha(run, tmp_path):
    serve = tf.saved_model.load(str(run / "saved_model" / "1")).signatures["predict_image_bytes"]
    colour = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    grey = np.ascontiguousarray(colour[..., 0])
    alpha = np.dstack([colour, np.full((50, 70), 200, np.uint8)])
    encoded = [cv2.imencode(".png", picture)[1].tobytes() for picture in (colour, grey, alpha)]
    maps = serve(image_bytes=tf.constant(encoded))["saliency"].numpy()
    assert maps.shape == (3, 128, 128, 1)
    np.testing.assert_allclose(maps[0], maps[2], atol=1e-5)


def test_evaluation_scores_model_and_centre_bias(run, displays, images, tmp_path):
    dataset = load_dataset(displays)
    predictor = Predictor.load(run)
    evaluation = evaluate(predictor, dataset)
    assert evaluation.split == "test"
    summary = evaluation.summary()
    assert list(summary) == ["tiny", "centre bias"]
    sample = dataset["test"][1]
    saliency, density = predictor(sample.image), sample.read_density(None)
    scores = evaluation.scores["tiny"]
    assert scores["CC"][1] == metrics.correlation_coefficient(saliency, density)
    assert scores["NSS"][1] == metrics.nss(saliency, sample.read_fixations())
    values = scores["KL"]
    assert summary["tiny"]["KL"]["mean"] == pytest.approx(values.mean())
    assert summary["tiny"]["KL"]["sem"] == pytest.approx(values.std(ddof=1) / 3**0.5)
    evaluation.write_json(tmp_path / "scores.json")
    written = json.loads((tmp_path / "scores.json").read_text())
    assert written["summary"] == summary
    assert written["images"] == [path.stem for path in images]


# The command line


def test_commands_in_a_row(displays, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(RECIPES, "vggrga", TINY)
    assert main(["train", "--data", str(displays), "--epochs", "1", "--no-augment"]) == 0
    assert "Trained: runs/" in capsys.readouterr().out
    assert main(["evaluate", "--json", "scores.json"]) == 0
    printed = capsys.readouterr().out
    assert "centre bias" in printed
    assert "AUC-Judd" in printed
    (out,) = Path("runs").iterdir()
    assert (out / "evaluation.json").read_text() == Path("scores.json").read_text()
    assert (
        main(
            [
                "train",
                "--init",
                str(out),
                "--data",
                str(displays),
                "--out",
                "nowhere/",
                "--num-rga",
                "7",
            ]
        )
        == 1
    )  # the run's own arguments, but for those given
    assert "num_rga" in capsys.readouterr().err
    assert main(["predict", str(displays / "images" / "test"), "--npy"]) == 0
    assert len(list(Path("predictions").iterdir())) == 9
    saliency = np.load("predictions/test_0000_saliency.npy")
    assert saliency.shape == (popout.SIZE, popout.SIZE)
    assert saliency.max() == 1
    grey = cv2.imread("predictions/test_0000_saliency.png", cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(grey, np.round(saliency * 255))
    assert main(["export", "--format", "tflite", "--out", "again.tflite"]) == 0
    np.testing.assert_allclose(
        Predictor.load("again.tflite")(displays / "images" / "test" / "test_0000.jpg"),
        saliency,
        atol=1e-4,
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["evaluate"], "no finished run"),
        (["evaluate", "nowhere"], "nowhere"),
        (["predict", "nowhere.jpg", "--model", "nowhere"], "nowhere"),
        (["train", "--data", "nowhere"], "nowhere"),
        (["train", "--epochs", "0"], "epochs"),
        (["export", "--out", "x.tflite"], "no finished run"),
    ],
)
def test_mistakes_are_told_in_a_line(arguments, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert told in captured.err
    assert list(tmp_path.iterdir()) == []


def test_predict_never_overwrites_and_names_what_it_cannot_read(
    run, images, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(images[0].read_bytes()[:100])
    command = ["predict", "--model", str(run), str(images[0]), str(broken)]
    assert main(command) == 1
    captured = capsys.readouterr()
    assert "1 of 2 images" in captured.out
    assert "broken.jpg" in captured.err
    assert sorted(p.name for p in Path("predictions").iterdir()) == [
        "test_0000_overlay.png",
        "test_0000_saliency.png",
    ]
    assert main(command) == 1
    assert "--force" in capsys.readouterr().err
    twin = tmp_path / "test_0000.png"
    cv2.imwrite(str(twin), np.zeros((8, 8, 3), np.uint8))
    assert main(["predict", "--model", str(run), str(images[0]), str(twin), "--force"]) == 1
    assert "would both be written" in capsys.readouterr().err


FAST = """
import sys, time
start = time.perf_counter()
import keras_salnet
took = time.perf_counter() - start
assert not {"tensorflow", "keras", "cv2", "scipy"} & set(sys.modules), sorted(sys.modules)
print(took)
"""


def test_importing_and_help_load_no_tensorflow():
    subprocess.run([sys.executable, "-c", FAST], check=True)
    code = (
        "import sys; from keras_salnet.cli import main\n"
        "try: main(['train', '--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'tensorflow', 'keras', 'cv2', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


# The default command, as the README has it


@pytest.mark.slow
def test_default_command_beats_the_centre_bias(tmp_path):
    """`python train.py --epochs 10` on the embedded displays: the promise of the README."""
    root = Path(__file__).parents[1]
    for command in (["train.py", "--epochs", "10", "--out", "run"], ["evaluate.py", "run"]):
        subprocess.run([sys.executable, root / command[0], *command[1:]], check=True, cwd=tmp_path)
    summary = json.loads((tmp_path / "run" / "evaluation.json").read_text())["summary"]
    model, bias = summary["run"], summary["centre bias"]
    assert model["CC"]["mean"] > bias["CC"]["mean"] + 0.2
    assert model["NSS"]["mean"] > bias["NSS"]["mean"] + 1
    assert model["KL"]["mean"] < bias["KL"]["mean"]
