"""Export to TensorFlow's SavedModel, for TensorFlow Serving and for use without this package."""

import keras
import tensorflow as tf

from keras_salnet.data.pipeline import decode_image, frame_box, place
from keras_salnet.files import atomic
from keras_salnet.models.loading import fixed_frame, in_float32


def export_savedmodel(net, path, fit="stretch"):
    """Write a model as a SavedModel that needs neither Keras nor this package.

    Its signatures all return ``saliency`` (B, H, W, 1), float32 in [0, 1], at network size:
    ``serving_default`` takes ``image`` (B, H, W, 3) float32 RGB 0…255, ``predict_uint8`` the same
    as uint8, ``predict_image_bytes`` takes ``image_bytes`` (B,): encoded JPEG, PNG, GIF or BMP of
    any size, fitted to the frame as in training. That signature does not apply EXIF orientations.

    Args:
        net: a model of this package.
        path: the folder to write, such as ``saved_model/1``; replaced where it exists.
        fit: how encoded images are fitted to the frame, ``"stretch"`` or ``"pad"``.

    Raises:
        ValueError: the model's input size may vary.
    """
    net = in_float32(net)
    frame = fixed_frame(net)

    def predict(image):
        return {"saliency": net(tf.cast(image, tf.float32), training=False)}

    def predict_image_bytes(image_bytes):
        def load(encoded):
            image = decode_image(encoded)
            return place(image, frame, frame_box(tf.shape(image), frame, fit))

        spec = tf.TensorSpec((*frame, 3), tf.float32)
        return predict(tf.map_fn(load, image_bytes, fn_output_signature=spec))

    def images(dtype):
        return tf.TensorSpec((None, *frame, 3), dtype, name="image")

    encoded = tf.TensorSpec((None,), tf.string, name="image_bytes")
    archive = keras.export.ExportArchive()
    archive.track(net)
    archive.add_endpoint("serving_default", predict, input_signature=[images(tf.float32)])
    archive.add_endpoint("predict_uint8", predict, input_signature=[images(tf.uint8)])
    archive.add_endpoint("predict_image_bytes", predict_image_bytes, input_signature=[encoded])
    with atomic(path) as draft:
        archive.write_out(str(draft), verbose=False)
