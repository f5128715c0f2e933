"""TensorFlow's SavedModel, for TensorFlow Serving and for use without this package."""

from pathlib import Path

from keras_salnet.files import atomic
from keras_salnet.formats.description import KEY, Loaded, describe, read
from keras_salnet.formats.savedmodel_versions import version_folder, versions

KIND = "a SavedModel folder"
ENDING = None
EXTRA = None
NEEDS = ("tensorflow",)
KERAS_LOADS = True
MIN_CC = 0.999

_MARK = "saved_model.pb"
# TensorFlow keeps such a folder beside a model for files of other programs.
DESCRIPTION = Path("assets.extra", f"{KEY}.json")


def find(path):
    """The folder itself, or the newest of the versions in it."""
    return next((each for each in (path, *versions(path)) if (each / _MARK).is_file()), None)


def export_savedmodel(net, path, resize="stretch", name=None):
    """Write a model as a SavedModel that needs neither Keras nor this package.

    TensorFlow Serving looks for numbered versions in a model's folder. A version appears there in
    one step, complete.

    Args:
        net: a model of this package.
        path: the model's folder, such as ``models/saliency``, which gets a new version; or the
            folder of a version, such as ``models/saliency/7``, which is replaced if it exists.
        resize, name: as for `export_tflite`.

    Returns:
        Path of the version's folder; see `write`.

    Raises:
        FileExistsError: `path` is itself a SavedModel, or a file.
        OSError: another export made the new version meanwhile.
        ValueError: the model's input size may vary.
    """
    from keras_salnet.models.loading import fixed_input_size

    fixed_input_size(net)  # before any folder is made
    version = version_folder(path)
    with atomic(version, replace=version == Path(path)) as draft:
        write(net, draft, resize, name)
    return version


def write(net, path, resize="stretch", name=None):
    """Write a SavedModel into a new folder.

    All its signatures return ``saliency`` (B, H, W, 1), float32 in [0, 1], at network size:
    ``serving_default`` takes ``image`` (B, H, W, 3) float32 RGB 0…255, ``predict_uint8`` the same
    as uint8, ``predict_image_bytes`` takes ``image_bytes`` (B,): encoded JPEG, PNG, GIF or BMP of
    any size, resized as in training. That signature does not apply EXIF orientations. It also
    returns ``png_bytes`` (B,): each map as a grey PNG of its image's size, white where most people
    look. Beside the model lie requests that warm up a server, and the model's description.

    Args:
        net, resize, name: as for `export_savedmodel`.
        path: the folder to make.

    Raises:
        ValueError: the model's input size may vary.
    """
    import keras
    import tensorflow as tf

    from keras_salnet.formats.savedmodel_graph import draw_maps, load_images
    from keras_salnet.formats.savedmodel_warmup import write_warmup_requests
    from keras_salnet.models.loading import fixed_input_size, in_float32

    net = in_float32(net)
    input_size = fixed_input_size(net)

    def predict(image):
        image = tf.ensure_shape(image, (None, *input_size, 3))  # servers pass on what they are sent
        return {"saliency": net(tf.cast(image, tf.float32), training=False)}

    # TensorFlow Serving's REST interface returns bytes as bytes if their name ends in _bytes.
    def predict_image_bytes(image_bytes):
        images, sizes = load_images(image_bytes, input_size, resize)
        saliency = predict(images)["saliency"]
        return {"saliency": saliency, "png_bytes": draw_maps(saliency, sizes, resize)}

    def images(dtype):
        return tf.TensorSpec((None, *input_size, 3), dtype, name="image")

    encoded = tf.TensorSpec((None,), tf.string, name="image_bytes")
    archive = keras.export.ExportArchive()
    archive.track(net)
    archive.add_endpoint("serving_default", predict, input_signature=[images(tf.float32)])
    archive.add_endpoint("predict_uint8", predict, input_signature=[images(tf.uint8)])
    archive.add_endpoint("predict_image_bytes", predict_image_bytes, input_signature=[encoded])
    archive.write_out(str(path), verbose=False)

    description = Path(path, DESCRIPTION)
    description.parent.mkdir()
    description.write_text(describe(net, resize, name), "utf-8")
    write_warmup_requests(path, input_size)


def load(path, input_size=None):
    """Load the folder of a SavedModel."""
    import tensorflow as tf

    model = tf.saved_model.load(str(path))
    spec = model.signatures["serving_default"].structured_input_signature[1]["image"]

    def infer(images):
        # Through `model`: a signature alone does not keep its weights alive.
        return model.signatures["serving_default"](image=tf.constant(images))["saliency"]

    file = path / DESCRIPTION
    return Loaded(infer, spec.shape[1:3], read(file.read_text("utf-8")) if file.is_file() else {})
