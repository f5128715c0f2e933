"""The server as an ASGI application."""

import base64
import contextlib
import hashlib
import html
import importlib.resources
import re
from typing import Annotated, Literal

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, Field
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect

from keras_salnet import __version__
from keras_salnet.images.files import encode_picture, read_image
from keras_salnet.images.visualize import COLORMAPS
from keras_salnet.prediction.drawing import Drawing
from keras_salnet.prediction.predictor import postprocess
from keras_salnet.regions import peaks
from keras_salnet.serving import tensorflow_serving
from keras_salnet.serving.errors import errors
from keras_salnet.serving.limits import MEDIA_TYPES, LimitedRequest, Limits
from keras_salnet.serving.service import Service, unless_gone
from keras_salnet.serving.telemetry import CONTENT_TYPE, Metrics, Observed

_ANY_BYTES = "application/octet-stream"
_FORM = "multipart/form-data"
_Part = Annotated[float, Query(ge=0, le=1)]


class Peak(BaseModel):
    """A point that people look at."""

    x: float = Field(description="pixels from the left")
    y: float = Field(description="pixels from the top")
    value: float = Field(description="of the map there, 0.2…1; 1 is its maximum")


class Answer(BaseModel):
    """A prediction as JSON."""

    model: str = Field(description="name of the model")
    width: int = Field(description="of the image, turned as its EXIF orientation says")
    height: int
    peaks: list[Peak] = Field(description="at most ten, the highest first")
    map: str = Field(description="what output=map returns, as data:image/png;base64,…")


_BINARY = {"schema": {"type": "string", "format": "binary"}}
_IMAGE_BODY = {
    "required": True,
    "content": {
        **dict.fromkeys((*MEDIA_TYPES.values(), _ANY_BYTES), _BINARY),
        _FORM: {
            "schema": {
                "type": "object",
                "properties": {"image": _BINARY["schema"]},
                "required": ["image"],
            }
        },
    },
}
_IMAGE_ANSWER = {
    200: {
        "description": "The map, or the overlay, at the image's size; or JSON",
        "content": {
            "image/png": _BINARY,
            "application/json": {"schema": {"$ref": "#/components/schemas/Answer"}},
        },
    }
}


def create_app(predictor, limits=None, batch_size=8, cors=(), name=None):
    """The server of a model.

    Args:
        predictor: `keras_salnet.Predictor`.
        limits: `Limits`; None for the defaults.
        batch_size: the most images that the model gets at once, if it takes several.
        cors: origins whose pages may use the server, such as ``"https://example.org"``; ``"*"`` is
            any.
        name: of the model, in TensorFlow Serving's URLs; None for the predictor's.

    Returns:
        `fastapi.FastAPI`, whose `state.service` is the `Service`.
    """
    metrics = Metrics()
    service = Service(predictor, limits or Limits(), batch_size, metrics.observe_batch)
    metrics.follow(service)
    name = re.sub(r"[/:]", "-", name or predictor.name)

    @contextlib.asynccontextmanager
    async def lifespan(_):
        async with service.running():
            yield

    app = FastAPI(
        title="keras-salnet",
        summary="Images in, the map of where people look out.",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
    )
    app.state.service = service
    app.state.name = name
    _add_error_handlers(app)
    _add_pages(app, service, metrics, name)
    _add_predict(app, service, name)
    app.include_router(tensorflow_serving.router(service, name))
    app.add_middleware(Observed, service=service, metrics=metrics)
    if cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(cors),
            allow_methods=["GET", "POST"],
            allow_headers=["Content-Type"],
            expose_headers=["Retry-After"],
        )
    return app


def _add_error_handlers(app):
    """Each error is {"error": what is wrong}, as TensorFlow Serving has it."""

    @app.exception_handler(StarletteHTTPException)
    async def refused(request, error):
        return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request, error):
        message = "; ".join(f"{problem['loc'][-1]}: {problem['msg']}" for problem in error.errors())
        return JSONResponse({"error": message}, 422)

    @app.exception_handler(ClientDisconnect)
    async def gone(request, error):
        return Response(status_code=499)  # nobody reads it; it is counted

    @app.exception_handler(Exception)
    async def failed(request, error):
        return JSONResponse({"error": "the server failed; its log says how."}, 500)


def _add_pages(app, service, metrics, name):
    page = importlib.resources.files(__package__).joinpath("page.html").read_text("utf-8")
    headers = {"Content-Security-Policy": _policy(page)}
    page = page.replace("{{ name }}", html.escape(name))

    @app.get("/", response_class=HTMLResponse, tags=["for people"])
    async def page_to_try():
        """A page to drop an image on."""
        return HTMLResponse(page, headers=headers)

    @app.get("/healthz", tags=["operation"])
    async def alive() -> dict[Literal["status"], Literal["alive"]]:
        """Whether the server runs."""
        return {"status": "alive"}

    @app.get("/readyz", responses=errors(503), tags=["operation"])
    async def ready() -> dict[Literal["status"], Literal["ready"]]:
        """Whether it takes requests: the model is loaded, and the server does not end."""
        if service.draining:
            raise HTTPException(503, "the server is shutting down.")
        return {"status": "ready"}

    text = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}

    @app.get("/metrics", response_class=Response, responses=text, tags=["operation"])
    async def prometheus():
        """Metrics, as Prometheus reads them."""
        return Response(metrics.text(), headers={"Content-Type": CONTENT_TYPE})


def _policy(page):
    """The Content-Security-Policy that lets the page's own style and script run, and no other."""

    def digest(element):
        (content,) = re.findall(f"<{element}>(.*?)</{element}>", page, re.DOTALL)
        return base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()

    return "; ".join(
        (
            "default-src 'none'",
            f"style-src 'sha256-{digest('style')}'",
            f"script-src 'sha256-{digest('script')}'",
            "img-src blob: data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def _add_predict(app, service, name):
    @app.post(
        "/predict",
        response_class=Response,
        response_model=None,
        responses={**_IMAGE_ANSWER, **errors(400, 413, 415, 422, 429, 503, 504)},
        openapi_extra={"requestBody": _IMAGE_BODY},
        tags=["prediction"],
    )
    async def predict(
        request: Request,
        output: Annotated[
            Literal["map", "overlay", "json"] | None,
            Query(description="default: map; json where Accept names it and no image"),
        ] = None,
        colormap: Annotated[
            Literal[*COLORMAPS] | None,
            Query(description="default: grey maps, inferno over images"),
        ] = None,
        opacity: _Part = 0.6,
        threshold: _Part = 0.0,
    ) -> Response:
        """Where people look in an image."""
        output = output or _accepted(request.headers.get("accept", ""))
        kind = "overlay" if output == "overlay" else "saliency"
        draw = Drawing(kind, colormap, threshold, opacity)

        async def answer(encoded):
            found = await service.predict(encoded)
            if output == "json":
                return await service.in_thread(_as_json, name, draw, *found)
            return await service.in_thread(_as_png, draw, encoded, *found)

        async with service.admission():
            request = LimitedRequest(request, service.limits.max_bytes)
            return await unless_gone(request, answer(await _image(request)))

    app.openapi = _with_schema(app.openapi, Answer)


def _accepted(accept):
    return "json" if "application/json" in accept and "image/" not in accept else "map"


async def _image(request):
    """The bytes of the image in a request."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == _FORM:
        async with request.form(max_files=1) as form:
            files = [value for value in form.values() if isinstance(value, UploadFile)]
            if not files:
                raise HTTPException(422, "the form holds no file; send one as 'image'.")
            return await files[0].read()
    if media_type not in (*MEDIA_TYPES.values(), _ANY_BYTES):
        given = f"not {media_type}" if media_type else "which is missing"
        taken = ", ".join((*MEDIA_TYPES.values(), _ANY_BYTES, _FORM))
        raise HTTPException(415, f"Content-Type must be one of {taken}; {given}.")
    return await request.body()


def _as_png(draw, encoded, saliency, placement):
    # Read anew: decoded images would fill the memory while they wait for the model.
    image = read_image(encoded) if draw.kind == "overlay" else None
    png = encode_picture(draw(image, postprocess(saliency, placement)))
    return Response(png, media_type="image/png")


def _as_json(name, draw, saliency, placement):
    png = encode_picture(draw(None, postprocess(saliency, placement)))
    points, values = peaks(saliency * placement.mask()[..., 0])
    height, width = placement.source
    return JSONResponse(
        {
            "model": name,
            "width": width,
            "height": height,
            "peaks": [
                {"x": round(x, 1), "y": round(y, 1), "value": round(value, 3)}
                for (x, y), value in zip(
                    placement.undo_points(points).tolist(), values, strict=True
                )
            ],
            "map": "data:image/png;base64," + base64.b64encode(png).decode(),
        }
    )


def _with_schema(openapi, model):
    """The description with the schema of a model that only `responses` name."""

    def described():
        found = openapi()
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        found["components"]["schemas"] |= schema.pop("$defs") | {model.__name__: schema}
        return found

    return described
