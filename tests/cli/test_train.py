"""The train command: from its options to a recipe, a dataset and a run, and its mistakes."""

import dataclasses
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from keras_salnet import training
from keras_salnet.cli import main
from keras_salnet.data import popout
from keras_salnet.layers import attention_names
from keras_salnet.training.recipes import RECIPES, Recipe, fine_tuning


@pytest.fixture
def trained_on(monkeypatch):
    """What the command hands to training, which is left out: a list of (recipe, dataset, out)."""
    calls = []

    def train(recipe, dataset, out, **options):
        calls.append((recipe, dataset, out))
        return Path(out)

    monkeypatch.setattr(training, "train", train)
    return calls


@pytest.fixture
def stopped(monkeypatch):
    """Lets a run end at its first batch, when its folder has been made."""

    def fit(*arguments, **options):
        raise FloatingPointError("not fitted")

    monkeypatch.setattr("keras.Model.fit", fit)


def test_options_reach_the_recipe_and_the_run(displays, tmp_path, stopped):
    out = tmp_path / "out"
    options = "--accumulate 4 --clip-norm 2.5 --ema 0.99 --early-stopping 3 --schedule cosine"
    size = "--warmup 0.5 --input-size 32 --num-rga 0 --backbone-weights none --loss-arg kl=5"
    command = ["train", "--data", str(displays), *options.split(), *size.split()]
    assert main([*command, "--no-jit", "--seed", "7", "--out", str(out)]) == 1
    config = json.loads((out / "config.json").read_text())
    assert (config["deterministic"], config["jit"], config["seed"]) == (False, False, 7)
    assert Recipe(**config["recipe"]) == RECIPES["vggrga"].replace(
        accumulate=4,
        clip_norm=2.5,
        ema=0.99,
        early_stopping=3,
        schedule="cosine",
        warmup_epochs=0.5,
        input_size=(32, 32),
        model_args={"num_rga": 0},
        loss_args={"kl": 5},
        backbone_weights=None,
    )


def test_every_field_of_a_recipe_is_an_option(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    printed = capsys.readouterr().out
    for field in dataclasses.fields(Recipe):
        if field.name != "model":
            flag = field.metadata.get("flag", f"--{field.name.replace('_', '-')}")
            assert f"  {flag} " in printed
    assert "default: 10; accurate: 2; mobilerga:" in " ".join(printed.split())


def test_resuming_takes_no_other_option(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--resume", "run", "--epochs", "3"])
    assert stopped.value.code == 2
    assert "leave out --epochs" in capsys.readouterr().err


def test_recipe_of_another_model(trained_on, displays):
    command = ["train", "--data", str(displays)]
    options = "--max-time 2.5 --loss cross_entropy --optimizer sgd --weight-decay 1e-4"
    assert main([*command, "--recipe", "pfa"]) == 0
    assert main([*command, "--recipe", "pfa", "--model", "vggrga", "--num-rga", "2"]) == 0
    assert main([*command, "--model", "sarn", "--recipe", "opensalicon", "--max-time", "none"]) == 0
    assert main([*command, *options.split(), "--frozen-stages", "3", "--augment"]) == 0
    assert main([*command, "--model", "pfa", "--augment", "none"]) == 0
    pfa = RECIPES["pfa"]
    assert [recipe for recipe, *_ in trained_on] == [
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


def test_a_trained_model_goes_on_as_what_it_is(trained_on, tmp_path, displays):
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
    began = [recipe for recipe, *_ in trained_on]
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


def test_arguments_of_the_model(trained_on, displays, capsys):
    given = ["filters=4", "with_ca=false", 'streams=["fine"]', "attention=se", "name=a=b"]
    options = [part for argument in given for part in ("--model-arg", argument)]
    command = ["train", "--data", str(displays), *options]
    assert main([*command, "--model", "pfa"]) == 0
    assert main([*command, "--attention", "cbam_s"]) == 0
    wanted = {"filters": 4, "with_ca": False, "streams": ["fine"], "attention": "se", "name": "a=b"}
    recipes = [recipe for recipe, *_ in trained_on]
    assert recipes[0].model_args == wanted
    assert recipes[1].model_args == {**wanted, "num_rga": 3, "attention": "cbam_s"}
    for wrong in ("filters", "=4", "a b=4"):
        with pytest.raises(SystemExit):
            main(["train", "--model-arg", wrong])
        assert f"{wrong!r} is not NAME=VALUE, such as filters=32" in capsys.readouterr().err


def test_a_warm_up_needs_the_cosine(displays, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--data", str(displays), "--warmup", "2"])
    assert stopped.value.code == 2
    assert "--warmup is for --schedule cosine" in capsys.readouterr().err


BAD = ["images/train/train_0002.jpg", "maps/val/val_0001.png", "images/test/test_0001.jpg"]


@pytest.fixture
def broken(displays, tmp_path):
    """A copy of the displays with a truncated image, an empty map and an empty file."""
    folder = shutil.copytree(displays, tmp_path / "broken")
    truncated, blank, empty = (folder / name for name in BAD)
    truncated.write_bytes(truncated.read_bytes()[:2000])
    cv2.imwrite(str(blank), np.zeros((popout.SIZE, popout.SIZE), np.uint8))
    empty.write_bytes(b"")
    return folder


def test_encoder_options_reach_the_recipe(displays, trained_on):
    options = ["--encoder-rate", "0.1", "--freeze-encoder", "2", "--out", "nowhere"]
    assert main(["train", "--data", str(displays), *options]) == 0
    ((recipe, _, _),) = trained_on
    assert recipe == RECIPES["vggrga"].replace(encoder_rate=0.1, freeze_encoder=2)


def test_attention_reaches_the_recipe(displays, trained_on):
    options = ["--num-rga", "2", "--attention", "cbam_cs", "--out", "nowhere"]
    assert main(["train", "--data", str(displays), *options]) == 0
    ((recipe, _, _),) = trained_on
    model_args = {"num_rga": 2, "attention": "cbam_cs"}
    assert recipe == RECIPES["vggrga"].replace(model_args=model_args)


def test_unknown_attention_is_a_usage_error(trained_on, capsys):
    with pytest.raises(SystemExit) as exit:
        main(["train", "--attention", "cbma"])
    assert exit.value.code == 2
    told = capsys.readouterr().err
    assert all(name in told for name in ["argument --attention", "cbma", *attention_names()])
    assert not trained_on


def test_data_may_be_a_toml_file(displays, tmp_path, trained_on, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(f'name = "monkeys"\npath = "{displays}"\nsigma = 5\n')
    assert main(["train", "--data", "mine.toml"]) == 0
    ((_, dataset, out),) = trained_on
    assert (dataset.name, dataset.source) == ("monkeys", str(tmp_path / "mine.toml"))
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {
        "train": 5,
        "val": 3,
        "test": 3,
    }
    assert out.name.endswith("-vggrga-monkeys")


def test_training_stops_at_bad_files(broken, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--data", str(broken)]) == 1
    error = capsys.readouterr().err
    assert "3 of 11 images cannot be used" in error
    assert all(str(broken / name) in error for name in BAD)
    assert "--skip-bad" in error
    assert not Path("runs").exists()


@pytest.mark.parametrize(("lacks", "has"), [("train", "val, test"), ("val", "train, test")])
def test_training_needs_its_splits(broken, lacks, has, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for kind in ("images", "maps", "fixations"):
        shutil.rmtree(broken / kind / lacks)
    assert main(["train", "--data", str(broken)]) == 1
    message = f"error: dataset broken has no split '{lacks}'; it has {has}, all.\n"
    assert capsys.readouterr().err == message, "before a file is checked"
    assert not Path("runs").exists()


def test_skip_bad_trains_on_the_rest(broken, tmp_path, stopped, caplog):
    out = tmp_path / "out"
    command = ["train", "--data", str(broken), "--skip-bad", "--out", str(out), "--num-rga", "0"]
    assert main([*command, "--input-size", "32", "--backbone-weights", "none"]) == 1
    samples = json.loads((out / "config.json").read_text())["samples"]
    assert [samples[split]["images"] for split in ("train", "val")] == [4, 2]
    (warning,) = (record for record in caplog.records if record.levelname == "WARNING")
    assert all(str(broken / name) in warning.getMessage() for name in BAD)
