"""Where people look in an image, asked of TensorFlow Serving by REST; needs Python alone."""

import argparse
import base64
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path


def predict(url, model, image):
    """Ask for the map of one image.

    Args:
        url: of the server, such as http://localhost:8501.
        model: its name there.
        image: bytes of an encoded JPEG, PNG, GIF or BMP.

    Returns:
        Bytes of a grey PNG of the image's size, white where most people look.
    """
    body = {
        "signature_name": "predict_image_bytes",
        "instances": [{"b64": base64.b64encode(image).decode()}],
    }
    request = urllib.request.Request(
        f"{url}/v1/models/{model}:predict",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        (prediction,) = json.load(answer)["predictions"]
    return base64.b64decode(prediction["png_bytes"]["b64"])


def main():
    """Write the map; exit with 1 and a line that says why where there is none."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", type=Path, help="JPEG, PNG, GIF or BMP")
    parser.add_argument("--url", default="http://localhost:8501", help="of the server")
    parser.add_argument("--model", default="saliency", help="its name on the server")
    parser.add_argument("--out", type=Path, default="map.png", help="PNG to write")
    given = parser.parse_args()
    try:
        given.out.write_bytes(predict(given.url, given.model, given.image.read_bytes()))
    except urllib.error.HTTPError as error:
        told = error.read().decode(errors="replace")
        sys.exit(f"error: {given.url} refuses: {error.code} {told}")
    except urllib.error.URLError as error:
        sys.exit(f"error: {given.url}: no TensorFlow Serving answers there: {error.reason}")
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
