"""Cameras: a file in place of one, and one that sees a number counted up in real time."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from keras_salnet import Predictor
from keras_salnet.prediction import camera as camera_module
from keras_salnet.prediction.camera import predict_camera

av = pytest.importorskip("av", reason="PyAV, the extra [video], is not installed")

FRAME = (32, 48)


def brightness(images):
    return images.mean(axis=-1, keepdims=True) / 255


@pytest.fixture
def predictor():
    return Predictor(brightness, FRAME)


def as_is(image, saliency):
    return image


class Counting:
    """Sees every 10 ms a picture of the next grey level, by 5, so many of them."""

    def __init__(self, camera, number=48):
        self.left, self.released = number, False
        self.level = -5

    def isOpened(self):
        return True

    def get(self, property):
        return 100.0

    def read(self):
        time.sleep(0.01)
        if not self.left:
            return False, None
        self.left -= 1
        self.level += 5
        return True, np.full((64, 96, 3), self.level, np.uint8)

    def release(self):
        self.released = True


@pytest.fixture
def counting(monkeypatch):
    made = []

    def make(camera):
        made.append(Counting(camera))
        return made[-1]

    monkeypatch.setattr(camera_module.cv2, "VideoCapture", make)
    return made


def times_and_levels(path):
    with av.open(str(path)) as container:
        decoded = list(container.decode(video=0))
    return [float(f.time) for f in decoded], [f.to_ndarray(format="rgb24").mean() for f in decoded]


def test_a_stream_is_recorded(predictor, tmp_path):
    source, out = tmp_path / "a.mp4", tmp_path / "b.mp4"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        picture = np.zeros((64, 96, 3), np.uint8)
        picture[..., 0] = 200  # red: a mix-up of channels would show
        for _ in range(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode(None))
    seen = []
    count = predict_camera(
        *(predictor, str(source), lambda image, _: seen.append(image.copy()) or image), out=out
    )
    assert 1 <= count <= 20
    assert np.abs(np.stack(seen).astype(int) - picture).max() < 12
    times, _ = times_and_levels(out)
    assert len(times) == count
    assert sorted({p.name for p in tmp_path.iterdir()}) == ["a.mp4", "b.mp4"]


def test_a_slow_model_drops_frames_and_keeps_real_times(tmp_path, counting):
    def slow(images):
        time.sleep(0.045)
        return brightness(images)

    out = tmp_path / "b.mp4"
    count = predict_camera(Predictor(slow, FRAME), 0, as_is, out=out)
    times, levels = times_and_levels(out)
    assert len(times) == count
    assert times[0] == 0
    # Each is newer than the moment at which the one before it was taken: none waited in a queue.
    assert 2 <= count <= times[-1] / 0.045 + 2
    seen_at = np.round((np.array(levels) - levels[0]) / 5) * 0.01  # when each was seen, at least
    assert (np.array(times) >= seen_at - 0.002).all()
    assert (np.diff(levels) > 0).all()
    assert counting[0].released


def test_it_ends_after_so_many_seconds(predictor, tmp_path, counting):
    predict_camera(predictor, 0, as_is, out=tmp_path / "b.mp4", seconds=0.2)
    times, _ = times_and_levels(tmp_path / "b.mp4")
    assert 0 < times[-1] < 0.2
    assert counting[0].left > 0


def test_ctrl_c_leaves_a_whole_video(predictor, tmp_path, counting):
    drawn = []

    def draw(image, saliency):
        drawn.append(image)
        if len(drawn) == 5:
            signal.raise_signal(signal.SIGINT)
        return image

    before = signal.getsignal(signal.SIGINT)
    assert predict_camera(predictor, 0, draw, out=tmp_path / "b.mp4") == 5
    assert signal.getsignal(signal.SIGINT) is before
    assert len(times_and_levels(tmp_path / "b.mp4")[0]) == 5


@pytest.fixture
def interruptible():
    """Ctrl-C raises KeyboardInterrupt, which a shell's background processes ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_second_ctrl_c_leaves_none(predictor, tmp_path, counting, interruptible):
    def draw(image, saliency):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        return image

    with pytest.raises(KeyboardInterrupt):
        predict_camera(predictor, 0, draw, out=tmp_path / "b.mp4")
    assert list(tmp_path.iterdir()) == []


def test_smoothing_goes_by_real_time(predictor, tmp_path, counting, monkeypatch):
    calls = []

    class Smoothing:
        def __init__(self, seconds):
            calls.append(seconds)

        def __call__(self, saliency, time):
            calls.append(time)
            return saliency

    monkeypatch.setattr(camera_module, "Smoothing", Smoothing)
    predict_camera(predictor, 0, as_is, out=tmp_path / "b.mp4", smoothing=0.5, seconds=0.1)
    assert calls[:2] == [0.5, 0.0]
    assert (np.diff(calls[1:]) > 0.005).all()


@pytest.mark.parametrize("camera", [99, "nowhere.mp4"])
def test_a_camera_that_is_not_there_is_told_at_once(predictor, tmp_path, camera, capfd):
    start = time.monotonic()
    with pytest.raises(OSError, match=f"camera {camera}: cannot be opened; is it plugged in"):
        predict_camera(predictor, camera, as_is, out=tmp_path / "b.mp4")
    assert time.monotonic() - start < 5
    assert list(tmp_path.iterdir()) == []


def test_a_camera_without_a_picture_is_told(predictor, tmp_path, monkeypatch):
    monkeypatch.setattr(camera_module.cv2, "VideoCapture", lambda camera: Counting(camera, 0))
    with pytest.raises(OSError, match="camera 0: gives no picture"):
        predict_camera(predictor, 0, as_is, out=tmp_path / "b.mp4")
    assert list(tmp_path.iterdir()) == []


def test_a_camera_that_hangs_is_told(predictor, tmp_path, monkeypatch):
    class Hanging(Counting):
        def read(self):
            time.sleep(2)
            return False, None

    monkeypatch.setattr(camera_module.cv2, "VideoCapture", Hanging)
    monkeypatch.setattr(camera_module, "_PATIENCE", 0.3)
    with pytest.raises(OSError, match="camera 0: gives no picture"):
        predict_camera(predictor, 0, as_is, out=tmp_path / "b.mp4")


def test_arguments_are_checked(predictor, tmp_path, counting):
    with pytest.raises(ValueError, match="seconds must be more than 0"):
        predict_camera(predictor, 0, as_is, out=tmp_path / "b.mp4", seconds=0)
    with pytest.raises(ValueError, match="smoothing must be"):
        predict_camera(predictor, 0, as_is, out=tmp_path / "b.mp4", smoothing=-1)
    with pytest.raises(ValueError, match=r"b\.gif: a video must end in"):
        predict_camera(predictor, 0, as_is, out=tmp_path / "b.gif")


# The window


@pytest.fixture
def display(monkeypatch):
    """A screen of our own, 640 x 480."""
    pytest.importorskip("tkinter", reason="this Python has no Tk")
    if shutil.which("Xvfb") is None:
        pytest.skip("Xvfb is not installed")
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "640x480x24"],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    with os.fdopen(read) as answer:
        number = answer.readline().strip()
    if not number:
        server.wait()
        pytest.skip("Xvfb does not start here")
    monkeypatch.setenv("DISPLAY", f":{number}")
    yield f":{number}"
    server.terminate()
    server.wait()


# In a process of its own: Tk ends its process when its screen goes away.
WINDOW = """
import sys, tkinter
import cv2
import numpy as np
import PIL.ImageGrab
from keras_salnet import Predictor
from keras_salnet.prediction.camera import predict_camera

class Camera:
    isOpened = lambda self: True
    get = lambda self, property: 30
    read = lambda self: (True, np.full((64, 96, 3), 90, np.uint8))
    release = lambda self: None

cv2.VideoCapture = lambda camera: Camera()
shown = []

def draw(image, saliency):
    if len(shown) == 20:
        root = tkinter._default_root
        screen = np.asarray(PIL.ImageGrab.grab(xdisplay=sys.argv[2]))
        assert (screen == (255, 0, 0)).all(axis=-1).sum() == 120 * 160
        assert root.title() == "camera 0 – Q ends"
        if sys.argv[1] == "q":
            root.focus_force()
            root.event_generate("<q>")
        else:
            root.tk.eval(root.protocol("WM_DELETE_WINDOW"))
    shown.append(np.full((120, 160, 3), (255, 0, 0), np.uint8))
    return shown[-1]

predictor = Predictor(lambda images: images[..., :1] / 255, (32, 48))
assert predict_camera(predictor, 0, draw) == len(shown) == 21
assert tkinter._default_root is None  # the window is gone
"""


@pytest.mark.parametrize("how", ["q", "close"])
def test_a_window_shows_it_until_it_is_closed(display, run_python, how):
    run_python(WINDOW, how, display)


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="there is always a display")
def test_no_display_is_told(predictor, counting, monkeypatch):
    pytest.importorskip("tkinter", reason="this Python has no Tk")
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(OSError, match=r"no display for a window .* --out live\.mp4"):
        predict_camera(predictor, 0, as_is)
    assert counting == []  # the camera was not touched


def test_no_tk_is_told(predictor, counting, monkeypatch):
    monkeypatch.setitem(sys.modules, "tkinter", None)
    with pytest.raises(ModuleNotFoundError, match=r"python3-tk.* --out live\.mp4"):
        predict_camera(predictor, 0, as_is)
