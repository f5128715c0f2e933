"""The user's way in: image → map of where people look, at the image's own size."""

import threading
from pathlib import Path

import numpy as np

from keras_salnet import formats
from keras_salnet.download import local
from keras_salnet.images.files import read_image
from keras_salnet.images.geometry import Placement
from keras_salnet.models.presets import DEFAULT, SHIPPED, litert_file
from keras_salnet.runs import run_of

# The input size of a model that takes any: the image's own, within memory. The longest side at
# most, and every side a multiple of what the models divide by.
_LONGEST_SIDE = 512
_MULTIPLE = 32


class Predictor:
    """Predicts saliency maps with a trained model, in whatever format it is stored.

    It may be used from any number of threads; they share the model one after the other.

    Args:
        model: `keras.Model` of this package; or a function (B, H, W, 3) float32 RGB 0…255 →
            (B, H, W, 1) maps, with an `input_size`. `Predictor.load` reads one from a file.
        input_size: (height, width) that the model takes, with None for a side that follows the
            image (see `input_size_for`). None: the Keras model's.
        resize: how images are brought to it, ``"stretch"`` or ``"pad"``.
        name: for tables; the Keras model's by default.
        config: settings of the run that the model comes from, if known.
        batches: whether several images at once cost the model less than one by one.

    Example:
        >>> predictor = Predictor.load()
        >>> saliency = predictor(np.zeros((480, 640, 3), np.uint8))
        >>> saliency.shape
        (480, 640)

        A model in memory:

        >>> from keras_salnet import models
        >>> net = models.VGGRGA(0, backbone_weights=None, input_shape=(64, 64, 3), filters=8)
        >>> Predictor(net)(np.zeros((480, 640, 3), np.uint8)).shape
        (480, 640)
    """

    def __init__(
        self, model, input_size=None, resize="stretch", name=None, config=None, batches=True
    ):
        if hasattr(model, "predict_on_batch"):
            loaded = formats.get("keras").in_memory(model, input_size)
            name, model = name or model.name, loaded.infer
            input_size = input_size or loaded.input_size
        self._infer = model
        self._lock = threading.Lock()
        self.input_size = tuple(input_size)
        self.resize = resize
        self.name = name or "model"
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
                `keras_salnet.download.fetch`. Images are resized as the run or the export's
                description says; for any other model they are stretched to its input size.
            input_size: (height, width) for a ``.keras`` file that takes any size, multiples of what
                the model divides by: multiples of 32 fit every model. None: each image's own size,
                see `input_size_for`.

        Returns:
            `Predictor`.

        Raises:
            FileNotFoundError: there is nothing of this name.
            ConnectionError: it cannot be downloaded.
            ValueError: it is none of the above, or damaged, or does not take `input_size`.
            ModuleNotFoundError: ONNX Runtime or OpenVINO, which the file needs, is not installed.
        """
        shipped = path_or_name in SHIPPED
        path = litert_file(path_or_name) if shipped else local(path_or_name)
        if not path.exists():
            raise FileNotFoundError(
                f"{path}: no such model; give {' or '.join(SHIPPED)}, a run folder, a .keras file "
                "or an exported model; create one with `keras-salnet train`."
            )
        module, file = formats.find(path)
        try:
            loaded = module.load(file, input_size)
        except ModuleNotFoundError:
            raise
        except Exception as error:  # each runtime raises its own
            raise ValueError(f"{path}: the model cannot be loaded: {error}") from error
        if input_size is not None:
            _check_input_size(path, input_size, loaded.input_size)
        run, path = run_of(path), path.resolve()
        config, about = {}, loaded.description
        if run:
            config = run.config
            about = {
                "name": path.relative_to(run.path.parent).as_posix(),
                "resize": config["recipe"]["resize"],
            }
        return cls(
            loaded.infer,
            input_size or loaded.input_size,
            about.get("resize", "stretch"),
            about.get("name", path.name),
            config,
            loaded.batches,
        )

    def input_size_for(self, size):
        """The input size that an image is brought to.

        Args:
            size: (height, width) of the image.

        Returns:
            (height, width): `input_size`. Where that is None, the image's own in multiples of 32,
            with its proportions and at most 512 pixels on the longest side, so that a large
            photograph needs no more memory than a small one.

        Example:
            >>> predictor = Predictor(lambda images: images[..., :1], input_size=(None, None))
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
            (H, W) float32 of the image's size. A map without any mass is all zeros; as a density,
            uniform.

        Raises:
            FileNotFoundError, ValueError: the image cannot be read, or is not an (H, W, 3) array of
                finite numbers.
        """
        return self.batch([image], density)[0]

    def batch(self, images, density=False):
        """Predict for several images in one step, which is faster where the model takes batches.

        Args:
            images: list of what `__call__` takes. They may differ in size, unless the model's input
                size follows the image (`input_size_for`).
            density: as for `__call__`.

        Returns:
            List of the maps that `__call__` returns.

        Raises:
            FileNotFoundError, ValueError: as `__call__`; or the images need different input sizes.
        """
        if not images:
            return []
        inputs, placements = zip(*map(self.preprocess, images), strict=True)
        if len({each.shape for each in inputs}) > 1:
            raise ValueError(
                "the images of a batch must share one input size, but their sizes differ; predict "
                "them one by one."
            )
        maps = self.infer(np.stack(inputs))
        pairs = zip(maps, placements, strict=True)
        return [postprocess(saliency, placement, density) for saliency, placement in pairs]

    # The steps of `batch`, for those who run them in different threads.

    def preprocess(self, image):
        """Bring an image to the model's input size.

        Args:
            image: as for `__call__`.

        Returns:
            ((H, W, 3) float32 of the input size, the `Placement` that leads back from it).

        Raises:
            FileNotFoundError, ValueError: as `__call__`.
        """
        is_file = isinstance(image, (str, Path, bytes))
        image = read_image(image) if is_file else _check_image(image)
        size = image.shape[:2]
        placement = Placement(size, self.input_size_for(size), self.resize)
        return placement.image(image), placement

    def infer(self, inputs):
        """Run the model itself.

        Args:
            inputs: (B, H, W, 3) float32 RGB, 0…255, of the input size.

        Returns:
            (B, H, W) float32 maps in [0, 1], of the input size.

        Raises:
            ValueError: the model answers with NaN or infinity.
        """
        with self._lock:  # LiteRT and OpenVINO answer wrongly when two threads run one model
            maps = np.asarray(self._infer(inputs), np.float32)[..., 0]
        if not np.isfinite(maps).all():
            raise ValueError(f"{self.name}: the model answers with NaN or infinity.")
        return maps


def postprocess(saliency, placement, density=False):
    """Bring a map back to the image.

    Args:
        saliency: (H, W) float32, from `Predictor.infer`.
        placement: from `Predictor.preprocess`.
        density: as for `Predictor.__call__`.

    Returns:
        (h, w) float32, as from `Predictor.__call__`.
    """
    saliency = placement.undo(saliency)
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
                f"{path}: the model takes {height} x {width} pixels, not {input_size[0]} x "
                f"{input_size[1]}; leave out the input size."
            )
