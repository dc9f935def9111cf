"""Errors of the HTTP layer: a malformed request, and a client that closed its connection."""


class HTTPError(Exception):
    """A request that the gateway refuses because of its HTTP form, whatever media type the client accepts.

    `message` is written for the client; `headers` are added to the response.
    """

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers


class ClientDisconnectedError(Exception):
    """The client closed the connection before it received its response."""
