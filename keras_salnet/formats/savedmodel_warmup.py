"""Requests that TensorFlow Serving sends to a model before its first user does.

TensorFlow prepares much in the first run of a graph only: without them, the first requests would
take many times as long as all others.
"""

from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

# Where TensorFlow Serving looks for them, in the folder of a version.
WARMUP_FILE = Path("assets.extra", "tf_serving_warmup_requests")


def write_warmup_requests(folder, input_size):
    """Write requests to all signatures of a SavedModel of `savedmodel.write`, of an image each.

    One image fits whatever batches a server may be set to.

    Args:
        folder: of the SavedModel.
        input_size: (height, width) of its input.
    """
    size = (1, *input_size, 3)
    height, width = input_size
    photo = tf.fill((2 * height, 2 * width, 3), tf.constant(128, tf.uint8))  # is made smaller
    inputs = [
        ("serving_default", "image", tf.make_tensor_proto(128.0, tf.float32, size)),
        ("predict_uint8", "image", tf.make_tensor_proto(128, tf.uint8, size)),
    ] + [
        ("predict_image_bytes", "image_bytes", tf.make_tensor_proto([encode(photo).numpy()]))
        for encode in (tf.io.encode_jpeg, tf.io.encode_png)
    ]
    with tf.io.TFRecordWriter(str(folder / WARMUP_FILE)) as file:
        for signature, name, value in inputs:
            request = predict_pb2.PredictRequest(inputs={name: value})
            request.model_spec.signature_name = signature
            log = prediction_log_pb2.PredictLog(request=request)
            record = prediction_log_pb2.PredictionLog(predict_log=log)
            file.write(record.SerializeToString())
