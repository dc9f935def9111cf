"""Error responses of the emulated API."""

from typing import Any


class ApiError(Exception):
    """An error response: an HTTP status, and the value of `detail` in its JSON body."""

    def __init__(self, status: int, detail: Any) -> None:
        super().__init__(status, detail)
        self.status, self.detail = status, detail

    @classmethod
    def invalid_parameter(cls, name: str, *, kind: str, message: str, value: object) -> "ApiError":
        """Status 422 for one query parameter, in FastAPI's format. `kind` is pydantic's error type."""
        return cls(422, [{"type": kind, "loc": ["query", name], "msg": message, "input": value}])
