"""Writes videos: H.264 in MP4, MOV and Matroska, VP9 in WebM."""

import contextlib
import math
from pathlib import Path

import numpy as np

from keras_salnet.files import atomic

# Without B-frames the packets are written in the order that they are shown in: only then does an
# MP4, which stores the time from packet to packet, keep the duration of every frame.
_H264 = ("libx264", {"preset": "veryfast", "crf": "18", "bf": "0"})
_VP9 = ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "6", "crf": "24", "row-mt": "1"})

# Ending of what is written: the video's encoder, and the audio's where it cannot be copied.
_ENCODERS = {
    ".mp4": (_H264, "aac"),
    ".mov": (_H264, "aac"),
    ".mkv": (_H264, "aac"),
    ".webm": (_VP9, "libopus"),
}

# The colours of what is written, as FFmpeg numbers them.
_BT709, _LIMITED_RANGE = 1, 1


@contextlib.contextmanager
def video_writer(out, time_base, rate, aspect=None):
    """Write a video, which appears under its name when the block succeeds.

    Args:
        out: path of the video, which ends as one of its containers does.
        time_base: Fraction of a second that times are counted in.
        rate: Fraction, frames a second, by which the encoder shares out its bits.
        aspect: Fraction, width of a pixel by its height, or None where unknown.

    Yields:
        `VideoWriter`.

    Raises:
        ValueError: the ending is not that of a known container.
        OSError: it cannot be written.
        ModuleNotFoundError: PyAV is missing.
    """
    av = import_av()
    out = Path(out)
    ending = out.suffix.lower()
    if ending not in _ENCODERS:
        raise ValueError(f"{out}: a video must end in {', '.join(_ENCODERS)}.")
    if ending in (".mp4", ".mov"):
        # The table of contents comes first: it plays while it is loaded. The time before the first
        # frame is counted by the movie's own clock, which otherwise knows milliseconds only.
        clock = time_base.denominator * math.ceil(1000 / time_base.denominator)
        options = {"movflags": "faststart", "movie_timescale": str(clock)}
    else:  # sound that begins before 0, as a codec's first samples do, must not move the frames
        options = {"avoid_negative_ts": "disabled"}
    try:
        with (
            atomic(out) as draft,
            av.open(str(draft.absolute()), "w", container_options=options) as container,
        ):
            writer = VideoWriter(av, container, *_ENCODERS[ending], time_base, rate, aspect)
            yield writer
            writer.flush()
    except av.FFmpegError as error:
        raise OSError(f"{out}: the video cannot be written: {error}") from error


class VideoWriter:
    """Writes RGB pictures as the video stream of a container; `video_writer` makes it."""

    def __init__(self, av, container, encoder, audio_encoder, time_base, rate, aspect):
        self.container = container
        self.audio_encoder = audio_encoder
        self._av = av
        self._time_base = time_base
        self._shape = None
        self._reformatter = av.video.reformatter.VideoReformatter()
        name, options = encoder
        self._stream = container.add_stream(name, rate, options)
        self._stream.bit_rate = 0  # the quality (crf) decides
        context = self._stream.codec_context
        context.time_base = time_base
        context.flags |= av.codec.context.Flags.frame_duration  # else the mean rate gives the last
        context.pix_fmt = "yuv420p"  # what every player knows
        context.color_range = _LIMITED_RANGE
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        if aspect:
            context.sample_aspect_ratio = aspect

    def write(self, picture, pts, duration):
        """Write a frame.

        Args:
            picture: (H, W, 3) uint8 RGB, or (H, W) grey, as large as those before it.
            pts: int, its time in `time_base`, later than those before it.
            duration: int, how long it is shown, in `time_base`.

        Raises:
            ValueError: it is not such a picture.
        """
        picture = np.asarray(picture)
        if picture.ndim == 2:
            picture = np.repeat(picture[..., None], 3, axis=2)
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise ValueError(
                f"draw must return (H, W, 3) uint8, not {picture.shape} {picture.dtype}."
            )
        height, width = picture.shape[:2]
        if self._shape is None:
            self._shape = picture.shape
            self._stream.height, self._stream.width = height + height % 2, width + width % 2
        if picture.shape != self._shape:
            raise ValueError(
                f"draw must return pictures of one size; {picture.shape} follows {self._shape}."
            )
        if height % 2 or width % 2:
            picture = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = self._reformatter.reformat(
            self._av.VideoFrame.from_ndarray(np.ascontiguousarray(picture)),
            format="yuv420p",
            dst_colorspace=_BT709,
            dst_color_range=_LIMITED_RANGE,
        )
        frame.color_primaries = frame.color_trc = _BT709
        frame.pts, frame.duration, frame.time_base = pts, duration, self._time_base
        self.container.mux(self._stream.encode(frame))

    def flush(self):
        """Write what the encoder still holds; no picture comes after it."""
        if self._shape is not None:
            self.container.mux(self._stream.encode(None))


def import_av():
    """PyAV.

    Raises:
        ModuleNotFoundError: it is missing; says how to install it.
    """
    try:
        import av
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'videos need PyAV; install it with: pip install "keras-salnet[video]"'
        ) from error
    return av
