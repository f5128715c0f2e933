"""From a folder of images and masks to a trained and evaluated model."""

import csv
import json

import cv2
import numpy as np
import pytest

from keras_salnet import cli
from keras_salnet.data import load_dataset
from keras_salnet.evaluation import evaluate
from keras_salnet.metrics.table import MASK_METRICS

SIZE = (36, 48)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """images/ and masks/: bright squares on dark noise."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (tmp_path / "objects" / kind).mkdir(parents=True)
    for number in range(8):
        image = random.uniform(0, 60, (*SIZE, 3))
        mask = np.zeros(SIZE, np.uint8)
        top, left = random.integers(4, (20, 32))
        mask[top : top + 12, left : left + 12] = 255
        image[mask > 0] += 180
        for kind, pixels in (("images", np.uint8(image)), ("masks", mask)):
            assert cv2.imwrite(str(tmp_path / "objects" / kind / f"{number}.png"), pixels)
    (tmp_path / "objects" / "dataset.toml").write_text("splits = { train = 4, val = 2, test = 2 }")
    return tmp_path


def run(capsys, *arguments):
    status = cli.main([*map(str, arguments)])
    return status, *capsys.readouterr()


def test_maps_are_scored_against_masks(folder, capsys, caplog):
    caplog.set_level("INFO", "keras_salnet")  # so that the command's own setting ends with the test
    dataset = load_dataset("objects/dataset.toml")
    (folder / "maps").mkdir()
    for sample in dataset["test"]:
        assert cv2.imwrite(str(folder / "maps" / f"{sample.name}.png"), sample.read_image()[..., 0])
    status, printed, _ = run(
        capsys, "evaluate", "--maps", "maps", "--data", "objects/dataset.toml", "--workers", "1",
        "--json", "s.json", "--csv", "s.csv", "--report", "report.html",
    )  # fmt: skip
    assert status == 0
    assert "dataset, test split, 2 images, against masks" in printed
    assert "2 maps (2 PNG)" in caplog.text
    assert "KL" not in caplog.text
    (found,) = json.loads((folder / "s.json").read_text())["evaluations"]
    assert found["summary"]["maps"].keys() == MASK_METRICS.keys()
    assert found["summary"]["maps"]["maxF"]["mean"] == pytest.approx(1)
    assert found["summary"]["maps"]["MAE"]["mean"] < 0.2
    with open(folder / "s.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["row"] == "centre bias"]
    assert [float(row["MAE"]) for row in rows] == found["scores"]["centre bias"]["MAE"]
    assert "maxF" in (folder / "report.html").read_text("utf-8")


@pytest.mark.slow
def test_what_is_learnt_of_masks_is_scored_against_masks(folder, capsys, caplog):
    pytest.importorskip("tensorflow", exc_type=ImportError)
    from keras_salnet.prediction.predictor import Predictor
    from keras_salnet.training.recipes import PFA
    from keras_salnet.training.run import train

    caplog.set_level("INFO", "keras_salnet")  # so that the command's own setting ends with the test
    recipe = PFA.replace(
        model_args={"filters": 4},
        backbone_weights=None,
        input_size=(32, 32),
        batch_size=2,
        epochs=1,
    )
    dataset = load_dataset("objects/dataset.toml")
    train(recipe, dataset, folder / "run", jit=False)
    with open(folder / "run" / "history.csv", newline="") as file:
        (epoch,) = csv.DictReader(file)
    assert all(np.isfinite(float(value)) for value in epoch.values())
    status, printed, _ = run(capsys, "evaluate", "run", "--workers", "1")
    assert status == 0
    assert "against masks" in printed
    (found,) = json.loads((folder / "run" / "evaluation.json").read_text())["evaluations"]
    expected = evaluate(Predictor.load(folder / "run"), dataset).summary
    assert found["summary"]["run"] == expected["run"]
    assert found["summary"]["run"].keys() == MASK_METRICS.keys()
