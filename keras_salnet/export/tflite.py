"""Export to TFLite, for phones and for LiteRT anywhere."""

import tensorflow as tf

from keras_salnet.files import atomic


def export_tflite(net, path):
    """Write a model as a float32 TFLite file.

    Its signature ``serving_default`` takes ``image`` (1, H, W, 3) float32 RGB 0…255 and returns
    ``saliency`` (1, H, W, 1) float32 in [0, 1]. It uses built-in operations alone.

    Args:
        net: a float32 model of this package.
        path: the file to write; replaced where it exists.
    """
    spec = tf.TensorSpec((1, *net.input_shape[1:]), tf.float32, name="image")

    @tf.function(input_signature=[spec])
    def serving_default(image):
        return {"saliency": net(image, training=False)}

    function = serving_default.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], net)
    with atomic(path) as draft:
        draft.write_bytes(converter.convert())
