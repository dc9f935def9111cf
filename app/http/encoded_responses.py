"""Responses of other paths than the GraphQL endpoint, in the content coding that the client prefers.

A compressed form is made when it is first requested. That of a response with an ETag is kept.
"""

from collections.abc import Collection
from os import PathLike, stat_result
from pathlib import Path
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Scope

from app.http.compression import Compressor, etag_for, negotiate_coding
from app.http.response_cache import etag_matches, etag_of

_ACCEPT_ENCODING: Final = "accept-encoding"
_CONTENT_HEADERS: Final = {"content-length", "content-type"}


async def encode_response(
    response: Response, request: Request, compressor: Compressor, *, is_kept: bool = True
) -> Response:
    """The response in the coding that the client prefers.

    `is_kept`: the body seldom changes. It gets an `ETag`, and its compressed forms are kept. A request whose
    `If-None-Match` names that `ETag` is answered with 304.
    """
    body = bytes(response.body)
    coding = _negotiate(request.headers, len(body))
    response.headers.add_vary_header(_ACCEPT_ENCODING)
    digest = etag_of(body) if is_kept else ""
    if is_kept:
        response.headers["etag"] = etag = etag_for(digest, coding)
        if etag_matches(request.headers.get("if-none-match", "").encode("latin-1"), etag):
            # With the policies of the page: a browser takes over the headers of a 304.
            headers = {name: value for name, value in response.headers.items() if name not in _CONTENT_HEADERS}
            return Response(status_code=304, headers=headers)
    if coding is None:
        return response
    if is_kept:
        response.body = await compressor.compress_once(digest, coding, lambda: body)
    else:
        response.body = await compressor.compress(body, coding)
    response.headers["content-encoding"] = coding
    response.headers["content-length"] = str(len(response.body))
    return response


class EncodedFiles(StaticFiles):
    """Starlette's static files, those of some types in the coding that the client prefers.

    A request for a range of bytes gets them from the file as it is.
    """

    def __init__(self, directory: Path, *, suffixes: Collection[str], compressor: Compressor) -> None:
        """`suffixes`: the ends of the names of files that become smaller by compression, such as `.js`."""
        super().__init__(directory=directory)
        self._suffixes = suffixes
        self._compressor = compressor

    def file_response(
        self, full_path: str | PathLike[str], stat_result: stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        response = FileResponse(full_path, status_code=status_code, stat_result=stat_result)
        headers = Headers(scope=scope)
        if Path(full_path).suffix in self._suffixes:
            response.headers.add_vary_header(_ACCEPT_ENCODING)
            coding = None if "range" in headers else _negotiate(headers, stat_result.st_size)
            if coding is not None:
                response.headers["etag"] = etag_for(response.headers["etag"], coding)
                response.headers["content-encoding"] = coding
                del response.headers["accept-ranges"]
        return NotModifiedResponse(response.headers) if self.is_not_modified(response.headers, headers) else response

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        coding = response.headers.get("content-encoding")
        if not isinstance(response, FileResponse) or coding is None:
            return response
        # Two files may have the same ETag, which Starlette makes of size and time.
        file = Path(response.path)
        body = await self._compressor.compress_once(f"{file} {response.headers['etag']}", coding, file.read_bytes)
        response.headers["content-length"] = str(len(body))
        return Response(body, response.status_code, response.headers)


def _negotiate(headers: Headers, size: int) -> str | None:
    return negotiate_coding(",".join(headers.getlist(_ACCEPT_ENCODING)).encode("latin-1"), size)
