"""Our gateway without what it does beside answering, so that the cost of that can be told.

No log line, nothing counted, no limits worth the name, and no middleware: no request id, no security headers.
"""

from typing import Any, Final

from fastapi import FastAPI
from prometheus_client import Counter, Histogram

from app.http.middleware import PathRoute
from app.main import create_app
from app.settings import Settings

_UNLIMITED: Final = 1_000_000_000


def create() -> FastAPI:
    for metric, act in ((Counter, "inc"), (Histogram, "observe")):
        for name, instead in ((act, _nothing), ("labels", _itself)):
            setattr(metric, name, instead)
    limits = dict.fromkeys(("max_tokens", "max_depth", "max_aliases", "max_cost"), _UNLIMITED)
    app = create_app(Settings.load(log_level="error", **limits))
    front: Any = app.front
    while not isinstance(front, PathRoute):
        front = front.app
    app.front = front
    return app


def _nothing(*_: Any, **__: Any) -> None:
    pass


def _itself(metric: Any, *_: Any, **__: Any) -> Any:
    return metric
