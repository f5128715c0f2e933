"""The example of docs/classification.md: its parameters, its data, and that it learns."""

import re
import runpy
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_salnet.layers import attention_names

_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def example():
    return runpy.run_path(_ROOT / "examples" / "cifar_resnet.py")


def parameters(net):
    return sum(weight.numpy().size for weight in net.trainable_weights)


def test_parameters_are_those_of_the_page(example):
    page = (_ROOT / "docs" / "classification.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+) \|$", page, flags=re.MULTILINE)
    assert {name for name, _ in rows} >= {"none", "rga_sc"}
    for name, number in rows:
        assert f"{parameters(example['build'](20, name)):,}" == number, name
    assert round(parameters(example["build"](20, "none")) / 1e6, 2) == 0.27
    assert round(parameters(example["build"](56, "none")) / 1e6, 2) == 0.85


def test_every_attention_fits(example):
    for name in attention_names():
        assert example["build"](8, name).output_shape == (None, 10)
    with pytest.raises(ValueError, match="depth must be 8, 14, 20"):
        example["build"](18)


def test_augmented_images_are_moved_and_mirrored(example):
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), "uint8")
    batches = example["Augmented"](images, np.arange(5), batch_size=3)
    assert len(batches) == 2
    seen = []
    for batch in (batches[0], batches[1]):
        for image, label in zip(*batch, strict=True):
            seen.append(label)
            padded = np.pad(images[label], ((4, 4), (4, 4), (0, 0)))
            shifts = [(y, x) for y in range(9) for x in range(9)]
            found = [padded[y : y + 32, x : x + 32] for y, x in shifts]
            assert any(np.array_equal(image, f) or np.array_equal(image, f[:, ::-1]) for f in found)
    assert sorted(seen) == [0, 1, 2, 3, 4]


@pytest.mark.slow
def test_it_learns(example):
    keras.utils.set_random_seed(0)
    net = example["build"](8, "rga_sc")
    net.compile(
        keras.optimizers.Adam(1e-2),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    images = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3)).astype("float32")
    labels = np.arange(16) % 10
    history = net.fit(images, labels, batch_size=16, epochs=40, verbose=0).history["loss"]
    assert history[0] > 2
    assert history[-1] < 0.1


def test_the_command(example, monkeypatch, capsys):
    images = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), "uint8")
    labels = np.arange(12)[:, None] % 10
    monkeypatch.setattr(
        keras.datasets.cifar10, "load_data", lambda: ((images, labels), (images[:4], labels[:4]))
    )
    options = "--depth 8 --attention se --epochs 2 --batch-size 8"
    assert 0 <= example["main"](options.split()) <= 1
    assert capsys.readouterr().out.startswith("resnet8 with se: 76,442 parameters")
