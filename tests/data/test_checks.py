"""Broken files of every kind: each is found, named, and left out if one wishes; whole ones pass."""

import dataclasses
import logging
import re

import cv2
import numpy as np
import PIL.ExifTags
import PIL.Image
import pytest
import scipy.io

from keras_salnet.data import Dataset, Sample, check, load_dataset
from keras_salnet.data.checks import find_problems
from keras_salnet.images.files import read_grey, read_image

SIZE = (48, 64)


@pytest.fixture(scope="module")
def picture():
    """Smooth noise with all the frequencies of a photograph, so that files of it are long."""
    noise = np.random.default_rng(0).uniform(-200, 455, (*SIZE, 3))
    return np.clip(cv2.GaussianBlur(noise, (0, 0), 1), 0, 255).astype(np.uint8)


@pytest.fixture
def write_sample(tmp_path, picture):
    def write(name="good", ending=".jpg", truth=".png"):
        """An image, a density map of its size and a map of two fixations."""
        image = tmp_path / f"{name}{ending}"
        looked = np.zeros(SIZE, np.uint8)
        looked[10, 50] = looked[40, 20] = 255
        blurred = cv2.GaussianBlur(looked * 1.0, (0, 0), 4)
        density, fixations = tmp_path / f"{name}_map{truth}", tmp_path / f"{name}_looked{truth}"
        save(image, picture)
        save(density, np.uint8(255 * blurred / blurred.max()))
        save(fixations, looked)
        return Sample(image, density, fixations)

    return write


def save(path, pixels, **options):
    PIL.Image.fromarray(pixels).save(path, **options)
    return path


def dataset_of(*samples):
    return Dataset("mine", {"train": list(samples)})


def problems(*samples):
    """What `check` says of a dataset of these, a line a problem."""
    try:
        check(dataset_of(*samples))
    except ValueError as error:
        head, *lines, foot = str(error).split("\n")
        assert head.startswith("mine: "), head
        assert "--skip-bad" in foot
        assert all(line.startswith("  ") for line in lines)
        return [line.removeprefix("  ") for line in lines]
    return []


# What can be wrong with a file, whatever it is for: how it breaks, and what is said of it.


def cut(left_out):
    return lambda path: path.write_bytes(path.read_bytes()[:-left_out])


def cut_in_half(path):
    cut(path.stat().st_size // 2)(path)


FILES = {
    "missing": (lambda path: path.unlink(), "no such file."),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "no such file."),
    "zero bytes": (lambda path: path.write_bytes(b""), "the file is empty."),
    "text": (lambda path: path.write_text("<html>404</html>" * 99), "not a readable image: "),
    "all zeros": (lambda path: path.write_bytes(bytes(5000)), "not a readable image: "),
    "a header": (lambda path: path.write_bytes(path.read_bytes()[:30]), "not a readable image: "),
    "half of it": (cut_in_half, "not a readable image: "),
    "cut by 40 bytes": (cut(40), "not a readable image: "),
}


@pytest.mark.parametrize(
    ("kind", "ending"),
    [
        *(("image", ending) for ending in (".jpg", ".png", ".bmp")),
        *((kind, ending) for kind in ("density", "fixations") for ending in (".jpg", ".png")),
    ],
)
@pytest.mark.parametrize("how", FILES)
def test_a_broken_file_is_found(write_sample, how, kind, ending):
    good = write_sample()
    bad = write_sample("bad", *((ending,) if kind == "image" else (".jpg", ending)))
    assert problems(good, bad) == []
    spoil, message = FILES[how]
    path = getattr(bad, kind)
    spoil(path)
    (line,) = problems(good, bad)
    assert line.startswith(f"{path}: {message}")


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}])
@pytest.mark.parametrize("kind", ["image", "density"])
def test_a_jpeg_cut_anywhere_is_found(tmp_path, write_sample, picture, kind, options):
    whole = save(tmp_path / "whole.jpg", picture, quality=30, **options).read_bytes()
    good = write_sample()
    # All of the end, for that is where it is easily overlooked.
    cuts = [*range(2, len(whole) - 60, 29), *range(len(whole) - 60, len(whole))]
    samples = []
    for size in cuts:
        path = tmp_path / f"{size}.jpg"
        path.write_bytes(whole[:size])
        samples.append(dataclasses.replace(good, **{kind: path}))
    lines = problems(*samples)
    assert [line.split(": ")[0] for line in lines] == [
        str(getattr(sample, kind)) for sample in samples
    ]
    assert all("not a readable image" in line for line in lines)


@pytest.mark.parametrize(
    "cut_bytes",
    [
        40,
        25,
        16,
        12,
        4,
        1,
    ],
)
@pytest.mark.parametrize("kind", ["image", "density", "fixations"])
def test_a_png_cut_near_its_end_is_found(write_sample, kind, cut_bytes):
    bad = write_sample("bad", ".png")
    path = getattr(bad, kind)
    cut(cut_bytes)(path)
    with pytest.raises(ValueError, match="not a readable image"):
        read_image(path)  # so training could not
    (line,) = problems(bad)
    assert line.startswith(f"{path}: not a readable image")


# What can be wrong with ground truth


def grey(size, value=0):
    return np.full(size, value, np.uint8)


def write_gaze(path, points):
    scipy.io.savemat(path, {"gaze": {"fixations": np.array(points)}})
    return path


EMPTY = "the density map is empty (all zeros)."
NOBODY = "no fixation lies inside the image."
TRUTHS = {
    "a map of zeros": ("density", grey(SIZE), EMPTY),
    "a map of 16-bit zeros": ("density", np.zeros(SIZE, np.uint16), EMPTY),
    "a map on its side": (
        "density",
        grey((64, 48), 9),
        "the map is 48x64, its image 64x48: the aspects differ.",
    ),
    "a map of a cropped image": (
        "density",
        grey((48, 60), 9),
        "the map is 60x48, its image 64x48: the aspects differ.",
    ),
    "a map of two columns fewer": (
        "density",
        grey((48, 62), 9),
        "the map is 62x48, its image 64x48: the aspects differ.",
    ),
    "a small map of a cropped image": (
        "density",
        grey((24, 29), 9),
        "the map is 29x24, its image 64x48: the aspects differ.",
    ),
    "a map of fixations of half the size": (
        "fixations",
        grey((24, 32), 255),
        "the fixation map is 32x24, its image 64x48.",
    ),
    "a map of fixations on its side": (
        "fixations",
        grey((64, 48), 255),
        "the fixation map is 48x64, its image 64x48.",
    ),
    "a map of no fixations": ("fixations", grey(SIZE), NOBODY),
    "a map of no fixations of half the size": (
        "fixations",
        grey((24, 32)),
        "the fixation map is 32x24, its image 64x48.",
    ),
}

GAZES = {
    "all outside": ([[65, 1], [1, 49], [0, 5], [5, 0], [999, 999]], NOBODY),
    "nobody looks": (np.zeros((0, 2)), NOBODY),
    "missing": (None, "no such file."),
    "zero bytes": (b"", "not a fixation file of SALICON's"),
    "text": (b"<html>404</html>" * 99, "not a fixation file of SALICON's"),
}


@pytest.mark.parametrize("how", TRUTHS)
def test_a_wrong_map_is_found(write_sample, how):
    good, bad = write_sample(), write_sample("bad")
    kind, pixels, message = TRUTHS[how]
    path = save(getattr(bad, kind), pixels)
    assert problems(good, bad) == [f"{path}: {message}"]


@pytest.mark.parametrize(
    "how",
    GAZES,
)
def test_a_wrong_gaze_file_is_found(tmp_path, write_sample, how):
    points, message = GAZES[how]
    path = tmp_path / "bad.mat"
    if isinstance(points, bytes):
        path.write_bytes(points)
    elif points is not None:
        write_gaze(path, points)
    (line,) = problems(write_sample(), dataclasses.replace(write_sample("bad"), fixations=path))
    assert line.startswith(f"{path}: {message}")


def test_several_observers_files_are_read(tmp_path, write_sample, recording, write_judd_mat):
    away = recording((30, 20, 60), (500, 300, 60))
    files = tuple(write_judd_mat(tmp_path / name / "a.mat", away) for name in ("ben", "zoe"))
    sample = dataclasses.replace(write_sample(), fixations=files)
    assert problems(sample) == [f"{sample.image}: no fixation lies inside it."]
    write_judd_mat(files[1], recording((900, 20, 60), (50, 30, 60)))
    assert problems(sample) == []
    files[0].write_bytes(b"")
    (line,) = problems(sample)
    assert line.startswith(f"{files[0]}: not an eye tracking file of MIT1003's")


def test_an_image_nobody_looked_at_is_found(write_sample):
    bad = write_sample("bad")
    line = f"{bad.image}: no fixation lies inside it."
    for density in (bad.density, None):
        sample = Sample(bad.image, density, np.zeros((0, 2)), np.zeros(0, int), sigma=3.0)
        assert problems(write_sample(), sample) == [line]


def test_an_image_without_ground_truth_is_found(write_sample):
    bad = write_sample("bad")
    line = f"{bad.image}: has neither a density map nor fixations."
    assert problems(write_sample(), Sample(bad.image, sigma=3.0)) == [line]


@pytest.mark.parametrize(
    "pixels",
    [
        np.dstack([grey(SIZE)] * 3 + [grey(SIZE, 255)]),
        np.dstack([grey(SIZE), grey(SIZE, 255)]),
        np.dstack([grey(SIZE), grey(SIZE), grey(SIZE, 1)]),
    ],
    ids=["opaque", "grey and opaque", "a trace of blue"],
)
@pytest.mark.parametrize("kind", ["density", "fixations"])
def test_a_black_map_of_more_channels_is_found(write_sample, kind, pixels):
    bad = write_sample("bad")
    save(getattr(bad, kind), pixels)
    assert not read_grey(getattr(bad, kind)).any(), "as training reads it"
    assert len(problems(bad)) == 1


# What can be wrong with masks


@pytest.mark.parametrize("how", FILES)
def test_a_broken_mask_is_found(write_sample, picture, how, tmp_path):
    path = save(tmp_path / "mask.png", picture[..., 0])
    sample = dataclasses.replace(write_sample(), mask=path)
    assert problems(sample) == []
    spoil, message = FILES[how]
    spoil(path)
    (line,) = problems(sample)
    assert line.startswith(f"{path}: {message}")


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (grey((24, 32), 255), "the mask is 32x24, its image 64x48."),
        (grey((64, 48), 255), "the mask is 48x64, its image 64x48."),
        (grey(SIZE), "the mask is empty: its brightest pixel is 0; what it marks must be"),
        (grey(SIZE, 1), "the mask is empty: its brightest pixel is 1; what it marks must be"),
        (grey(SIZE, 255), None),
        (np.full(SIZE, 40_000, np.uint16), None),
        (grey(SIZE, 255) > 0, None),
    ],
)
def test_a_wrong_mask_is_found(write_sample, tmp_path, pixels, message):
    path = save(tmp_path / "mask.png", pixels)
    found = problems(dataclasses.replace(write_sample(), mask=path))
    assert len(found) == (message is not None)
    assert all(line.startswith(f"{path}: {message}") for line in found)


def test_people_may_disagree_of_a_mask_but_not_where_there_is_nothing_else(write_sample, tmp_path):
    path = save(tmp_path / "mask.png", grey(SIZE, 100))
    sample = write_sample()
    assert problems(dataclasses.replace(sample, mask=path)) == []
    (line,) = find_problems(Sample(sample.image, mask=path), masks_only=True)
    assert line.startswith(f"{path}: the mask is empty: its brightest pixel is 100")


def test_masks_alone_will_do(write_sample, tmp_path, write_mask):
    image = write_sample().image
    good = Sample(image, mask=write_mask(tmp_path / "mask.png", SIZE))
    dataset = dataset_of(good)
    assert check(dataset) is dataset
    empty = Sample(image, mask=write_mask(tmp_path / "empty.png", SIZE, white=127))
    unknown = Sample(write_sample("unknown").image)
    told = problems(good, empty, unknown)
    assert told[0].startswith(f"{empty.mask}: the mask is empty: its brightest pixel is 127; what ")
    assert told[1:] == [f"{unknown.image}: has no mask."]
    assert check(dataset_of(good, empty, unknown), skip_bad=True)["train"] == [good]


def test_an_image_with_a_mask_alone_is_found_among_others(write_sample, tmp_path, write_mask):
    path = write_mask(tmp_path / "mask.png", SIZE)
    bad = write_sample("bad")
    line = f"{bad.image}: has neither a density map nor fixations."
    assert problems(write_sample(), Sample(bad.image, mask=path)) == [line]
    assert find_problems(Sample(bad.image, mask=path), masks_only=True) == []


# All of them at once


@pytest.fixture
def spoilt(tmp_path, write_sample):
    """(a dataset of good and bad samples, the bad ones, what is wrong: a line each)."""
    samples, bad, lines = [], [], []

    def add(sample, *found):
        samples.append(sample)
        if found:
            bad.append(sample)
            lines.extend(found)
        samples.append(write_sample(f"good{len(samples)}"))

    for number, how in enumerate(FILES):
        for kind in ("image", "density", "fixations"):
            sample = write_sample(f"{kind}{number}")
            spoil, message = FILES[how]
            spoil(getattr(sample, kind))
            add(sample, f"{getattr(sample, kind)}: {message}")
    for number, how in enumerate(TRUTHS):
        sample = write_sample(f"truth{number}")
        kind, pixels, message = TRUTHS[how]
        path = save(getattr(sample, kind), pixels)
        add(sample, f"{path}: {message}")
    write_gaze(tmp_path / "gaze.mat", [[65, 1]])
    sample = dataclasses.replace(write_sample("gaze"), fixations=tmp_path / "gaze.mat")
    add(sample, f"{tmp_path / 'gaze.mat'}: no fixation lies")
    add(Sample(write_sample("bare").image), f"{tmp_path / 'bare.jpg'}: has neither")
    sample = write_sample("all")
    for kind in ("image", "density", "fixations"):
        getattr(sample, kind).write_bytes(b"")
    add(sample, *(f"{getattr(sample, kind)}: " for kind in ("image", "density", "fixations")))
    splits = {"train": samples[0::3], "val": samples[1::3], "test": samples[2::3]}
    assert all(set(split) - set(bad) for split in splits.values())
    return Dataset("mine", splits, "/mine"), bad, lines


def test_all_that_is_wrong_is_listed_in_one_error(spoilt):
    dataset, bad, lines = spoilt
    with pytest.raises(ValueError, match="mine") as caught:
        check(dataset)
    head, *found, _ = str(caught.value).split("\n")
    total = sum(map(len, dataset.splits.values()))
    assert head == f"mine: {len(bad)} of {total} images cannot be used:"
    assert len(found) == len(lines)
    for line in lines:
        assert sum(text.startswith(f"  {line}") for text in found) == 1, line


def test_the_bad_are_left_out_and_only_they(spoilt, caplog):
    dataset, bad, lines = spoilt
    before = {split: list(samples) for split, samples in dataset.splits.items()}
    with caplog.at_level(logging.INFO):
        left = check(dataset, skip_bad=True)
    assert left.splits == {
        split: [sample for sample in samples if sample not in bad]
        for split, samples in before.items()
    }
    assert (left.name, left.source) == (dataset.name, dataset.source)
    assert dataset.splits == before, "the one that was given stays as it is"
    warning, summary = caplog.records
    assert warning.levelno == logging.WARNING
    assert all(line in warning.getMessage() for line in lines)
    assert warning.getMessage().endswith("They are left out.")
    assert summary.getMessage() == str(left)
    assert check(left) is left


def test_a_split_with_nothing_left_is_refused(write_sample):
    samples = [write_sample(name) for name in "abc"]
    dataset = Dataset("mine", {"train": samples[:2], "val": samples[2:]})
    samples[2].image.unlink()
    with pytest.raises(ValueError, match=r"mine: no image of the split val can be used\."):
        check(dataset, skip_bad=True)


def test_a_sample_that_stands_in_two_splits_is_left_out_of_both(write_sample):
    a, b, bad = (write_sample(name) for name in ("a", "b", "bad"))
    bad.density.unlink()
    left = check(Dataset("mine", {"train": [a, bad], "val": [bad, b]}), skip_bad=True)
    assert left.splits == {"train": [a], "val": [b]}


@pytest.mark.parametrize("skip_bad", [False, True])
def test_whoever_shows_progress_sees_every_sample_once(write_sample, skip_bad):
    samples = [write_sample(name) for name in "abcd"]
    if skip_bad:
        samples[1].image.unlink()
    dataset = Dataset("mine", {"train": samples[:3], "val": samples[3:]})
    calls, seen = [], []

    def track(items, description):
        calls.append((len(items), description))
        for item in items:
            seen.append(item)
            yield item

    check(dataset, skip_bad, track)
    assert calls == [(4, "checking mine")]
    assert seen == samples


# What is right


def turned(tmp_path, picture):
    exif = PIL.Image.Exif()
    exif[PIL.ExifTags.Base.Orientation] = 6
    return save(tmp_path / "turned.jpg", picture, exif=exif)


def test_a_clean_dataset_is_given_back(write_sample, caplog):
    dataset = Dataset("mine", {"train": [write_sample("a")], "val": [write_sample("b", ".png")]})
    for skip_bad in (False, True):
        assert check(dataset, skip_bad) is dataset
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_points_and_gaze_files_are_right(tmp_path, write_sample):
    image = write_sample().image
    path = write_gaze(tmp_path / "gaze.mat", [[65, 1], [64, 48]])
    point = np.array([[3.0, 4.0]])
    samples = [Sample(image, fixations=path, sigma=2.0), Sample(image, fixations=point, sigma=2.0)]
    assert problems(*samples) == []


@pytest.mark.parametrize(
    ("image", "density"),
    [
        *(((480, 640), size) for size in ((480, 640), (240, 320), (960, 1280), (60, 80))),
        *(((427, 640), size) for size in ((213, 320), (214, 320), (107, 160), (27, 40))),
        *(((333, 500), size) for size in ((166, 250), (167, 250), (84, 125), (5, 8))),
        ((1, 1), (1, 1)),
    ],
)
@pytest.mark.parametrize("upright", [False, True])
def test_a_map_may_be_smaller_than_its_image(tmp_path, image, density, upright):
    image, density = (image[::-1], density[::-1]) if upright else (image, density)
    sample = Sample(
        save(tmp_path / "image.png", grey(image)), save(tmp_path / "map.png", grey(density, 9))
    )
    assert problems(sample) == []


def test_a_turned_image_has_upright_ground_truth(tmp_path, picture):
    image = turned(tmp_path, picture)
    height, width = read_image(image).shape[:2]
    assert (height, width) == SIZE[::-1]
    upright = save(tmp_path / "upright.png", grey((height, width), 9))
    lying = save(tmp_path / "lying.png", grey((width, height), 9))
    corner = write_gaze(tmp_path / "corner.mat", [[width, height]])
    assert problems(Sample(image, upright, upright), Sample(image, fixations=corner)) == []
    assert problems(Sample(image, lying, lying)) == [
        f"{lying}: the map is 64x48, its image 48x64: the aspects differ.",
        f"{lying}: the fixation map is 64x48, its image 48x64.",
    ]


def one_of(value, dtype=np.uint8):
    pixels = np.zeros(SIZE, dtype)
    pixels[40, 60] = value
    return pixels


MAPS = {
    "the least value": one_of(1),
    "the least of 16 bits": one_of(1, np.uint16),
    "one bit": one_of(1).astype(bool),
    "three channels": np.dstack([one_of(255)] * 3),
    "transparent": np.dstack([one_of(255)] * 3 + [grey(SIZE)]),
    "everywhere": grey(SIZE, 255),
}


@pytest.mark.parametrize("kind", MAPS)
def test_maps_of_every_kind_are_right(tmp_path, write_sample, kind):
    path = save(tmp_path / "map.png", MAPS[kind])
    assert problems(Sample(write_sample().image, path, path)) == []


@pytest.fixture
def images(tmp_path, picture):
    """The picture in every kind that can be trained on; as on the web, whatever the ending."""
    paths = []
    for form, modes in (
        ("JPEG", ("RGB", "L", "CMYK")),
        ("PNG", ("RGB", "L", "P", "1", "RGBA", "LA")),
        ("BMP", ("RGB", "L")),
        ("WEBP", ("RGB",)),
    ):
        for mode in modes:
            paths.append(tmp_path / f"{mode}_{form}.jpg")
            PIL.Image.fromarray(picture).convert(mode).save(paths[-1], form)
    return paths


def test_images_of_every_kind_are_right(write_sample, images):
    good = write_sample()
    assert problems(*(dataclasses.replace(good, image=path) for path in images)) == []


@pytest.mark.parametrize("ending", [".jpg", ".png", ".bmp"])
def test_files_with_something_behind_their_end_are_right(write_sample, ending):
    sample = write_sample("long", ending)
    with sample.image.open("ab") as file:
        file.write(b"appended by some camera" * 9)
    assert read_image(sample.image).shape == (*SIZE, 3)
    assert problems(sample) == []


# What is found right can be trained on


def test_what_is_found_right_can_be_trained_on(tmp_path, write_sample, picture, images):
    pipeline = pytest.importorskip("keras_salnet.data.pipeline", exc_type=ImportError)
    good = write_sample()
    samples = [good, write_sample("b", ".png"), write_sample("c", ".bmp", ".jpg")]
    samples.append(Sample(turned(tmp_path, picture), fixations=np.array([[5.0, 60.0]]), sigma=2.0))
    samples.append(
        Sample(good.image, fixations=write_gaze(tmp_path / "a.mat", [[9, 9]]), sigma=2.0)
    )
    samples += [dataclasses.replace(good, image=path) for path in images]
    for kind, pixels in MAPS.items():
        path = save(tmp_path / f"{kind}.png", pixels)
        samples.append(dataclasses.replace(good, density=path))
    assert problems(*samples) == []
    (batch,) = pipeline.validation_batches(samples, SIZE, resize="pad", batch_size=len(samples))
    np.testing.assert_allclose(batch["density"].numpy().sum(axis=(1, 2, 3)), 1, atol=1e-5)
    assert batch["image"].numpy().std(axis=(1, 2, 3)).min() > 10


@pytest.mark.parametrize(
    ("kind", "mode", "form"),
    [
        ("image", "RGB", "TIFF"),
        ("image", "RGB", "TGA"),
        ("image", "RGB", "PPM"),
        ("image", "1", "BMP"),
        ("image", "P", "BMP"),
        ("density", "L", "BMP"),
        ("density", "L", "GIF"),
        ("density", "L", "WEBP"),
    ],
)
def test_what_tensorflow_does_not_read_is_found(tmp_path, write_sample, picture, kind, mode, form):
    path = tmp_path / "other.png"
    PIL.Image.fromarray(picture).convert(mode).save(path, form)
    (line,) = problems(dataclasses.replace(write_sample(), **{kind: path}))
    assert str(path) in line


# The real data


@pytest.mark.parametrize("name", ["salicon-mini", "osie", "eyecrowd", "scene500"])
def test_the_real_data_is_right(shared_data, name):
    dataset = load_dataset(shared_data / name)
    few = dataset.replace({split: samples[::20] for split, samples in dataset.splits.items()})
    assert check(few) is few


def test_one_image_too_few_of_the_real_data_is_found(shared_data, tmp_path):
    for kind in ("images", "maps", "fixations"):
        (tmp_path / kind).symlink_to(shared_data / "salicon-mini" / kind)
    images = tmp_path / "images"
    images.unlink()
    for path in sorted((shared_data / "salicon-mini" / "images").glob("*/*.jpg")):
        copy = images / path.parent.name / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.symlink_to(path)
    assert check(load_dataset(tmp_path))
    half = copy.read_bytes()[:20_000]
    copy.unlink()
    copy.write_bytes(half)
    with pytest.raises(ValueError, match=rf"1 of 14 images .*:\n  {re.escape(str(copy))}: not a r"):
        check(load_dataset(tmp_path))
