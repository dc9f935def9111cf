"""Error responses of the emulated API, and of what stands in front of it."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any


class ApiError(Exception):
    """An error response of the API.

    Args:
        status: HTTP status.
        detail: The value of `detail` in the JSON body of version 1: a text, or FastAPI's list of invalid parameters.
        remedy: What the client can do. Only version 2 sends it.
        headers: Additional headers.
    """

    def __init__(
        self, status: int, detail: Any, *, remedy: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, detail)
        self.status, self.detail, self.remedy, self.headers = status, detail, remedy, dict(headers or {})

    @classmethod
    def invalid_parameter(cls, name: str, *, kind: str, message: str, value: object) -> "ApiError":
        """Status 422 for one query parameter, in FastAPI's format. `kind` is pydantic's error type."""
        return cls(422, [{"type": kind, "loc": ["query", name], "msg": message, "input": value}])

    def problem(self, *, status: int, instance: str) -> dict[str, Any]:
        """The error in the form of version 2 (RFC 7807). `instance` is the path of the request."""
        problem = {
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": self.detail if isinstance(self.detail, str) else "; ".join(map(_sentence, self.detail)),
            "instance": instance,
        }
        # Assumed (problem-remedy): there is no remedy if the status says enough.
        return problem if self.remedy is None else problem | {"remedy": self.remedy}


class EdgeError(Exception):
    """An error response of a proxy or a CDN in front of the API: a status, and a page of HTML."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status

    @property
    def body(self) -> bytes:
        title = f"{self.status} {HTTPStatus(self.status).phrase}"
        return f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>".encode()


def _sentence(error: Mapping[str, Any]) -> str:
    place, *rest = error["loc"][1:]
    return f"{place}{''.join(f'[{index}]' for index in rest)}: {error['msg']}"
