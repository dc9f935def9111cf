"""An answer that is no success: a status and the `detail` of its body."""

from typing import Any


class RefusalError(Exception):
    def __init__(self, status: int, detail: Any) -> None:
        super().__init__(status, detail)
        self.status, self.detail = status, detail

    @classmethod
    def of_parameter(cls, name: str, *, reason: str, kind: str, value: object) -> "RefusalError":
        """422 for one query parameter, in the shape that FastAPI gives it."""
        return cls(422, [{"type": kind, "loc": ["query", name], "msg": reason, "input": value}])
