"""The embedded displays: what they show, that they are the same every time, where they are kept."""

import collections
import hashlib
import math
import os

import cv2
import numpy as np
import pytest

from keras_salnet.data import load_dataset, popout
from keras_salnet.images.files import read_grey

FEW = {"train": 5, "val": 3, "test": 2}
CENTRE = (popout.SIZE - 1) / 2


@pytest.fixture(scope="module")
def drawn():
    """400 displays: (density, fixations, places of the bars, which bar is unlike the others)."""
    displays = []
    with pytest.MonkeyPatch.context() as patch:
        draw_bar, bars = popout._draw_bar, []

        def watch(image, x, y, look, rng):
            bars.append((x, y, look))
            return draw_bar(image, x, y, look, rng)

        patch.setattr(popout, "_draw_bar", watch)
        for index in range(400):
            bars.clear()
            _, density, fixations = popout.draw(0, index)
            looks = collections.Counter(look for _, _, look in bars)
            assert sorted(looks.values()) == [1, len(bars) - 1], "one is unlike all the others"
            (odd,) = (i for i, (_, _, look) in enumerate(bars) if looks[look] == 1)
            places = np.array([(x, y) for x, y, _ in bars])
            displays.append((density, fixations, places, odd))
    return displays


@pytest.fixture(scope="module")
def targets(drawn):
    """(400, 2): where the odd bars are."""
    return np.array([places[odd] for _, _, places, odd in drawn])


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of Keras's, and few displays to draw into it."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(popout, "SPLITS", FEW)
    return tmp_path / "keras" / "datasets"


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


# One display


def test_a_display_is_a_function_of_its_number():
    first, again = popout.draw(1, 5), popout.draw(1, 5)
    for part, same in zip(first, again, strict=True):
        assert np.array_equal(part, same)
    for other in (popout.draw(1, 6), popout.draw(2, 5), popout.draw(0, 5)):
        assert not np.array_equal(other[0], first[0])


def test_a_display_is_a_picture_with_its_ground_truth():
    image, density, fixations = popout.draw(0, 0)
    assert image.shape == (popout.SIZE, popout.SIZE, 3)
    assert image.dtype == np.uint8
    assert image.std() > 10
    assert density.shape == (popout.SIZE, popout.SIZE)
    assert density.min() >= 0
    assert fixations.shape == (popout.FIXATIONS, 2)
    assert np.issubdtype(fixations.dtype, np.integer)


def test_the_odd_one_is_where_people_look(drawn, targets):
    for (density, _, places, odd), target in zip(drawn, targets, strict=True):
        assert density.sum() == pytest.approx(1)
        y, x = np.unravel_index(density.argmax(), density.shape)
        # The centre bias draws the peak a little.
        assert math.dist((x, y), target) < 2
        distances = np.hypot(*(places - (x, y)).T)
        assert distances.argmin() == odd, "no other bar is nearer"


def test_every_bar_is_seen():
    with pytest.MonkeyPatch.context() as patch:
        draw_bar, bars = popout._draw_bar, []

        def watch(image, x, y, look, rng):
            before = image.copy()
            draw_bar(image, x, y, look, rng)
            changed = np.abs(image - before).max(axis=-1) > 1
            bars.append(((x, y), changed))

        patch.setattr(popout, "_draw_bar", watch)
        for index in range(30):
            bars.clear()
            popout.draw(3, index)
            for place, changed in bars:
                rows, columns = np.nonzero(changed)
                assert len(rows) > 10
                middle = (columns.mean(), rows.mean())
                # At its place; a long one at the border may be cut.
                assert math.dist(middle, place) < 4


def test_the_target_is_equally_likely_anywhere(targets):
    number = len(targets)
    offsets = targets - CENTRE
    error = popout.SIZE / math.sqrt(12 * number)
    assert np.all(np.abs(offsets.mean(axis=0)) < 4 * error)
    # As far from the centre as uniform points are: no centre bias among the targets.
    side = popout.SIZE - 2 * popout._MARGIN
    np.testing.assert_allclose(offsets.std(axis=0), side / math.sqrt(12), rtol=0.1)
    assert abs(np.corrcoef(offsets.T)[0, 1]) < 4 / math.sqrt(number)
    quadrants = collections.Counter(map(tuple, offsets > 0))
    spread = math.sqrt(number * 0.25 * 0.75)
    assert all(abs(count - number / 4) < 4 * spread for count in quadrants.values())
    assert len(quadrants) == 4
    assert offsets.min() > -popout.SIZE / 2
    assert offsets.max() < popout.SIZE / 2


def test_fixations_are_drawn_from_the_density(drawn):
    """Their mean log-likelihood is what that of points of this density is."""
    surprise, variance = 0.0, 0.0
    for density, fixations, _, _ in drawn[:100]:
        x, y = fixations.T
        assert fixations.min() >= 0
        assert fixations.max() < popout.SIZE
        log = np.log(density)
        expected = (density * log).sum()
        surprise += (log[y, x] - expected).sum()
        variance += len(fixations) * ((density * log**2).sum() - expected**2)
    assert abs(surprise) < 4 * math.sqrt(variance)


def test_the_centre_alone_explains_little(drawn):
    # In bits a fixation over the uniform density: the mean of all displays against their own.
    mean = np.mean([density for density, _, _, _ in drawn], axis=0)
    gains = {"own": [], "mean": []}
    for density, fixations, _, _ in drawn[:100]:
        x, y = fixations.T
        gains["own"].append(np.log2(density[y, x] * density.size).mean())
        gains["mean"].append(np.log2(mean[y, x] * density.size).mean())
    assert np.mean(gains["mean"]) < 0.3 * np.mean(gains["own"])


# On disk


def test_the_same_files_every_time(tmp_path):
    popout.write(tmp_path / "a", FEW)
    popout.write(tmp_path / "b", FEW)
    files = contents(tmp_path / "a")
    assert files == contents(tmp_path / "b")
    assert len(files) == 3 * sum(FEW.values())


def test_no_display_is_in_two_splits(tmp_path):
    popout.write(tmp_path, {"train": 20, "val": 20, "test": 20})
    for kind in ("images", "maps"):
        files = contents(tmp_path / kind)
        assert len(files) == 60
        assert len(set(files.values())) == 60


def test_the_displays_are_a_dataset(cache):
    dataset = load_dataset()
    assert dataset.name == "popout"
    assert {split: len(samples) for split, samples in dataset.splits.items()} == FEW
    assert dataset.held_out == "test"
    for number, split in enumerate(FEW):
        for index, sample in enumerate(dataset[split]):
            image, density, fixations = popout.draw(number, index)
            # JPEG, and colours at half the resolution.
            assert np.abs(sample.read_image().astype(float) - image).mean() < 4
            read = sample.read_density((popout.SIZE, popout.SIZE))
            np.testing.assert_allclose(read, density, atol=density.max() / 65535)
            points = {tuple(map(int, point)) for point in sample.read_fixations()}
            assert points == set(map(tuple, fixations.tolist()))
            assert read_grey(sample.density).dtype == np.uint16


def test_there_are_displays_to_train_to_validate_and_to_test():
    assert set(popout.SPLITS) == {"train", "val", "test"}
    assert min(popout.SPLITS.values()) > 0


# In the cache


def test_the_folder_is_drawn_once(cache, monkeypatch):
    folder = popout.folder()
    assert folder.parent == cache
    assert [path.name for path in cache.iterdir()] == [folder.name], "and nothing else"
    files = contents(folder)
    assert len(files) == 3 * sum(FEW.values())

    def fail(*_):
        pytest.fail("drew again")

    monkeypatch.setattr(popout, "draw", fail)
    assert popout.folder() == folder
    assert contents(folder) == files


def test_without_keras_home_it_is_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(popout, "SPLITS", {"train": 1})
    assert popout.folder().parent == tmp_path / ".keras" / "datasets"


def test_others_may_read_the_folder(cache):
    umask = os.umask(0o022)
    try:
        assert popout.folder().stat().st_mode & 0o777 == 0o755
    finally:
        os.umask(umask)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("disk full")])
def test_an_interrupted_drawing_leaves_nothing(cache, monkeypatch, error):
    draw, calls = popout.draw, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 4:
            raise error
        return draw(*arguments)

    monkeypatch.setattr(popout, "draw", interrupted)
    with pytest.raises(type(error) if isinstance(error, Exception) else error):
        popout.folder()
    assert not list(cache.iterdir())
    assert len(contents(popout.folder())) == 3 * sum(FEW.values()), "the next try succeeds"


def test_a_file_that_cannot_be_written_is_an_error(tmp_path, monkeypatch):
    # OpenCV's own writer returns False, and a folder with holes would be kept for good.
    path = tmp_path / "images" / "train" / "train_0001.jpg"
    path.mkdir(parents=True)
    with pytest.raises(OSError, match=r"train_0001\.jpg"):
        popout.write(tmp_path, FEW)


def test_two_processes_may_draw_at_once(cache, monkeypatch):
    write = popout.write

    def overtaken(root, splits=None):
        write(root, splits)
        monkeypatch.setattr(popout, "write", write)
        popout.folder()  # the other process is done first

    monkeypatch.setattr(popout, "write", overtaken)
    folder = popout.folder()
    assert len(contents(folder)) == 3 * sum(FEW.values())
    assert [path.name for path in cache.iterdir()] == [folder.name]


def test_a_cache_that_cannot_be_written_is_an_error(cache):
    cache.parent.parent.mkdir(exist_ok=True)
    cache.parent.write_text("a file")
    with pytest.raises(OSError, match="keras"):
        popout.folder()


def test_the_files_are_what_their_endings_say(tmp_path):
    popout.write(tmp_path, {"train": 1})
    image = cv2.imread(str(tmp_path / "images" / "train" / "train_0000.jpg"))
    # Written as BGR, so that readers of RGB get the drawing's colours.
    drawn, _, _ = popout.draw(0, 0)
    assert np.abs(image[..., ::-1].astype(float) - drawn).mean() < 4
    jpeg = (tmp_path / "images" / "train" / "train_0000.jpg").read_bytes()
    assert jpeg.startswith(b"\xff\xd8\xff")
