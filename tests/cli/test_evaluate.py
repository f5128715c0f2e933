"""`keras-salnet evaluate` on maps made elsewhere, which need no Keras."""

import csv
import json

import cv2
import numpy as np
import pytest

from keras_salnet import cli
from keras_salnet.data import load_dataset
from keras_salnet.evaluation import evaluate

SIZE = (48, 64)


def write_dataset(folder, seed):
    """Three training and four test images with fixations of three observers."""
    random = np.random.default_rng(seed)
    lines = ["image,x,y,observer"]
    for split, count in (("train", 3), ("test", 4)):
        for number in range(count):
            name = f"{split}/{folder.name}_{split}_{number}.png"
            (folder / "images" / split).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / "images" / name), np.zeros((*SIZE, 3), np.uint8))
            centre = random.uniform((16, 12), (48, 36))
            points = random.normal(centre, 2, (15, 2)).clip(0, np.array(SIZE[::-1]) - 1)
            lines += [f"{name},{x},{y},{n % 3}" for n, (x, y) in enumerate(points)]
    (folder / "fixations.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with two datasets, and maps of two models for both: the truth, and noise."""
    monkeypatch.chdir(tmp_path)
    for folder in ("truth", "noise"):
        (tmp_path / folder).mkdir()
    for seed, name in enumerate(("one", "two")):
        write_dataset(tmp_path / name, seed)
        for sample in load_dataset(tmp_path / name)["test"]:
            np.save(tmp_path / "truth" / f"{sample.name}.npy", sample.read_density(SIZE))
            noise = np.random.default_rng(seed).random((20, 30))
            np.save(tmp_path / "noise" / f"{sample.name}.npy", noise)
    return tmp_path


def run(capsys, *arguments):
    """Status, what was printed, and what was said of errors."""
    status = cli.main(["evaluate", "--workers", "1", *map(str, arguments)])
    return status, *capsys.readouterr()


def test_folders_of_maps_are_compared_on_several_datasets(place, capsys):
    status, printed, _ = run(
        capsys, "--maps", "truth", "--maps", "noise", "--data", "one", "--data", "two",
        "--json", "all/scores.json", "--csv", "scores.csv", "--report", "report.html",
    )  # fmt: skip
    assert status == 0
    for text in ("one, test split, 4 images", "two, test split", "split-half", "truth minus"):
        assert text in printed
    for file in ("all/scores.json", "scores.csv", "report.html"):
        assert f"Written: {file}" in printed

    found = json.loads((place / "all" / "scores.json").read_text("utf-8"))["evaluations"]
    assert [(e["dataset"], e["models"]) for e in found] == [
        ("one", ["truth", "noise"]),
        ("two", ["truth", "noise"]),
    ]
    for evaluation in found:
        assert evaluation["summary"]["truth"]["CC"]["mean"] == pytest.approx(1)
        assert abs(evaluation["summary"]["noise"]["CC"]["mean"]) < 0.3
        assert evaluation["fractions"]["truth"]["NSS"]["fraction"] > 1
    maps = {"truth": lambda path: np.load(place / "truth" / f"{path.stem}.npy")}
    expected = evaluate(maps, load_dataset(place / "two")).scores["truth"]
    for metric, values in expected.items():
        assert found[1]["scores"]["truth"][metric] == values.tolist()
    with open(place / "scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 4 * len(found[0]["summary"])
    page = (place / "report.html").read_text("utf-8")
    assert "one" in page
    assert "two" in page
    assert "split-half humans" in page


def test_the_convention_the_split_and_the_seed_are_the_user_s(place, monkeypatch, capsys):
    def scores(*options):
        status, *_ = run(
            capsys, "--maps", "noise", "--data", "one", "--json", "scores.json", *options
        )
        assert status == 0
        (evaluation,) = json.loads((place / "scores.json").read_text())["evaluations"]
        return evaluation

    assert "AUC-Borji" in (first := scores())["summary"]["noise"]
    assert "EMD" not in first["summary"]["noise"]
    assert "AUC" in scores("--convention", "pysaliency")["summary"]["noise"]
    assert scores("--seed", "1")["scores"]["noise"] != first["scores"]["noise"]
    assert scores()["scores"] == first["scores"]
    with monkeypatch.context() as without:
        without.setattr(cli.evaluate.util, "find_spec", lambda name: None)
        status, _, told = run(capsys, "--maps", "noise", "--data", "one", "--emd")
        assert (status, "keras-salnet[emd]" in told) == (1, True)
    pytest.importorskip("ot")
    assert "EMD" in scores("--emd")["summary"]["noise"]


def test_all_images_are_scored_where_asked(place, capsys):
    for sample in load_dataset(place / "one")["train"]:
        np.save(place / "noise" / f"{sample.name}.npy", np.eye(8))
    status, printed, _ = run(capsys, "--maps", "noise", "--data", "one", "--split", "all")
    assert status == 0
    assert "all split, 7 images" in printed


def test_two_folders_of_one_name_are_told_apart(place, capsys):
    (place / "old").mkdir()
    (place / "noise").rename(place / "old" / "truth")
    arguments = ("--maps", "truth", "--maps", "old/truth", "--data", "one", "--json", "s.json")
    assert run(capsys, *arguments)[0] == 0
    (evaluation,) = json.loads((place / "s.json").read_text())["evaluations"]
    assert evaluation["models"] == ["truth", "old/truth"]


def test_what_was_scored_is_kept_when_a_later_dataset_fails(place, capsys):
    bad = next((place / "noise").glob("two_test_2*"))
    np.save(bad, -np.ones((4, 4)))
    status, _, told = run(
        capsys, "--maps", "noise", "--data", "one", "--data", "two", "--json", "scores.json"
    )
    assert status == 1
    assert "two_test_2" in told
    assert "negative" in told
    found = json.loads((place / "scores.json").read_text())["evaluations"]
    assert [evaluation["dataset"] for evaluation in found] == ["one"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--data", "one"], "no finished run"),
        (["--maps", "truth"], "give --data"),
        (["--maps", "nowhere", "--data", "one"], "nowhere"),
        (["--maps", "one", "--data", "one"], "one"),
        (["--maps", "truth", "--data", "one", "--split", "val"], "it has train, test"),
        (["--maps", "truth", "--data", "one", "--split", "train"], "one_train_0"),
        (["--maps", "truth", "--data", "one", "--json", "noise"], "is a folder"),
    ],
)
def test_mistakes_are_told_in_a_line(place, capsys, arguments, told):
    status, printed, error = run(capsys, *arguments)
    assert status == 1
    assert told in error
    assert "Traceback" not in error
    assert printed == ""


@pytest.mark.parametrize("workers", ["0", "-1", "two", ""])
def test_workers_are_a_whole_number(place, capsys, workers):
    with pytest.raises(SystemExit) as exit:
        cli.main(["evaluate", "--maps", "truth", "--data", "one", "--workers", workers])
    assert exit.value.code == 2
    assert "invalid number" in capsys.readouterr().err
