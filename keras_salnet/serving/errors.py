"""Error responses, as the OpenAPI description lists them."""

from pydantic import BaseModel

_MEANINGS = {
    400: "The request is malformed",
    404: "There is no such model or version",
    413: "The body has too many bytes, or an image too many pixels",
    415: "The body is of no type that is taken",
    422: "A parameter is out of its range, or an image cannot be read",
    429: "Too many images are waiting",
    503: "The server is shutting down",
    504: "Not answered within the time limit",
}
_RETRY = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}


class Error(BaseModel):
    """Why a request was refused."""

    error: str


def errors(*statuses):
    """The refusals of a route, as its `responses`."""
    return {
        status: {
            "model": Error,
            "description": _MEANINGS[status],
            **({"headers": _RETRY} if status in (429, 503) else {}),
        }
        for status in statuses
    }
