"""A camera in, where people look out: in a window as it comes, or as a video."""

import contextlib
import logging
import signal
import threading
import time
from fractions import Fraction
from pathlib import Path

import cv2

from keras_salnet.prediction.video import Smoothing
from keras_salnet.prediction.video_writer import video_writer

_log = logging.getLogger(__name__)

_TIME_BASE = Fraction(1, 90_000)
_PATIENCE = 10  # seconds without a frame; cameras in a network take some


def predict_camera(predictor, camera, draw, *, out=None, smoothing=0.0, seconds=None):
    """Predict what a camera sees, frame by frame as fast as the model goes.

    A frame that comes while the model is busy is dropped, so that what is shown is never old. It is
    shown in a window until that is closed, or Q or Escape pressed there; with `out`, it is written
    as a video instead, each frame with the time at which it was seen. Ctrl-C ends either, and
    leaves a whole video; pressed a second time, it leaves none.

    Args:
        predictor: `keras_salnet.Predictor`.
        camera: int, 0 for the first one; or a stream's address or a device's path, as OpenCV takes
            them.
        draw: function (image (H, W, 3) uint8 RGB, saliency (H, W) float32, its maximum 1) →
            picture (H', W', 3) uint8 RGB of one size, such as `visualize.overlay`.
        out: path of the video to write, as for `predict_video`; None for a window.
        smoothing: seconds, as for `predict_video`.
        seconds: how long; None for no end.

    Returns:
        int, the number of frames that were predicted.

    Raises:
        OSError: there is no such camera, or it gives no picture, or there is no display for a
            window.
        ValueError: another argument is out of its range.
        ModuleNotFoundError: PyAV, which writes videos, or Tk, which makes windows, is missing.

    Example:
        >>> from keras_salnet import Predictor, visualize
        >>> predictor = Predictor.load("runs/vggrga-osie")  # doctest: +SKIP
        >>> predict_camera(predictor, 0, visualize.overlay)  # doctest: +SKIP
        215
    """
    if seconds is not None and not seconds > 0:
        raise ValueError(f"seconds must be more than 0, or None for no end, not {seconds}.")
    smooth = Smoothing(smoothing)
    with contextlib.ExitStack() as stack:
        show = None if out is not None else stack.enter_context(_window(f"camera {camera}"))
        stop = stack.enter_context(_interruption())
        eye = stack.enter_context(_Camera(camera))
        if out is not None:
            show = stack.enter_context(_recording(Path(out).expanduser(), eye.rate))
        count = 0
        for image, time in eye.frames(stop):
            if seconds is not None and time >= seconds:
                break
            count += 1
            if not show(draw(image, smooth(predictor(image), time)), time):
                break
        if not count:  # Ctrl-C before the first frame: there is nothing to keep
            raise KeyboardInterrupt
    return count


class _Camera:
    """The newest frame of a camera, which a thread reads so that it never is an old one."""

    def __init__(self, camera):
        self._camera = camera
        self._capture = _open(camera)
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        known = 0 < rate < 1000  # some say 0 or NaN
        self.rate = Fraction(rate).limit_denominator(1001) if known else Fraction(30)
        self._news = threading.Condition()
        self._newest = None  # (image, time)
        self._ended = False

    def __enter__(self):
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended = True
        self._thread.join(timeout=1)  # it may wait for a camera that was pulled out

    def _read(self):
        try:
            while not self._ended:
                found, image = self._capture.read()
                if not found:
                    break
                with self._news:
                    self._newest = image, time.monotonic()
                    self._news.notify()
        finally:
            self._capture.release()  # by the thread that reads: no other may
            with self._news:
                self._ended = True
                self._news.notify()

    def frames(self, stop):
        """Yield the newest frame whenever asked, until the camera ends or an event is set.

        Args:
            stop: `threading.Event`.

        Yields:
            (image (H, W, 3) uint8 RGB, seconds since the first one).

        Raises:
            OSError: not one frame comes.
        """
        first = None
        while not stop.is_set():
            frame = self._next(stop)
            if frame is None:
                break
            image, seen = frame
            first = seen if first is None else first
            yield cv2.cvtColor(image, cv2.COLOR_BGR2RGB), seen - first
        if first is None and not stop.is_set():
            raise OSError(
                f"camera {self._camera}: gives no picture; does another program use it, or must "
                "this one be allowed to?"
            )

    def _next(self, stop):
        """A frame not seen yet, or None at the end."""
        until = time.monotonic() + _PATIENCE
        with self._news:
            while self._newest is None:
                if self._ended or stop.is_set():
                    return None
                if time.monotonic() > until:
                    _log.warning("camera %s: no picture came for %d s.", self._camera, _PATIENCE)
                    return None
                self._news.wait(0.1)  # not for long: on Windows Ctrl-C waits for the end of it
            frame, self._newest = self._newest, None
        return frame


def _open(camera):
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # the error below says it
    try:
        capture = cv2.VideoCapture(camera)
    finally:
        cv2.utils.logging.setLogLevel(level)
    if not capture.isOpened():
        others = ", ".join(str(path) for path in sorted(Path("/dev").glob("video*")))
        raise OSError(
            f"camera {camera}: cannot be opened; is it plugged in, free, and may this program use "
            f"it? The first one is 0. {f'There are: {others}' if others else ''}".rstrip()
        )
    return capture


@contextlib.contextmanager
def _interruption():
    """Yield an event that the first Ctrl-C sets; the second interrupts as ever.

    Thus no frame is cut off in the middle of being written.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # which alone hears of Ctrl-C
        yield event
        return
    before = signal.getsignal(signal.SIGINT)

    def interrupt(*_):
        event.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _recording(out, rate):
    """Yield a function (picture, seconds) → True that writes the picture as of that time."""
    with video_writer(out, _TIME_BASE, rate) as writer:
        last = -round(1 / (rate * _TIME_BASE))

        def show(picture, seconds):
            nonlocal last
            pts = max(round(seconds / _TIME_BASE), last + 1)
            writer.write(picture, pts, duration=pts - last)
            last = pts
            return True

        yield show


@contextlib.contextmanager
def _window(title):
    """Yield a function (picture, seconds) → whether the window that shows it is still open."""
    remedy = "write a video instead, with --out live.mp4"
    try:
        import tkinter

        from PIL import Image, ImageTk
    except ImportError as error:
        raise ModuleNotFoundError(
            f"this Python has no Tk, which makes windows (on Debian: apt install python3-tk); or "
            f"{remedy}: {error}"
        ) from error
    try:
        root = tkinter.Tk()
    except tkinter.TclError as error:
        raise OSError(f"there is no display for a window ({error}); {remedy}.") from error
    closed = threading.Event()
    try:
        root.title(f"{title} – Q ends")
        root.protocol("WM_DELETE_WINDOW", closed.set)
        for key in ("q", "Q", "<Escape>"):
            root.bind(key, lambda _: closed.set())
        label = tkinter.Label(root)
        label.pack()

        def show(picture, seconds):
            label.picture = ImageTk.PhotoImage(Image.fromarray(picture), master=root)  # kept alive
            label.configure(image=label.picture)
            root.update()
            return not closed.is_set()

        yield show
    finally:
        root.destroy()
