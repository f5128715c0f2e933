"""Several datasets trained on as one."""

from collections import Counter

import pytest

from keras_salnet import cli
from keras_salnet.data import Dataset, check, join, load_dataset, pydataset


def names(samples):
    return [sample.name for sample in samples]


@pytest.fixture
def folders(write_folders, write_osie, tmp_path):
    """Two datasets' folders: one with maps, one with fixations."""
    return [
        str(write_folders(tmp_path / "maps", {"train": "abc", "val": "de"}, ("maps",))),
        str(write_osie(tmp_path / "points", [(f"{n}.png", [[(1, 2)], [(3, 3)]]) for n in "fgh"])),
    ]


def test_splits_are_joined_and_samples_kept(folders):
    maps, points = map(load_dataset, folders)
    joined = join([maps, points])
    assert joined.name == "maps+points"
    assert list(joined.splits) == ["train", "val"]
    assert joined["train"] == maps["train"] + points["train"], "σ and all"
    assert joined["val"] == maps["val"] + points["val"]
    assert joined.source == folders
    assert names(load_dataset(joined.source)["all"]) == names(joined["all"])


def test_a_split_of_one_alone_is_kept_and_a_hand_made_one_has_no_source(folders):
    maps = load_dataset(folders[0])
    joined = join([Dataset("mine", {"test": maps["val"]}), maps])
    assert {split: names(joined[split]) for split in joined.splits} == {
        "test": ["d", "e"],
        "train": ["a", "b", "c"],
        "val": ["d", "e"],
    }
    assert joined.source is None
    assert join([join([maps, maps]), maps]).source == 3 * [folders[0]]


def test_an_epoch_holds_a_weighted_sample_as_often(folders):
    joined = load_dataset([folders[0], folders[1], folders[1]])
    assert joined.name == "maps+points"
    assert names(joined["val"]) == ["d", "e", "h"], "once"
    batches = pydataset.training_batches(
        joined["train"], (6, 8), resize="stretch", batch_size=7, seed=0, augment="gaze"
    )
    order = Counter(map(str, joined["train"]))
    assert sorted(order.values()) == [1, 1, 1, 2, 2]
    for epoch in range(2):
        batch = batches[epoch]
        assert len({tuple(warp) for warp in batch["warp"].tolist()}) == 7, "each time anew"


def test_a_file_is_checked_once(folders):
    seen = []

    def track(samples, description):
        seen.extend(samples)
        return samples

    joined = load_dataset([folders[0], folders[0]])
    assert check(joined, track=track) is joined
    assert names(seen) == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize(
    ("data", "weights", "expected"),
    [
        (["a"], None, "a"),
        (["a", "b"], None, ["a", "b"]),
        (["a", "b", "c"], [1, 1, 2], ["a", "b", "c", "c"]),
        (["a"], [2], ["a", "a"]),
    ],
)
def test_repeats_of_the_command_line(data, weights, expected):
    assert cli.train._repeated(data, weights, None) == expected


def test_a_repeat_too_few_is_an_error(folders, capsys):
    data = [argument for folder in folders for argument in ("--data", folder)]
    with pytest.raises(SystemExit) as stopped:
        cli.main(["train", *data, "--repeat", "2"])
    assert stopped.value.code == 2
    assert "one number per --data, 2 in all, not 1" in capsys.readouterr().err
