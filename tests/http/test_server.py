"""The middleware stack is one list, in the order in which a request meets it."""

from typing import Any

import pytest

from app.http.compression import Compressor
from app.http.cors import AnyHeaderCORSMiddleware
from app.http.graceful_shutdown import GracefulShutdown
from app.http.middleware import InternalErrorLog, PathRoute, RequestIdAndSecurityHeadersMiddleware
from app.http.request_head import RequestHeadMiddleware
from app.http.server import create_middleware
from app.http.web_pages import GraphiQLMiddleware
from app.main import create_app
from app.observability.log import create_log
from app.settings import Settings

ALL = [
    InternalErrorLog,
    RequestIdAndSecurityHeadersMiddleware,
    AnyHeaderCORSMiddleware,
    RequestHeadMiddleware,
    GraphiQLMiddleware,
    PathRoute,
]


async def endpoint(*_: object) -> None: ...


@pytest.mark.parametrize(
    ("settings", "left_out"),
    [
        ({"cors_origins": "https://a.example.com"}, []),
        ({}, [AnyHeaderCORSMiddleware]),
        ({"cors_origins": "https://a.example.com", "graphiql": False}, [GraphiQLMiddleware]),
    ],
)
def test_middleware_list_is_complete_and_leaves_out_what_the_settings_switch_off(
    settings: dict[str, Any], left_out: list[type]
) -> None:
    log = create_log("json", "info")
    middleware = create_middleware(Settings.load(**settings), endpoint, {}, GracefulShutdown(), Compressor(), log)
    classes: list[Any] = [each.cls for each in middleware]
    assert classes == [each for each in ALL if each not in left_out]


def test_request_meets_the_middleware_in_the_order_of_the_list() -> None:
    layer: Any = create_app(Settings.load(cors_origins=("https://a.example.com",))).asgi_app
    met = []
    while hasattr(layer, "app"):
        met.append(type(layer))
        layer = layer.app
    assert met == ALL
