"""Routes for machines: the schema as SDL, health and readiness probes, and Prometheus metrics."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from strawberry import Schema

from app.http.compression import Compressor
from app.http.encoded_responses import encode_response
from app.observability.metrics import CONTENT_TYPE, Metrics


def create_routes(
    schema: Schema | None, metrics: Metrics, compressor: Compressor, *, is_ready: Callable[[], bool]
) -> list[BaseRoute]:
    """The routes. `schema`: None if introspection is switched off. `is_ready`: whether the gateway may take traffic."""

    async def sdl(request: Request) -> Response:
        if schema is None:
            return PlainTextResponse("Introspection is switched off here.\n", status_code=404)
        return await encode_response(PlainTextResponse(schema.as_str() + "\n"), request, compressor)

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "up"})

    async def readyz(_: Request) -> Response:
        if not is_ready():
            return JSONResponse({"status": "stopping"}, status_code=503)
        return JSONResponse({"status": "ready"})

    async def prometheus(request: Request) -> Response:
        response = Response(metrics.as_text(), media_type=CONTENT_TYPE)
        return await encode_response(response, request, compressor, is_kept=False)

    # Starlette's routes, because FastAPI's decorators would keep these closures in caches of the process.
    return [
        Route("/schema.graphql", sdl),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", prometheus),
    ]
