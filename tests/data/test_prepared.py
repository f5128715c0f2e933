"""Prepared datasets: the same batches as from the files, whatever happens while preparing."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import PIL.ExifTags
import PIL.Image
import pytest

pytest.importorskip("tensorflow", exc_type=ImportError)

import tensorflow as tf

from keras_salnet import cli
from keras_salnet.data import (
    Dataset,
    Sample,
    check,
    load_dataset,
    pipeline,
    prepare,
    pydataset,
)
from keras_salnet.data import (
    prepared as preparation,
)
from keras_salnet.data.shards import PreparedSample
from keras_salnet.images.geometry import MODES

FRAME = (24, 32)
SIXTEEN_BITS, TENSORFLOW = 1e-5, 1e-4  # the second as between tf.data and OpenCV
SIZES = [(50, 70), (70, 50), (24, 32), (13, 11), (20, 90), (300, 8), (64, 48)]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A dataset of images of many sizes with maps of 8 and 16 bits, fixations and masks."""
    folder = tmp_path_factory.mktemp("Blick über ☂")
    rng = np.random.default_rng(0)
    samples = []
    for number, (height, width) in enumerate(SIZES):
        noise = cv2.GaussianBlur(rng.uniform(-400, 655, (height, width, 3)), (0, 0), 2)
        image = PIL.Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8))
        exif = PIL.Image.Exif()
        if number == 6:  # lies on its side
            image = image.transpose(PIL.Image.Transpose.ROTATE_90)
            exif[PIL.ExifTags.Base.Orientation] = 6
        path = folder / f"ü{number}.jpg"
        image.save(path, exif=exif)
        points = rng.uniform(0, (width - 1, height - 1), (5, 2))
        level = np.zeros((height, width))
        level[tuple(points[:, ::-1].astype(int).T)] = 1
        cv2.imencode(".png", 255 * level)[1].tofile(folder / f"ü{number}.looked.png")
        level = cv2.GaussianBlur(level, (0, 0), 0.1 * max(height, width))
        dtype = np.uint16 if number % 2 else np.uint8
        level = np.round(level / level.max() * np.iinfo(dtype).max).astype(dtype)
        cv2.imencode(".png", level)[1].tofile(folder / f"ü{number}.png")
        about = [
            {"density": folder / f"ü{number}.png"},
            {"fixations": points, "observer": np.arange(5) // 2, "sigma": 4.0, "dropped": 3},
            {"fixations": folder / f"ü{number}.looked.png", "sigma": 5.5},
            {"density": folder / f"ü{number}.png", "fixations": points},
            {"mask": folder / f"ü{number}.png"},
        ][number % 5]
        samples.append(Sample(path, **about))
    return Dataset("many sizes", {"train": samples[1:], "val": samples[:1]}, "where it was")


@pytest.fixture(scope="module", params=MODES)
def prepared(request, source, tmp_path_factory):
    """(how it was fitted, the source prepared and read again), in shards of two."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparation, "_RECORDS", 2)
        out = tmp_path_factory.mktemp("prepared") / "наборы 1"
        prepare(source, out, input_size=FRAME, resize=request.param, workers=2)
    return request.param, load_dataset(out)


@pytest.fixture
def folder(source, tmp_path, monkeypatch):
    """A prepared folder, to be damaged; in shards of two."""
    monkeypatch.setattr(preparation, "_RECORDS", 2)
    return prepare(source, tmp_path / "prepared", input_size=FRAME)


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# What is read


def assert_same(batch, expected, tolerance):
    """Up to the rounding of images to 8 bits, and of densities, relative to their maximum."""
    assert batch.keys() == expected.keys()
    for name in ("mask", "warp"):
        assert np.array_equal(batch[name], expected[name]), name
    assert np.abs(batch["image"] - expected["image"]).max() <= 0.5 + 0.02
    densities, exact = np.asarray(batch["density"]), np.asarray(expected["density"])
    error = np.abs(densities - exact).max(axis=(1, 2, 3)) / exact.max(axis=(1, 2, 3))
    assert error.max() < tolerance
    np.testing.assert_allclose(densities.sum(axis=(1, 2, 3)), 1, atol=1e-5)


def test_batches_without_tensorflow_are_those_of_the_files(source, prepared):
    resize, dataset = prepared
    options = {"resize": resize, "batch_size": 4, "seed": 3, "augment": "gaze", "first_epoch": 1}
    batches, expected = (
        pydataset.training_batches(data["train"], FRAME, **options) for data in (dataset, source)
    )
    for step in range(4):
        assert_same(batches[step], expected[step], SIXTEEN_BITS)


def test_batches_of_tf_data_are_those_of_the_files(source, prepared):
    resize, dataset = prepared
    options = {"resize": resize, "batch_size": 4}
    drawn = {**options, "seed": 3, "augment": "gaze", "first_epoch": 1}
    batches, expected = (
        pipeline.training_batches(data["train"], FRAME, **drawn) for data in (dataset, source)
    )
    assert batches.element_spec == expected.element_spec
    seen = 0
    for batch, exact in zip(batches.take(4), expected.take(4), strict=True):
        assert_same(batch, exact, TENSORFLOW)
        seen += len(batch["image"])
    assert seen == 2 * len(source["train"])
    batches, expected = (
        pipeline.validation_batches(data["val"], FRAME, **options) for data in (dataset, source)
    )
    for batch, exact in zip(batches, expected, strict=True):
        assert_same(batch, exact, TENSORFLOW)


def test_files_and_shards_may_be_mixed(source, prepared):
    resize, dataset = prepared
    mixed = [
        (dataset if number % 3 else source)["train"][number]
        for number in range(len(source["train"]))
    ]
    for module in (pipeline, pydataset):
        (batch,) = module.validation_batches(mixed, FRAME, resize=resize, batch_size=9)
        (expected,) = module.validation_batches(source["train"], FRAME, resize=resize, batch_size=9)
        assert_same(batch, expected, TENSORFLOW)


def test_nothing_is_lost(source, prepared):
    _, dataset = prepared
    assert (dataset.name, list(dataset.splits)) == (source.name, ["train", "val"])
    for sample, original in zip(dataset["all"], source["all"], strict=True):
        assert isinstance(sample, PreparedSample)
        for attribute in ("name", "image", "density", "mask", "sigma", "has_mask_only"):
            assert getattr(sample, attribute) == getattr(original, attribute)
        gaze, exact = sample.read_gaze(), original.read_gaze()
        assert np.array_equal(gaze.points, exact.points), "to the last bit"
        assert gaze.points.dtype == np.float64
        assert (gaze.observer is None) == (exact.observer is None)
        assert gaze.observer is None or np.array_equal(gaze.observer, exact.observer)
        assert gaze.dropped == exact.dropped
        assert sample.size == original.read_image().shape[:2]
        assert np.array_equal(sample.read_density(sample.size), original.read_density(sample.size))


def test_a_sample_goes_to_other_processes_whole(prepared):
    resize, dataset = prepared
    sample = dataset["train"][0]
    copy = pickle.loads(pickle.dumps(sample))
    for plane, expected in zip(
        copy.read_in(FRAME, resize), sample.read_in(FRAME, resize), strict=True
    ):
        assert np.array_equal(plane, expected)
    copy.shard.check()


def test_tensorflow_reads_the_records(prepared):
    _, dataset = prepared
    (folder,) = {sample.shard.path.parent for sample in dataset["all"]}
    shards = json.loads((folder / "manifest.json").read_text())["splits"]["train"]
    assert [shard["count"] for shard in shards] == [2, 2, 2]
    records = tf.data.TFRecordDataset([str(folder / shard["file"]) for shard in shards])
    features = {
        name: tf.io.FixedLenFeature([], tf.string) for name in ("about", "density", "image")
    }
    for record, sample in zip(records, dataset["train"], strict=True):  # checks the CRCs
        parsed = tf.io.parse_single_example(record, features)
        image = tf.reshape(tf.io.decode_raw(parsed["image"], tf.uint8), (*FRAME, 3))
        assert np.array_equal(image, sample.pixels)
        levels = tf.reshape(tf.io.decode_raw(parsed["density"], tf.uint16), FRAME)
        assert np.array_equal(levels, sample.levels)
        assert levels.numpy().max() == 65535
        assert json.loads(parsed["about"].numpy())["image"] == str(sample.image)


def test_another_frame_or_fit_is_refused(folder):
    dataset = load_dataset(folder)
    for input_size, resize, remedy in (
        ((32, 24), "stretch", "--input-size 32x24 --resize stretch"),
        (FRAME, "pad", "--input-size 24x32 --resize pad"),
    ):
        for module in (pipeline, pydataset):
            with pytest.raises(ValueError, match="was prepared for 24x32 by stretch") as error:
                module.validation_batches(
                    dataset["train"], input_size, resize=resize, batch_size=2
                )[0]
            assert str(folder) in str(error.value)
            assert remedy in str(error.value)


# Damage


def test_a_flipped_byte_is_found_and_its_shard_named(folder):
    dataset = load_dataset(folder)
    assert check(dataset) is dataset
    path = folder / "train-00001.tfrecord"
    whole = path.read_bytes()
    for place in range(20, len(whole), len(whole) // 40):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"is damaged") as error:
            check(load_dataset(folder))
        assert str(error.value).count("train-00001.tfrecord") == 1, "once, not for each sample"
        assert "keras-salnet datasets prepare" in str(error.value)


def test_samples_of_a_damaged_shard_can_be_left_out(folder):
    path = folder / "train-00001.tfrecord"
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    left = check(load_dataset(folder), skip_bad=True)
    assert [sample.name for sample in left["train"]] == ["ü1", "ü2", "ü5", "ü6"]


@pytest.mark.parametrize("damage", ["truncated", "longer", "removed"])
def test_a_shard_of_another_length_is_named(folder, damage):
    path = folder / "train-00002.tfrecord"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] if damage == "truncated" else whole + b"0")
    if damage == "removed":
        path.unlink()
    with pytest.raises(ValueError, match=r"train-00002\.tfrecord: is of \d+ bytes, not \d+"):
        load_dataset(folder)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"version": 2}', '{"version": 1}'])
def test_a_broken_manifest_is_named(folder, text):
    (folder / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=r"manifest\.json: .*datasets prepare"):
        load_dataset(folder)


# Running again


def test_again_nothing_is_done_twice(source, folder, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.tfrecord")}
    expected = content(folder)
    prepare(source, folder, input_size=FRAME)
    assert before == {path: path.stat().st_mtime_ns for path in folder.glob("*.tfrecord")}
    damaged = bytearray(expected["train-00001.tfrecord"])
    damaged[100] ^= 1
    (folder / "train-00001.tfrecord").write_bytes(damaged)
    (folder / "val-00000.tfrecord").unlink()
    prepare(source, folder, input_size=FRAME)
    assert content(folder) == expected
    kept = folder / "train-00000.tfrecord"
    assert kept.stat().st_mtime_ns == before[kept]


def test_other_settings_and_other_folders_are_refused(source, folder):
    expected = content(folder)
    for changes in ({"input_size": (8, 8)}, {"resize": "pad"}):
        with pytest.raises(FileExistsError, match=next(iter(changes))):
            prepare(source, folder, **{"input_size": FRAME, **changes})
    other = source.replace({"train": source["val"], "val": source["train"]})
    with pytest.raises(FileExistsError, match="another dataset"):
        prepare(other, folder, input_size=FRAME)
    assert content(folder) == expected
    (folder / "manifest.json").unlink()
    with pytest.raises(FileExistsError, match="already exists"):
        prepare(source, folder, input_size=FRAME)


def test_a_bad_file_ends_it_by_name(source, tmp_path, monkeypatch):
    monkeypatch.setattr(preparation, "_RECORDS", 2)
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"no image")
    bad = Sample(path, fixations=np.zeros((1, 2)), sigma=1.0)
    broken = source.replace({"train": [*source["train"], bad]})
    with pytest.raises(ValueError, match=r"broken\.jpg"):
        prepare(broken, tmp_path / "out", input_size=FRAME)
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]
    with pytest.raises(ValueError, match="was interrupted"):
        load_dataset(tmp_path / "out")


_SLOWLY = """
import sys, time
from keras_salnet.data import load_dataset, prepared as preparation

def slowly(samples, description):
    for sample in samples:
        time.sleep(0.05)
        yield sample

if __name__ == "__main__":
    preparation._RECORDS = 4
    dataset = load_dataset(sys.argv[1])
    size = {"input_size": (16, 24), "resize": "pad"}
    preparation.prepare(dataset, sys.argv[2], **size, workers=2, track=slowly)
"""


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_as_if_it_had_not_been(write_folders, tmp_path):
    data = write_folders(tmp_path / "data", {"train": [f"{n:02d}" for n in range(40)], "val": "ab"})
    script = tmp_path / "slowly.py"
    script.write_text(_SLOWLY)

    def start(out):
        return subprocess.Popen([sys.executable, script, data, out], start_new_session=True)

    def finish(out):
        assert start(out).wait() == 0

    def kill_when(out, pattern, count):
        process = start(out)
        assert wait_until(lambda: len(list(out.glob(pattern))) >= count)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it was not done yet"
        assert wait_until(lambda: not alive(process.pid)), "its workers end with it"

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(whole)
    for pattern, count in ((".*.tfrecord", 1), ("[!.]*.tfrecord", 1), ("[!.]*.tfrecord", 4)):
        kill_when(killed, pattern, count)
    kept = {path: path.stat().st_mtime_ns for path in killed.glob("[!.]*.tfrecord")}
    finish(killed)
    assert content(killed) == content(whole)
    redone = [path for path in kept if path.stat().st_mtime_ns != kept[path]]
    assert len(redone) <= 1, "the one that was finished but not yet listed"


def alive(group):
    """Whether any process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(condition):
    for _ in range(3000):
        if condition():
            return True
        time.sleep(0.02)
    return False


# The command


def test_the_command_and_training_on_what_it_leaves(write_folders, tmp_path, capsys, caplog):
    caplog.set_level("INFO", "keras_salnet")  # so that the command's own setting ends with the test
    data = write_folders(tmp_path / "data", {"train": "abc", "val": "d"}, size=(60, 80))
    out = tmp_path / "prepared"
    command = ["datasets", "prepare", str(data), "--out", str(out), "--input-size", "64"]
    assert cli.main([*command, "--workers", "1"]) == 0
    assert f"train --data {out}" in capsys.readouterr().out
    dataset = load_dataset(out)
    assert str(dataset) == "data: 3 train, 1 val images with density maps"
    train = ["train", "--data", str(out), "--backbone-weights", "none", "--num-rga", "0"]
    run = tmp_path / "run"
    assert cli.main([*train, "--input-size", "32", "--out", str(run)]) == 1
    assert "was prepared for 64x64 by stretch" in capsys.readouterr().err
    assert not run.exists()
    shutil.rmtree(data / "images")
    with pytest.raises(FileNotFoundError, match=r"images"):
        dataset["val"][0].read_image()
    assert check(load_dataset(out))["val"][0].name == "d"
