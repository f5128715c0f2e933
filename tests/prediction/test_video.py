"""Videos around a model whose answers are known, made and read again with PyAV."""

import itertools
import sys
import weakref
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from keras_salnet import Predictor, cli
from keras_salnet.prediction.video import Smoothing, is_video, predict_video

av = pytest.importorskip("av", reason="PyAV, the extra [video], is not installed")

SIZE = (64, 96)
FRAME = (32, 48)
TIMES = [i / 30 for i in range(24)]
UNEVEN = [0.0, 0.04, 0.1, 0.12, 0.5, 0.54, 1.2, 1.22, 1.3, 1.5, 1.54, 2.0]  # whole milliseconds
SOUND = {".mp4": "aac", ".mkv": "aac", ".ts": "aac", ".mov": "pcm_s16le", ".avi": "pcm_s16le"}


def brightness(images):
    """A model that finds bright pixels salient."""
    return images.mean(axis=-1, keepdims=True) / 255


@pytest.fixture
def predictor():
    return Predictor(brightness, FRAME)


def square(size, i):
    """Dark grey with a bright square that moves to the right."""
    image = np.full((*size, 3), 40, np.uint8)
    image[8:24, 2 * i : 2 * i + 16] = 220
    return image


def tone(seconds, rate=48000, onset=0.5):
    """(1, 2 n) int16: silence, then 440 Hz in both channels."""
    t = np.arange(int(seconds * rate)) / rate
    wave = 8000 * np.sin(2 * np.pi * 440 * t) * (t >= onset)
    return np.repeat(wave.astype(np.int16), 2)[None]


def make_clip(
    path,
    times=TIMES,
    *,
    codec=None,
    picture=square,
    size=SIZE,
    sounds=1,
    time_base=None,
    start=0,
    last=1 / 30,
    pix_fmt="yuv420p",
    prepare=lambda stream: None,
):
    """Write a clip as a camera would: `picture(size, i)` at each of `times` in seconds."""
    webm = path.suffix == ".webm"
    codec = codec or ("libvpx-vp9" if webm else "libx264")
    time_base = time_base or Fraction(1, 90000)
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=30)
        video.height, video.width = size
        video.pix_fmt = pix_fmt
        video.codec_context.time_base = time_base
        prepare(video)
        audio = []
        for i in range(sounds):
            stream = container.add_stream("libopus" if webm else SOUND[path.suffix], rate=48000)
            stream.layout = "stereo"
            stream.metadata["language"] = ("eng", "fra")[i]
            audio.append(stream)
        for i, time in enumerate(times):
            frame = picture(size, i)
            if not isinstance(frame, av.VideoFrame):
                frame = av.VideoFrame.from_ndarray(frame)
            frame.pts = round((start + time) / time_base)
            following = times[i + 1] if i + 1 < len(times) else time + last
            frame.time_base, frame.duration = time_base, round((following - time) / time_base)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for stream in audio:
            samples = tone(times[-1] + 1 / 30)
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
            frame.sample_rate, frame.pts = 48000, round(start * 48000)
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


def frames(path):
    """[(seconds, seconds that it is shown)] as Fractions, and the pictures."""
    with av.open(str(path)) as container:
        decoded = list(container.decode(video=0))
    times = [(f.pts * f.time_base, f.duration * f.time_base) for f in decoded]
    return times, [f.to_ndarray(format="rgb24") for f in decoded]


def sound_packets(path, stream=0):
    """[(seconds, bytes)] of an audio stream, and its codec."""
    with av.open(str(path)) as container:
        audio = container.streams.audio[stream]
        packets = [(p.pts * p.time_base, bytes(p)) for p in container.demux(audio) if p.size]
        return packets, audio.codec_context.name


def as_is(image, saliency):
    return image


# Frames and their times


@pytest.mark.parametrize("times", [TIMES, UNEVEN], ids=["even", "uneven"])
@pytest.mark.parametrize(
    ("source", "out"),
    [("a.mp4", "b.mp4"), ("a.mp4", "b.mkv"), ("a.mkv", "b.mov"), ("a.webm", "b.mp4")],
)
def test_every_frame_keeps_its_time(predictor, tmp_path, times, source, out):
    if source == "a.mp4" and times is TIMES and out == "b.mkv":
        times = UNEVEN[:6]  # Matroska counts milliseconds
    source = make_clip(tmp_path / source, times)
    out = tmp_path / out
    assert predict_video(predictor, source, out, as_is, batch_size=5) == len(times)
    before, pictures = frames(source)
    after, drawn = frames(out)
    assert [time for time, _ in after] == [time for time, _ in before]
    for picture, expected in zip(drawn, pictures, strict=True):
        assert np.abs(picture.astype(int) - expected).mean() < 2
    if out.suffix != ".mkv":  # which keeps no durations
        gaps = [b - a for (a, _), (b, _) in itertools.pairwise(before)]
        assert [shown for _, shown in after][:-1] == gaps
        with av.open(str(source)) as container:
            stream = container.streams.video[0]
            end = (stream.duration or 0) * stream.time_base
        if end > before[-1][0]:  # else the source does not tell
            assert sum(after[-1]) == end
    if times is TIMES and (source.suffix, out.suffix) == (".mp4", ".mp4"):
        with av.open(str(out)) as container:
            assert container.streams.video[0].average_rate == 30
            assert container.streams.video[0].frames == len(TIMES)


@pytest.mark.parametrize("ending", [".mp4", ".webm"])
def test_the_last_frame_is_shown_as_long(predictor, tmp_path, ending):
    def prepare(stream):
        stream.codec_context.max_b_frames = 0
        stream.codec_context.flags |= av.codec.context.Flags.frame_duration

    source = make_clip(tmp_path / "a.mp4", UNEVEN, sounds=0, last=0.7, prepare=prepare)
    out = tmp_path / f"b{ending}"
    predict_video(predictor, source, out, as_is)
    with av.open(str(out)) as container:
        assert container.duration / 1e6 == pytest.approx(UNEVEN[-1] + 0.7, abs=2e-3)


def test_the_map_is_that_of_its_frame(predictor, tmp_path):
    source = make_clip(tmp_path / "a.mp4", sounds=0)
    _, pictures = frames(source)
    seen = []

    def draw(image, saliency):
        seen.append((image.copy(), saliency.copy()))
        return np.round(np.repeat(saliency[..., None], 3, axis=2) * 255).astype(np.uint8)

    predict_video(predictor, source, tmp_path / "b.mp4", draw)
    assert len(seen) == len(pictures)
    for (image, saliency), picture in zip(seen, pictures, strict=True):
        np.testing.assert_array_equal(image, picture)
        np.testing.assert_array_equal(saliency, predictor(picture))
        assert saliency.max() == 1


def test_a_broadcast_s_clock_begins_at_zero(predictor, tmp_path):
    source = make_clip(tmp_path / "a.ts", start=5000)
    out = tmp_path / "b.mp4"
    assert predict_video(predictor, source, out, as_is) == len(TIMES)
    (before, _), (after, _) = frames(source), frames(out)
    heard_before, heard_after = sound_packets(source)[0], sound_packets(out)[0]
    shift = before[0][0] - after[0][0]
    assert 4999 < shift < 5002
    for (old, _), (new, _) in zip(before, after, strict=True):
        assert float(old - new) == pytest.approx(float(shift), abs=2e-5)
    for (old, _), (new, _) in zip(heard_before, heard_after, strict=True):
        assert float(old - new) == pytest.approx(float(shift), abs=1e-4)


def test_progress_knows_the_number_of_frames(predictor, tmp_path):
    source = make_clip(tmp_path / "a.mp4", sounds=0)
    shown = []

    def track(items, title, total):
        shown.extend((total, title))
        for item in items:
            shown.append("frame")
            yield item

    predict_video(predictor, source, tmp_path / "b.mp4", as_is, track=track)
    assert shown == [len(TIMES), "a.mp4", *["frame"] * len(TIMES)]
    shown.clear()
    source = make_clip(tmp_path / "a.mkv", sounds=0)  # which does not say it
    predict_video(predictor, source, tmp_path / "b.mp4", as_is, track=track)
    assert shown[0] == len(TIMES)


def test_memory_does_not_grow_with_the_length(tmp_path):
    alive, most, sizes = weakref.WeakValueDictionary(), [], []

    class Image(np.ndarray):  # which can be referred to weakly
        pass

    def infer(images):
        sizes.append(len(images))
        return brightness(images)

    def track(items, title, total):
        for item in items:
            image = item.image.view(Image)
            alive[len(most)] = image
            most.append(len(alive))
            yield item._replace(image=image)
            del item, image

    source = make_clip(tmp_path / "a.mp4", [i / 30 for i in range(60)], sounds=0)
    predict_video(
        Predictor(infer, FRAME), source, tmp_path / "b.mp4", as_is, batch_size=4, track=track
    )
    assert sizes == [4] * 15
    assert len(most) == 60
    assert max(most) <= 9  # a batch, the one that is read meanwhile and one frame


# Sound


@pytest.mark.parametrize(
    ("source", "out"),
    [("a.mp4", "b.mp4"), ("a.mp4", "b.mkv"), ("a.mov", "b.mov"), ("a.webm", "b.webm")],
)
def test_sound_is_copied(predictor, tmp_path, source, out):
    source = make_clip(tmp_path / source, UNEVEN, sounds=2)
    out = tmp_path / out
    predict_video(predictor, source, out, as_is)
    for stream in (0, 1):
        before, codec = sound_packets(source, stream)
        after, same = sound_packets(out, stream)
        assert same == codec
        assert [data for _, data in after] == [data for _, data in before]
        for (old, _), (new, _) in zip(before, after, strict=True):
            assert float(new) == pytest.approx(float(old), abs=6e-4)
    with av.open(str(out)) as container:
        assert [s.language for s in container.streams.audio] == ["eng", "fra"]


@pytest.mark.parametrize(
    ("source", "out", "codec"),
    [("a.mp4", "b.webm", "opus"), ("a.avi", "b.mp4", "aac")],
)
def test_sound_that_the_container_does_not_take_is_encoded_anew(
    predictor, tmp_path, source, out, codec
):
    options = {} if source == "a.mp4" else {"codec": "mpeg4", "time_base": Fraction(1, 30)}
    source = make_clip(tmp_path / source, [i / 30 for i in range(45)], **options)
    out = tmp_path / out
    assert predict_video(predictor, source, out, as_is) == 45
    with av.open(str(out)) as container:
        decoded = list(container.decode(audio=0))
        assert codec in container.streams.audio[0].codec_context.name
        start = float(decoded[0].pts * decoded[0].time_base)
        rate = decoded[0].sample_rate
        wave = np.concatenate([f.to_ndarray()[0] for f in decoded]).astype(float)
    assert len(wave) / rate == pytest.approx(1.5, abs=0.05)
    loud = np.abs(wave) > np.abs(wave).max() / 4
    assert np.argmax(loud) / rate + start == pytest.approx(0.5, abs=0.02)
    spectrum = np.abs(np.fft.rfft(wave[int(0.6 * rate) : int(1.4 * rate)]))
    assert np.argmax(spectrum) / 0.8 == pytest.approx(440, abs=2)


# Geometry and colours


def corners(size, i):
    """Red at the top left, green at the top right, blue at the bottom left, white elsewhere."""
    image = np.full((*size, 3), 255, np.uint8)
    height, width = size[0] // 2, size[1] // 2
    image[:height, :width] = (255, 0, 0)
    image[:height, width:] = (0, 255, 0)
    image[height:, :width] = (0, 0, 255)
    return image


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_turned_video_is_upright(predictor, tmp_path, degrees):
    source = make_clip(
        tmp_path / "a.mp4",
        TIMES[:4],
        picture=corners,
        prepare=lambda stream: stream.set_display_rotation(degrees),
    )
    out = tmp_path / "b.mp4"
    predict_video(predictor, source, out, as_is)
    capture = cv2.VideoCapture(str(source))  # turns it on its own
    _, expected = capture.read()
    _, (picture, *_) = frames(out)
    assert picture.shape == ((96, 64, 3) if degrees % 180 else (64, 96, 3))
    assert np.abs(picture - expected[..., ::-1].astype(int)).mean() < 6
    with av.open(str(out)) as container:
        assert next(container.decode(video=0)).rotation == 0


@pytest.mark.parametrize(
    ("flips", "expected"),
    [({"hflip": True}, lambda image: image[:, ::-1]), ({"vflip": True}, lambda image: image[::-1])],
)
def test_a_mirrored_video_is_mirrored(predictor, tmp_path, flips, expected):
    source = make_clip(
        tmp_path / "a.mp4",
        TIMES[:2],
        picture=corners,
        prepare=lambda stream: stream.set_display_rotation(0, **flips),
    )
    predict_video(predictor, source, tmp_path / "b.mp4", as_is)
    _, (picture, *_) = frames(tmp_path / "b.mp4")
    assert np.abs(picture - expected(corners(SIZE, 0)).astype(int)).mean() < 6


@pytest.mark.parametrize("degrees", [0, 90])
def test_pixels_keep_their_shape(predictor, tmp_path, degrees):
    def prepare(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        stream.set_display_rotation(degrees)

    source = make_clip(tmp_path / "a.mp4", TIMES[:4], prepare=prepare)
    predict_video(predictor, source, tmp_path / "b.mp4", as_is)
    with av.open(str(tmp_path / "b.mp4")) as container:
        aspect = container.streams.video[0].sample_aspect_ratio
    assert aspect == (Fraction(3, 4) if degrees else Fraction(4, 3))


@pytest.mark.parametrize("out", ["b.mp4", "b.webm"])
def test_odd_sides_are_made_even(predictor, tmp_path, out):
    source = make_clip(tmp_path / "a.webm", TIMES[:4], size=(49, 63))
    shapes = set()

    def draw(image, saliency):
        shapes.add((image.shape, saliency.shape))
        return image

    predict_video(predictor, source, tmp_path / out, draw)
    assert shapes == {((49, 63, 3), (49, 63))}
    (_, before), (_, after) = frames(source), frames(tmp_path / out)
    for old, new in zip(before, after, strict=True):
        assert new.shape == (50, 64, 3)
        assert np.abs(new - np.pad(old, ((0, 1), (0, 1), (0, 0)), "edge").astype(int)).mean() < 3
        assert np.abs(new[-1] - new[-2].astype(int)).mean() < 3
        assert np.abs(new[:, -1] - new[:, -2].astype(int)).mean() < 3


def grey_yuv(level, full, colorspace, size=SIZE):
    frame = av.VideoFrame(size[1], size[0], "yuv420p")
    luma = round(level if full else 16 + 219 * level / 255)
    for plane, value in zip(frame.planes, (luma, 128, 128), strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    frame.color_range, frame.colorspace = 2 if full else 1, colorspace
    return frame


@pytest.mark.parametrize("out", ["b.mp4", "b.webm"])
@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("level", [0, 16, 128, 250])
def test_grey_stays_grey(predictor, tmp_path, out, full, level):
    def prepare(stream):
        stream.codec_context.color_range = 2 if full else 1

    source = make_clip(
        tmp_path / "a.mp4",
        TIMES[:3],
        picture=lambda size, i: grey_yuv(level, full, 6),
        prepare=prepare,
        sounds=0,
    )
    seen = []
    predict_video(
        predictor, source, tmp_path / out, lambda image, _: seen.append(image.copy()) or image
    )
    assert np.abs(np.stack(seen).astype(int) - level).max() <= 2
    with av.open(str(tmp_path / out)) as container:
        for frame in container.decode(video=0):
            assert (frame.color_range, frame.colorspace) == (1, 1)
            luma, blue, red = (np.frombuffer(plane, np.uint8) for plane in frame.planes)
            assert abs((np.median(luma) - 16) * 255 / 219 - level) <= 2
            assert abs(int(np.median(blue)) - 128) <= 1
            assert abs(int(np.median(red)) - 128) <= 1


@pytest.mark.parametrize("colorspace", [1, 6, 2], ids=["BT.709", "BT.601", "untold"])
@pytest.mark.parametrize("height", [64, 720])
def test_colours_are_read_as_they_are_meant(predictor, tmp_path, colorspace, height):
    high_definition = colorspace == 1 or (colorspace == 2 and height == 720)
    red, blue = (0.2126, 0.0722) if high_definition else (0.299, 0.114)  # shares in luma
    rgb = np.array([200, 60, 30])
    luma = (red, 1 - red - blue, blue) @ rgb
    chroma = [(rgb[2] - luma) / (1 - blue) / 2, (rgb[0] - luma) / (1 - red) / 2]
    values = [16 + 219 / 255 * luma, *(128 + 224 / 255 * value for value in chroma)]

    def picture(size, i):
        frame = av.VideoFrame(size[1], size[0], "yuv420p")
        for plane, value in zip(frame.planes, values, strict=True):
            plane.update(bytes([round(value)]) * plane.buffer_size)
        return frame

    def prepare(stream):
        stream.codec_context.colorspace = colorspace

    source = make_clip(
        tmp_path / "a.mp4", [0.0], picture=picture, prepare=prepare, size=(height, 64), sounds=0
    )
    seen = []
    predict_video(
        predictor, source, tmp_path / "b.mp4", lambda image, _: seen.append(image.copy()) or image
    )
    np.testing.assert_allclose(seen[0].mean(axis=(0, 1)), rgb, atol=3)


def make_pictures(path, sizes, times):
    """Write JPEGs as a video, of any sizes and times in milliseconds."""
    time_base = Fraction(1, 1000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.height, stream.width, stream.pix_fmt = *sizes[0], "yuvj420p"
        stream.codec_context.time_base = time_base
        for i, (size, time) in enumerate(zip(sizes, times, strict=True)):
            encoder = av.CodecContext.create("mjpeg", "w")
            encoder.height, encoder.width, encoder.pix_fmt = *size, "yuvj420p"
            encoder.time_base = time_base
            frame = av.VideoFrame.from_ndarray(corners(size, i))
            frame.pts, frame.time_base = time, time_base
            for packet in [*encoder.encode(frame), *encoder.encode(None)]:
                packet.stream = stream
                container.mux(packet)
    return path


def test_a_picture_that_changes_its_size_is_scaled(predictor, tmp_path):
    source = make_pictures(tmp_path / "a.mkv", [(64, 96), (128, 192)], [0, 100])
    assert predict_video(predictor, source, tmp_path / "b.mp4", as_is) == 2
    _, pictures = frames(tmp_path / "b.mp4")
    for picture in pictures:
        assert np.abs(picture - corners(SIZE, 0).astype(int)).mean() < 8


def test_frames_of_one_time_are_all_kept(predictor, tmp_path):
    source = make_pictures(tmp_path / "a.mkv", [SIZE] * 4, [0, 100, 100, 200])
    assert predict_video(predictor, source, tmp_path / "b.mp4", as_is) == 4
    times, _ = frames(tmp_path / "b.mp4")
    assert [time * 1000 for time, _ in times] == [0, 100, 101, 200]


# Smoothing


def test_smoothing_is_an_exponential_moving_average(predictor, tmp_path):
    source = make_clip(tmp_path / "a.mp4", UNEVEN, sounds=0)
    seen = []

    def draw(image, saliency):
        seen.append((image.copy(), saliency.copy()))
        return image

    predict_video(predictor, source, tmp_path / "b.mp4", draw, smoothing=0.3, batch_size=5)
    mean = None
    for i, (image, saliency) in enumerate(seen):
        density = predictor(image, density=True).astype(float)
        keep = np.exp(-(UNEVEN[i] - UNEVEN[i - 1]) / 0.3) if i else 0
        mean = density if mean is None else keep * mean + (1 - keep) * density
        np.testing.assert_allclose(saliency, mean / mean.max(), atol=1e-5)


def test_smoothing_does_not_depend_on_the_frame_rate():
    maps = np.random.default_rng(0).random((10, 8, 8)).astype(np.float32)
    slow, fast = Smoothing(0.5), Smoothing(0.5)
    for i, saliency in enumerate(maps):
        once = slow(saliency, i / 10)
        for part in range(3):
            last = fast(saliency, i / 10 - (0.1 - (part + 1) / 30) if i else part * 1e-9)
        np.testing.assert_allclose(last, once, atol=1e-5)


def test_smoothing_of_no_mass_is_no_nan():
    smooth = Smoothing(1.0)
    assert smooth(np.zeros((2, 2), np.float32), 0).max() == 0
    assert smooth(np.eye(2, dtype=np.float32), 0.1).tolist() == [[1, 0], [0, 1]]
    assert smooth(np.zeros((2, 2), np.float32), 0.2).tolist() == [[1, 0], [0, 1]]


# What goes wrong leaves nothing behind


def fails(predictor, source, error, told, draw=as_is, out="b.mp4", **options):
    """Predicting `source` raises an error and leaves the folder as it is."""
    before = {path: path.read_bytes() for path in source.parent.iterdir() if path.is_file()}
    with pytest.raises(error, match=told):
        predict_video(predictor, source, source.parent / out, draw, **options)
    assert {p: p.read_bytes() for p in source.parent.iterdir() if p.is_file()} == before


def test_what_is_no_video_is_refused(predictor, tmp_path):
    fails(predictor, tmp_path / "nowhere.mp4", FileNotFoundError, r"nowhere\.mp4: no such")
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    fails(predictor, text, ValueError, r"text\.mp4: is not a video")
    text.write_bytes(b"")
    fails(predictor, text, ValueError, r"text\.mp4: is not a video")
    sound = tmp_path / "sound.mp4"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("aac", rate=48000, layout="stereo")
        frame = av.AudioFrame.from_ndarray(tone(1), format="s16", layout="stereo")
        frame.sample_rate = 48000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    fails(predictor, sound, ValueError, r"sound\.mp4: has no video, only audio")


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".avi"])
def test_a_video_that_is_cut_off_is_refused(predictor, tmp_path, ending):
    codec = {"codec": "mpeg4", "time_base": Fraction(1, 30)} if ending == ".avi" else {}
    whole = make_clip(tmp_path / f"whole{ending}", [i / 30 for i in range(150)], **codec)
    if ending == ".mp4":  # with the table of contents in front
        predict_video(predictor, whole, tmp_path / "front.mp4", as_is)
        whole = tmp_path / "front.mp4"
    data = whole.read_bytes()
    cut = tmp_path / f"cut{ending}"
    cut.write_bytes(data[: len(data) // 2])
    fails(predictor, cut, ValueError, rf"cut\{ending}: is cut off.*ffmpeg")


def test_an_mp4_without_its_table_of_contents_is_refused(predictor, tmp_path):
    data = make_clip(tmp_path / "a.mp4").read_bytes()  # has it at the end
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: len(data) * 3 // 4])
    fails(predictor, cut, ValueError, r"cut\.mp4: is not a video, or was cut off")


def test_damage_in_the_middle_is_told_with_its_time(predictor, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (90, *SIZE, 3), np.uint8)
    source = make_clip(
        tmp_path / "a.mp4",
        [i / 30 for i in range(90)],
        picture=lambda size, i: noise[i],
        sounds=0,
        prepare=lambda stream: setattr(stream.codec_context, "gop_size", 10),
    )
    with av.open(str(source)) as container:
        entries = [(entry.pos, entry.size) for entry in container.streams.video[0].index_entries]
    data = bytearray(source.read_bytes())
    for place, size in entries[45:48]:
        data[place : place + size] = b"\xff" * size
    source.write_bytes(data)
    fails(predictor, source, ValueError, r"a\.mp4: is damaged 1\.\d\d s after its start.*ffmpeg")


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, ValueError])
def test_an_interruption_leaves_the_old_file(predictor, tmp_path, error):
    source = make_clip(tmp_path / "a.mp4", [i / 30 for i in range(60)])
    (tmp_path / "b.mp4").write_text("the old one")
    left = [40]

    def draw(image, saliency):
        left[0] -= 1
        if not left[0]:
            raise error("stop")
        return image

    fails(predictor, source, error, "stop", draw)


def test_arguments_are_checked(predictor, tmp_path):
    source = make_clip(tmp_path / "a.mp4", TIMES[:4])
    fails(predictor, source, ValueError, r"b\.gif: a video must end in \.mp4", out="b.gif")
    fails(predictor, source, ValueError, r"a\.mp4: is the video itself", out="a.mp4")
    fails(predictor, source, ValueError, "batch_size must be at least 1, not 0", batch_size=0)
    for smoothing in (-1, np.nan, np.inf):
        fails(predictor, source, ValueError, "smoothing must be a number", smoothing=smoothing)
    fails(predictor, source, ValueError, r"draw must return \(H, W, 3\) uint8", lambda i, s: s)
    sizes = iter([(4, 4, 3), (4, 6, 3)])
    fails(
        *(predictor, source, ValueError, "pictures of one size"),
        lambda i, s: np.zeros(next(sizes), np.uint8),
    )
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(OSError, match=r"folder\.mp4"):
        predict_video(predictor, tmp_path / "folder.mp4", tmp_path / "b.mp4", as_is)


def test_endings():
    assert all(map(is_video, ["a.mp4", "b.MOV", "folder/c.webm"]))
    assert not any(map(is_video, ["a.jpg", "b", "mp4"]))


def test_pyav_is_asked_for_when_it_is_needed(predictor, tmp_path, monkeypatch, run_python):
    loaded = run_python(
        "import sys, keras_salnet.prediction.video as v; v.is_video('a.mp4')\n"
        "assert not {'av', 'tkinter', 'keras', 'tensorflow'} & set(sys.modules)"
    )
    assert loaded is None
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "keras-salnet\[video\]"'):
        predict_video(predictor, tmp_path / "a.mp4", tmp_path / "b.mp4", as_is)


# The command


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli.predict, "load_predictor", lambda model: Predictor(brightness, FRAME))
    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "a.mp4", TIMES[:6])
    assert cli.main(["predict", "a.mp4", "--out", "heat.mp4"]) == 0
    assert "6 frames predicted by model: heat.mp4" in capsys.readouterr().out
    assert len(frames("heat.mp4")[0]) == 6
    before = Path("heat.mp4").read_bytes()
    assert cli.main(["predict", "a.mp4", "--out", "heat.mp4"]) == 0
    assert "--force" in capsys.readouterr().out
    assert Path("heat.mp4").read_bytes() == before
    assert cli.main(["predict", "a.mp4", "--map", "--smoothing", "0.2"]) == 0
    assert len(frames("predictions/a_saliency.mp4")[0]) == 6
    for wrong in (["--npy"], ["--map", "--overlay"], ["--shard", "1/2"], ["--colormap", "rainbow"]):
        assert cli.main(["predict", "a.mp4", "--out", "b.mp4", *wrong]) == 1
    assert not Path("b.mp4").exists()
    assert cli.main(["predict", "--camera", "a.mp4", "--out", "seen.mp4"]) == 0
    assert frames("seen.mp4")[0]
    assert cli.main(["predict", "--camera", "a.mp4", "--out", "seen.mp4"]) == 1
    assert "--force" in capsys.readouterr().err
    assert cli.main(["predict", "--camera", "a.mp4", "--out", "seen.gif"]) == 1
    assert "seen.gif: a camera is recorded to a video" in capsys.readouterr().err


def test_videos_of_one_name_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli.predict, "load_predictor", lambda model: Predictor(brightness, FRAME))
    monkeypatch.chdir(tmp_path)
    for folder in ("a", "b"):
        Path(folder).mkdir()
        make_clip(Path(folder, "clip.mp4"), TIMES[:2])
    assert cli.main(["predict", "a/clip.mp4", "b/clip.mp4"]) == 1
    assert "a/clip.mp4 and b/clip.mp4 would both be written as" in capsys.readouterr().err
    assert not Path("predictions").exists()
