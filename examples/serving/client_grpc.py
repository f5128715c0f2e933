"""Where people look in an image, asked of TensorFlow Serving by gRPC.

pip install tensorflow-serving-api
"""

import argparse
import sys
from pathlib import Path

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

# A picture may be larger than the 4 MB that gRPC takes otherwise.
_ANY_SIZE = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


def predict(host, model, image):
    """Ask for the map of one image.

    Args:
        host: of the server and its port, such as localhost:8500.
        model: its name there.
        image: bytes of an encoded JPEG, PNG, GIF or BMP.

    Returns:
        Bytes of a grey PNG of the image's size, white where most people look.
    """
    request = predict_pb2.PredictRequest(output_filter=["png_bytes"])
    request.model_spec.name = model
    request.model_spec.signature_name = "predict_image_bytes"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([image]))
    with grpc.insecure_channel(host, _ANY_SIZE) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        answer = stub.Predict(request, timeout=60)
    (png,) = answer.outputs["png_bytes"].string_val
    return png


def main():
    """Write the map; exit with 1 and a line that says why where there is none."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=Path, help="JPEG, PNG, GIF or BMP")
    parser.add_argument("--host", default="localhost:8500", help="of the server, with its port")
    parser.add_argument("--model", default="saliency", help="its name on the server")
    parser.add_argument("--out", type=Path, default="map.png", help="PNG to write")
    given = parser.parse_args()
    try:
        given.out.write_bytes(predict(given.host, given.model, given.image.read_bytes()))
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            told = f"{given.host}: no TensorFlow Serving answers there: {error.details()}"
        else:
            told = f"{given.host} refuses: {error.code().name} {error.details()}"
        sys.exit(f"error: {told}")
    except OSError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
