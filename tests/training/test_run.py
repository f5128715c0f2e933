"""The run folder, what a run starts from, and what is refused."""

import contextlib
import csv
import json
import shutil

import cv2
import keras
import numpy as np
import pytest

from keras_salnet import models
from keras_salnet.data import load_dataset
from keras_salnet.runs import Run
from keras_salnet.training import Recipe, train
from keras_salnet.training.lock import locked


def rows_of(run):
    with (run / "history.csv").open() as file:
        return list(csv.DictReader(file))


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
    rows = rows_of(run)
    assert [row["epoch"] for row in rows] == ["0", "1"]
    for key in ("loss", "kl", "cc", "sim", "val_loss", "val_kl", "val_cc", "val_sim"):
        assert all(np.isfinite(float(row[key])) for row in rows)


def test_loss_is_the_weighted_sum_of_the_metrics(run):
    for row in rows_of(run):
        kl, cc, sim = (float(row[f"val_{key}"]) for key in ("kl", "cc", "sim"))
        assert float(row["val_loss"]) == pytest.approx(10 * kl - cc - sim, rel=1e-4)


def test_config_says_how_to_repeat_the_run(run, small, displays):
    config = json.loads((run / "config.json").read_text())
    assert Recipe(**config["recipe"]) == small.replace(augment="gaze", schedule="cosine")
    assert config["data"] == str(displays)
    assert (config["seed"], config["jit"], config["deterministic"]) == (0, "auto", False)
    assert config["versions"]["keras"] == keras.__version__


def test_model_has_the_best_weights_and_no_optimizer(run, small):
    model = models.load_model(run / "model.keras")
    assert getattr(model, "optimizer", None) is None
    best = models.create(
        small.model,
        input_shape=(*small.input_size, 3),
        backbone_weights=None,
        **small.model_args,
    )
    best.load_weights(run / "best.weights.h5")
    for ours, theirs in zip(model.get_weights(), best.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_curves_are_a_picture(run):
    picture = cv2.imread(str(run / "training.png"))
    assert picture.shape[0] > 300
    assert picture.std() > 10


def test_a_run_is_never_overwritten(run, small, dataset):
    before = (run / "model.keras").read_bytes()
    with pytest.raises(FileExistsError, match="tiny already exists; choose another --out"):
        train(small, dataset, run)
    assert (run / "model.keras").read_bytes() == before


@pytest.mark.parametrize("other", ["trains", "has begun"])
def test_two_runs_that_begin_in_one_folder(small, dataset, tmp_path, other):
    """Both find it empty, and one is the first to write there."""
    run = tmp_path / "run"
    with contextlib.ExitStack() as stack:

        def meanwhile(items, description):
            run.mkdir()
            stack.enter_context(locked(run))
            (run / "config.json").write_text("the other's")
            if other == "has begun":
                stack.close()
            return items

        with pytest.raises((BlockingIOError, FileExistsError), match=f"{run}: another "):
            train(small, dataset, run, track=meanwhile)
        assert (run / "config.json").read_text() == "the other's"


def test_a_folder_that_cannot_be_written(small, dataset):
    with pytest.raises(OSError, match="/proc/run"):
        train(small, dataset, "/proc/run")


# What a run starts from


@pytest.mark.slow
@pytest.mark.parametrize("mixed_precision", ["bfloat16", "float16"])
def test_mixed_precision_trains_and_keeps_float32(small, dataset, tmp_path, mixed_precision):
    out = train(
        small.replace(epochs=1),
        dataset,
        tmp_path / "run",
        mixed_precision=mixed_precision,
        exports=False,
        callbacks=[computes_in(mixed_precision)],
    )
    assert keras.config.dtype_policy().name == "float32"
    (row,) = rows_of(out)
    assert np.isfinite(float(row["val_loss"]))
    model = models.load_model(out / "model.keras")
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    assert not (out / "saved_model").exists()
    assert not (out / "model.tflite").exists()


def computes_in(dtype):
    class ComputesIn(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            net = self.model.get_layer("opensalicon")
            assert net.get_layer("fine_block5_conv3").compute_dtype == dtype

    return ComputesIn()


def test_init_lists_what_does_not_fit(run, small, dataset, tmp_path, caplog, failing):
    recipe = small.replace(model_args={"streams": ["fine", "coarse"]})
    with pytest.raises(FloatingPointError, match="not fitted"):
        train(
            recipe,
            dataset,
            tmp_path / "run",
            init=run,
            callbacks=[failing(FloatingPointError("not fitted"))],
        )
    (line,) = (r.getMessage() for r in caplog.records if "init:" in r.getMessage())
    assert "coarse_block5_conv1" in line
    assert "saliency" in line, "of twice as many channels"
    assert "fine_block5_conv1" not in line


def test_random_weights_are_not_frozen(small, dataset, tmp_path):
    recipe = small.replace(freeze_encoder=1)
    with pytest.raises(ValueError, match=r"freeze_encoder.*--backbone-weights or --init"):
        train(recipe, dataset, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_paths_of_weights_are_kept_whole(run, small, dataset, tmp_path, monkeypatch, failing):
    """A run may be resumed from another folder."""
    monkeypatch.chdir(run.parent)
    stop = failing(FloatingPointError("not fitted"))
    with pytest.raises(FloatingPointError, match="not fitted"):
        train(small, dataset, tmp_path / "run", init="tiny/best.weights.h5", callbacks=[stop])
    assert Run(tmp_path / "run").config["init"] == str(run / "best.weights.h5")
    with pytest.raises(ValueError, match=f"'{run.parent}/nowhere.h5' fit filters=64 only"):
        train(small.replace(backbone_weights="nowhere.h5"), dataset, tmp_path / "other")


def test_an_argument_that_the_loss_does_not_have(small, dataset, tmp_path):
    recipe = small.replace(loss_args={"alpha": 0.5})
    with pytest.raises(ValueError, match="saliency has no alpha; it has: kl, cc, sim"):
        train(recipe, dataset, tmp_path / "run")
    assert not (tmp_path / "run").exists()


# Errors, and data with bad files


def truncate(path):
    path.write_bytes(path.read_bytes()[:2000])


@pytest.fixture
def broken(displays, tmp_path):
    """A copy of the displays with a truncated image and an empty map."""
    folder = shutil.copytree(displays, tmp_path / "broken")
    truncate(folder / "images" / "train" / "train_0002.jpg")
    cv2.imwrite(str(folder / "maps" / "val" / "val_0001.png"), np.zeros((480, 480), np.uint8))
    return folder


def test_unreadable_files_are_named(displays, small, tmp_path):
    """Where the data was not checked before."""
    folder = shutil.copytree(displays, tmp_path / "displays")
    dataset = load_dataset(folder)
    truncate(folder / "images" / "train" / "train_0002.jpg")
    (folder / "maps" / "val" / "val_0001.png").unlink()
    with pytest.raises(ValueError, match=r"(?s)2 of 11 images.*train_0002\.jpg.*val_0001\.png"):
        train(small, dataset, tmp_path / "run")


def test_skip_bad_trains_on_the_rest(broken, dataset, small, tmp_path, caplog, failing):
    with pytest.raises(FloatingPointError, match="not fitted"):
        train(
            small,
            load_dataset(broken),
            tmp_path / "run",
            skip_bad=True,
            callbacks=[failing(FloatingPointError("not fitted"))],
        )
    rest = dataset.replace(
        {
            "train": [s for s in dataset["train"] if s.name != "train_0002"],
            "val": [s for s in dataset["val"] if s.name != "val_0001"],
        }
    )
    samples = Run(tmp_path / "run").config["samples"]
    assert samples == {split: rest.fingerprint(split) for split in ("train", "val")}
    assert (samples["train"]["images"], samples["val"]["images"]) == (4, 2)
    (warning,) = (record for record in caplog.records if record.levelname == "WARNING")
    assert "train_0002.jpg" in warning.getMessage()
    assert "val_0001.png" in warning.getMessage()
    assert "left out" in warning.getMessage()


@pytest.mark.parametrize("error", [RuntimeError, FloatingPointError])
def test_other_errors_are_passed_on(small, dataset, tmp_path, failing, error):
    with pytest.raises(error, match="something else"):
        train(small, dataset, tmp_path / "run", callbacks=[failing(error("something else"))])


# What earlier versions wrote


@pytest.mark.parametrize(
    ("loss", "loss_args"),
    [
        ("saliency", {"kl": 1.0, "cc": -1.0, "sim": -2.0}),
        ("cross_entropy", {}),
        ("edge_hold", {"alpha": (1.0, 0.7)}),
    ],
)
def test_recipes_of_earlier_versions_load(tmp_path, loss, loss_args):
    old = {"model": "pfa", "fit": "pad", "loss": loss, "kl": 1.0, "cc": -1.0, "sim": -2.0}
    content = {"recipe": {**old, "alpha": [1.0, 0.7], "input_size": [64, 96]}}
    (tmp_path / "config.json").write_text(json.dumps(content))
    recipe = Recipe(**Run(tmp_path).config["recipe"])
    assert recipe == Recipe(
        model="pfa", resize="pad", loss=loss, loss_args=loss_args, input_size=(64, 96)
    )
