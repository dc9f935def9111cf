"""Web pages for browsers: GraphiQL at `/graphql` and the dashboard at `/`, built files under `app/web`.

The pages load nothing from another host, and their Content-Security-Policy allows only scripts from those files.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from app.http.compression import Compressor
from app.http.encoded_responses import EncodedFiles, encode_response
from app.http.json_members import MAX_MEMBERS
from app.http.negotiation import prefers_html
from app.settings import Settings

FOLDER: Final = Path(__file__).parent.parent / "web"
ASSETS: Final = "/assets"
_CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""GraphiQL's editor needs inline styles."""
_DATA_PLACEHOLDER: Final = "<!-- data -->"
_DOCUMENT_PARAMETERS: Final = {"query", "documentId", "id", "extensions"}
_HASHED_NAME: Final = re.compile(r"-[0-9a-f]{12}\.[a-z0-9]+")
"""End of a file name that contains a hash of the file's content."""
_MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".md": "text/markdown; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ttf": "font/ttf",
    ".woff2": "font/woff2",
}
"""Python's `mimetypes` also reads the operating system's table, which may be wrong."""
_COMPRESSED_ALREADY: Final = {".png", ".woff2"}


def page_data(settings: Settings, *, demo: bool) -> dict[str, Any]:
    """Settings that the pages' scripts need, for example whether to ask for an API key. Contains no secret."""
    return {
        "auth": "demo" if demo else settings.auth,
        "tokens": bool(settings.client_tokens),
        "graphiql": settings.graphiql,
        "explain": settings.explain,
        "introspection": settings.introspection,
    }


def create_page_routes(data: Mapping[str, Any], compressor: Compressor) -> list[BaseRoute]:
    """Routes of the dashboard and of the pages' assets."""

    async def dashboard(request: Request) -> Response:
        return await encode_response(render_page("dashboard", data), request, compressor)

    return [Mount(ASSETS, create_assets_app(compressor)), Route("/", dashboard)]


def render_page(name: str, data: Mapping[str, Any]) -> Response:
    """The page with this name. Its script reads `data` as JSON from the element `#data`."""
    # Within a script element, only `<` could end the element or begin a comment.
    block = json.dumps(data).replace("<", "\\u003c").replace(">", "\\u003e")
    element = f'<script type="application/json" id="data">{block}</script>'
    text = (FOLDER / name / "index.html").read_text("utf-8").replace(_DATA_PLACEHOLDER, element)
    return HTMLResponse(
        text, headers={"content-security-policy": _CONTENT_SECURITY_POLICY, "cache-control": "no-cache"}
    )


def create_assets_app(compressor: Compressor) -> ASGIApp:
    """ASGI app that serves the pages' files: `<page>/assets/<file>`."""
    return _WebAssets(FOLDER, suffixes=_MEDIA_TYPES.keys() - _COMPRESSED_ALREADY, compressor=compressor)


class _WebAssets(EncodedFiles):
    """Serves only the built files of a page; a file whose name contains its hash may be cached forever."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        file = PurePosixPath(path)
        is_built = len(file.parts) == 3 and file.parts[1] == "assets"
        if not is_built or file.suffix not in _MEDIA_TYPES or "\0" in path:
            raise HTTPException(404)
        response = await super().get_response(path, scope)
        if response.status_code == 200:
            response.headers["content-type"] = _MEDIA_TYPES[file.suffix]
        is_immutable = _HASHED_NAME.search(file.name) is not None
        response.headers["cache-control"] = "public, max-age=31536000, immutable" if is_immutable else "no-cache"
        return response


@dataclass(frozen=True)
class GraphiQLMiddleware:
    """ASGI middleware that serves GraphiQL to a browser at `path` and passes every other request to `app`.

    A browser's request is a GET or HEAD that names no document, and whose `Accept` header prefers HTML to JSON. With a
    slash after the path it is redirected, because the page's URLs are relative.
    """

    app: ASGIApp
    path: str
    data: Mapping[str, Any]
    compressor: Compressor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] in {"GET", "HEAD"}:
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            if path.removesuffix("/") == self.path and _prefers_html(scope) and not _names_document(scope):
                response = _redirect_from_slash(scope) if path != self.path else render_page("graphiql", self.data)
                response.headers["vary"] = "accept"
                if path == self.path:
                    response = await encode_response(response, Request(scope), self.compressor)
                await response(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _redirect_from_slash(scope: Scope) -> Response:
    """A redirect to the URL without its last slash. It is relative, because a proxy may serve it under any path."""
    query_string = scope["query_string"].decode("latin-1")
    name = scope["path"].rstrip("/").rpartition("/")[2]
    return RedirectResponse(f"../{name}?{query_string}" if query_string else f"../{name}", 307)


def _names_document(scope: Scope) -> bool:
    """Whether the URL has an operation for the endpoint, or cannot be read, so that the endpoint refuses it."""
    try:
        pairs = parse_qsl(scope["query_string"].decode("latin-1"), max_num_fields=MAX_MEMBERS)
    except ValueError:
        return True
    return any(name in _DOCUMENT_PARAMETERS for name, _ in pairs)


def _prefers_html(scope: Scope) -> bool:
    return prefers_html(",".join(Headers(scope=scope).getlist("accept")))
