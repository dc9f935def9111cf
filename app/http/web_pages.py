"""The pages for browsers, shipped as built files under `app/web`: GraphiQL at `/graphql`, the dashboard at `/`.

Nothing on them comes from another machine, and no script runs that is not one of those files.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from app.http.server import Gateway
from app.settings import Settings

FOLDER: Final = Path(__file__).parent.parent / "web"
ASSETS: Final = "/assets"
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""Inline styles are for GraphiQL's editor."""
_PLACE: Final = "<!-- data -->"
_DIGEST: Final = re.compile(r"-[0-9a-f]{12}\.[a-z0-9]+")
"""How a name ends that changes with what is in the file."""
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".md": "text/markdown; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ttf": "font/ttf",
    ".woff2": "font/woff2",
}
"""Python's own table is completed by the machine's, which may be wrong."""


def add(app: Gateway, settings: Settings, *, demo: bool) -> None:
    # Whether to ask for a key, and what there is beside them.
    data = {
        "auth": "demo" if demo else settings.auth,
        "tokens": bool(settings.client_tokens),
        "graphiql": settings.graphiql,
        "explain": settings.explain,
        "introspection": settings.introspection,
    }
    if settings.graphiql:
        app.put_in_front(GraphiQLMiddleware, path="/graphql", data=data)
    app.mount(ASSETS, assets())

    async def dashboard(_: Request) -> Response:
        return page("dashboard", data)

    app.add_route("/", dashboard)


def page(name: str, data: Mapping[str, Any]) -> Response:
    """A page of that name, with data that its script reads from the element `#data`."""
    # In a script's element, only these could end it or begin a comment.
    block = json.dumps(data).replace("<", "\\u003c").replace(">", "\\u003e")
    element = f'<script type="application/json" id="data">{block}</script>'
    text = (FOLDER / name / "index.html").read_text("utf-8").replace(_PLACE, element)
    return HTMLResponse(text, headers={"content-security-policy": _POLICY, "cache-control": "no-cache"})


def assets() -> ASGIApp:
    """The files that pages consist of: `<page>/assets/<file>`."""
    return _WebAssets(directory=FOLDER)


class _WebAssets(StaticFiles):
    """Of a page's folder only what was built for browsers; names with a digest in them are kept by those for good."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        asked = PurePosixPath(path)
        is_built = len(asked.parts) == 3 and asked.parts[1] == "assets"
        if not is_built or asked.suffix not in _TYPES or "\0" in path:
            raise HTTPException(404)
        response = await super().get_response(path, scope)
        if response.status_code == 200:
            response.headers["content-type"] = _TYPES[asked.suffix]
        is_for_good = _DIGEST.search(asked.name) is not None
        response.headers["cache-control"] = "public, max-age=31536000, immutable" if is_for_good else "no-cache"
        return response


@dataclass(frozen=True)
class GraphiQLMiddleware:
    """Middleware that answers a browser's GET of `path` by GraphiQL, and leaves everything else to `app`."""

    app: ASGIApp
    path: str
    data: Mapping[str, Any]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_here = scope["type"] == "http" and scope["path"].removeprefix(scope.get("root_path", "")) == self.path
        if is_here and scope["method"] in {"GET", "HEAD"} and not scope["query_string"] and _wants_page(scope):
            response = page("graphiql", self.data)
            response.headers["vary"] = "accept"
            await response(scope, receive, send)
            return
        await self.app(scope, receive, send)


def _wants_page(scope: Scope) -> bool:
    """Whether HTML is named, and nothing of GraphQL's is wanted as much: `*/*` names nothing."""
    qualities = dict(_qualities(",".join(Headers(scope=scope).getlist("accept"))))
    html = qualities.get("text/html", 0.0)
    return html > max(qualities.get("application/json", 0.0), qualities.get("application/graphql-response+json", 0.0))


def _qualities(accept: str) -> Iterator[tuple[str, float]]:
    for part in accept.lower().split(","):
        media_type, *parameters = (each.strip() for each in part.split(";"))
        text = next((each[2:] for each in parameters if each.startswith("q=")), "1")
        yield media_type, float(text) if _QUALITY.fullmatch(text) else 0.0


_QUALITY: Final = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?", re.ASCII)
