"""The user's way in: image → map of where people look, at the image's own size."""

import json
import os
from pathlib import Path

import numpy as np

from keras_salnet.data.sample import read_image
from keras_salnet.download import local
from keras_salnet.formats.description import KEY, SAVEDMODEL_FILE, read_tflite_metadata
from keras_salnet.formats.versions import versions
from keras_salnet.images.geometry import Placement
from keras_salnet.models.presets import DEFAULT, SHIPPED, litert_file
from keras_salnet.runs import run_of

# Where a model takes any size, the frame has an image's own, as far as memory goes: the longest
# side at most, and every side a multiple of what the models divide by.
_LONGEST_SIDE = 512
_MULTIPLE = 32


class Predictor:
    """Predicts saliency maps with a trained model, whatever it is stored as.

    Make one with `Predictor.load`. Its attributes: `name` for tables, `input_size` the (height,
    width) of the network's frame, with None for a side that follows the image (see `input_size_for`),
    `resize` how images are brought into it, `config` the settings of the run that the model comes from ({}
    where unknown), `batches` whether several images at once cost the model less than one by one.

    Example:
        >>> predictor = Predictor.load()
        >>> saliency = predictor(np.zeros((480, 640, 3), np.uint8))
        >>> saliency.shape
        (480, 640)
    """

    def __init__(
        self, infer, input_size, resize="stretch", name="model", config=None, batches=True
    ):
        """Wrap a function (B, H, W, 3) float32 RGB 0…255 → (B, H, W, 1) maps."""
        self._infer = infer
        self.input_size = tuple(input_size)
        self.resize = resize
        self.name = name
        self.config = config or {}
        self.batches = batches

    @classmethod
    def load(cls, path_or_name=DEFAULT, input_size=None):
        """Load a model.

        Args:
            path_or_name: ``"fast"`` or ``"accurate"``, which come with the package and need neither
                TensorFlow nor Keras; or a run folder, a ``.keras`` file, an exported SavedModel (or
                the folder of its versions: the newest is taken), a ``.tflite`` or ``.onnx`` file,
                or an exported OpenVINO folder; or a file's URL with its checksum, see
                `keras_salnet.download.fetch`. What lies in a run folder is fitted as that run was,
                what was exported as its metadata say; anything else is stretched to its frame.
            input_size: (height, width) of the frame of a ``.keras`` file that takes any size,
                multiples of what it divides by: 32 fit every model. None: each image's own size,
                see `input_size_for`.

        Returns:
            `Predictor`.

        Raises:
            FileNotFoundError: there is nothing of this name.
            ConnectionError: it cannot be downloaded.
            ValueError: it is none of the above, or damaged, or takes no frames of `input_size`.
            ModuleNotFoundError: ONNX Runtime or OpenVINO, which the file needs, is not installed.
        """
        shipped = path_or_name in SHIPPED
        path = litert_file(path_or_name) if shipped else local(path_or_name)
        if not path.exists():
            raise FileNotFoundError(
                f"{path}: there is no such model; give {' or '.join(SHIPPED)}, a run folder, a "
                ".keras file or an exported model. `keras-salnet train` makes the latter."
            )
        load = _loader(path, input_size)
        try:
            infer, model_size, about = load()
        except ModuleNotFoundError:
            raise
        except Exception as error:  # each runtime raises its own
            raise ValueError(f"{path}: the model cannot be loaded: {error}") from error
        if input_size is None:
            input_size = model_size
        else:
            _check_input_size(path, input_size, model_size)
        run, path = run_of(path), path.resolve()
        config = run.config if run else {}
        if run:
            about = {
                "name": path.relative_to(run.path.parent).as_posix(),
                "resize": config["recipe"]["resize"],
            }
        name, resize = about.get("name", path.name), about.get("resize", "stretch")
        return cls(infer, input_size, resize, name, config, batches=path.suffix != ".tflite")

    def input_size_for(self, size):
        """The frame that an image is brought into.

        Args:
            size: (height, width) of the image.

        Returns:
            (height, width): `input_size`; where that is None, the image's own in multiples of 32,
            in its proportions and with at most 512 pixels on the longest side, so that a large
            photograph needs no more memory than a small one.

        Example:
            >>> predictor = Predictor(infer=None, input_size=(None, None))
            >>> predictor.input_size_for((240, 320)), predictor.input_size_for((3648, 5472))
            ((256, 320), (352, 512))
        """
        scale = min(1, _LONGEST_SIDE / max(size))
        own = (max(1, round(scale * side / _MULTIPLE)) * _MULTIPLE for side in size)
        return tuple(given or free for given, free in zip(self.input_size, own, strict=True))

    def __call__(self, image, density=False):
        """Predict where people look.

        Args:
            image: path of an image, turned as its EXIF orientation says, or such a file as bytes,
                or an array (H, W, 3) RGB, 0…255, uint8 or floating.
            density: return a map that sums to 1 instead of one whose maximum is 1.

        Returns:
            (H, W) float32 of the image's size. A map without any mass is all zeros, as a density
            uniform.

        Raises:
            FileNotFoundError, ValueError: the image cannot be read, or is no (H, W, 3) array of
                finite numbers.
        """
        return self.batch([image], density)[0]

    def batch(self, images, density=False):
        """Predict for several images in one step, which is faster where the model takes batches.

        Args:
            images: list of what `__call__` takes. They may differ in size, unless the model's frame
                follows it (`input_size_for`).
            density: as of `__call__`.

        Returns:
            List of the maps that `__call__` returns.

        Raises:
            FileNotFoundError, ValueError: as `__call__`; or the images need different frames.
        """
        if not images:
            return []
        frames, placements = zip(*map(self.preprocess, images), strict=True)
        if len({frame.shape for frame in frames}) > 1:
            raise ValueError("images of a batch must need the same frame; their sizes differ.")
        maps = self.infer(np.stack(frames))
        pairs = zip(maps, placements, strict=True)
        return [postprocess(saliency, placement, density) for saliency, placement in pairs]

    # The steps of `batch`, for those who run them in different threads.

    def preprocess(self, image):
        """Bring an image into the model's frame.

        Args:
            image: as of `__call__`.

        Returns:
            ((H, W, 3) float32 of the frame's size, the `Placement` that leads back from it).

        Raises:
            FileNotFoundError, ValueError: as `__call__`.
        """
        read = isinstance(image, (str, Path, bytes))
        image = read_image(image) if read else _check_image(image)
        size = image.shape[:2]
        placement = Placement(size, self.input_size_for(size), self.resize)
        return placement.image(image), placement

    def infer(self, frames):
        """What the model itself answers; in one thread at a time.

        Args:
            frames: (B, H, W, 3) float32 RGB, 0…255, of the frame's size.

        Returns:
            (B, H, W) float32 maps in [0, 1], of the frame's size.

        Raises:
            ValueError: the model answers with NaN or infinity.
        """
        maps = np.asarray(self._infer(frames), np.float32)[..., 0]
        if not np.isfinite(maps).all():
            raise ValueError(f"{self.name}: the model answers with NaN or infinity.")
        return maps


def postprocess(saliency, placement, density=False):
    """A map of the frame as a map of the image.

    Args:
        saliency: (H, W) float32, of `Predictor.infer`.
        placement: of `Predictor.preprocess`.
        density: as of `Predictor.__call__`.

    Returns:
        (h, w) float32, as of `Predictor.__call__`.
    """
    return _scaled(placement.undo(saliency), density)


def _scaled(saliency, density):
    total = saliency.sum(dtype=np.float64) if density else saliency.max()
    if total > 0:
        return (saliency / total).astype(np.float32)
    return np.full_like(saliency, 1 / saliency.size) if density else np.zeros_like(saliency)


def _check_image(image):
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"image must be an array (H, W, 3), RGB, not of shape {image.shape}.")
    if not (np.issubdtype(image.dtype, np.integer) or np.issubdtype(image.dtype, np.floating)):
        raise ValueError(f"image must hold RGB numbers, 0…255, not {image.dtype}.")
    if not (image.min() >= 0 and image.max() <= 255):  # NaN fails both
        raise ValueError(
            f"image holds values from {image.min()} to {image.max()}; it takes RGB, 0…255, finite."
        )
    return image


def _check_input_size(path, input_size, model_size):
    for side, own in zip(input_size, model_size, strict=True):
        if own is not None and side != own:
            height, width = ("any" if own is None else own for own in model_size)
            raise ValueError(
                f"{path}: takes frames of {height} x {width}, not of {input_size[0]} x "
                f"{input_size[1]}; leave the input size out."
            )


def _loader(path, input_size):
    """The function () → (infer, input_size, what it says of itself) for what lies at `path`."""
    if path.is_dir():
        for folder in (path, *versions(path)):
            if (folder / "saved_model.pb").is_file():
                return lambda: _load_savedmodel(folder)
        if (path / "model.keras").is_file():
            return lambda: _load_keras(path / "model.keras", input_size)
        if (path / "model.xml").is_file():
            return lambda: _load_openvino(path / "model.xml")
        if (path / "config.json").is_file():
            raise ValueError(
                f"{path}: this run is not finished; go on with: keras-salnet train --resume {path}"
            )
    elif path.suffix == ".keras":
        return lambda: _load_keras(path, input_size)
    elif path.suffix == ".tflite":
        return lambda: _load_tflite(path)
    elif path.suffix == ".onnx":
        return lambda: _load_onnx(path)
    raise ValueError(
        f"{path}: neither a run folder, a .keras file, a SavedModel, a .tflite or .onnx file nor "
        "an OpenVINO folder."
    )


def _load_keras(path, input_size):
    from keras_salnet.models.loading import check_input_size, load_model

    model = load_model(path)
    if None in model.input_shape[1:3]:
        if input_size is None:
            model.jit_compile = False  # XLA would compile for each size anew
        else:
            check_input_size(model, input_size)
    return model.predict_on_batch, model.input_shape[1:3], {}


def _load_savedmodel(path):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    spec = loaded.signatures["serving_default"].structured_input_signature[1]["image"]

    def infer(images):
        # Through `loaded`: a signature alone does not keep its weights alive.
        return loaded.signatures["serving_default"](image=tf.constant(images))["saliency"]

    about = path / SAVEDMODEL_FILE
    about = json.loads(about.read_text("utf-8")) if about.is_file() else {}
    return infer, spec.shape[1:3], about


def _load_tflite(path):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=os.cpu_count())
    interpreter.allocate_tensors()  # else the first image would wait for it
    run = interpreter.get_signature_runner("serving_default")
    shape = run.get_input_details()["image"]["shape"]

    def infer(images):  # one by one: the file is of batches of 1
        return np.concatenate([run(image=image[None])["saliency"] for image in images])

    return infer, tuple(int(n) for n in shape[1:3]), read_tflite_metadata(path)


def _load_onnx(path):
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise _lacks(path, "onnxruntime", "onnx") from None

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()

    def infer(images):
        return session.run(["saliency"], {"image": images})[0]

    about = json.loads(session.get_modelmeta().custom_metadata_map.get(KEY, "{}"))
    return infer, image.shape[1:3], about


def _load_openvino(path):
    try:
        import openvino
    except ModuleNotFoundError:
        raise _lacks(path, "openvino", "openvino") from None

    model = openvino.Core().read_model(path)
    about = json.loads(model.get_rt_info(KEY).value) if model.has_rt_info(KEY) else {}
    # Some processors would compute in 16 bits.
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.compile_model(model, "CPU", exact)

    def infer(images):
        return compiled(images)["saliency"]

    _, height, width, _ = model.input("image").partial_shape
    return infer, (height.get_length(), width.get_length()), about


def _lacks(path, package, extra):
    return ModuleNotFoundError(
        f"{path}: needs the package {package}, which is not installed: "
        f"pip install 'keras-salnet[{extra}]'."
    )
