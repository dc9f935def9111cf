"""TODO."""


class HTTPError(Exception):
    """A request whose form is at fault, in whatever media type."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        self.status = status
        self.message = message
        self.headers = headers


class ClientDisconnectedError(Exception):
    """The client hung up."""
