"""Videos in, videos of where people look out: every frame, its time and the sound are kept."""

import itertools
import logging
import math
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_salnet.prediction.video_writer import import_av, video_writer

_log = logging.getLogger(__name__)

# What is taken for a video by its name; a file is read whatever container it is.
VIDEO_ENDINGS = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts"),
    *(".wmv", ".flv", ".3gp", ".ogv"),
)

# Of colours, as FFmpeg numbers them: matrices, ranges and the transfer functions PQ and HLG.
_BT709, _UNSPECIFIED, _BT601 = 1, 2, 6
_FULL_RANGE = 2
_HDR = (16, 18)

_MICROSECONDS = 1_000_000  # what containers count their durations in

_REPAIR = (
    "copy it again, or keep what can be read: ffmpeg -err_detect ignore_err -i FILE repaired.mp4"
)


def is_video(path):
    """Whether a path is a video's, by its ending.

    Example:
        >>> is_video("clip.MP4"), is_video("photo.jpg")
        (True, False)
    """
    return Path(path).suffix.lower() in VIDEO_ENDINGS


def predict_video(predictor, source, out, draw, *, smoothing=0.0, batch_size=8, track=None):
    """Predict every frame of a video and write what is drawn of them as a video.

    What is written has as many frames as were decoded, at the same times (a Matroska or WebM file
    stores them in milliseconds), in H.264 or, as ``.webm``, VP9, and every audio stream: copied as
    it is, or re-encoded where the container does not take it. Frames are turned as the video's
    rotation says; the shape of their pixels is kept. Sides of an odd length are made even, as H.264
    asks for, by repeating the last row or column. Subtitles and chapters are left out. One
    batch is held in memory at a time. The file appears under its name when it is complete.

    Args:
        predictor: `keras_salnet.Predictor`.
        source: path of the video; of several video streams, the first is taken.
        out: path of the video to write, which must end in ``.mp4``, ``.mov``, ``.mkv`` or
            ``.webm``; one that exists is replaced.
        draw: function (image (H, W, 3) uint8 RGB, saliency (H, W) float32, its maximum 1) →
            picture (H', W', 3) uint8 RGB, or (H', W') grey, of one size for all frames, such as
            `keras_salnet.images.visualize.overlay`.
        smoothing: seconds, the time constant of an exponential moving average of the densities
            over time, so that the map does not flicker: what was seen that long ago has 1/e of its
            weight, whatever the frame rate. 0: every frame for itself. Scene cuts do not reset it.
        batch_size: frames that are predicted together.
        track: function (iterable of frames, title, their number) → the same iterable, which shows
            the progress. The number is what the file lists; some may fail to be decoded.

    Returns:
        int, the number of frames.

    Raises:
        FileNotFoundError: no such video.
        ValueError: it is not a video, is cut off, or is damaged; or another argument is out of
            its range.
        ModuleNotFoundError: PyAV is missing.

    Example:
        >>> from keras_salnet import Predictor, visualize
        >>> predictor = Predictor.load("runs/vggrga-osie")  # doctest: +SKIP
        >>> predict_video(predictor, "clip.mp4", "heat.mp4", visualize.overlay)  # doctest: +SKIP
        900
    """
    av = import_av()
    source, out = Path(source).expanduser(), Path(out).expanduser()
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}.")
    smooth = Smoothing(smoothing)
    # The sound is read beside the frames, so that neither waits in memory for the other.
    with _open(av, source) as seen, _open(av, source) as heard:
        if out.exists() and out.samefile(source):
            raise ValueError(f"{out}: is the video itself; write under another name.")
        start = _start(av, seen)
        frames = _Frames(av, seen, source, start)
        with video_writer(out, frames.time_base, frames.rate, frames.aspect) as writer:
            audio = _Audio(av, heard, source, start, writer)
            shown = frames if track is None else track(frames, source.name, frames.total)
            for batch in _batches(shown, batch_size):
                maps = predictor.batch([frame.image for frame in batch])
                for frame, saliency in zip(batch, maps, strict=True):
                    time = float(frame.pts * frames.time_base)
                    writer.write(draw(frame.image, smooth(saliency, time)), *frame[1:])
                audio.copy(until=time)
            audio.copy(until=math.inf)
            frames.tell_losses()
    return frames.count


class Smoothing:
    """Exponential moving average of saliency maps over time, as densities.

    Args:
        seconds: time constant, ≥ 0; 0 leaves the maps as they are.

    Raises:
        ValueError: no such number.

    Example:
        >>> smooth = Smoothing(1 / np.log(2))  # half of the weight after a second
        >>> smooth(np.array([[1.0, 0.0]]), time=0.0)
        array([[1., 0.]])
        >>> smooth(np.array([[0.0, 1.0]]), time=2.0).round(3)
        array([[0.333, 1.   ]])
    """

    def __init__(self, seconds):
        if not 0 <= seconds < math.inf:  # NaN fails it too
            raise ValueError(
                f"smoothing must be a number of seconds, 0 (none) or more, not {seconds}."
            )
        self.seconds = seconds
        self._mean = self._time = None

    def __call__(self, saliency, time):
        """The average up to now.

        Args:
            saliency: (H, W) floats ≥ 0, of the frame.
            time: of the frame in seconds, later than that of the last call.

        Returns:
            (H, W), its maximum 1; all zeros where no map had any mass.
        """
        if not self.seconds:
            return saliency
        total = saliency.sum(dtype=np.float64)
        density = saliency / saliency.dtype.type(total) if total > 0 else saliency
        if self._mean is None:
            self._mean = density
        else:
            weight = -math.expm1((self._time - time) / self.seconds)
            self._mean = self._mean + weight * (density - self._mean)
        self._time = time
        peak = self._mean.max()
        return self._mean / peak if peak > 0 else self._mean


class _Frame(NamedTuple):
    image: np.ndarray  # (H, W, 3) uint8 RGB, upright
    pts: int
    duration: int


class _Frames:
    """The frames of a video, decoded one after the other, with their times in `time_base`."""

    def __init__(self, av, container, source, start):
        self._av, self._container, self._source = av, container, source
        self._stream = _video_stream(container, source)
        self._check_table()
        self.total = self._stream.frames or self._count()
        self._stream.thread_type = "AUTO"
        self._reformatter = av.video.reformatter.VideoReformatter()
        self.time_base = self._stream.time_base
        self.rate = self._stream.average_rate or self._stream.guessed_rate or Fraction(30)
        self._start = round(start / self.time_base)
        self._end = 0  # of the last frame
        self.count = self._damaged = 0

        decoded = self._decode()
        first = next(decoded, None)
        if first is None:
            raise ValueError(f"{source}: not one frame of it can be decoded; {_REPAIR}")
        self._decoded = itertools.chain([first], decoded)
        self._size = {"width": first.width, "height": first.height}
        self.aspect = self._stream.sample_aspect_ratio
        if self.aspect and _is_on_its_side(_display_matrix(first)):
            self.aspect = 1 / self.aspect
        if first.color_trc in _HDR:
            _log.warning("%s: HDR video; it is drawn without tone mapping, and pale.", source)

    def __iter__(self):
        for (frame, pts), (_, end) in itertools.pairwise(self._timed()):
            yield _Frame(self._image(frame), pts, end - pts)

    def _timed(self):
        """The decoded frames with their times; at last None, with the time that the video ends."""
        nominal = max(1, round(1 / (self.rate * self.time_base)))
        last = -math.inf
        for frame in self._decoded:
            pts = self._end if frame.pts is None else frame.pts - self._start
            # Some files give two frames one time, which no container takes.
            last = pts = max(pts, last + 1)
            self._end = pts + (frame.duration or nominal)
            self.count += 1
            self._damaged += frame.is_corrupt
            yield frame, pts
        if self._stream.duration:  # better known than how long the last frame is shown
            end = (self._stream.start_time or 0) + self._stream.duration - self._start
            self._end = end if end > last else self._end
        yield None, self._end

    def _decode(self):
        try:
            for packet in self._container.demux(self._stream):
                yield from packet.decode()
        except self._av.FFmpegError as error:
            raise ValueError(
                f"{self._source}: is damaged {float(self._end * self.time_base):.2f} s after its "
                f"start: {error.strerror}; {_REPAIR}"
            ) from error

    def _image(self, frame):
        if frame.colorspace == _UNSPECIFIED and not frame.format.is_rgb:
            # What players take it for: BT.709 where it is high definition.
            frame.colorspace = _BT709 if frame.height >= 720 else _BT601
        rgb = self._reformatter.reformat(
            frame, **self._size, format="rgb24", dst_color_range=_FULL_RANGE
        )
        return _upright(rgb.to_ndarray(), _display_matrix(frame))

    def _check_table(self):
        """Refuse a file that ends before the last of what its table of contents lists."""
        size = self._source.stat().st_size
        for stream in self._container.streams:
            if any(entry.pos + entry.size > size for entry in stream.index_entries):
                raise ValueError(f"{self._source}: is cut off; {_REPAIR}")

    def _count(self):
        """Read through a file without a table, which takes little: how many frames there are.

        Raises:
            ValueError: it ends long before the time that its first bytes announce.
        """
        count, end = 0, 0.0
        with _open(self._av, self._source) as container:
            try:
                for packet in container.demux():
                    count += packet.size > 0 and packet.stream.index == self._stream.index
                    if packet.dts is not None:
                        end = max(end, (packet.dts + (packet.duration or 0)) * packet.time_base)
            except self._av.FFmpegError as error:
                raise ValueError(
                    f"{self._source}: cannot be read to its end: {error.strerror}; {_REPAIR}"
                ) from error
            announced = (container.duration or 0) / _MICROSECONDS
            if container.format.name == "matroska,webm" and end < announced - 1:
                raise ValueError(
                    f"{self._source}: is cut off after {float(end):.2f} of {announced:.2f} s; "
                    f"{_REPAIR}"
                )
        return count

    def tell_losses(self):
        """Warn of frames that are missing, now that all have been read."""
        if self.total > self.count:
            _log.warning(
                "%s: lists %d frames, of which %d can be decoded; the others are damaged or cut "
                "out by an edit.",
                *(self._source, self.total, self.count),
            )
        if self._damaged:
            _log.warning("%s: %d frames are damaged in part.", self._source, self._damaged)


class _Audio:
    """Brings the audio of a video into what is written, in step with its frames."""

    def __init__(self, av, container, source, start, writer):
        self._av, self._source, self._start, self._writer = av, source, start, writer
        self._targets = {}
        for stream in container.streams.audio:
            target = self._add(stream)
            if target is not None:
                self._targets[stream] = target
        self._packets = container.demux(*self._targets) if self._targets else iter(())
        self._end = 0.0  # in seconds, of what was copied

    def _add(self, stream):
        """The stream to write it as; None where it cannot be read."""
        if stream.codec_context is None:
            _log.warning("%s: an audio stream of an unknown codec is left out.", self._source)
            return None
        output = self._writer.container
        try:
            if output.format.name == "mp4" and stream.codec_context.name.startswith("pcm_"):
                raise ValueError("few players know raw samples in an MP4")
            target = output.add_stream_from_template(stream)
        except ValueError:  # the container does not take this codec
            target = output.add_stream(self._writer.audio_encoder, rate=48000)
            target.layout = "mono" if stream.channels == 1 else "stereo"
        if stream.language:
            target.metadata["language"] = stream.language
        return target

    def copy(self, until):
        """Write what there is up to a time in seconds, and the packet after it."""
        for packet in self._read():
            target = self._targets[packet.stream]
            shift = round(self._start / packet.time_base)
            if packet.dts is not None:
                self._end = float((packet.dts + (packet.duration or 0) - shift) * packet.time_base)
            if target.codec_context.is_encoder:
                self._writer.container.mux(self._encoded(packet, target, shift))
            elif packet.dts is not None:  # the last one of a stream is empty
                packet.dts -= shift
                packet.pts = packet.dts if packet.pts is None else packet.pts - shift
                packet.stream = target
                self._writer.container.mux(packet)
            if self._end > until:
                break

    def _read(self):
        while True:
            try:
                packet = next(self._packets, None)
            except self._av.FFmpegError as error:
                raise self._damage(error) from error
            if packet is None:
                break
            yield packet

    def _encoded(self, packet, target, shift):
        try:
            frames = packet.decode()
        except self._av.FFmpegError as error:
            raise self._damage(error) from error
        encoded = []
        for frame in frames:
            if frame.pts is not None:
                frame.pts -= shift
            encoded += target.encode(frame)
        if packet.dts is None:
            encoded += target.encode(None)
        return encoded

    def _damage(self, error):
        return ValueError(
            f"{self._source}: the sound is damaged {self._end:.2f} s after its start: "
            f"{error.strerror}; {_REPAIR}"
        )


def _open(av, path):
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such video.")
    try:
        # Its whole path, since FFmpeg takes what stands before a colon for a protocol.
        return av.open(str(path.absolute()), metadata_errors="replace")
    except av.error.InvalidDataError as error:
        raise ValueError(
            f"{path}: is not a video, or was cut off while it was recorded or copied; copy "
            "it again, or give another file."
        ) from error


def _video_stream(container, source):
    """First video stream that is not cover art."""
    for stream in container.streams.video:
        if not stream.disposition & stream.disposition.attached_pic:
            if stream.codec_context is None:
                raise ValueError(
                    f"{source}: the codec of its video is unknown to PyAV; convert it first, to "
                    "H.264 for one."
                )
            return stream
    raise ValueError(f"{source}: has no video, only {_streams(container)}; give another file.")


def _streams(container):
    return ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"


def _start(av, container):
    """Seconds, as a Fraction, by which all times are to be moved to begin at 0.

    The clock of a broadcast (MPEG-TS and its like) starts anywhere; other times are kept.
    """
    if container.format.flags & av.format.Flags.ts_discont.value and container.start_time:
        return Fraction(container.start_time, _MICROSECONDS)
    return Fraction(0)


def _display_matrix(frame):
    """(2, 2) ints, how x and y are turned and mirrored for display: rows of images of (1, 0), …"""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return np.eye(2, dtype=np.int32)
    return np.frombuffer(bytes(matrix), np.int32).reshape(3, 3)[:2, :2]


def _is_on_its_side(matrix):
    return abs(matrix[0, 1]) > abs(matrix[0, 0])


def _upright(image, matrix):
    """The image (H, W, 3), turned by quarters and mirrored as its display matrix says."""
    along_x, along_y = matrix[0, 0], matrix[1, 1]
    if _is_on_its_side(matrix):
        image = image.swapaxes(0, 1)
        along_x, along_y = matrix[1, 0], matrix[0, 1]
    image = image[:: -1 if along_y < 0 else 1, :: -1 if along_x < 0 else 1]
    return np.ascontiguousarray(image)


def _batches(items, size):
    items = iter(items)
    while batch := list(itertools.islice(items, size)):
        yield batch
