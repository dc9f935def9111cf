"""The gateway reduced to answering, which shows what everything else costs.

It has no access log, no metrics, limits that no operation reaches, and no middleware (request ids, security headers).
"""

from typing import Any, Final

from fastapi import FastAPI
from prometheus_client import Counter, Histogram

from app.http.middleware import PathRoute
from app.main import create_app
from app.settings import Settings

_UNLIMITED: Final = 1_000_000_000


def create() -> FastAPI:
    for metric, method in ((Counter, "inc"), (Histogram, "observe")):
        for name, replacement in ((method, _do_nothing), ("labels", _return_self)):
            setattr(metric, name, replacement)
    limits = dict.fromkeys(("max_tokens", "max_depth", "max_aliases", "max_cost"), _UNLIMITED)
    app = create_app(Settings.load(log_level="error", **limits))
    inner: Any = app.asgi_app
    while not isinstance(inner, PathRoute):
        inner = inner.app
    app.asgi_app = inner
    return app


def _do_nothing(*_: Any, **__: Any) -> None:
    pass


def _return_self(metric: Any, *_: Any, **__: Any) -> Any:
    return metric
