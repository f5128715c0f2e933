"""TensorFlow Serving's REST API, so that its clients work against this server, too.

The signatures are those of an exported SavedModel, see `keras_salnet.formats.export_savedmodel`:
``serving_default`` and ``predict_uint8`` take images of the network's frame as numbers,
``predict_image_bytes`` encoded ones of any size.
https://www.tensorflow.org/tfx/serving/api_rest
"""

import asyncio
import base64
from typing import Annotated, Any

import numpy as np
import orjson
from fastapi import APIRouter, HTTPException, Path, Request, Response
from pydantic import BaseModel
from starlette.convertors import StringConvertor, register_url_convertor

from keras_salnet.images.files import encode_picture
from keras_salnet.images.visualize import to_grey
from keras_salnet.prediction.predictor import postprocess
from keras_salnet.serving.errors import errors
from keras_salnet.serving.limits import LimitedRequest
from keras_salnet.serving.service import unless_gone

_VERSION = 1
_DEFAULT = "serving_default"
# Signature → name and dtype of its input.
_INPUTS = {
    _DEFAULT: ("image", "DT_FLOAT"),
    "predict_uint8": ("image", "DT_UINT8"),
    "predict_image_bytes": ("image_bytes", "DT_STRING"),
}


class _ModelName(StringConvertor):
    regex = "[^/:]+"  # so that NAME:predict is none


register_url_convertor("model", _ModelName())

_Name = Annotated[str, Path(description="the model's name, which start-up prints")]
_Version = Annotated[int, Path(ge=1, description=f"its version: {_VERSION}")]


class Predictions(BaseModel):
    """An answer, `predictions` to `instances` and `outputs` to `inputs`.

    Of `predict_image_bytes`, `saliency` and `png_bytes`; of the others, `saliency` without its
    name: (H, W, 1) in [0, 1], of the network's frame.
    """

    predictions: list[Any] | None = None
    outputs: list[Any] | dict[str, list[Any]] | None = None


_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "description": "exactly one of `instances` and `inputs`",
                "properties": {
                    "signature_name": {"enum": ["", *_INPUTS], "default": _DEFAULT},
                    "instances": {"type": "array", "minItems": 1},
                    "inputs": {"type": ["array", "object"]},
                },
            }
        }
    },
}


def router(service, name):
    """The API for one model.

    Args:
        service: `Service`.
        name: of the model, without slashes and colons.

    Returns:
        `fastapi.APIRouter`.
    """
    routes = APIRouter(tags=["TensorFlow Serving"])

    def check(asked, version):
        if asked != name or version not in (None, _VERSION):
            which = f"Latest({asked})" if version is None else f"Specific({asked}, {version})"
            raise HTTPException(404, f"Servable not found for request: {which}")

    async def status(name: _Name, version: _Version | None = None) -> dict[str, Any]:
        """Whether the model can be used."""
        check(name, version)
        state = "UNLOADING" if service.draining else "AVAILABLE"
        message = {"error_code": "OK", "error_message": ""}
        versions = [{"version": str(_VERSION), "state": state, "status": message}]
        return {"model_version_status": versions}

    async def metadata(name: _Name, version: _Version | None = None) -> dict[str, Any]:
        """The model's inputs and outputs."""
        check(name, version)
        signatures = {"signature_def": _signatures(service.predictor.input_size)}
        spec = {"name": name, "signature_name": "", "version": str(_VERSION)}
        return {"model_spec": spec, "metadata": {"signature_def": signatures}}

    async def predict(request: Request, name: _Name, version: _Version | None = None):
        """Maps of images, as numbers or encoded."""
        check(name, version)
        async with service.admission():
            request = LimitedRequest(request, service.limits.max_bytes)
            body = await request.body()
            answer = await unless_gone(request, _predict(service, body))
        return Response(answer, media_type="application/json")

    for version in ("", "/versions/{version:int}"):
        url = "/v1/models/{name:model}" + version
        kind = "_version" if version else ""
        routes.get(url, responses=errors(404, 422), operation_id="status" + kind)(status)
        routes.get(url + "/metadata", responses=errors(404, 422), operation_id="metadata" + kind)(
            metadata
        )
        routes.post(
            url + ":predict",
            response_model=Predictions,
            responses=errors(400, 404, 413, 422, 429, 503, 504),
            openapi_extra={"requestBody": _BODY},
            operation_id="predict" + kind,
        )(predict)
    return routes


async def _predict(service, body):
    images, encoded, in_rows = await service.in_thread(_parse, body, service.predictor)
    most = service.limits.max_queue
    if len(images) > most:
        raise HTTPException(400, f"at most {most} images at once, not {len(images)}.")

    async def map_of(image):
        return await service.predict(image) if encoded else (await service.infer(image), None)

    with service.places(len(images) - 1):  # beside the request's own
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(map_of(image)) for image in images]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return await service.in_thread(_answer, [task.result() for task in tasks], in_rows)


def _parse(body, predictor):
    """(images as arrays (H, W, 3) float32 or as bytes, whether as bytes, whether in rows)."""
    try:
        request = orjson.loads(body)
    except ValueError as error:
        raise HTTPException(400, f"JSON Parse error: {error}") from error
    if not isinstance(request, dict) or ("instances" in request) == ("inputs" in request):
        raise HTTPException(400, "the body must be an object with either instances or inputs.")
    signature = request.get("signature_name") or _DEFAULT
    if not isinstance(signature, str) or signature not in _INPUTS:
        raise HTTPException(
            400, f'Serving signature name: "{signature}" not found in signature def'
        )
    name, dtype = _INPUTS[signature]
    in_rows = "instances" in request
    values = request["instances"] if in_rows else request["inputs"]
    if in_rows and isinstance(values, list):
        values = [_named(value, name) for value in values]
    elif not in_rows:
        values = _named(values, name)
    if not isinstance(values, list) or not values:
        raise HTTPException(400, f"{name}: must be a list of images, not empty.")
    if dtype == "DT_STRING":
        return [_decode(value, name) for value in values], True, in_rows
    return list(_numbers(values, name, dtype, predictor)), False, in_rows


def _named(value, name):
    """The value of an input that may, or may not, be named."""
    if isinstance(value, dict) and value.keys() != {"b64"}:
        if value.keys() != {name}:
            raise HTTPException(400, f"there is one input, {name}, not {', '.join(value)}.")
        return value[name]
    return value


def _decode(value, name):
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (ValueError, TypeError, KeyError) as error:
        message = f'{name}: each must be {{"b64": "the image in base 64"}}.'
        raise HTTPException(400, message) from error


def _numbers(values, name, dtype, predictor):
    """(B, H, W, 3) float32."""
    array = np.array(values, object)  # numpy would make one type of numbers, strings and booleans
    if not set(map(type, array.flat)) <= ({int} if dtype == "DT_UINT8" else {int, float}):
        raise HTTPException(400, f"{name}: must hold numbers, of type {dtype}, in a full array.")
    shape = array.shape
    if (
        len(shape) != 4
        or shape[3] != 3
        or 0 in shape
        or predictor.input_size_for(shape[1:3]) != shape[1:3]
    ):
        height, width = (-1 if side is None else side for side in predictor.input_size)
        message = f"must be of shape [-1, {height}, {width}, 3], not {list(shape)}"
        if None in predictor.input_size:
            message += "; heights and widths are multiples of 32 up to 512"
        raise HTTPException(400, f"{name}: {message}.")
    if not (array.min() >= 0 and array.max() <= 255):
        raise HTTPException(400, f"{name}: must be RGB, 0…255.")
    return array.astype(np.float32)


def _answer(found, in_rows):
    maps = [saliency[..., None] for saliency, _ in found]
    if found[0][1] is None:
        answer = maps
    else:
        pngs = [
            encode_picture(to_grey(postprocess(saliency, resize))) for saliency, resize in found
        ]
        pngs = [{"b64": base64.b64encode(png).decode()} for png in pngs]
        if in_rows:
            answer = [
                {"saliency": saliency, "png_bytes": png}
                for saliency, png in zip(maps, pngs, strict=True)
            ]
        else:
            answer = {"saliency": maps, "png_bytes": pngs}
    key = "predictions" if in_rows else "outputs"
    return orjson.dumps({key: answer}, option=orjson.OPT_SERIALIZE_NUMPY)


def _signatures(input_size):
    size = [-1 if side is None else side for side in input_size]
    saliency = {"saliency": _tensor("saliency", "DT_FLOAT", (-1, *size, 1))}
    png = {"png_bytes": _tensor("png_bytes", "DT_STRING", (-1,))}
    return {
        signature: {
            "inputs": {
                name: _tensor(name, dtype, (-1,) if dtype == "DT_STRING" else (-1, *size, 3))
            },
            "outputs": saliency | (png if dtype == "DT_STRING" else {}),
            "method_name": "tensorflow/serving/predict",
        }
        for signature, (name, dtype) in _INPUTS.items()
    }


def _tensor(name, dtype, shape):
    dimensions = [{"size": str(side), "name": ""} for side in shape]
    shape = {"dim": dimensions, "unknown_rank": False}
    return {"dtype": dtype, "tensor_shape": shape, "name": f"{name}:0"}
